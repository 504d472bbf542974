"""Emotion label of each file: from tables of valence and arousal, sidecars and the notes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats
from kelly_core.data.corpora.emopia import LABEL_FILE, read_quadrants
from kelly_core.data.files import (
    DAMAGED_ENTRY,
    SIDECAR,
    LeftOut,
    ValenceArousal,
    finite_text,
    lookup,
    read_sidecar,
    read_table,
    table_columns,
)
from kelly_core.data.splits import TRAIN
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.music.emotion import AffectEstimator
from kelly_core.spec import LabelScale

DAMAGED_ROW = "damaged row of a table of labels"
_RANGES: dict[LabelScale, tuple[float, float]] = {"1..9": (1, 9), "0..1": (0, 1), "-1..1": (-1, 1), "-5..5": (-5, 5)}
ID_COLUMNS = ("song_id", "songid", "musicid", "filename", "file_name", "file", "id", "number")
_VALENCE_COLUMNS = ("valence", "valence_mean", "mean_valence", "valence(mean)")
_AROUSAL_COLUMNS = ("arousal", "arousal_mean", "mean_arousal", "arousal(mean)", "energy")
_NOT_AVERAGED = frozenset(
    ("workerid", "worker_id", "raterid", "rater_id", "rater", "subject", "subject_id", "participant", "user_id")
)
"""Columns of tables with the answers of single raters."""
_TIMES = frozenset(("frametime", "frame_time", "time", "time_s"))
"""Columns of tables with several rows per song."""
_KNOWN_COLUMNS: tuple[tuple[frozenset[str], LabelScale], ...] = (
    (frozenset(("song_id", "valence_mean", "arousal_mean")), "1..9"),  # DEAM
    (frozenset(("song_id", "mean_valence", "mean_arousal")), "1..9"),  # emoMusic
    (frozenset(("musicid", "valence(mean)", "arousal(mean)")), "0..1"),  # PMEmo
    (frozenset(("number", "valence", "energy")), "1..9"),  # Soundtracks
)
"""Columns by which the tables of published corpora are recognized, and their scale."""
_PMEMO_VALUES = ("valence(mean)", "arousal(mean)")
_PMEMO_FRAMES = frozenset(("musicid", "frametime", *_PMEMO_VALUES))
_MOST_COLUMNS = 64
"""A wider table holds features; published tables of labels have at most 20 columns."""
_OTHER_TABLES = re.compile(r"(?:^|[/_\-. ])(?:predict\w*|preds?|features?|metadata|submission)(?:[/_\-. ]|$)")
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

    labels: dict[str, ValenceArousal]
    damaged: list[str] = field(default_factory=list)
    warning: str = ""


class LabelIndex:
    """Values by file: IDs match exactly first, then without case, spaces, ending and leading zeros (``2.0`` is 002)."""

    def __init__(self, values: Mapping[str, ValenceArousal]) -> None:
        self._exact = dict(values)
        self._loose: dict[str, ValenceArousal | None] = {}
        for name, value in values.items():
            key = song_key(name)
            # Two IDs that differ only in case or zeros name two songs: neither may take the other's label.
            self._loose[key] = None if self._loose.get(key, value) != value else value

    def __bool__(self) -> bool:
        return bool(self._exact)

    def find(self, file: str) -> ValenceArousal | None:
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

    Tables of features and of metadata may hold such columns among many others, and tables of predictions have the same
    columns as labels; they are recognized by their width and by ``is_other_table``.

    Raises:
        DataError: the file cannot be read.
    """
    columns = [_plain(column) for column in table_columns(path)]
    if len(columns) > _MOST_COLUMNS or not _NOT_AVERAGED.isdisjoint(columns) or not _TIMES.isdisjoint(columns):
        return False
    return all(set(columns) & set(names) for names in (ID_COLUMNS, _VALENCE_COLUMNS, _AROUSAL_COLUMNS))


def is_other_table(name: str) -> bool:
    """Return True if a table's path in the corpus names predictions, features or metadata."""
    return _OTHER_TABLES.search(name.casefold()) is not None


def has_known_columns(path: Path) -> bool:
    """Return True if the columns of an affect table are those of a published corpus.

    Raises:
        DataError: the file cannot be read.
    """
    return bool(_known_scale({_plain(column) for column in table_columns(path)}))


