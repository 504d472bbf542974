"""Chord progressions, for HarmonyPredictor: ``chord_progressions.json`` with one entry per song.

Size and license depend on the file; POP909's 909 songs take 1.3 MB (MIT). No official split: a seed splits the songs.
Citation for POP909: Wang et al., "POP909: A Pop-song Dataset for Music Arrangement Generation", ISMIR 2020.
"""

from __future__ import annotations

import hashlib
import json
import logging
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.data.chord_files import ChordFile, find_chord_files, is_chord_source, spread_entries
from kelly_core.data.corpus_dataset import AudioContext, CorpusDataset, LoadOptions
from kelly_core.data.dataset import Batch, CorpusReport, ExampleMetadata, Normalizer
from kelly_core.data.files import SkippedFiles, find_files, no_usable_example
from kelly_core.data.label_tables import ValenceArousal, parse_affect
from kelly_core.data.leakage import content_keys
from kelly_core.data.splits import TRAIN, assign_splits, song_of_clip
from kelly_core.data.tables import finite_number, is_large_list, read_json, stream_json_list
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.music.chord_symbols import parse_chord
from kelly_core.music.chords import CHORD_NAMES, chord_distribution, minor_share, progression_key, transpose_chords
from kelly_core.music.context import encode_context
from kelly_core.music.emotion import (
    CODE_SIZE,
    CONTEXT,
    QUADRANT_AFFECT,
    VALENCE_SPREAD,
    AffectScale,
    chord_features,
    imputed_arousal,
    noisy_codes,
)
from kelly_core.music.key import semitones_to_c

_log = logging.getLogger(__name__)

FILE = "chord_progressions.json"
_UNREADABLE = "file of chords that cannot be read"

_CONTEXT_BANDS = 64
_NEIGHBORS = 20
_MIN_CHORDS = 4
_DISTINCTIVE_CHORDS = 16
"""Minimum number of chords of a content key; two songs can share fewer by chance."""
_LICENSES = {
    "POP909": "MIT",
    "Billboard": "CC0",
    "labels": "that of the file's source",
    "Chordonomicon": "CC BY-NC 4.0, non-commercial",
    "text": "that of the file's source",
    "JSON": "that of the file's source",
}
"""License of each layout of ``chord_files``."""
_LISTS = ("progressions", "chord_progressions")
_MIN_DURATION, _MAX_DURATION = 1e-6, 1e9
"""Bounds of a chord's duration, in any unit: the ticks of a day fit, and no sum overflows."""
_MAX_NAME = 500
_SHOWN_SYMBOL = 40
_READING = 3
"""Version of the conversion of entries to examples; a new version changes the fingerprint of the examples."""


