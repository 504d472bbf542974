"""DEAM: 1,802 excerpts and songs with valence and arousal, for EmotionRecognizer.

Size: 1.3 GB of MP3: 1,744 excerpts of 45 s and 58 whole songs. License: Creative Commons licenses that differ by song;
treat as non-commercial. No official split: artists, where the tables name them, or else songs are split by a seed.
Citation: Aljanaki, Yang & Soleymani, "Developing a benchmark for emotional analysis of music", PLOS ONE 12(3), 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kelly_core.arrays import Doubles, Floats, Indices, Ints
from kelly_core.data.corpus_dataset import (
    AudioContext,
    CorpusDataset,
    LoadOptions,
    assign_splits,
    extract,
    require_usable,
)
from kelly_core.data.dataset import LABEL_WEIGHTS, UNLABELED, Batch, CorpusReport, ExampleMetadata, Normalizer
from kelly_core.data.files import LeftOut, find_files, finite_text, has_files, merge_left_out, read_table, spread
from kelly_core.data.label_tables import (
    LabelIndex,
    has_known_columns,
    is_affect_table,
    is_frame_table,
    is_other_table,
    read_affect_table,
    read_artists,
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
from kelly_core.data.leakage import IndexPair, Signs, audio_fingerprints, similar_fingerprints
from kelly_core.data.readers import midi
from kelly_core.data.readers.audio import SUFFIXES, read_audio
from kelly_core.data.splits import TRAIN, group_by_artist, song_of_clip
from kelly_core.errors import DataError
from kelly_core.features.extraction import FeatureExtractor, Features, FeatureTable
from kelly_core.music.context import HEARD, audio_measures, encode_context, heard_context, note_measures
from kelly_core.music.emotion import CODE_SIZE, CONTEXT, LABEL_VERSION, AffectEstimator, encode
from kelly_core.music.key import (
    AffectFeatures,
    affect_features,
    nearest_transposition,
    semitones_to_c,
    tonality_of,
)
from kelly_core.music.mel import BANDS, FRAME_SECONDS, POWER_FLOOR, features_metadata, mel_frames, transpose_frames
from kelly_core.music.melody import find_melody
from kelly_core.spec import LabelScale

_FLOOR_DB = 10 * np.log10(POWER_FLOOR)
_WARM_UP_FRAMES = round(15 / FRAME_SECONDS)
"""DEAM's raters had 15 s to settle; labels before that do not exist."""
_GAIN_DB = 6.0
_TRANSPOSED_SHARE = 0.8
"""Share of the examples with notes that are transposed in training, by -6 to +5 semitones."""
_NOTED_CONTEXT_WEIGHT = 8.0
"""Loss weight of a context that notes tell, relative to one that is measured in the audio."""
_READ_LENGTHS = 2
"""Lengths of an example that are read of a long recording, so that training takes its part from anywhere in them."""
_NOTE_FEATURES = {"measures": len(HEARD), "shift": 1, "affect": len(AffectFeatures._fields)}
"""Features of a MIDI file, and the numbers in each."""
_VERSION = 6

_ID_COLUMNS = ("song_id", "songid", "musicid", "id")
_SKIPPED_FOLDER = re.compile(r"(?:^|/)(?:annotations per each (?:rater|song)|features?)$")
"""Folders with thousands of tables: answers of single raters (the averages are beside them), and audio features."""
_TABLE_SUFFIXES = (".csv", ".tsv")
_SHOWN_ROWS = 3
_DYNAMIC_FILE = re.compile(r"(valence|arousal)(?:_cont_average)?\.csv")
_DYNAMIC_COLUMN = re.compile(r"sample_(\d{1,9}) ?ms")


