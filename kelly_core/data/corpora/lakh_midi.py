"""Lakh MIDI: 176,581 songs as MIDI files, for MelodyTransformer.

Size: 6 GB, files named by their MD5 in 16 folders. License: CC BY 4.0 for the collection; the songs belong to their
authors. No official split: songs, or in the clean subset artists, are split by a seed; duplicate files count once.
Citation: Raffel, "Learning-Based Methods for Comparing Sequences", PhD thesis, Columbia University, 2016.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats, Indices, Ints
from kelly_core.data.corpus_dataset import CorpusDataset, LoadOptions, extract_selection
from kelly_core.data.dataset import Batch, CorpusReport, ExampleMetadata
from kelly_core.data.files import has_files, select_files
from kelly_core.data.labels import label_files, read_known_labels
from kelly_core.data.leakage import Keys, content_keys
from kelly_core.data.readers import midi
from kelly_core.data.splits import TEST, TRAIN, VALIDATION, assign_splits, group_by_artist, song_of_clip
from kelly_core.errors import DataError
from kelly_core.features.extraction import FeatureExtractor, Features, FeatureTable
from kelly_core.music.context import NAMES, encode_context, note_measures
from kelly_core.music.emotion import CODE_SIZE, CONTEXT, jittered, noisy_codes
from kelly_core.music.key import affect_features, semitones_to_c, tonality_of
from kelly_core.music.melody import PITCHES, SEQUENCE_BEATS, find_melody, melody_piano_roll

_MIN_BEATS = 16
_DISTINCTIVE_BEATS = 24
_DISTINCTIVE_PITCHES = 4
"""Minimum notes, counted per beat, and minimum pitches of a sequence; with fewer, two songs can share it by chance."""
_KINDS = ("named", "monophonic", "skyline")
"""Ways to find the melody, as ``find_melody`` names them."""
_VERSION = 4
_MATCHED = re.compile(r"(?:^|/)(?P<track>TR[A-Z0-9]{16})/[^/]+$")
"""A Million Song Dataset track ID has 18 characters; the length matters because a genre folder may begin with TR."""
_CLEAN = re.compile(r"(?:^|/)clean_midi/(?P<artist>[^/]+)/", re.IGNORECASE)
_VERSION_OF_TITLE = re.compile(r"(?P<title>.+)\.\d+(?P<ending>\.midi?)", re.IGNORECASE)


class MelodyDataset(CorpusDataset):
    """Sequences of 64 beats: the song's emotion code, with random drift, as input; the pitches that sound in each beat
    as target.

    Attributes:
        files: files of each split, by path in the corpus.
    """

    input_size = CODE_SIZE
    output_size = PITCHES
    sequence_length = SEQUENCE_BEATS
    files: dict[str, list[str]]

    def __init__(self, report: CorpusReport, rows: ExampleMetadata, table: FeatureTable, affect: Floats) -> None:
        measures = table.arrays["context"][table.file_indices("steps")]
        self.musical_context = encode_context(dict(zip(NAMES, measures.T, strict=True)))
        self._steps = table.arrays["steps"]
        self._lengths = table.arrays["length"]
        hashes = table.hashes_of("steps", rows.splits != TEST)
        super().__init__(report, rows, hashes, affect, table.arrays["content"])

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:  # noqa: ARG002 - part of the interface
        file_valence, file_arousal = self.labels[indices].T
        valence, arousal = jittered(file_valence, file_arousal, SEQUENCE_BEATS, rng)
        sounding = np.unpackbits(self._steps[indices], axis=2).astype(np.float32)
        played = np.arange(SEQUENCE_BEATS) < self._lengths[indices][:, np.newaxis]
        weights = played[..., np.newaxis] * self._example_weights(indices)
        codes = noisy_codes(valence, arousal, rng)
        codes[..., CONTEXT] = self._context(indices, rng)[:, np.newaxis]
        return Batch(codes, sounding, weights.astype(np.float32))


def _content(steps: NDArray[np.uint8]) -> Keys:
    """Return keys of sequences [s, 64, 16]: equal for equal notes in equal beats, in any key and tempo."""
    sounding = np.bitwise_count(steps).sum(axis=(1, 2))
    pitches = np.bitwise_count(np.bitwise_or.reduce(steps, axis=1)).sum(axis=1)
    return content_keys(steps, (sounding >= _DISTINCTIVE_BEATS) & (pitches >= _DISTINCTIVE_PITCHES))


def song_of(file: str) -> str:
    """Return the song of a file: versions of one song in LMD-matched or in the clean subset belong together.

    Args:
        file: its path in the corpus. LMD-matched has ``A/B/C/TR…/<md5>.mid``, one folder for each track of the Million
            Song Dataset; the clean subset has ``<artist>/<title>.mid`` with versions ``<title>.1.mid`` and so on.
    """
    if matched := _MATCHED.search(file):
        return matched["track"]
    if version := _VERSION_OF_TITLE.fullmatch(file):
        return version["title"] + version["ending"]
    return song_of_clip(file)


def artist_of(file: str) -> str | None:
    """Return the artist of a file of the clean subset, ``clean_midi/<artist>/<title>.mid``; None for other files.

    Args:
        file: its path, starting with the name of the corpus folder.
    """
    found = _CLEAN.search(file)
    return found["artist"].casefold() if found else None


def is_present(root: Path) -> bool:
    """Return True if there is any MIDI file."""
    return has_files(root, midi.SUFFIXES)


def load(root: Path, options: LoadOptions, name: str = "lakh_midi") -> MelodyDataset:
    """Read Lakh MIDI, or any folder of MIDI files, flat or nested; ``name`` is the corpus's name.

    Quadrants and songs of EMOPIA and official tables at any depth are used; files outside their folders are kept.

    Raises:
        DataError: no usable file, or a damaged table or sidecar.
    """
    selection = select_files(root, max_files=options.max_files, include_test=options.include_test)
    known = read_known_labels(root, selection.other_tables, options.annotations_file)
    extraction = FeatureExtractor(name, _VERSION, {"beats": SEQUENCE_BEATS, "least": _MIN_BEATS}, _extract)
    table, official, report = extract_selection(root, selection, known, extraction, options)
    # The corpus folder itself may be the clean subset.
    artists = [artist_of(f"{root.resolve().name}/{file}") for file in table.files]
    songs = [song_of(file) for file in table.files]
    groups = group_by_artist(songs, artists)
    splits = assign_splits(groups, official, options.validation_split, options.seed)
    affect, sources, estimator = label_files(table.files, table.arrays["affect"], splits, known)
    file_indices = table.file_indices("steps")
    rows = ExampleMetadata.of_files(name, file_indices, groups, sources, splits)
    dataset = MelodyDataset(report, rows, table, affect[file_indices])
    dataset.files = {split: np.array(table.files)[splits == split].tolist() for split in (TRAIN, VALIDATION)}
    melody_tracks = np.bincount(table.arrays["kind"], minlength=len(_KINDS))
    dataset.metadata = {
        "step": "one beat",
        "pitch_frame": "C major / A minor; the plugin adds the tonic back",
        "melody_tracks": dict(zip(_KINDS, melody_tracks.tolist(), strict=True)),
        "emotion": estimator.to_json(),
    }
    return dataset


def _extract(path: Path) -> Features:
    notes = midi.read_notes(path)
    melody = find_melody(notes)
    pitched = notes.pitched()
    shift = semitones_to_c(tonality_of(pitched))
    sequences, lengths = _sequences(melody_piano_roll(melody, shift), path)
    # One bit per pitch: a beat takes 16 bytes on disk instead of 128.
    steps = np.packbits(sequences, axis=2)
    measures = note_measures(notes, melody.notes, shift)
    return {
        "steps": steps,
        "content": _content(steps),
        "length": lengths,
        "affect": np.array([affect_features(notes)]),
        "context": np.array([[measures[name] for name in NAMES]]),
        "kind": np.array([_KINDS.index(melody.how)]),
    }


def _sequences(steps: NDArray[np.bool_], path: Path) -> tuple[NDArray[np.bool_], Ints]:
    """Cut beats [n, 128] into sequences [s, 64, 128] and the beats in each; silence around the melody is dropped."""
    sounding = np.flatnonzero(steps.any(axis=1))
    if not len(sounding) or sounding[-1] - sounding[0] + 1 < _MIN_BEATS:
        raise DataError(f"melody shorter than {_MIN_BEATS} beats", where=path)
    steps = steps[sounding[0] : sounding[-1] + 1]
    full, rest = divmod(len(steps), SEQUENCE_BEATS)
    # A remainder of at least 16 beats is a separate sequence, padded with silence that ``length`` excludes.
    count = full + (rest >= _MIN_BEATS)
    padded = np.zeros((count * SEQUENCE_BEATS, PITCHES), bool)
    kept = steps[: len(padded)]
    padded[: len(kept)] = kept
    lengths = np.minimum(SEQUENCE_BEATS, len(kept) - SEQUENCE_BEATS * np.arange(count))
    return padded.reshape(count, SEQUENCE_BEATS, PITCHES), lengths
