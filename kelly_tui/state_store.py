"""State that the screens keep between sessions, in the user's state folder; checked where it is read."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated, Any, Generic, NotRequired, TypeVar, cast

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from kelly_core.benchmark.results import BenchmarkReport
from kelly_core.bounds import Count, Finite, Seconds, UnixTime
from kelly_core.errors import KellyError
from kelly_core.io.atomic import atomic_write, open_regular
from kelly_core.io.json import dumps
from kelly_core.io.user_dirs import user_state_dir

_MAX_BYTES = 2**20
_ALL = ConfigDict(extra="allow")

T = TypeVar("T")


class _SkippedFiles(TypedDict):
    count: Count
    first: list[str]


def _is_rectangle(rows: list[T]) -> list[T]:
    """Return rows that are not empty and equally long.

    Raises:
        ValueError: they are not.
    """
    if len({len(row) for row in rows}) != 1 or not rows[0]:  # type: ignore[arg-type]
        raise ValueError("the rows differ in length or are empty")
    return rows


_LABEL_BINS = Field(min_length=48, max_length=48)
"""As many as ``workers.corpora`` counts."""
_LevelRows = Annotated[list[Annotated[str, StringConstraints(pattern=r"^[0-4]+$")]], AfterValidator(_is_rectangle)]


class _LabelCounts(TypedDict):
    plane: Annotated[list[Annotated[list[Count], _LABEL_BINS]], _LABEL_BINS]
    valence: Annotated[list[Count], _LABEL_BINS]
    arousal: Annotated[list[Count], _LABEL_BINS]


class _ShownExample(TypedDict):
    index: Count
    group: str
    label_source: str
    split: str
    input: _LevelRows
    target: _LevelRows


class _CorpusReport(TypedDict):
    """A ``CorpusReport`` as the worker for corpora prints it, the absolute folder that it is about, and how the files
    were (see ``folder_stamp``).
    """

    __pydantic_config__ = _ALL  # type: ignore[misc]
    folder: str
    stamp: NotRequired[list[int]]
    problem: str
    files: Count
    examples: Count
    splits: dict[str, Count]
    label_sources: dict[str, Count]
    skipped: dict[str, _SkippedFiles]
    seconds: NotRequired[Seconds | None]
    split_source: NotRequired[str]
    tables: NotRequired[list[str]]
    label_tables: NotRequired[list[str]]
    warnings: NotRequired[list[str]]
    joins: NotRequired[dict[str, Count]]
    weight: NotRequired[Finite]
    made_by_rules: NotRequired[bool]
    test_files: NotRequired[Count]
    labels: NotRequired[_LabelCounts]
    shown: NotRequired[list[_ShownExample]]


class _Check(TypedDict):
    name: str
    passed: bool
    detail: str


class _CheckedExport(TypedDict):
    """Checks of one export, those of the time before, and the export's time of change in nanoseconds."""

    stamp: int
    checks: list[_Check]
    former: NotRequired[list[_Check] | None]


class _SeenRuns(TypedDict):
    folder: str
    states: dict[str, str]
    time: UnixTime


class StateSchema(Generic[T]):
    """Kind of the entries of one state; an entry that does not fit is left out."""

    def __init__(self, entry: type[T]) -> None:
        self._adapter = TypeAdapter(entry)

    def load(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the sound entries of the state saved under a name."""
        return self.sound(load_state(name))

    def sound(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the entries that fit."""
        found = {}
        for key, entry in content.items():
            try:
                found[key] = cast(dict[str, Any], self._adapter.validate_python(entry, strict=True))
            except ValidationError:
                continue
        return found


CORPUS_REPORTS = StateSchema(_CorpusReport)
"""By the corpus's absolute folder."""
CHECKED_EXPORTS = StateSchema(_CheckedExport)
"""By the export's absolute path."""
SEEN_RUNS = StateSchema(_SeenRuns)
"""One entry, ``runs``: the runs and their states when the screens were last open."""


BENCHMARKS = "benchmark"
"""Name of the saved benchmark results: by the absolute path of the exports' folder."""


def load_benchmarks() -> dict[str, BenchmarkReport]:
    """Return the saved benchmark results by the absolute path of the exports' folder, without damaged ones."""
    found = {}
    for folder, document in load_state(BENCHMARKS).items():
        with suppress(ValueError):
            found[folder] = BenchmarkReport.from_json(document)
    return found


def load_state(name: str) -> dict[str, Any]:
    """Return the state saved under a name; {} if there is none or it cannot be read."""
    try:
        with open_regular(user_state_dir() / f"{name}.json") as file:
            content = json.loads(file.read(_MAX_BYTES))
    except (KellyError, OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def save_state(name: str, content: dict[str, Any]) -> str:
    """Save state under a name; return the error, "" if there is none."""
    try:
        text = dumps(content)
        atomic_write(user_state_dir() / f"{name}.json", lambda file: file.write(text.encode()))
    except KellyError as error:
        return str(error)
    return ""
