"""Tables of valence and arousal by song: which are tables of labels, their scale, and the rows that can be used."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kelly_core.data.files import Affect, finite_text, read_table, table_columns
from kelly_core.errors import DataError
from kelly_core.spec import LabelScale

DAMAGED_ROW = "damaged row of a table of labels"
_RANGES: dict[str, tuple[float, float]] = {"1..9": (1, 9), "0..1": (0, 1), "-1..1": (-1, 1), "-5..5": (-5, 5)}
_ID_COLUMNS = ("song_id", "songid", "musicid", "filename", "file_name", "file", "id", "number")
_VALENCE_COLUMNS = ("valence", "valence_mean", "mean_valence", "valence(mean)")
_AROUSAL_COLUMNS = ("arousal", "arousal_mean", "mean_arousal", "arousal(mean)", "energy")
_NOT_AVERAGED = frozenset(
    ("workerid", "worker_id", "raterid", "rater_id", "rater", "subject", "subject_id", "participant", "user_id")
)
"""Columns of tables with the answers of single raters."""
_TIMES = frozenset(("frametime", "frame_time", "time", "time_s"))
"""Columns of tables with several rows per song."""
_MOST_OUTLIERS = 0.05
"""Share of values outside a scale up to which it is the table's and the rows are damaged."""
_MOST_REPEATED = 0.5
_WHOLE = re.compile(r"0*(\d{1,15})(?:\.0*)?")
_ENDING = re.compile(r"\.(?:wav|mp3|flac|ogg|m4a)$")


@dataclass
class AffectTable:
    """Labels of one table.

    Attributes:
        labels: valence and arousal, both -1..1, by ID as written.
        damaged: one description of each row that is left out.
        warning: what a person should know of the table, or "".
    """

    labels: dict[str, Affect]
    damaged: list[str] = field(default_factory=list)
    warning: str = ""


class LabelIndex:
    """Values by file: IDs match exactly first, then without case, spaces, ending and leading zeros (``2.0`` is 002)."""

    def __init__(self, values: Mapping[str, Affect]) -> None:
        self._exact = dict(values)
        self._loose: dict[str, Affect | None] = {}
        for name, value in values.items():
            key = song_key(name)
            # Two IDs that differ only in case or zeros name two songs: neither may take the other's label.
            self._loose[key] = None if self._loose.get(key, value) != value else value

    def __bool__(self) -> bool:
        return bool(self._exact)

    def find(self, file: str) -> Affect | None:
        """Return the label of a file, given by its path in the corpus, or None."""
        for tail in _tails(file):
            for name in (tail, tail.rpartition(".")[0]):
                if name in self._exact:
                    return self._exact[name]
        found = (self._loose.get(song_key(tail)) for tail in _tails(file))
        return next((value for value in found if value is not None), None)


def song_key(name: str) -> str:
    """Return what two spellings of one song's ID have in common."""
    key = _ENDING.sub("", name.strip().replace("\\", "/").casefold())
    folder, slash, last = key.rpartition("/")
    whole = _WHOLE.fullmatch(last)
    return folder + slash + whole[1] if whole else key


def _tails(path: str) -> Iterator[str]:
    """The path, then what remains of it after each of its folders."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def is_affect_table(path: Path) -> bool:
    """Return True if the columns are those of one averaged label per song. Only the beginning of the file is read.

    Raises:
        DataError: the file cannot be read.
    """
    columns = {_plain(column) for column in table_columns(path)}
    if columns & (_NOT_AVERAGED | _TIMES):
        return False
    return all(columns & set(names) for names in (_ID_COLUMNS, _VALENCE_COLUMNS, _AROUSAL_COLUMNS))


def read_affect_table(path: Path, scale: LabelScale = "") -> AffectTable:
    """Read one valence and arousal a song.

    Args:
        path: a table for which ``is_affect_table`` is True.
        scale: of the values; "" derives it from the columns (PMEmo: 0..1, Soundtracks: 1..9) or the values (-1..1,
            else 1..9).

    Raises:
        DataError: the table cannot be read, or its values fit no known scale.
    """
    rows = [{_plain(name): value for name, value in row.items()} for row in read_table(path)]
    header = rows[0].keys() if rows else ()
    song, *columns = (_column(header, names) for names in (_ID_COLUMNS, _VALENCE_COLUMNS, _AROUSAL_COLUMNS))
    damaged: list[str] = []
    numbers: list[tuple[int, str, float, float]] = []
    for number, row in enumerate(rows, start=2):
        values = [finite_text(row.get(column, "")) for column in columns]
        name = row.get(song, "")
        if name and values[0] is not None and values[1] is not None:
            numbers.append((number, name, values[0], values[1]))
        else:
            damaged.append(f"{path.name} row {number}")
    chosen = scale or _known_scale(columns) or _scale_of([value for row in numbers for value in row[2:]], path)
    low, high = _RANGES[chosen]
    labels: dict[str, Affect] = {}
    repeated = 0
    for number, name, *pair in numbers:
        if not all(low <= value <= high for value in pair):
            damaged.append(f"{path.name} row {number}")
            continue
        affect = (_to_unit(pair[0], low, high), _to_unit(pair[1], low, high))
        if labels.setdefault(name, affect) != affect:
            repeated += 1
            damaged.append(f"{path.name} row {number}")
    if repeated > _MOST_REPEATED * len(numbers):
        hint = "Average them to one row a song"
        raise DataError("holds several rows a song, such as those of single raters", where=path, hint=hint)
    return AffectTable(labels, damaged, "" if scale else _ambiguity(chosen, numbers, path))


def _to_unit(value: float, low: float, high: float) -> float:
    """Map low..high to -1..1."""
    middle = (low + high) / 2
    return (value - middle) / (high - middle)


def _plain(column: str) -> str:
    return column.strip().casefold()


def _column(header: Iterable[str], names: Sequence[str]) -> str:
    return next((name for name in names if name in header), "")


def _known_scale(columns: Sequence[str]) -> str:
    """Scale of the corpora that are recognized by their columns: PMEmo and Soundtracks."""
    if columns == ["valence(mean)", "arousal(mean)"]:
        return "0..1"
    return "1..9" if columns[1] == "energy" else ""


def _scale_of(values: Sequence[float], path: Path) -> str:
    if not values or max(map(abs, values)) <= 1:
        return "-1..1"
    outliers = sum(not 1 <= value <= 9 for value in values)
    if outliers <= _MOST_OUTLIERS * len(values):
        return "1..9"
    observed = f"{min(values):g}..{max(values):g}"
    scales = ", ".join(_RANGES)
    hint = f"Set scale in the corpus's section of config.toml to one of {scales}, or convert the table"
    raise DataError(f"valence and arousal are {observed}, neither all in -1..1 nor all in 1..9", where=path, hint=hint)


def _ambiguity(scale: str, numbers: Sequence[tuple[int, str, float, float]], path: Path) -> str:
    """Warn of values that fill so little of their scale that another one is likely."""
    values = [value for row in numbers for value in row[2:]]
    if len(numbers) < 10 or not math.isfinite(sum(values)):
        return ""
    low, high = min(values), max(values)
    if scale == "-1..1" and low >= 0:
        return f"{path.name}: values are {low:g}..{high:g}, read as -1..1; set scale if they are 0..1"
    if scale == "1..9" and high <= 5:
        return f"{path.name}: values are {low:g}..{high:g}, read as 1..9; convert them if their scale ends at 5"
    return ""
