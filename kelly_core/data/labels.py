"""Emotion labels of corpus files, from a sidecar, tables or notes; those of recordings may vary over time."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.data.dataset import UNLABELED
from kelly_core.data.files import SkippedFiles
from kelly_core.data.label_tables import (
    LABEL_FILE,
    SIDECAR,
    LabelIndex,
    ValenceArousal,
    has_known_columns,
    is_affect_table,
    is_frame_table,
    is_other_table,
    labeled_rows,
    read_affect_table,
    read_frame_table,
    read_quadrants,
    read_sidecar,
    song_id,
    song_key,
)
from kelly_core.data.splits import TRAIN
from kelly_core.data.tables import finite_text
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.music.emotion import AffectEstimator
from kelly_core.music.mel import FRAME_SECONDS
from kelly_core.spec import LabelScale

_log = logging.getLogger(__name__)

DAMAGED_ENTRY = f"damaged entry of {SIDECAR}"
DAMAGED_ROW = "damaged row of a table of labels"
UNREADABLE_LABELS = "file of emotion labels that cannot be read"
_WARM_UP_FRAMES = round(15 / FRAME_SECONDS)
"""DEAM's raters had 15 s to adjust; there are no labels before that."""
_SHOWN_ROWS = 3
_DYNAMIC_FILE = re.compile(r"(valence|arousal)(?:_cont_average)?\.csv")
_DYNAMIC_COLUMN = re.compile(r"sample_(\d{1,9})_?ms")


@dataclass
class KnownLabels:
    """Labels from the files of a corpus.

    Attributes:
        by_source: valence and arousal by file, by label source; the first source with a label for a file is used.
        skipped: entries, rows and files of labels that cannot be used, by reason.
        warnings: about the files of labels, one sentence each.
    """

    by_source: dict[str, LabelIndex] = field(default_factory=dict)
    skipped: SkippedFiles = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def find(self, file: str) -> tuple[ValenceArousal, str] | None:
        """Return label and label source of a file, given by its path in the corpus, or None."""
        for source, labels in self.by_source.items():
            if (label := labels.find(file)) is not None:
                return label, source
        return None

    def replace(self, files: Sequence[str], affect: Floats, sources: list[str]) -> None:
        """Replace affect [F, 2] and label source of the files that have a label."""
        for row, file in enumerate(files):
            if (found := self.find(file)) is not None:
                affect[row], sources[row] = found

    def skip(self, reason: str, names: Sequence[str]) -> None:
        """Record unusable entries, rows or files."""
        if names:
            self.skipped.setdefault(reason, []).extend(names)


_Reading = tuple[str, str, str, Callable[[Path], tuple[dict[str, ValenceArousal], list[str]]]]
"""Label source, path in the corpus, reason to leave out a part of the file, and the function that reads it."""


def read_known_labels(root: Path, tables: Sequence[str] = (), sidecar_file: str = "") -> KnownLabels:
    """Read the labels of a corpus of MIDI files.

    Args:
        root: the corpus folder; a sidecar in it takes precedence over quadrants.
        tables: tables of the corpus, by path below ``root``; each ``label.csv`` can contain quadrants.
        sidecar_file: another name for the sidecar, relative to ``root``; it must then exist.

    Raises:
        DataError: the sidecar that ``sidecar_file`` names cannot be read.
    """
    known = KnownLabels()
    by_source: dict[str, dict[str, ValenceArousal]] = {}
    sidecar = sidecar_file or SIDECAR
    readings: list[_Reading] = []
    if sidecar_file or (root / SIDECAR).is_file():
        readings.append(("sidecar", sidecar, DAMAGED_ENTRY, read_sidecar))
    quadrants = [name for name in tables if name.rpartition("/")[2].lower() == LABEL_FILE]
    readings += [("human_quadrant", name, DAMAGED_ROW, read_quadrants) for name in quadrants]
    for source, name, damage, read in readings:
        try:
            labels, damaged = read(root / name)
        except DataError as error:
            if name == sidecar_file:
                raise
            _log.warning("%s: %s", UNREADABLE_LABELS, printable(str(error)))
            known.skip(UNREADABLE_LABELS, [name])
            known.warnings.append(f"{UNREADABLE_LABELS}, left out: {error}")
            continue
        by_source.setdefault(source, {}).update(labels)
        known.skip(damage, damaged)
    known.by_source = {source: LabelIndex(labels) for source, labels in by_source.items()}
    return known


def label_files(
    files: Sequence[str],
    features: Doubles,
    splits: NDArray[np.str_],
    known: KnownLabels,
    *,
    use_velocity: bool = True,
) -> tuple[Floats, list[str], AffectEstimator]:
    """Return valence and arousal of each file.

    The estimator is fitted to the training files alone, so that validation stays unseen.

    Args:
        files: path of each file in the corpus, F of them.
        features: [F, 5], rows of ``music.key.AffectFeatures``.
        splits: split of each file.
        known: labels that files of the corpus contain.
        use_velocity: as in ``AffectEstimator``.

    Returns:
        Affect [F, 2], the label source of each file, and the estimator.
    """
    estimator = AffectEstimator.fit(features[splits == TRAIN], use_velocity=use_velocity)
    affect = np.stack(estimator(features), axis=1)
    sources = ["estimated"] * len(files)
    known.replace(files, affect, sources)
    return affect, sources, estimator


