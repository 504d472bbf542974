"""DEAM: 1,802 excerpts and songs with valence and arousal, for EmotionRecognizer.

Size: 1.3 GB of MP3: 1,744 excerpts of 45 s and 58 whole songs. License: Creative Commons licenses that differ by song;
treat as non-commercial. No official split: artists, if the tables name them, or else songs are split by a seed.
Citation: Aljanaki, Yang & Soleymani, "Developing a benchmark for emotional analysis of music", PLOS ONE 12(3), 2017.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Floats, Indices, Ints
from kelly_core.data.corpus_dataset import AudioContext, CorpusDataset, LoadOptions
from kelly_core.data.dataset import LABEL_WEIGHTS, UNLABELED, Batch, CorpusReport, ExampleMetadata, Normalizer
from kelly_core.data.files import SkippedFiles, find_files, has_files, merge_skipped, no_usable_example, spread_evenly
from kelly_core.data.label_tables import read_artists, song_key
from kelly_core.data.labels import read_recording_labels, warm_up_length
from kelly_core.data.leakage import IndexPair, Signs, audio_fingerprints, similar_fingerprints
from kelly_core.data.readers import midi
from kelly_core.data.readers.audio import SUFFIXES, decode_audio
from kelly_core.data.splits import TRAIN, assign_splits, group_by_artist, song_of_clip
from kelly_core.errors import DataError
from kelly_core.features.extraction import FeatureExtractor, Features, FeatureTable, load_features
from kelly_core.formatting import first_names
from kelly_core.music.audio_analysis import audio_measures
from kelly_core.music.context import AUDIO_DESCRIPTORS, context_from_audio, encode_context, note_measures
from kelly_core.music.emotion import CODE_SIZE, CONTEXT, LABEL_VERSION, AffectEstimator, encode_affect
from kelly_core.music.key import AffectFeatures, affect_features, nearest_transposition, semitones_to_c, tonality_of
from kelly_core.music.mel import BANDS, FRAME_SECONDS, POWER_FLOOR, features_metadata, mel_frames, transpose_frames
from kelly_core.music.melody import find_melody

_FLOOR_DB = 10 * np.log10(POWER_FLOOR)
_GAIN_DB = 6.0
_TRANSPOSED_SHARE = 0.8
"""Share of the examples with notes that are transposed in training, by -6 to +5 semitones."""
_NOTED_CONTEXT_WEIGHT = 8.0
"""Loss weight of a context that is computed from notes, relative to one that is measured from audio."""
_READ_LENGTHS = 2
"""Maximum length that is read of a recording, in example lengths; a training example can begin anywhere within it."""
_NOTE_FEATURES = {"measures": len(AUDIO_DESCRIPTORS), "shift": 1, "affect": len(AffectFeatures._fields)}
"""Features of a MIDI file, and the number of values in each."""
_VERSION = 7

_SKIPPED_FOLDER = re.compile(r"(?:^|/)(?:annotations per each (?:rater|song)|features?)$")
"""Folders with thousands of tables: answers of individual raters (the averages are elsewhere), and audio features."""
_SHOWN_NAMES = 3
_TABLE_SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True)
class _Notes:
    """Features of the MIDI files next to recordings, one row per recording; NaN for those without one.

    Attributes:
        measures: values of the descriptors also measured from audio, [n, 2] in the order of ``AUDIO_DESCRIPTORS``.
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
        """True for recordings that have notes, [n]."""
        return np.isfinite(self.shift)

    def estimated_affect(self, training: NDArray[np.bool_]) -> Floats:
        """Return valence and arousal [n, 2], estimated from notes for recordings in ``training`` [n], else NaN."""
        affect = np.full((len(self.shift), 2), np.nan, np.float32)
        chosen = training & self.known
        if chosen.any():
            affect[chosen] = np.stack(AffectEstimator.fit(self.features[chosen])(self.features[chosen]), axis=1)
        return affect

    def transposed_context(self, rows: Indices, semitones: Ints) -> Floats:
        """Return the context [k, 8] of recordings whose notes are transposed up by ``semitones`` [k].

        The register is measured in C major or A minor, so that it stays the same or changes by an octave.
        """
        shift = self.shift[rows]
        measures = dict(zip(AUDIO_DESCRIPTORS, self.measures[rows].T, strict=True))
        measures["register"] = measures["register"] - shift + semitones + nearest_transposition(shift - semitones)
        return encode_context(measures)