@dataclass
class _Songs:
    """Columns of all songs, about 0.2 kB per song; a list of objects for Chordonomicon's 680,000 rows would take 1 GB.

    Attributes:
        groups: song of each entry: its name, or the source song if the name is that of an EMOPIA clip.
        sources: source of each song's emotion.
        digests: 32 hexadecimal digits per song.
        contents: content key of each song, equal for equal chords of equal lengths in any musical key.
        progressions: content key of the chords alone.
        modes, minor_shares: one number per song.
        affect: valence and arousal of each song, NaN where they are not known.
        classes, shares: the chord classes in each song's distribution, and their shares, song by song.
        ends: end of each song's part of ``classes``.
    """

    groups: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    digests: bytearray = field(default_factory=bytearray)
    contents: array[int] = field(default_factory=lambda: array("Q"))
    progressions: array[int] = field(default_factory=lambda: array("Q"))
    modes: array[float] = field(default_factory=lambda: array("d"))
    minor_shares: array[float] = field(default_factory=lambda: array("d"))
    affect: array[float] = field(default_factory=lambda: array("f"))
    classes: array[int] = field(default_factory=lambda: array("B"))
    shares: array[float] = field(default_factory=lambda: array("f"))
    ends: array[int] = field(default_factory=lambda: array("q", [0]))

    def __len__(self) -> int:
        return len(self.groups)

    def add(
        self, name: str, digest: str, chords: Indices, lengths: Doubles, emotion: tuple[ValenceArousal, str]
    ) -> None:
        """Append a song: its name, the hash of its entry, its chord classes, their lengths, and its emotion."""
        key = progression_key(chords, lengths)
        at_home = transpose_chords(chords, semitones_to_c(key))
        distinctive = np.array([len(chords) >= _DISTINCTIVE_CHORDS])
        self.groups.append(song_of_clip(name))
        self.sources.append(emotion[1])
        self.digests += digest.encode()
        self.contents.append(int(content_keys(np.stack([at_home, lengths])[np.newaxis], distinctive)[0]))
        self.progressions.append(int(content_keys(at_home[np.newaxis], distinctive)[0]))
        self.modes.append(key.m)
        self.minor_shares.append(minor_share(chords, lengths))
        self.affect.extend(emotion[0])
        distribution = chord_distribution(at_home, lengths)
        # A song uses only a few of the 64 classes, so only these are stored.
        used = np.flatnonzero(distribution)
        self.classes.frombytes(used.astype(np.uint8).tobytes())
        self.shares.frombytes(distribution[used].astype(np.float32).tobytes())
        self.ends.append(len(self.classes))

    def hashes(self) -> NDArray[np.bytes_]:
        """Return the digest of each song, [n]."""
        return np.frombuffer(self.digests, "S32")

    def distributions(self, indices: Indices) -> Floats:
        """Return the distributions of some songs, [n, 64]."""
        starts, ends = (np.frombuffer(self.ends, np.int64)[indices + offset] for offset in (0, 1))
        counts = ends - starts
        row = np.repeat(np.arange(len(indices)), counts)
        # Positions in the columns: consecutive ones from each song's start.
        places = np.arange(len(row)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        dense = np.zeros((len(indices), len(CHORD_NAMES)), np.float32)
        dense[row, np.frombuffer(self.classes, np.uint8)[places]] = np.frombuffer(self.shares, np.float32)[places]
        return dense


class HarmonyDataset(CorpusDataset):
    """A song's emotion code and an audio frame as input; its distribution of chords in C major or A minor as target.

    The audio half is a frame (dB) of a training clip with a similar emotion, or the mean frame in half of the examples.
    Without audio, these inputs are disabled.
    """

    input_size = CODE_SIZE + _CONTEXT_BANDS
    output_size = len(CHORD_NAMES)
    sequence_length = 1

    def __init__(
        self, report: CorpusReport, rows: ExampleMetadata, songs: _Songs, affect: Floats, context: AudioContext | None
    ) -> None:
        self._songs = songs
        self._audio = None if context is None else _Neighborhood(context)
        self.musical_context = encode_context({"mode": songs.modes})
        super().__init__(report, rows, songs.hashes(), affect, np.frombuffer(songs.contents, np.uint64))
        mean, scale = np.zeros(self.input_size), np.ones(self.input_size)
        # Scale 0 disables an input, regardless of its value in the plugin.
        scale[CODE_SIZE:] = 0.0
        if context is not None:
            mean[CODE_SIZE:] = context.normalizer.mean[:_CONTEXT_BANDS]
            scale[CODE_SIZE:] = context.normalizer.scale[:_CONTEXT_BANDS]
            self.fingerprint = f"{self.fingerprint}-{context.fingerprint}"
        self.normalizer = Normalizer(mean, scale)

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:  # noqa: ARG002 - part of the interface
        valence, arousal = self.labels[indices].T
        arousal = np.where(np.isnan(arousal), imputed_arousal(valence, rng), arousal)
        inputs = np.zeros((len(indices), 1, self.input_size), np.float32)
        inputs[:, 0, :CODE_SIZE] = noisy_codes(valence, arousal, rng)
        if self._audio is not None:
            has_audio = rng.random((len(indices), 1)) < 0.5
            frames = self._audio.draw(valence, arousal, rng)
            inputs[:, 0, CODE_SIZE:] = np.where(has_audio, frames, self.normalizer.mean[CODE_SIZE:])
        inputs[:, 0, CONTEXT] = self._context(indices, rng)
        return Batch(inputs, self._songs.distributions(indices)[:, np.newaxis], self._example_weights(indices))


class _Neighborhood:
    """Audio frames by emotion: the 20 nearest frames to each point of a grid over valence and arousal."""

    _STEPS = 41

    def __init__(self, context: AudioContext) -> None:
        self._frames, self._rows = context.frames, context.rows
        axis = np.linspace(-1, 1, self._STEPS)
        count = min(_NEIGHBORS, len(self._rows))
        by_row = []
        # Row by row: the distances of all frames to all points of the grid would not fit into memory.
        for valence in axis:
            points = (context.valence - valence) ** 2 + (context.arousal - axis[:, np.newaxis]) ** 2
            by_row.append(np.argpartition(points, count - 1, axis=1)[:, :count])
        self._nearest = np.stack(by_row)

    def draw(self, valence: Floats, arousal: Floats, rng: np.random.Generator) -> Floats:
        """Return one of the nearest frames of each point, [n, 64] in dB."""
        unit = (np.clip([valence, arousal], -1, 1) + 1) / 2
        row, column = np.rint(unit * (self._STEPS - 1)).astype(np.intp)
        pick = rng.integers(self._nearest.shape[2], size=len(row))
        frames: Floats = self._frames[self._rows[self._nearest[row, column, pick]], :_CONTEXT_BANDS]
        return frames


def is_present(root: Path) -> bool:
    """Return True if ``root``, a folder or a file, contains chords of any layout."""
    if root.is_file():
        return True
    return root.is_dir() and (any(root.glob("*.json")) or _usual_file(root).is_file() or is_chord_source(root))


def _usual_file(root: Path, skipped: SkippedFiles | None = None) -> Path:
    """Return the file of progressions nearest to the corpus folder, at any depth; the default path if there is none."""
    below = find_files(root, {FILE}, skipped=skipped) if root.is_dir() else []
    names = [name for name in below if name.rpartition("/")[2].lower() == FILE]
    return root / min(names, key=lambda name: name.count("/"), default=FILE)


def _find_songs(root: Path, annotations_file: str, skipped: SkippedFiles) -> list[ChordFile]:
    """Return the JSON file of progressions and the files of public corpora, or only the specified file.

    Args:
        root: the corpus folder or its only file.
        annotations_file: the only file to read, relative to ``root``; "" reads all.
        skipped: receives the links, folders and files that cannot be read.

    Raises:
        DataError: there are no songs, or the only file is an invalid JSON file.
    """
    path = root / annotations_file if annotations_file else root
    if root.is_file() or annotations_file:
        return (find_chord_files(path) if path.suffix.lower() != ".json" else []) or [_json_file(path)]
    usual = _usual_file(root, skipped)
    others = find_chord_files(root, skipped) if root.is_dir() else []
    if others and not usual.is_file():
        return others
    if names := [] if usual.is_file() else sorted(path.name for path in root.glob("*.json")):
        hint = f"Rename it to {FILE}, or name it in [datasets.chords] annotations_file"
        raise DataError(f"no file is called {FILE}, but {names[0]} is here", where=root, hint=hint)
    try:
        return [_json_file(usual), *others]
    except DataError as error:
        if not others:
            raise
        _log.warning("%s: %s", _UNREADABLE, printable(str(error)))
        skipped.setdefault(_UNREADABLE, []).append(usual.name)
        return others


def _json_file(path: Path) -> ChordFile:
    """Return the songs of a JSON file; a large list is streamed twice, to find damage before the first song is used."""
    if is_large_list(path):
        count = sum(1 for _ in stream_json_list(path))
        return ChordFile("JSON", [path.name], lambda: count, lambda: cast(Iterator[Any], stream_json_list(path)))
    entries = _entries(read_json(path), path)
    return ChordFile("JSON", [path.name], lambda: len(entries), lambda: iter(entries))


def load(root: Path, options: LoadOptions, name: str = "chords") -> HarmonyDataset:
    """Read all available songs of ``chord_progressions.json``, POP909, Billboard, Chordonomicon and lead sheets.

    The JSON file contains a list of songs, or an object with such a list under ``progressions``.

    A song is a list of chord symbols, or an object with ``chords``, optionally ``durations``, ``source`` (its name),
    ``emotion`` ({valence, arousal}) or ``4Q`` (quadrant). A symbol that cannot be parsed is left out of its song. A
    song with a value of the wrong type or out of range is left out of the corpus. Both are reported.

    Raises:
        DataError: the file is missing or invalid, or no song is usable.
    """
    skipped: SkippedFiles = {}
    files = _find_songs(root, options.annotations_file, skipped)
    unreadable = sum(map(len, skipped.values()))
    rejected: Counter[str] = Counter()
    songs = _Songs()
    kinds: list[str] = []
    for number, (kind, entry) in enumerate(spread_entries(files, options.max_files), start=1):
        try:
            _add_song(songs, entry, number, rejected)
            kinds.append(kind)
        except DataError as error:
            skipped.setdefault(error.problem, []).append(error.where or f"song {number}")
    if rejected:
        symbols = [f"{symbol} ({count} times)" for symbol, count in rejected.most_common()]
        skipped["chord symbol not understood, left out of its song"] = symbols
    if not songs.groups:
        raise no_usable_example(skipped, root)
    groups = _groups(songs, kinds)
    splits = assign_splits(groups, [None] * len(groups), options.validation_split, options.seed)
    features = chord_features(songs.modes, songs.minor_shares)
    # Fitted to the training songs alone, so that validation stays unseen.
    scale = AffectScale.fit(features[splits == TRAIN], VALENCE_SPREAD)
    affect = np.array(songs.affect, np.float32).reshape(-1, 2)
    affect[:, 0] = np.where(np.isnan(affect[:, 0]), scale(features), affect[:, 0])
    rows = ExampleMetadata.of_files(name, np.arange(len(songs)), groups, songs.sources, splits)
    count = len(songs) + sum(map(len, skipped.values())) - len(rejected) - unreadable
    paths = [path for file in files for path in file.paths]
    # The file if all songs are from one file, else the folder.
    path = root / paths[0] if len(paths) == 1 and root.is_dir() else root
    report = CorpusReport(name, str(path), found=True, files=count, skipped=skipped)
    dataset = HarmonyDataset(report, rows, songs, affect, options.context)
    dataset.licenses = {name: "; ".join(f"{kind}: {_LICENSES[kind]}" for kind in dict.fromkeys(kinds))}
    dataset.metadata = {
        "chords": list(CHORD_NAMES),
        "chord_frame": "C major / A minor; the plugin adds the tonic back",
        "valence": asdict(scale),
        **_context_metadata(options.context),
    }
    return dataset


def _groups(songs: _Songs, kinds: Sequence[str]) -> list[str]:
    """Return the song of each entry; equal chords in two layouts, such as POP909 and JSON, count as one song."""
    if len(set(kinds)) == 1:
        return songs.groups
    pairs = list(zip(songs.progressions, songs.groups, strict=True))
    # Reversed, so that the first of the songs with equal chords gives the group its name.
    first = dict(reversed(pairs))
    return [first[progression] if progression else group for progression, group in pairs]


def _context_metadata(context: AudioContext | None) -> dict[str, Any]:
    """Return the description of inputs 64-127 for an export."""
    if context is None:
        return {"audio_context": "none: inputs 64-127 are ignored"}
    return {
        "audio_context": f"nearest frames of {context.corpus}, dB",
        "context_mean": context.normalizer.mean[:_CONTEXT_BANDS].tolist(),
        "context_std": context.normalizer.deviation[:_CONTEXT_BANDS].tolist(),
        "context_standardisation": "folded into the first layer: feed raw dB",
    }


def _entries(document: object, path: Path) -> list[Any]:
    if isinstance(document, dict):
        document = next((document[name] for name in _LISTS if name in document), None)
    if not isinstance(document, list):
        raise DataError(f"must contain a list of songs, or an object with one of {', '.join(_LISTS)}", where=path)
    return document


def _add_song(songs: _Songs, entry: object, number: int, rejected: Counter[str]) -> None:
    """Append the song of an entry; symbols that cannot be parsed are counted in ``rejected``.

    Raises:
        DataError: the entry is damaged, or has too few chords.
    """
    if isinstance(entry, DataError):
        raise entry
    song = entry if isinstance(entry, dict) else {"chords": entry}
    name = _name(song.get("source"), number)
    symbols = song.get("chords", song.get("progression"))
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise DataError("no list of chord symbols", where=name)
    durations = _durations(song.get("durations"), len(symbols), name)
    parsed = [_parse_or_count(symbol, rejected) for symbol in symbols]
    kept = [(index, duration) for index, duration in zip(parsed, durations, strict=True) if index is not None]
    if len(kept) < _MIN_CHORDS:
        raise DataError(f"fewer than {_MIN_CHORDS} chords", where=name)
    emotion = _known_affect(song, name)
    digest = hashlib.blake2b(json.dumps([_READING, name, symbols, durations]).encode(), digest_size=16).hexdigest()
    chords, lengths = np.array([index for index, _ in kept]), np.array([duration for _, duration in kept])
    songs.add(name, digest, chords, lengths, emotion)


def _name(source: object, number: int) -> str:
    """Return the name of an entry, safe to show.

    Raises:
        DataError: the source is not text, is too long, or is not valid Unicode.
    """
    name = f"song {number}"
    if source is None or source == "":
        return name
    if not isinstance(source, str):
        raise DataError("its source is not text", where=name)
    if len(source) > _MAX_NAME:
        raise DataError(f"its source is longer than {_MAX_NAME} characters", where=name)
    if any("\ud800" <= character <= "\udfff" for character in source):
        raise DataError("its source has half of a surrogate pair", where=printable(source))
    return printable(source)


def _parse_or_count(symbol: str, rejected: Counter[str]) -> int | None:
    try:
        return parse_chord(symbol)
    except DataError:
        shown = symbol if len(symbol) <= _SHOWN_SYMBOL else f"{symbol[:_SHOWN_SYMBOL]}…"
        rejected[printable(shown)] += 1
        return None


def _durations(durations: object, count: int, name: str) -> list[float]:
    if durations is None:
        return [1.0] * count
    if not isinstance(durations, list) or len(durations) != count:
        raise DataError("durations must be a list with one number per chord", where=name)
    numbers = [number for number in map(finite_number, durations) if number is not None]
    if len(numbers) != count or not all(_MIN_DURATION <= number <= _MAX_DURATION for number in numbers):
        raise DataError(f"durations must be numbers from {_MIN_DURATION:g} to {_MAX_DURATION:g}", where=name)
    return numbers


def _known_affect(song: dict[str, Any], name: str) -> tuple[ValenceArousal, str]:
    if "emotion" in song:
        return parse_affect(song["emotion"], name), "sidecar"
    if "4Q" in song:
        quadrant = finite_number(song["4Q"])
        if quadrant not in QUADRANT_AFFECT:
            raise DataError("4Q is not 1, 2, 3 or 4", where=name)
        return QUADRANT_AFFECT[int(quadrant)], "human_quadrant"
    return (float("nan"), float("nan")), "imputed"
