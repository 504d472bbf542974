"""DEAM: 1,802 excerpts and songs with valence and arousal, for EmotionRecognizer.

Size: 1.3 GB of MP3: 1,744 excerpts of 45 s and 58 whole songs. Licence: Creative Commons licences that differ by song;
treat as non-commercial. No official split: songs are split by a seed.
Citation: Aljanaki, Yang & Soleymani, "Developing a benchmark for emotional analysis of music", PLOS ONE 12(3), 2017.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.data.corpora.emopia import read_quadrants, song_of
from kelly_core.data.corpus_dataset import (
    AudioContext,
    CorpusDataset,
    LoadOptions,
    assign_splits,
    extract,
    require_usable,
)
from kelly_core.data.dataset import Batch, CorpusReport, ExampleMetadata, Floats, Indices, Normalizer
from kelly_core.data.duplicates import Pair, Signs, audio_fingerprints, similar_fingerprints
from kelly_core.data.files import Affect, find_files, has_files, lookup, read_sidecar, read_table, spread
from kelly_core.data.readers.audio import SUFFIXES, read_audio
from kelly_core.errors import DataError
from kelly_core.features.extraction import FeatureExtractor, Features, FeatureTable
from kelly_core.music.emotion import CODE_SIZE, encode
from kelly_core.music.mel import BANDS, FRAME_SECONDS, POWER_FLOOR, features_metadata, mel_frames

_FLOOR_DB = 10 * np.log10(POWER_FLOOR)
_WARM_UP_FRAMES = round(15 / FRAME_SECONDS)
"""DEAM's raters had 15 s to settle; labels before that do not exist."""
_GAIN_DB = 6.0
_VERSION = 3

_ID_COLUMNS = ("song_id", "filename", "file_name", "file", "id")
_VALENCE_COLUMNS = ("valence", "valence_mean")
_AROUSAL_COLUMNS = ("arousal", "arousal_mean")
_RATERS_FOLDER = "annotations per each rater"
"""Holds thousands of tables with the answers of single raters. The averages are beside it."""
_DYNAMIC_COLUMN = re.compile(r"sample_(\d+) ?ms")