@dataclass
class _Labels:
    """Labels by song: one value per song or its quadrant, and one value per frame if raters annotated the song over
    time.

    Attributes:
        static, quadrants, sidecar: valence and arousal by file.
        dynamic: value by dimension (0 is valence, 1 is arousal), by frame, by ``song_key``.
        tables: the tables that gave labels, by path in the corpus.
        damaged: one description of each row that is left out.
        damaged_entries: names of the sidecar's entries that are left out.
        warnings: what a person should know of the tables.
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

    def left_out(self) -> LeftOut:
        """Rows, entries and tables that are left out, by reason."""
        parts = {DAMAGED_ROW: self.damaged, DAMAGED_ENTRY: self.damaged_entries, UNREADABLE_LABELS: [*self.errors]}
        return {reason: names for reason, names in parts.items() if names}

    def source(self, file: str) -> str | None:
        """Return the label source of a file: a sidecar if there is one, else the finest other label."""
        if self.sidecar.find(file) is not None:
            return "sidecar"
        if any(len(pair) == 2 for pair in self._dynamic(file).values()):
            return "dynamic"
        if self.static.find(file) is not None:
            return "static"
        return "human_quadrant" if self.quadrants.find(file) is not None else None

    def frames(self, file: str, length: int, heard: int, source: str) -> Floats:
        """Return valence and arousal of a file's ``heard`` frames as [length, 2], NaN where there is no label."""
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
        values[: int(_first_settled(heard))] = np.nan
        return values

    def _dynamic(self, file: str) -> dict[int, dict[int, float]]:
        return self.dynamic.get(_file_key(file), {})


def _file_key(name: str) -> str:
    """Return the song's key of a file or an ID, without its folders."""
    return song_key(name).rpartition("/")[2]


