"""State that the screens keep between sessions, for each project, in the user's state folder; checked when read."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
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
_NAME = "screens"
_MAX_PROJECTS = 50
_ALL = ConfigDict(extra="allow")

T = TypeVar("T")


class _SkippedFiles(TypedDict):
    count: Count
    first: list[str]


def _is_rectangle(rows: list[T]) -> list[T]:
    """Return rows that are not empty and equally long.

    Raises:
        ValueError: the rows are empty or differ in length.
    """
    if len({len(row) for row in rows}) != 1 or not rows[0]:  # type: ignore[arg-type]
        raise ValueError("the rows differ in length or are empty")
    return rows


_LABEL_BINS = Field(min_length=48, max_length=48)
"""Number of bins, as in ``workers.corpora``."""
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
    """A ``CorpusReport`` as the worker for corpora prints it, with the absolute path of its folder and the stamp of the
    files at that time (see ``folder_stamp``).
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
    """Checks of one export, its previous checks, and the export's modification time in nanoseconds."""

    stamp: int
    checks: list[_Check]
    former: NotRequired[list[_Check] | None]


class _SeenRuns(TypedDict):
    folder: str
    states: dict[str, str]
    time: UnixTime


class StateSchema(Generic[T]):
    """Schema of the entries of one state; an entry that does not match it is dropped."""

    def __init__(self, entry: type[T]) -> None:
        self._adapter = TypeAdapter(entry)

    def load(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the valid entries of the state saved under a name."""
        return self.valid_entries(load_state(name))

    def valid_entries(self, content: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the entries that match the schema."""
        found = {}
        for key, entry in content.items():
            with suppress(ValidationError):
                found[key] = cast(dict[str, Any], self._adapter.validate_python(entry, strict=True))
        return found


CORPUS_REPORTS = StateSchema(_CorpusReport)
"""Keys: absolute path of the corpus folder."""
CHECKED_EXPORTS = StateSchema(_CheckedExport)
"""Keys: absolute path of the export."""
SEEN_RUNS = StateSchema(_SeenRuns)
"""One entry, ``runs``: the runs and their states when the program was last open."""


BENCHMARKS = "benchmark"
"""Name of the saved benchmark results, whose keys are absolute paths of folders with exports."""


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
        atomic_write(user_state_dir() / f"{name}.json", text.encode())
    except KellyError as error:
        return str(error)
    return ""


class ProjectState:
    """State that the screens save; files are written in threads, since a busy disk can block a writer for a second.

    Args:
        folder: working folder; its absolute path names the project.
        read_only: write nothing.
        in_thread: runs a function in a thread.
        report: called in a thread with the text of a write error, once for each error.

    Attributes:
        shared: state that all projects share, such as the theme; changed by ``save``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        read_only: bool,
        in_thread: Callable[[Callable[[], None]], object],
        report: Callable[[str], object],
    ) -> None:
        self.shared = load_state(_NAME)
        self._project = str(folder.absolute())
        self._read_only, self._in_thread, self._report = read_only, in_thread, report
        self._problem = ""
        self._unwritten: dict[str, dict[str, Any]] = {}
        self._one_writer = Lock()

    def remembered(self, name: str) -> dict[str, Any]:
        """Return the values remembered under a name in this project."""
        projects = self.shared.get("projects")
        project = projects.get(self._project) if isinstance(projects, dict) else None
        kept = project.get(name) if isinstance(project, dict) else None
        return kept if isinstance(kept, dict) else {}

    def remember(self, name: str, **what: object) -> None:
        """Remember values under a name for the next start in this project."""
        kept = self.remembered(name)
        if all(kept.get(key) == value for key, value in what.items()):
            return
        projects = self.shared.get("projects")
        projects = dict(projects) if isinstance(projects, dict) else {}
        project = projects.pop(self._project, {})
        # The current project is put last; the least recently used projects are dropped.
        projects[self._project] = (project if isinstance(project, dict) else {}) | {name: kept | what}
        for oldest in list(projects)[:-_MAX_PROJECTS]:
            del projects[oldest]
        self.save(projects=projects)

    def save(self, **what: object) -> None:
        """Save values that all projects share."""
        self.shared |= what
        self.save_as(_NAME, self.shared)

    def save_as(self, name: str, content: dict[str, Any]) -> None:
        """Save a state in a separate file under a name; a read-only session saves nothing."""
        if not self._read_only:
            # A copy, because the screens can change the original while a thread writes.
            self._unwritten[name] = dict(content)
            self._in_thread(self.write)

    def write(self) -> None:
        """Write the files of all states that are not written yet."""
        with self._one_writer:
            # Includes states added while another thread was writing; for each name, only the latest is written.
            while self._unwritten:
                previous, self._problem = self._problem, save_state(*self._unwritten.popitem())
                if self._problem not in ("", previous):
                    self._report(self._problem)