@dataclass
class _Labels:
    """Labels by song: one value a song or its quadrant, and one value a frame where raters followed the song."""

    static: dict[str, Affect]
    quadrants: dict[str, Affect]
    dynamic: dict[str, dict[int, list[float]]]
    sidecar: dict[str, Affect]

    def source(self, file: str) -> str | None:
        """Where a file's label comes from; a sidecar always wins, then the finer one."""
        if lookup(self.sidecar, file) is not None:
            return "sidecar"
        stem = Path(file).stem
        if any(len(pair) == 2 for pair in self.dynamic.get(stem, {}).values()):
            return "dynamic"
        if lookup(self.static, file) is not None:
            return "static"
        return "human_quadrant" if lookup(self.quadrants, file) is not None else None

    def frames(self, file: str, length: int, heard: int, source: str) -> Floats:
        """Valence and arousal of a file's ``heard`` frames as [length, 2], NaN where there is no label."""
        if source == "dynamic":
            values = np.full((length, 2), np.nan, np.float32)
            for frame, pair in self.dynamic[Path(file).stem].items():
                if 0 <= frame < length and len(pair) == 2:
                    values[frame] = pair
            return values
        table = {"sidecar": self.sidecar, "static": self.static, "human_quadrant": self.quadrants}[source]
        values = np.full((length, 2), lookup(table, file), np.float32)
        values[: min(_WARM_UP_FRAMES, heard // 2)] = np.nan
        return values


class EmotionDataset(CorpusDataset):
    """Sequences of mel frames (dB) with the emotion code of each frame as target."""

    input_size = BANDS
    output_size = CODE_SIZE

    def __init__(self, report: CorpusReport, rows: ExampleMetadata, table: FeatureTable, labels: Floats) -> None:
        self.sequence_length = labels.shape[1]
        counts = table.counts["frames"]
        self._frames = table.arrays["frames"]
        self._starts = np.cumsum(counts) - counts
        self._heard = np.minimum(counts, self.sequence_length)
        self._labels = labels
        self._mask = np.isfinite(labels).all(axis=2, keepdims=True) & (
            np.arange(self.sequence_length)[:, np.newaxis] < self._heard[:, np.newaxis, np.newaxis]
        )
        super().__init__(report, rows, table.hashes, labels, table.arrays["content"])
        self._pooled = rows.sources != "dynamic"
        self.training_frames = int(self._heard[self.train].sum())
        self.normalize(Normalizer.of_moments(*self._moments()))

    def normalize(self, normalizer: Normalizer) -> None:
        """Standardise as told, and say so in ``facts``, from which the plugin's maker learns of it."""
        super().normalize(normalizer)
        metadata = features_metadata(normalizer.mean, normalizer.deviation)
        self.metadata = {**metadata, "gain_augmentation_db": _GAIN_DB}

    @staticmethod
    def match(content: Signs, first: Indices, second: Indices) -> list[Pair]:
        """Pairs whose fingerprints are alike: a recording encoded anew has no equal one."""
        return similar_fingerprints(content, first, second)

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:
        frames = self._padded(indices)
        if augment:
            gain = rng.uniform(-_GAIN_DB, _GAIN_DB, (len(indices), 1, 1)).astype(np.float32)
            frames = np.maximum(frames + gain, np.float32(_FLOOR_DB))
        affect = np.nan_to_num(self._labels[indices])
        targets = encode(affect[..., 0], affect[..., 1])
        weights = self._mask[indices] * self._example_weights(indices)
        return Batch(frames, targets, weights.astype(np.float32), self._pooled[indices])

    def _padded(self, indices: Indices) -> Floats:
        """Frames of some files as [n, T, 128]; what a short file lacks is silence that the mask leaves out."""
        padded = np.full((len(indices), self.sequence_length, BANDS), _FLOOR_DB, np.float32)
        for frames, index in zip(padded, indices, strict=True):
            own = self._own_frames(index)
            frames[: len(own)] = own
        return padded

    def _own_frames(self, index: int) -> Floats:
        """Frames of one file, as they lie on the disk."""
        start = self._starts[index]
        own: Floats = self._frames[start : start + self._heard[index]]
        return own

    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of the training frames, both [128], with one file in memory at a time."""
        mean = _sum(self._own_frames(index) for index in self.train) / self.training_frames
        squares = _sum((self._own_frames(index) - mean) ** 2 for index in self.train)
        return mean, np.sqrt(squares / self.training_frames)

    def context(self) -> AudioContext:
        """The training split's labelled frames, for models whose own corpus has no audio."""
        labelled = self._mask[self.train, :, 0]
        affect = self._labels[self.train][labelled]
        return AudioContext(
            frames=self._frames,
            rows=(self._starts[self.train, np.newaxis] + np.arange(self.sequence_length))[labelled],
            valence=affect[:, 0],
            arousal=affect[:, 1],
            normalizer=self.normalizer,
            corpus=self.name,
            fingerprint=self.fingerprint,
        )


def is_present(root: Path) -> bool:
    """Whether there is any audio file."""
    return has_files(root, SUFFIXES)


def load(root: Path, options: LoadOptions, name: str = "deam") -> EmotionDataset:
    """Read DEAM, or any folder of audio with a table of valence and arousal; ``name`` is what the corpus is called.

    Layouts: ``audio/`` with ``annotations/annotations.csv``; the published ``MEMD_audio/`` with ``annotations/
    annotations averaged per song/`` (static and dynamic tables); any CSV with the columns ``filename, valence,
    arousal``, or ``ID, 4Q`` with quadrants. Values in 1..9 become (x - 5) / 4; values within -1..1 stay.

    Raises:
        DataError: no labels, a table that makes no sense, or no usable file.
    """
    files = find_files(root, SUFFIXES)
    labels = _read_labels(root, options.annotations_file)
    labelled = spread([file for file in files if labels.source(file)], options.max_files)
    length = _length(options.duration)
    extraction = FeatureExtractor(
        name, _VERSION, {"duration": options.duration}, partial(_extract, seconds=options.duration), few_files=24
    )
    table = extract(root, labelled, extraction, options)
    skipped = dict(table.skipped)
    if unlabelled := [file for file in files if not labels.source(file)]:
        skipped["no valence and arousal for it"] = unlabelled
    require_usable(table.files, skipped, root)
    sources = [labels.source(file) or "" for file in table.files]
    heard = np.minimum(table.counts["frames"], length).tolist()
    values = np.stack(
        [labels.frames(file, length, *rest) for file, *rest in zip(table.files, heard, sources, strict=True)]
    )
    groups = [song_of(Path(file).stem) for file in table.files]
    rows = ExampleMetadata.of_files(
        name, np.arange(len(groups)), groups, sources, assign_splits(groups, [None] * len(groups), options)
    )
    used = FRAME_SECONDS * sum(heard)
    report = CorpusReport(name, str(root), found=True, files=len(files), skipped=skipped, seconds=used)
    return EmotionDataset(report, rows, table, values)


def _extract(path: Path, seconds: float) -> Features:
    samples, sample_rate = read_audio(path, seconds)
    frames = mel_frames(samples, sample_rate)
    if not len(frames):
        raise DataError("audio shorter than one frame of half a second", where=path)
    return {"frames": frames, "content": audio_fingerprints(frames, _length(seconds))[np.newaxis]}


def _length(seconds: float) -> int:
    """Frames of so many seconds of audio."""
    return round(seconds / FRAME_SECONDS)


def _sum(blocks: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
    """Sum of all rows of the blocks [n, 128], in double precision and row after row, as NumPy adds those of one."""
    total = np.zeros(BANDS)
    for block in blocks:
        total = np.concatenate([total[np.newaxis], block]).sum(axis=0)
    return total


def _read_labels(root: Path, annotations_file: str) -> _Labels:
    tables = [_annotations(root, annotations_file)] if annotations_file else _tables(root)
    static: dict[str, Affect] = {}
    quadrants: dict[str, Affect] = {}
    dynamic: defaultdict[str, defaultdict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    frame_tables = {path.stem: path for path in tables if path.stem in {"valence", "arousal"}}
    for kind in ("valence", "arousal"):
        if len(frame_tables) == 2:
            _read_dynamic(frame_tables[kind], dynamic)
    for path in tables:
        if path not in frame_tables.values():
            static |= _read_static(path)
            quadrants |= read_quadrants(path)
    sidecar = read_sidecar(root)
    if not (static or quadrants or dynamic or sidecar):
        hint = "Put annotations/annotations.csv with the columns song_id, valence_mean, arousal_mean beside the audio"
        raise DataError("no table of valence and arousal", where=root, hint=hint)
    return _Labels(static, quadrants, dict(dynamic), sidecar)


def _tables(root: Path) -> list[Path]:
    names = find_files(root, {".csv"})
    return [root / name for name in names if _RATERS_FOLDER not in name.lower().split("/")]


def _annotations(root: Path, name: str) -> Path:
    for folder in (root, root / "annotations"):
        if (folder / name).is_file():
            return folder / name
    raise DataError("the annotations file is not there", where=root / name)


def _column(header: Iterable[str], names: Sequence[str]) -> str | None:
    return next((name for name in names if name in header), None)


def _read_static(path: Path) -> dict[str, Affect]:
    """One valence and arousal a song; empty when the table is about something else."""
    rows = read_table(path)
    header = rows[0].keys() if rows else ()
    columns = [_column(header, names) for names in (_ID_COLUMNS, _VALENCE_COLUMNS, _AROUSAL_COLUMNS)]
    if None in columns:
        return {}
    names = [row.get(str(columns[0]), "") for row in rows]
    values = np.array([[_number(row.get(str(column), ""), path) for column in columns[1:]] for row in rows])
    scaled = _to_unit_scale(values, path)
    return {name: (float(v), float(a)) for name, (v, a) in zip(names, scaled, strict=True)}


def _to_unit_scale(values: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    if np.abs(values).max() <= 1:
        return values
    if values.min() >= 1 and values.max() <= 9:
        return (values - 5) / 4
    raise DataError("valence and arousal are neither all in -1..1 nor all in 1..9", where=path)


def _read_dynamic(path: Path, labels: defaultdict[str, defaultdict[int, list[float]]]) -> None:
    """Append one dimension's values, frame by frame: the column ``sample_T ms`` is the half second that ends at T."""
    for row in read_table(path):
        song = row.get("song_id", "")
        for column, text in row.items():
            match = _DYNAMIC_COLUMN.fullmatch(column)
            if match and text:
                frame = round(int(match[1]) / 1000 / FRAME_SECONDS) - 1
                labels[song][frame].append(_number(text, path))


def _number(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise DataError(f"{text!r} is no number", where=path)
    return value
