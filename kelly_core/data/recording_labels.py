"""Labels of recordings: valence and arousal of a song, its quadrant, or a value for each half second."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Floats, Indices
from kelly_core.data.dataset import UNLABELED
from kelly_core.data.files import SkippedFiles
from kelly_core.data.label_tables import (
    LabelIndex,
    has_known_columns,
    is_affect_table,
    is_frame_table,
    is_other_table,
    read_affect_table,
    read_frame_table,
    song_key,
)
from kelly_core.data.labels import (
    DAMAGED_ENTRY,
    DAMAGED_ROW,
    SIDECAR,
    UNREADABLE_LABELS,
    ValenceArousal,
    read_quadrants,
    read_sidecar,
)
from kelly_core.data.tables import EXTRA_CELLS, finite_text, read_table
from kelly_core.errors import DataError
from kelly_core.music.mel import FRAME_SECONDS
from kelly_core.spec import LabelScale

_WARM_UP_FRAMES = round(15 / FRAME_SECONDS)
"""DEAM's raters had 15 s to adjust; there are no labels before that."""
_ID_COLUMNS = ("song_id", "songid", "musicid", "id")
_SHOWN_ROWS = 3
_DYNAMIC_FILE = re.compile(r"(valence|arousal)(?:_cont_average)?\.csv")
_DYNAMIC_COLUMN = re.compile(r"sample_(\d{1,9}) ?ms")