class EmotionDataset(CorpusDataset):
    """Sequences of mel frames (dB), with the emotion code of each frame as target.

    In training, recordings with notes are transposed, and their register is that of the transposed notes. Those without
    a label also begin at random positions, and their emotion is estimated from the notes. Validation does none of this.
    If any training recording has notes, the weights are averaged over the epochs.

    Args:
        report: report on the contents of the corpus.
        rows: origin of each recording.
        table: features of the recordings.
        labels: valence and arousal of each frame, [n, T, 2]; NaN where they are unknown, which masks the frame.
        context: musical context of each recording, [n, 8], the same in all frames.
        notes: features of MIDI files next to the recordings.
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
        self._file_frames, self._audio_frames = counts, np.minimum(counts, self.sequence_length)
        self._targeted_context = context
        self._notes = notes
        frame = np.arange(self.sequence_length)[:, np.newaxis]
        audio_frames = self._audio_frames[:, np.newaxis, np.newaxis]
        self._mask = np.isfinite(labels).all(axis=2, keepdims=True) & (frame < audio_frames)
        self._warmed_up = (frame >= warm_up_length(audio_frames)) & (frame < audio_frames)
        # Estimates differ in their last bits between processors, so their version is hashed instead.
        versions = [f"estimates {LABEL_VERSION}"] if notes.hashes else []
        super().__init__(report, rows, [*table.hashes, *notes.hashes, *versions], labels, table.arrays["content"])
        self._estimates = notes.estimated_affect((rows.splits == TRAIN) & (rows.sources == UNLABELED))
        self._pooled = rows.sources != "dynamic"
        # Melodies generated with the context outputs of different epochs differ by several percent.
        self.averages_weights = bool(notes.known[self.train].any())
        self.training_frames = int(self._audio_frames[self.train].sum())
        self.normalize(Normalizer.of_moments(*self._moments()))

    def normalize(self, normalizer: Normalizer) -> None:
        """Set the normalization, and record it in ``metadata`` for the export's metadata."""
        super().normalize(normalizer)
        metadata = features_metadata(normalizer.mean, normalizer.deviation)
        self.metadata = {**metadata, "gain_augmentation_db": _GAIN_DB, "heard_context": list(AUDIO_DESCRIPTORS)}

    @staticmethod
    def match(content: Signs, first: Indices, second: Indices) -> list[IndexPair]:
        """Return pairs with similar fingerprints; those of a re-encoded recording are similar but not equal."""
        return similar_fingerprints(content, first, second)

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:
        affect, labeled, warmed_up = self.labels[indices], self._mask[indices], self._warmed_up[indices]
        weights = np.repeat(labeled.astype(np.float32), CODE_SIZE, axis=2)
        if augment:
            frames, context = self._augmented(indices, rng)
            estimates = self._estimates[indices, np.newaxis]
            guessed = warmed_up & np.isfinite(estimates).all(axis=2, keepdims=True)
            affect = np.where(guessed, estimates, affect)
            weights = np.where(guessed, np.float32(LABEL_WEIGHTS["estimated"]), weights)
        else:
            frames, context = self._padded(indices), self._targeted_context[indices]
        context_weights = np.where(self._notes.known[indices], np.float32(_NOTED_CONTEXT_WEIGHT), np.float32(1))
        weights[..., CONTEXT] = (labeled | warmed_up) * context_weights[:, np.newaxis, np.newaxis]
        weights *= self._example_weights(indices)
        # Unknown labels have weight 0, but NaN · 0 is NaN.
        affect = np.nan_to_num(affect)
        targets = encode_affect(affect[..., 0], affect[..., 1], context=context[:, np.newaxis])
        return Batch(frames, targets, weights, self._pooled[indices])

    def _augmented(self, indices: Indices, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return frames [n, T, 128] and context [n, 8] of examples at a random level and, if they have notes, from a
        random position and in a random key.

        A label applies to the beginning of a recording, so only recordings without a label begin elsewhere. For
        recordings without notes only the level is drawn, so their training does not depend on whether others have
        notes.
        """
        noted, context = np.flatnonzero(self._notes.known[indices]), self._targeted_context[indices]
        first = np.zeros(len(indices), np.intp)
        free = noted[self.rows.sources[indices[noted]] == UNLABELED]
        first[free] = rng.integers(self._file_frames[indices[free]] - self._audio_frames[indices[free]], endpoint=True)
        frames = self._padded(indices, first)
        gain = rng.uniform(-_GAIN_DB, _GAIN_DB, len(indices)).astype(np.float32)
        # No band may be below the floor, even in a quiet recording.
        frames = np.maximum(frames + gain[:, np.newaxis, np.newaxis], np.float32(_FLOOR_DB))
        semitones = rng.integers(-6, 6, len(noted)) * (rng.random(len(noted)) < _TRANSPOSED_SHARE)
        for number, by in zip(noted, semitones.tolist(), strict=True):
            frames[number] = transpose_frames(frames[number], by)
        context[noted] = self._notes.transposed_context(indices[noted], semitones)
        return frames, context

    def _padded(self, indices: Indices, first: Indices | None = None) -> Floats:
        """Return the frames [n, T, 128] of some files, starting at frame ``first`` [n]; short files are padded with
        silence, which the mask excludes.
        """
        padded = np.full((len(indices), self.sequence_length, BANDS), _FLOOR_DB, np.float32)
        starts = np.zeros(len(indices), np.intp) if first is None else first
        for frames, index, start in zip(padded, indices, starts, strict=True):
            own = self._own_frames(index, start)
            frames[: len(own)] = own
        return padded

    def _own_frames(self, index: int, first: int = 0) -> Floats:
        """Return the memory-mapped frames of one file for an example, starting at frame ``first``."""
        start = self._starts[index] + first
        own: Floats = self._frames[start : start + self._audio_frames[index]]
        return own

    def _moments(self) -> tuple[Doubles, Doubles]:
        """Return mean and standard deviation of the training frames, both [128], with one file in memory at a time."""
        mean = _sum(self._own_frames(index) for index in self.train) / self.training_frames
        # A second pass: the mean of squares minus the square of the mean would lose digits.
        squares = _sum((self._own_frames(index) - mean) ** 2 for index in self.train)
        return mean, np.sqrt(squares / self.training_frames)

    def context(self) -> AudioContext:
        """Return the training split's labeled frames, for models whose corpus has no audio."""
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
    """Read DEAM, or any folder of audio with a table of valence and arousal; ``name`` is the corpus's name.

    Layouts: ``audio/`` with ``annotations/annotations.csv``; the published ``MEMD_audio/`` with ``annotations/
    annotations averaged per song/`` (static and dynamic tables); emoMusic, PMEmo and Soundtracks, recognized by their
    columns; any CSV with the columns ``filename, valence, arousal`` on the scale ``options.label_scale``, or ``ID, 4Q``
    with quadrants. A recording with a MIDI file of the same name next to it needs no label: its musical context
    is computed from the notes. Damaged rows are skipped. Answers of individual raters, features, metadata and
    predictions are not read.

    Raises:
        DataError: no labels, an invalid table, or no usable file.
    """
    skipped: SkippedFiles = {}
    everything = find_files(root, {*SUFFIXES, *_TABLE_SUFFIXES, *midi.SUFFIXES}, _is_skipped, skipped)
    files = [file for file in everything if file.lower().endswith(tuple(SUFFIXES))]
    tables = [file for file in everything if file.lower().endswith(_TABLE_SUFFIXES)]
    notes = _files_of_notes(files, everything)
    labels = read_recording_labels(root, tables, options.annotations_file, options.label_scale)
    known = spread_evenly([file for file in files if labels.source(file) or file in notes], options.max_files)
    length = _length(options.duration)
    extraction = FeatureExtractor(
        name, _VERSION, {"duration": options.duration}, partial(_extract, seconds=options.duration), few_files=24
    )
    table = load_features(root, known, extraction, options)
    noted, skipped_notes = _read_notes(root, table, notes, extraction, options)
    skipped = merge_skipped(skipped, table.skipped, skipped_notes, labels.skipped)
    if unlabeled := [file for file in files if not labels.source(file) and file not in notes]:
        skipped["no valence and arousal for it"] = unlabeled
    if not table.files:
        raise no_usable_example(skipped, root)
    sources = [labels.source(file) or UNLABELED for file in table.files]
    audio_frames = np.minimum(table.counts["frames"], length).tolist()
    values = np.stack(
        [labels.frames(file, length, *rest) for file, *rest in zip(table.files, audio_frames, sources, strict=True)]
    )
    groups, damaged_tables = _group(root, tables, table.files)
    splits = assign_splits(groups, [None] * len(groups), options.validation_split, options.seed)
    rows = ExampleMetadata.of_files(name, np.arange(len(groups)), groups, sources, splits)
    report = CorpusReport(
        name,
        str(root),
        found=True,
        files=len(files),
        skipped=skipped,
        seconds=FRAME_SECONDS * sum(audio_frames),
        label_tables=labels.tables,
        warnings=[*labels.warnings, *damaged_tables, *_damaged(table)],
    )
    return EmotionDataset(report, rows, table, values, _context(table, noted), noted)


def _group(root: Path, tables: Sequence[str], files: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the artist of each recording if a table names it, else its song; and warnings on damaged tables."""
    artists, damaged = read_artists(root, tables)
    songs = [song_of_clip(Path(file).stem) for file in files]
    return group_by_artist(songs, [artists.get(song_key(Path(file).name)) for file in files]), damaged


def _context(table: FeatureTable, noted: _Notes) -> Floats:
    """Return the musical context of each recording: from its notes if it has any, else as measured from the audio."""
    context = context_from_audio(table.arrays.get("measures", np.empty((0, len(AUDIO_DESCRIPTORS)))))
    context[noted.known] = encode_context(dict(zip(AUDIO_DESCRIPTORS, noted.measures[noted.known].T, strict=True)))
    return context


def _files_of_notes(files: Sequence[str], everything: Sequence[str]) -> dict[str, str]:
    """Return the MIDI file of each recording that has one of the same name next to it."""
    scores = {file.rpartition(".")[0]: file for file in everything if file.lower().endswith(tuple(midi.SUFFIXES))}
    stems = {file: file.rpartition(".")[0] for file in files}
    return {file: scores[stem] for file, stem in stems.items() if stem in scores}


def _read_notes(
    root: Path, table: FeatureTable, notes: Mapping[str, str], extraction: FeatureExtractor, options: LoadOptions
) -> tuple[_Notes, SkippedFiles]:
    """Return the features of the MIDI files next to recordings, and the files that are left out, by reason."""
    scores = [notes[file] for file in table.files if file in notes]
    own = replace(extraction, settings={"features": list(_NOTE_FEATURES)}, extract=_extract_notes)
    found = load_features(root, scores, own, options) if scores else FeatureTable([], [], {}, {}, {})
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
    samples, sample_rate, intact = decode_audio(path, _READ_LENGTHS * seconds)
    frames = mel_frames(samples, sample_rate)
    if not len(frames):
        raise DataError("audio shorter than one frame of half a second", where=path)
    return {
        "frames": frames,
        "content": audio_fingerprints(frames[: _length(seconds)], _length(seconds))[np.newaxis],
        "measures": audio_measures(samples[: round(seconds * sample_rate)], sample_rate)[np.newaxis],
        "intact": np.array([intact]),
    }


def _damaged(table: FeatureTable) -> list[str]:
    """Return a warning with the number and the first names of recordings that are only partly read."""
    names = [file for file, intact in zip(table.files, table.arrays["intact"], strict=True) if not intact]
    if not names:
        return []
    shown = first_names(names, _SHOWN_NAMES)
    return [f"recordings damaged or cut off, used without the damaged parts: {len(names)}: {shown}"]


def _extract_notes(path: Path) -> Features:
    notes = midi.read_notes(path)
    melody, pitched = find_melody(notes), notes.pitched()
    shift = semitones_to_c(tonality_of(pitched))
    measures = note_measures(notes, melody.notes, shift)
    return {
        "measures": np.array([[measures[name] for name in AUDIO_DESCRIPTORS]]),
        "shift": np.array([[float(shift)]]),
        "affect": np.array([affect_features(notes)]),
    }


def _length(seconds: float) -> int:
    """Return the number of frames in some seconds of audio."""
    return round(seconds / FRAME_SECONDS)


def _sum(blocks: Iterable[NDArray[Any]]) -> Doubles:
    """Return the sum of all rows of the blocks [n, 128] in float64, added row by row as NumPy adds one array."""
    total = np.zeros(BANDS)
    for block in blocks:
        total = np.concatenate([total[np.newaxis], block]).sum(axis=0)
    return total


def _is_skipped(folder: str) -> bool:
    return _SKIPPED_FOLDER.search(folder.lower()) is not None