def is_frame_table(path: Path) -> bool:
    """Return True if the columns are those of PMEmo's dynamic annotations: a row for each half second of a song.

    Raises:
        DataError: the file cannot be read.
    """
    return {_plain(column) for column in table_columns(path)} >= _PMEMO_FRAMES


def read_frame_table(path: Path) -> tuple[dict[str, dict[float, ValenceArousal]], list[str]]:
    """Return valence and arousal, both -1..1, by song and by time in seconds; and a description of each damaged row.

    Args:
        path: a table for which ``is_frame_table`` is True.

    Raises:
        DataError: the table cannot be read.
    """
    labels: dict[str, dict[float, ValenceArousal]] = {}
    damaged: list[str] = []
    for number, cells in enumerate(read_table(path), start=2):
        row = {_plain(name): value for name, value in cells.items()}
        time, valence, arousal = (finite_text(row.get(name, "")) for name in ("frametime", *_PMEMO_VALUES))
        song = row.get("musicid", "")
        in_range = valence is not None and arousal is not None and 0 <= valence <= 1 and 0 <= arousal <= 1
        if not song or time is None or not in_range:
            damaged.append(f"{path.name} row {number}")
            continue
        assert valence is not None
        assert arousal is not None
        labels.setdefault(song_key(song), {})[time] = (2 * valence - 1, 2 * arousal - 1)
    return labels, damaged


def read_affect_table(path: Path, scale: LabelScale = "") -> AffectTable:
    """Read one valence and arousal a song.

    Args:
        path: a table for which ``is_affect_table`` is True.
        scale: of the values if the columns are not those of a published corpus, or the values do not fit its scale.

    Raises:
        DataError: the table cannot be read, or its scale is neither known nor given.
    """
    rows = [{_plain(name): value for name, value in row.items()} for row in read_table(path)]
    header = rows[0].keys() if rows else ()
    song, *columns = (_column(header, names) for names in (ID_COLUMNS, _VALENCE_COLUMNS, _AROUSAL_COLUMNS))
    damaged: list[str] = []
    numbers: list[tuple[int, str, float, float]] = []
    for number, row in enumerate(rows, start=2):
        values = [finite_text(row.get(column, "")) for column in columns]
        name = row.get(song, "")
        if name and values[0] is not None and values[1] is not None:
            numbers.append((number, name, values[0], values[1]))
        else:
            damaged.append(f"{path.name} row {number}")
    if not numbers:
        return AffectTable({}, damaged)
    chosen = _choose_scale([value for row in numbers for value in row[2:]], _known_scale(set(header)), scale, path)
    low, high = _RANGES[chosen]
    labels: dict[str, ValenceArousal] = {}
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
    warning = ""
    if scale and scale != chosen:
        warning = f"{path.name}: read as {chosen} by its columns, not as scale = {scale}"
    return AffectTable(labels, damaged, warning)


def _to_unit(value: float, low: float, high: float) -> float:
    """Map low..high to -1..1."""
    middle = (low + high) / 2
    return (value - middle) / (high - middle)


def _plain(column: str) -> str:
    return column.strip().casefold()


def _column(header: Iterable[str], names: Sequence[str]) -> str:
    return next((name for name in names if name in header), "")


def _known_scale(columns: Collection[str]) -> LabelScale:
    """Return the scale of the published corpus whose columns these are, "" for other columns."""
    return next((scale for names, scale in _KNOWN_COLUMNS if names <= set(columns)), "")


def _choose_scale(values: Sequence[float], known: LabelScale, given: LabelScale, path: Path) -> LabelScale:
    """Return the scale that the columns or else the settings name, if the values fit it.

    The range of the values alone decides nothing: 0..1 is within -1..1, and 1..5 within 1..9.

    Raises:
        DataError: neither names one that fits.
    """
    for scale in (known, given):
        if scale and _fits(values, scale):
            return scale
    observed = f"{min(values):g}..{max(values):g}"
    hint = f"Set scale in the corpus's section of config.toml to one of {', '.join(_RANGES)}, or remove the table"
    if known or given:
        expected = " or ".join(dict.fromkeys(scale for scale in (known, given) if scale))
        raise DataError(f"valence and arousal are {observed}, expected {expected}", where=path, hint=hint)
    raise DataError(f"valence and arousal are {observed}, on a scale that is not known", where=path, hint=hint)