@dataclass
class RecordingLabels(KnownLabels):
    """Labels of recordings: one value per song, and one per frame if raters annotated the song over time.

    Attributes:
        dynamic: values by ``song_key``, frame, and dimension (0 is valence, 1 is arousal).
        tables: the tables from which labels were read, by path in the corpus.
    """

    dynamic: dict[str, dict[int, dict[int, float]]] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)

    def source(self, file: str) -> str | None:
        """Return the label source of a file: a sidecar if there is one, else the most detailed other label."""
        found = self.find(file)
        source = None if found is None else found[1]
        is_dynamic = any(len(pair) == 2 for pair in self._dynamic(file).values())
        return "dynamic" if is_dynamic and source != "sidecar" else source

    def frames(self, file: str, length: int, audio_frames: int, source: str) -> Floats:
        """Return valence and arousal of a file's ``audio_frames``, [length, 2]; NaN where there is no label."""
        values = np.full((length, 2), np.nan, np.float32)
        if source == "dynamic":
            for frame, pair in self._dynamic(file).items():
                if 0 <= frame < length and len(pair) == 2:
                    values[frame] = pair[0], pair[1]
        elif source != UNLABELED:
            values[int(warm_up_length(audio_frames)) :] = self.by_source[source].find(file)
        return values

    def _dynamic(self, file: str) -> dict[int, dict[int, float]]:
        return self.dynamic.get(_file_key(file), {})


def _file_key(name: str) -> str:
    """Return the song's key of a file or an ID, without its folders."""
    return song_key(name).rpartition("/")[2]


def warm_up_length(audio_frames: ArrayLike) -> Indices:
    """Return the number of first frames to which the label does not apply, for recordings with one label."""
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
    sidecar: dict[str, ValenceArousal] = {}
    # If a song has several labels, the label of a published table has priority, then that of the first table.
    published: dict[str, ValenceArousal] = {}
    others: dict[str, ValenceArousal] = {}
    quadrants: dict[str, ValenceArousal] = {}
    errors: dict[str, DataError] = {}
    dynamic_tables = _dynamic_tables(names)
    for name in [*([SIDECAR] if (root / SIDECAR).is_file() else []), *names]:
        path, is_used = root / name, True
        try:
            if name == SIDECAR:
                sidecar, damaged = read_sidecar(path)
                labels.skip(DAMAGED_ENTRY, damaged)
                continue
            if name in dynamic_tables:
                damaged = _read_dynamic(path, labels)
            elif is_frame_table(path):
                damaged = _read_frame_rows(path, labels)
            elif is_affect_table(path):
                table = read_affect_table(path, scale)
                damaged = table.damaged
                known = published if has_known_columns(path) else others
                known.update(table.labels | known)
                labels.warnings += [table.warning] if table.warning else []
            else:
                found, damaged = read_quadrants(path)
                quadrants, is_used = found | quadrants, bool(found)
            labels.skip(DAMAGED_ROW, damaged)
            if is_used:
                labels.tables.append(name)
        except DataError as error:
            errors[name] = error
    labels.skip(UNREADABLE_LABELS, list(errors))
    by_source = {"sidecar": sidecar, "static": others | published, "human_quadrant": quadrants}
    labels.by_source = {source: LabelIndex(values) for source, values in by_source.items() if values}
    if labels.by_source or labels.dynamic:
        labels.warnings += [f"table of labels left out: {error}" for error in errors.values()]
        return labels
    if errors:
        raise next(iter(errors.values()))
    raise _no_labels(labels.skipped.get(DAMAGED_ROW, []), root)


def _no_labels(damaged: Sequence[str], root: Path) -> DataError:
    """Return the reason why there is no label."""
    if damaged:
        shown = ", ".join(damaged[:_SHOWN_ROWS])
        hint = "Valence and arousal must be numbers, 4Q a number from 1 to 4"
        return DataError(f"none of {len(damaged)} rows of labels is usable ({shown}, ...)", where=root, hint=hint)
    hint = "Put annotations/annotations.csv with the columns song_id, valence_mean, arousal_mean next to the audio"
    return DataError("no table of valence and arousal", where=root, hint=hint)


def _read_frame_rows(path: Path, labels: RecordingLabels) -> list[str]:
    """Add values of a table with one row per half second, which ends at the row's time; return the damaged rows."""
    table, damaged = read_frame_table(path)
    for song, times in table.items():
        frames = labels.dynamic.setdefault(_file_key(song), {})
        for time, pair in times.items():
            frames[round(time / FRAME_SECONDS) - 1] = dict(enumerate(pair))
    return damaged


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


def _read_dynamic(path: Path, labels: RecordingLabels) -> list[str]:
    """Add one dimension's values by frame: the column ``sample_<T>ms`` is the half second that ends at T ms.

    Return the damaged rows.
    """
    dimension = 0 if path.name.lower().startswith("valence") else 1
    damaged_rows: list[str] = []
    for name, row in labeled_rows(path):
        song = song_id(row)
        damaged = not song
        values: dict[int, float] = {}
        for column, text in row.items():
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
            damaged_rows.append(name)
    return damaged_rows