@dataclass
class RecordingLabels:
    """Labels by song: one value per song or its quadrant, and one value per frame if raters annotated the song over
    time.

    Attributes:
        static, quadrants, sidecar: valence and arousal by file.
        dynamic: value by dimension (0 is valence, 1 is arousal), by frame, by ``song_key``.
        tables: the tables that gave labels, by path in the corpus.
        damaged: one description for each row that is left out.
        damaged_entries: names of the sidecar's entries that are left out.
        warnings: about the tables, for the user.
        errors: why tables cannot be read, by their path in the corpus.
    """

    sidecar: LabelIndex = field(default_factory=lambda: LabelIndex({}))
    static: LabelIndex = field(default_factory=lambda: LabelIndex({}))
    quadrants: LabelIndex = field(default_factory=lambda: LabelIndex({}))
    dynamic: dict[str, dict[int, dict[int, float]]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    damaged_entries: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: dict[str, DataError] = field(default_factory=dict)

    def skipped(self) -> SkippedFiles:
        """Return rows, entries and tables that are left out, by reason."""
        parts = {DAMAGED_ROW: self.damaged, DAMAGED_ENTRY: self.damaged_entries, UNREADABLE_LABELS: [*self.errors]}
        return {reason: names for reason, names in parts.items() if names}

    def source(self, file: str) -> str | None:
        """Return the label source of a file: a sidecar if there is one, else the most detailed other label."""
        if self.sidecar.find(file) is not None:
            return "sidecar"
        if any(len(pair) == 2 for pair in self._dynamic(file).values()):
            return "dynamic"
        if self.static.find(file) is not None:
            return "static"
        return "human_quadrant" if self.quadrants.find(file) is not None else None

    def frames(self, file: str, length: int, audio_frames: int, source: str) -> Floats:
        """Return valence and arousal of a file's ``audio_frames``, [length, 2]; NaN where there is no label."""
        if source == "dynamic":
            values = np.full((length, 2), np.nan, np.float32)
            for frame, pair in self._dynamic(file).items():
                if 0 <= frame < length and len(pair) == 2:
                    values[frame] = pair[0], pair[1]
            return values
        if source == UNLABELED:
            return np.full((length, 2), np.nan, np.float32)
        table = {"sidecar": self.sidecar, "static": self.static, "human_quadrant": self.quadrants}[source]
        values = np.full((length, 2), table.find(file), np.float32)
        values[: int(warm_up_length(audio_frames))] = np.nan
        return values

    def _dynamic(self, file: str) -> dict[int, dict[int, float]]:
        return self.dynamic.get(_file_key(file), {})


def _file_key(name: str) -> str:
    """Return the song's key of a file or an ID, without its folders."""
    return song_key(name).rpartition("/")[2]


def warm_up_length(audio_frames: ArrayLike) -> Indices:
    """Return how many of a recording's first frames its label does not apply to, if it has only one."""
    first: Indices = np.minimum(_WARM_UP_FRAMES, np.asarray(audio_frames, np.intp) // 2)
    return first


def read_recording_labels(
    root: Path, tables: Sequence[str], annotations_file: str, scale: LabelScale
) -> RecordingLabels:
    """Read labels from all tables, or from one; if there are several, a damaged one is skipped with a warning.

    Args:
        root: folder of the corpus.
        tables: its tables, by path in it.
        annotations_file: the only table to read, in the folder or in ``annotations``; "" reads all.
        scale: scale of tables that do not have the columns of a published corpus.

    Raises:
        DataError: there is no label, or the annotations file does not exist.
    """
    # Tables nearest to the corpus folder come first.
    own = sorted((name for name in tables if not is_other_table(name)), key=lambda name: name.count("/"))
    names = [_annotations(root, annotations_file)] if annotations_file else own
    labels = RecordingLabels()
    # If a song has several labels, that of a published table has priority, then that of the first table.
    published: dict[str, ValenceArousal] = {}
    others: dict[str, ValenceArousal] = {}
    quadrants: dict[str, ValenceArousal] = {}
    dynamic_tables = _dynamic_tables(names)
    for name in [*([SIDECAR] if (root / SIDECAR).is_file() else []), *names]:
        path = root / name
        try:
            if name == SIDECAR:
                sidecar, labels.damaged_entries = read_sidecar(path)
                labels.sidecar = LabelIndex(sidecar)
                continue
            if name in dynamic_tables:
                _read_dynamic(path, labels)
            elif is_frame_table(path):
                _read_frame_rows(path, labels)
            elif is_affect_table(path):
                table = read_affect_table(path, scale)
                known = published if has_known_columns(path) else others
                known.update(table.labels | known)
                labels.damaged += table.damaged
                labels.warnings += [table.warning] if table.warning else []
            else:
                found, damaged = read_quadrants(path)
                labels.damaged += damaged
                if not found:
                    continue
                quadrants = found | quadrants
            labels.tables.append(name)
        except DataError as error:
            labels.errors[name] = error
    labels.static, labels.quadrants = LabelIndex(others | published), LabelIndex(quadrants)
    if labels.static or labels.quadrants or labels.dynamic or labels.sidecar:
        labels.warnings += [f"table of labels left out: {error}" for error in labels.errors.values()]
        return labels
    raise _no_labels(labels, root)


def _no_labels(labels: RecordingLabels, root: Path) -> DataError:
    """Return the reason why there is no label."""
    if labels.errors:
        return next(iter(labels.errors.values()))
    if labels.damaged:
        shown = ", ".join(labels.damaged[:_SHOWN_ROWS])
        hint = "Valence and arousal must be numbers, 4Q a number from 1 to 4"
        return DataError(
            f"none of {len(labels.damaged)} rows of labels is usable ({shown}, ...)", where=root, hint=hint
        )
    hint = "Put annotations/annotations.csv with the columns song_id, valence_mean, arousal_mean beside the audio"
    return DataError("no table of valence and arousal", where=root, hint=hint)


def _read_frame_rows(path: Path, labels: RecordingLabels) -> None:
    """Add values of a table with one row per half second, which ends at the row's time."""
    table, damaged = read_frame_table(path)
    for song, times in table.items():
        frames = labels.dynamic.setdefault(_file_key(song), {})
        for time, pair in times.items():
            frames[round(time / FRAME_SECONDS) - 1] = dict(enumerate(pair))
    labels.damaged += damaged


def _annotations(root: Path, name: str) -> str:
    for folder in ("", "annotations/"):
        if (root / folder / name).is_file():
            return folder + name
    raise DataError("the annotations file does not exist", where=root / name)


def _dynamic_tables(names: Sequence[str]) -> set[str]:
    """Return the tables of values over time; DEAM has one for valence and one for arousal in the same folder."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        folder, _, file = name.lower().rpartition("/")
        if match := _DYNAMIC_FILE.fullmatch(file):
            found.setdefault(folder, {})[match[1]] = name
    return {name for pair in found.values() if len(pair) == 2 for name in pair.values()}


def _read_dynamic(path: Path, labels: RecordingLabels) -> None:
    """Add one dimension's values by frame: the column ``sample_<T>ms`` is the half second that ends at T ms."""
    dimension = 0 if path.name.lower().startswith("valence") else 1
    for number, row in enumerate(read_table(path), start=2):
        cells = {column.casefold(): text for column, text in row.items()}
        # With cells beyond the header, any cell of the row may be in the wrong column.
        ids = () if EXTRA_CELLS in row else _ID_COLUMNS
        song = next((cells[name] for name in ids if cells.get(name)), "")
        damaged = not song
        values: dict[int, float] = {}
        for column, text in cells.items():
            match = _DYNAMIC_COLUMN.fullmatch(column)
            if not match or not text or not song:
                continue
            value = finite_text(text)
            if value is None or abs(value) > 1:
                damaged = damaged or text.casefold() != "nan"  # the tables' notation for a missing value
                continue
            values[round(int(match[1]) / 1000 / FRAME_SECONDS) - 1] = value
        frames = labels.dynamic.setdefault(_file_key(song), {}) if values else {}
        if any(frames.get(frame, {}).get(dimension, value) != value for frame, value in values.items()):
            # A second row of the song with other values: the first row counts.
            damaged, values = True, {}
        for frame, value in values.items():
            frames.setdefault(frame, {})[dimension] = value
        if damaged:
            labels.damaged.append(f"{path.name} row {number}")