def _fits(values: Sequence[float], scale: LabelScale) -> bool:
    low, high = _RANGES[scale]
    return sum(not low <= value <= high for value in values) <= _MOST_OUTLIERS * len(values)


UNREADABLE_LABELS = "file of emotion labels that cannot be read"

_log = logging.getLogger(__name__)


@dataclass
class KnownLabels:
    """Labels that files of a corpus hold.

    Attributes:
        by_source: valence and arousal by file name, by label source; the first source that knows a file wins.
        left_out: entries, rows and files of labels that cannot be used, by reason.
        warnings: one sentence on each file of labels that cannot be read.
    """

    by_source: dict[str, dict[str, ValenceArousal]] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def find(self, file: str) -> tuple[ValenceArousal, str] | None:
        """Return label and label source of a file, given by its path in the corpus, or None."""
        for source, labels in self.by_source.items():
            known = lookup(labels, file)
            if known is not None:
                return known, source
        return None

    def add(
        self, source: str, name: str, damage: str, read: Callable[[], tuple[dict[str, ValenceArousal], list[str]]]
    ) -> None:
        """Add the labels of one file; a file that cannot be read is left out with a warning.

        Args:
            source: where the labels come from.
            name: the file, by path in the corpus.
            damage: reason to leave out a part of the file.
            read: returns labels, and the names of the file's damaged parts.
        """
        try:
            labels, damaged = read()
        except DataError as error:
            _log.warning("%s: %s", UNREADABLE_LABELS, printable(str(error)))
            self.left_out.setdefault(UNREADABLE_LABELS, []).append(name)
            self.warnings.append(f"{UNREADABLE_LABELS}, left out: {error}")
            return
        self.by_source.setdefault(source, {}).update(labels)
        if damaged:
            self.left_out.setdefault(damage, []).extend(damaged)


def read_known_labels(root: Path, tables: Sequence[str] = (), sidecar_file: str = "") -> KnownLabels:
    """Read the labels of a corpus of MIDI files.

    Args:
        root: the corpus folder, in which a sidecar is looked for; it wins over quadrants.
        tables: tables of the corpus, by path below ``root``; each ``label.csv`` may hold quadrants.
        sidecar_file: another name for the sidecar, relative to ``root``; it must then exist.

    Raises:
        DataError: the sidecar that ``sidecar_file`` names cannot be read.
    """
    known = KnownLabels()
    if sidecar_file:
        known.by_source["sidecar"], damaged = read_sidecar(root, sidecar_file)
        if damaged:
            known.left_out[DAMAGED_ENTRY] = damaged
    else:
        known.add("sidecar", SIDECAR, DAMAGED_ENTRY, partial(read_sidecar, root))
    for name in tables:
        if name.rpartition("/")[2].lower() == LABEL_FILE:
            known.add("human_quadrant", name, DAMAGED_ROW, partial(read_quadrants, root / name))
    return known


def label_files(
    files: Sequence[str],
    features: NDArray[np.float64],
    splits: NDArray[np.str_],
    known: KnownLabels,
    *,
    use_velocity: bool = True,
) -> tuple[Floats, list[str], AffectEstimator]:
    """Valence and arousal of each file.

    The estimator is fitted to the training files alone, so that validation stays unseen.

    Args:
        files: path of each file in the corpus, F of them.
        features: [F, 5], rows of ``music.key.AffectFeatures``.
        splits: split of each file.
        known: labels that files of the corpus hold.
        use_velocity: as in ``AffectEstimator``.

    Returns:
        Affect [F, 2], the label source of each file, and the estimator.
    """
    estimator = AffectEstimator.fit(features[splits == TRAIN], use_velocity=use_velocity)
    affect = np.stack(estimator(features), axis=1)
    sources = ["estimated"] * len(files)
    for row, file in enumerate(files):
        if (found := known.find(file)) is not None:
            affect[row], sources[row] = found
    return affect, sources, estimator