@dataclass(frozen=True)
class _Notes:
    """What the MIDI files beside recordings tell, one row a recording; NaN for those without one.

    Attributes:
        measures: of the descriptors that can be heard, [n, 2] in the order of ``HEARD``.
        shift: semitones from the key to C major or A minor, [n].
        features: rows of ``music.key.AffectFeatures``, [n, 5].
        hashes: content hashes of the files.
    """

    measures: Doubles
    shift: Doubles
    features: Doubles
    hashes: Sequence[str] = ()

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which recordings have notes, [n]."""
        return np.isfinite(self.shift)

    def estimated_affect(self, training: NDArray[np.bool_]) -> Floats:
        """Return valence and arousal from the notes of recordings in ``training`` [n], [n, 2]; NaN for the others."""
        affect = np.full((len(self.shift), 2), np.nan, np.float32)
        chosen = training & self.known
        if chosen.any():
            affect[chosen] = np.stack(AffectEstimator.fit(self.features[chosen])(self.features[chosen]), axis=1)
        return affect

    def transposed_context(self, rows: Indices, semitones: Ints) -> Floats:
        """Return the context [k, 8] of recordings with notes that sound some semitones [k] higher.

        The register is that in C major or A minor, so that it stays the same or moves by an octave.
        """
        shift = self.shift[rows]
        measures = dict(zip(HEARD, self.measures[rows].T, strict=True))
        measures["register"] = measures["register"] - shift + semitones + nearest_transposition(shift - semitones)
        return encode_context(measures)


class EmotionDataset(CorpusDataset):
    """Sequences of mel frames (dB), with the emotion code of each frame as target.

    In training, recordings with notes begin anywhere and are transposed, with the register of the transposed notes,
    and the emotion of those without a label is estimated from the notes. None of this is done in validation. With
    such recordings the weights are averaged over the epochs.

    Args:
        report: what was found.
        rows: where each recording comes from.
        table: features of the recordings.
        labels: valence and arousal of each frame, [n, T, 2]; NaN where they are unknown and do not count.
        context: musical context of each recording, [n, 8], the same in all frames.
        notes: what MIDI files beside the recordings tell.
    """

    input_size = BANDS
    output_size = CODE_SIZE

    def __init__(
        self,
        report: CorpusReport,
        rows: ExampleMetadata,
        table: FeatureTable,
        labels: Floats,
        context: Floats,
        notes: _Notes,
    ) -> None:
        self.sequence_length = labels.shape[1]
        counts = table.counts["frames"]
        self._frames = table.arrays["frames"]
        self._starts = np.cumsum(counts) - counts
        self._read, self._heard = counts, np.minimum(counts, self.sequence_length)
        self._targeted_context = context
        self._notes = notes
        frame, heard = np.arange(self.sequence_length)[:, np.newaxis], self._heard[:, np.newaxis, np.newaxis]
        self._mask = np.isfinite(labels).all(axis=2, keepdims=True) & (frame < heard)
        self._settled = (frame >= _first_settled(heard)) & (frame < heard)
        # Estimates differ in their last bits from processor to processor: their version stands for them.
        versions = [f"estimates {LABEL_VERSION}"] if notes.hashes else []
        super().__init__(report, rows, [*table.hashes, *notes.hashes, *versions], labels, table.arrays["content"])
        self._estimates = notes.estimated_affect((rows.splits == TRAIN) & (rows.sources == UNLABELED))
        self._pooled = rows.sources != "dynamic"
        # Melodies that follow the context of single epochs differ by several percent.
        self.averages_weights = bool(notes.known[self.train].any())
        self.training_frames = int(self._heard[self.train].sum())
        self.normalize(Normalizer.of_moments(*self._moments()))

    def normalize(self, normalizer: Normalizer) -> None:
        """Set the normalization, and record it in ``metadata`` for the export's metadata."""
        super().normalize(normalizer)
        metadata = features_metadata(normalizer.mean, normalizer.deviation)
        self.metadata = {**metadata, "gain_augmentation_db": _GAIN_DB, "heard_context": list(HEARD)}

    @staticmethod
    def match(content: Signs, first: Indices, second: Indices) -> list[IndexPair]:
        """Return pairs with similar fingerprints; a recording encoded again has no equal one."""
        return similar_fingerprints(content, first, second)

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:
        affect, labeled, settled = self.labels[indices], self._mask[indices], self._settled[indices]
        weights = np.repeat(labeled.astype(np.float32), CODE_SIZE, axis=2)
        if augment:
            frames, context = self._augmented(indices, rng)
            estimates = self._estimates[indices, np.newaxis]
            guessed = settled & np.isfinite(estimates).all(axis=2, keepdims=True)
            affect = np.where(guessed, estimates, affect)
            weights = np.where(guessed, np.float32(LABEL_WEIGHTS["estimated"]), weights)
        else:
            frames, context = self._padded(indices), self._targeted_context[indices]
        context_weights = np.where(self._notes.known[indices], np.float32(_NOTED_CONTEXT_WEIGHT), np.float32(1))
        weights[..., CONTEXT] = (labeled | settled) * context_weights[:, np.newaxis, np.newaxis]
        weights *= self._example_weights(indices)
        # Unknown labels have weight 0, but NaN · 0 is NaN.
        affect = np.nan_to_num(affect)
        targets = encode(affect[..., 0], affect[..., 1], context=context[:, np.newaxis])
        return Batch(frames, targets, weights, self._pooled[indices])

    def _augmented(self, indices: Indices, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return frames [n, T, 128] and context [n, 8] of examples with another level, and, where there are notes,
        from another place and in another key.

        A label belongs to the beginning of a recording, so that only those without one begin elsewhere. Nothing but the
        level is drawn for recordings without notes: they are trained on as if no other had notes.
        """
        noted, context = np.flatnonzero(self._notes.known[indices]), self._targeted_context[indices]
        first = np.zeros(len(indices), np.intp)
        free = noted[self.rows.sources[indices[noted]] == UNLABELED]
        first[free] = rng.integers(self._read[indices[free]] - self._heard[indices[free]], endpoint=True)
        frames = self._padded(indices, first)
        gain = rng.uniform(-_GAIN_DB, _GAIN_DB, len(indices)).astype(np.float32)
        # A recording has no band below the floor, however quiet it is.
        frames = np.maximum(frames + gain[:, np.newaxis, np.newaxis], np.float32(_FLOOR_DB))
        semitones = rng.integers(-6, 6, len(noted)) * (rng.random(len(noted)) < _TRANSPOSED_SHARE)
        for number, by in zip(noted, semitones.tolist(), strict=True):
            frames[number] = transpose_frames(frames[number], by)
        context[noted] = self._notes.transposed_context(indices[noted], semitones)
        return frames, context

    def _padded(self, indices: Indices, first: Indices | None = None) -> Floats:
        """Return frames of some files from the ``first`` [n] on, [n, T, 128]; short files are padded with silence that
        the mask excludes.
        """
        padded = np.full((len(indices), self.sequence_length, BANDS), _FLOOR_DB, np.float32)
        starts = np.zeros(len(indices), np.intp) if first is None else first
        for frames, index, start in zip(padded, indices, starts, strict=True):
            own = self._own_frames(index, start)
            frames[: len(own)] = own
        return padded

    def _own_frames(self, index: int, first: int = 0) -> Floats:
        """Return the frames of one file, memory-mapped: as many as an example has, from the ``first`` on."""
        start = self._starts[index] + first
        own: Floats = self._frames[start : start + self._heard[index]]
        return own

    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and standard deviation of the training frames, both [128]; one file is in memory at a time."""
        mean = _sum(self._own_frames(index) for index in self.train) / self.training_frames
        squares = _sum((self._own_frames(index) - mean) ** 2 for index in self.train)
        return mean, np.sqrt(squares / self.training_frames)

    def context(self) -> AudioContext:
        """Return the training split's labeled frames, for models whose own corpus has no audio."""
        labeled = self._mask[self.train, :, 0]
        affect = self.labels[self.train][labeled]
        return AudioContext(
            frames=self._frames,
            rows=(self._starts[self.train, np.newaxis] + np.arange(self.sequence_length))[labeled],
            valence=affect[:, 0],
            arousal=affect[:, 1],
            normalizer=self.normalizer,
            corpus=self.name,
            fingerprint=self.fingerprint,
        )


def is_present(root: Path) -> bool:
    """Return True if there is any audio file."""
    return has_files(root, SUFFIXES)


def load(root: Path, options: LoadOptions, name: str = "deam") -> EmotionDataset:
    """Read DEAM, or any folder of audio with a table of valence and arousal; ``name`` is what the corpus is called.

    Layouts: ``audio/`` with ``annotations/annotations.csv``; the published ``MEMD_audio/`` with ``annotations/
    annotations averaged per song/`` (static and dynamic tables); emoMusic, PMEmo and Soundtracks, known by their
    columns; any CSV with the columns ``filename, valence, arousal`` on the scale ``options.label_scale``, or ``ID, 4Q``
    with quadrants. A recording with a MIDI file of the same name beside it needs no label: its notes are its musical
    context. A damaged row costs that row. Answers of single raters, features, metadata and predictions are not
    read.

    Raises:
        DataError: no labels, a table that makes no sense, or no usable file.
    """
    skipped: LeftOut = {}
    everything = find_files(root, {*SUFFIXES, *_TABLE_SUFFIXES, *midi.SUFFIXES}, _is_skipped, skipped)
    files = [file for file in everything if file.lower().endswith(tuple(SUFFIXES))]
    tables = [file for file in everything if file.lower().endswith(_TABLE_SUFFIXES)]
    notes = _files_of_notes(files, everything)
    labels = _read_labels(root, tables, options.annotations_file, options.label_scale)
    known = spread([file for file in files if labels.source(file) or file in notes], options.max_files)
    length = _length(options.duration)
    extraction = FeatureExtractor(
        name, _VERSION, {"duration": options.duration}, partial(_extract, seconds=options.duration), few_files=24
    )
    table = extract(root, known, extraction, options)
    noted, skipped_notes = _read_notes(root, table, notes, extraction, options)
    context = heard_context(table.arrays.get("measures", np.empty((0, len(HEARD)))))
    context[noted.known] = encode_context(dict(zip(HEARD, noted.measures[noted.known].T, strict=True)))
    skipped = merge_left_out(skipped, table.skipped, skipped_notes, labels.left_out())
    if unlabeled := [file for file in files if not labels.source(file) and file not in notes]:
        skipped["no valence and arousal for it"] = unlabeled
    require_usable(table.files, skipped, root)
    sources = [labels.source(file) or UNLABELED for file in table.files]
    heard = np.minimum(table.counts["frames"], length).tolist()
    values = np.stack(
        [labels.frames(file, length, *rest) for file, *rest in zip(table.files, heard, sources, strict=True)]
    )
    artists, damaged_tables = read_artists(root, tables)
    labels.warnings += damaged_tables
    songs = [song_of_clip(Path(file).stem) for file in table.files]
    groups = group_by_artist(songs, [artists.get(song_key(Path(file).name)) for file in table.files])
    rows = ExampleMetadata.of_files(
        name, np.arange(len(groups)), groups, sources, assign_splits(groups, [None] * len(groups), options)
    )
    used = FRAME_SECONDS * sum(heard)
    report = CorpusReport(
        name,
        str(root),
        found=True,
        files=len(files),
        skipped=skipped,
        seconds=used,
        label_tables=labels.tables,
        warnings=labels.warnings,
    )
    return EmotionDataset(report, rows, table, values, context, noted)


def _files_of_notes(files: Sequence[str], everything: Sequence[str]) -> dict[str, str]:
    """Return the MIDI file of each recording that has one of the same name beside it."""
    scores = {file.rpartition(".")[0]: file for file in everything if file.lower().endswith(tuple(midi.SUFFIXES))}
    stems = {file: file.rpartition(".")[0] for file in files}
    return {file: scores[stem] for file, stem in stems.items() if stem in scores}


def _read_notes(
    root: Path, table: FeatureTable, notes: Mapping[str, str], extraction: FeatureExtractor, options: LoadOptions
) -> tuple[_Notes, LeftOut]:
    """Return what the MIDI files beside the recordings of a table tell, and those that are left out, by reason."""
    scores = [notes[file] for file in table.files if file in notes]
    own = replace(extraction, settings={"features": list(_NOTE_FEATURES)}, extract=_extract_notes)
    found = extract(root, scores, own, options) if scores else FeatureTable([], [], {}, {}, {})
    rows = {file: number for number, file in enumerate(found.files)}
    pairs = [(row, rows[notes[file]]) for row, file in enumerate(table.files) if notes.get(file) in rows]
    columns = []
    for name, size in _NOTE_FEATURES.items():
        column = np.full((len(table.files), size), np.nan)
        for row, number in pairs:
            column[row] = found.arrays[name][number]
        columns.append(column)
    measures, shift, features = columns
    return _Notes(measures, shift[:, 0], features, found.hashes), found.skipped


def _extract(path: Path, seconds: float) -> Features:
    samples, sample_rate = read_audio(path, _READ_LENGTHS * seconds)
    frames = mel_frames(samples, sample_rate)
    if not len(frames):
        raise DataError("audio shorter than one frame of half a second", where=path)
    return {
        "frames": frames,
        "content": audio_fingerprints(frames[: _length(seconds)], _length(seconds))[np.newaxis],
        "measures": audio_measures(samples[: round(seconds * sample_rate)], sample_rate)[np.newaxis],
    }


def _extract_notes(path: Path) -> Features:
    notes = midi.read_notes(path)
    melody, pitched = find_melody(notes), notes.pitched()
    shift = semitones_to_c(tonality_of(pitched))
    measures = note_measures(notes, melody.notes, shift)
    return {
        "measures": np.array([[measures[name] for name in HEARD]]),
        "shift": np.array([[float(shift)]]),
        "affect": np.array([affect_features(notes)]),
    }


def _first_settled(heard: ArrayLike) -> Indices:
    """Return the first frame that counts where a label belongs to a whole recording of ``heard`` frames."""
    first: Indices = np.minimum(_WARM_UP_FRAMES, np.asarray(heard, np.intp) // 2)
    return first


def _length(seconds: float) -> int:
    """Return the number of frames in some seconds of audio."""
    return round(seconds / FRAME_SECONDS)


def _sum(blocks: Iterable[NDArray[Any]]) -> NDArray[np.float64]:
    """Return the sum of all rows of the blocks [n, 128] in float64, added row by row as NumPy adds one array."""
    total = np.zeros(BANDS)
    for block in blocks:
        total = np.concatenate([total[np.newaxis], block]).sum(axis=0)
    return total


def _is_skipped(folder: str) -> bool:
    return _SKIPPED_FOLDER.search(folder.lower()) is not None


def _read_labels(root: Path, tables: Sequence[str], annotations_file: str, scale: LabelScale) -> _Labels:
    """Read labels from all tables, or from one; a damaged table among others is skipped with a warning."""
    names = [_annotations(root, annotations_file)] if annotations_file else _candidates(tables)
    labels = _Labels()
    try:
        sidecar, labels.damaged_entries = read_sidecar(root)
        labels.sidecar = LabelIndex(sidecar)
    except DataError as error:
        labels.errors[SIDECAR] = error
    # Of several labels of one song, those of a published table win, then those of the table nearest to the folder.
    static: tuple[dict[str, ValenceArousal], dict[str, ValenceArousal]] = ({}, {})
    quadrants: dict[str, ValenceArousal] = {}
    frame_tables = _frame_tables(names)
    for name in names:
        path = root / name
        try:
            if name in frame_tables:
                _read_dynamic(path, labels)
            elif is_frame_table(path):
                _read_frame_rows(path, labels)
            elif is_affect_table(path):
                table = read_affect_table(path, scale)
                known = static[0 if has_known_columns(path) else 1]
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
    labels.static, labels.quadrants = LabelIndex(static[1] | static[0]), LabelIndex(quadrants)
    if labels.static or labels.quadrants or labels.dynamic or labels.sidecar:
        labels.warnings += [f"table of labels left out: {error}" for error in labels.errors.values()]
        return labels
    raise _no_labels(labels, root)


def _no_labels(labels: _Labels, root: Path) -> DataError:
    """Say why no table gives a label."""
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


def _candidates(tables: Sequence[str]) -> list[str]:
    """Return tables that may hold labels, those nearest to the corpus folder first."""
    return sorted((name for name in tables if not is_other_table(name)), key=lambda name: name.count("/"))


def _read_frame_rows(path: Path, labels: _Labels) -> None:
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
    raise DataError("the annotations file is not there", where=root / name)


def _frame_tables(names: Sequence[str]) -> set[str]:
    """Return pairs of frame tables for valence and arousal."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        folder, _, file = name.lower().rpartition("/")
        if match := _DYNAMIC_FILE.fullmatch(file):
            found.setdefault(folder, {})[match[1]] = name
    return {name for pair in found.values() if len(pair) == 2 for name in pair.values()}


def _read_dynamic(path: Path, labels: _Labels) -> None:
    """Add one dimension's values by frame: the column ``sample_T ms`` is the half second that ends at T."""
    dimension = 0 if path.name.lower().startswith("valence") else 1
    for number, row in enumerate(read_table(path), start=2):
        cells = {column.casefold(): text for column, text in row.items()}
        song = next((cells[name] for name in _ID_COLUMNS if cells.get(name)), "")
        damaged = not song
        for column, text in cells.items():
            match = _DYNAMIC_COLUMN.fullmatch(column)
            if not match or not text or not song:
                continue
            value = finite_text(text)
            if value is None or abs(value) > 1:
                damaged = damaged or text.casefold() != "nan"  # how the tables write a missing value
                continue
            frame = round(int(match[1]) / 1000 / FRAME_SECONDS) - 1
            labels.dynamic.setdefault(_file_key(song), {}).setdefault(frame, {})[dimension] = value
        if damaged:
            labels.damaged.append(f"{path.name} row {number}")
