"""Demo corpus in the five real layouts, made by rules that the models can learn.

Every song has an emotion and is in all five corpora: as a recording, as a MIDI file of four parts, as a progression, as
a piano performance, as a drum recording. The composer makes it from the outputs of an ideal chain, which follow valence
and arousal by ``RULES``. ``MADE_BY_RULES.md`` in each corpus states that it is not real music.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kelly_core.arrays import Doubles, Floats
from kelly_core.chain import ChainOutput
from kelly_core.composition.composer import compose
from kelly_core.composition.score import Part, Score, midi_bytes
from kelly_core.corpora import RULES_FILE
from kelly_core.data.label_tables import SIDECAR
from kelly_core.data.splits import TRAIN, VALIDATION
from kelly_core.demo import DEFAULT_SONGS
from kelly_core.demo.synth import wav_bytes
from kelly_core.errors import DataError
from kelly_core.io.atomic import atomic_write_all
from kelly_core.music.chord_symbols import parse_chord
from kelly_core.music.chords import CHORD_NAMES, CLASSES
from kelly_core.music.dynamics import PARAMETER_NAMES
from kelly_core.music.emotion import decode_affect, encode_affect
from kelly_core.music.groove import POSITIONS
from kelly_core.music.melody import PITCHES
from kelly_core.parallel.executor import map_ordered
from kelly_core.spec import CHAIN_MODELS

RULES = """\
- Emotion: the songs are spread evenly over valence v and arousal a, both within -0.85..0.85. A song has the same
  emotion in all five corpora.
- Tempo: 105 · 2^(0.75 a) beats a minute.
- Balance b: 1 where v and a are both moderate or both extreme, -1 where only one of them is. b = cos(π v / 0.85)
  cos(π a / 0.85). No polynomial of degree three, one of the baselines, can follow it.
- Chords: shares (1 + v) / 2 of the triads of a major key, (1 - v) / 2 of those of a minor key; a share of (1 + b) / 2
  of the triads becomes seventh chords.
- Melody: notes of the major and the minor pentatonic scale in the same shares, around pitch 67 + 8 a + 10 b.
- Dynamics: with a, loudness, its deviation and density rise; with b, accents and staccato rise, and length of notes,
  pedal and spread of chords fall.
- Groove: sixteenths between the eighths are late (swing) with v and b; eighths between the beats are early with b. With
  b, accents of these eighths get weaker and those of the sixteenths stronger.
- Sound: louder by 10 dB a unit of a, and brighter: partial k has amplitude k^-(2.2 - 1.2 a). A wah, a resonance at
  1 kHz, opens and closes in turn, each for one to three seconds, by ±9 (1 + v) dB. It is open as long as it is closed
  on average for every v, so the mean spectrum of a song carries little information about its valence. A recording
  is eight seconds from a random place of the song.
"""

_HARMONY = next(spec for spec in CHAIN_MODELS if spec.dataset == "chords")
_GROOVE = next(spec for spec in CHAIN_MODELS if spec.dataset == "groove_midi")

CONFIG_FILE = "config.toml"
CONFIG_TEXT = f"""\
# Settings for a short training on the demo corpora: kelly-core train --config config.toml --datasets-dir .

[training]
epochs = 32
batch_size = 8            # the corpora are small: larger batches leave too few steps an epoch
learning_rate = 0.002
validation_split = 0.33   # enough songs to choose the epoch and to judge

[models.{_HARMONY.name}]
learning_rate = 0.001
epochs = 60
patience = 0              # it makes no progress for many epochs before it finds how chords follow emotion

[models.{_GROOVE.name}]
learning_rate = 0.002     # instead of the model's own rate for real recordings
epochs = 40

[datasets.deam]
duration = 8.0            # length of the recordings in seconds
"""

MIN_SONGS = 8
BARS = 16
CLIP_SECONDS = 8.0

_REACH = 0.85
_PLASTIC = (0.7548776662466927, 0.5698402909980532)
"""Steps of the sequence that spreads points most evenly over a square, 1/p and 1/p² with p³ = p + 1."""
_VALIDATION_EVERY = 3
_MAJOR_CHORDS = {"C": 32, "F": 20, "G": 26, "Am": 10, "Dm": 8, "Em": 4}
_MINOR_CHORDS = {"Am": 36, "Dm": 20, "Em": 22, "F": 12, "C": 6, "G": 4}
_SEVENTHS = {"C": "Cmaj7", "F": "Fmaj7", "G": "G7", "Am": "Am7", "Dm": "Dm7", "Em": "Em7"}
_MAJOR_SCALE = {0: 10, 2: 7, 4: 9, 7: 9, 9: 6, 5: 2, 11: 2}
_MINOR_SCALE = {9: 10, 0: 8, 2: 7, 4: 8, 7: 5, 5: 2, 11: 2}
_SOUNDING_PITCHES = 2.0


class Song(NamedTuple):
    """One song of the demo corpus: its number, emotion and score, and its data in each corpus."""

    number: int
    valence: float
    arousal: float
    score: Score
    recording: bytes
    parts_midi: bytes
    piano_midi: bytes
    drums_midi: bytes

    @property
    def name(self) -> str:
        """Stem of its files."""
        return f"demo_{self.number:03d}"

    @property
    def split(self) -> str:
        """Split in the corpora that have an official split."""
        return VALIDATION if self.number % _VALIDATION_EVERY == 0 else TRAIN

    @property
    def emotion(self) -> dict[str, float]:
        """Emotion in the format of the label files."""
        return {"valence": round(self.valence, 4), "arousal": round(self.arousal, 4)}


def write_demo(root: Path, *, songs: int = DEFAULT_SONGS, seed: int = 0, jobs: int = 1) -> dict[str, int]:
    """Write the demo corpus.

    Args:
        root: folder that gets the five corpora, a README.md with the rules and a config.toml to train with; created if
            missing.
        songs: number of songs, at least ``MIN_SONGS``.
        seed: equal seeds give equal bytes; different seeds give different songs.
        jobs: processes that make the songs (0 = one per core).

    Returns:
        Bytes written by corpus.

    Raises:
        DataError: too few songs, or one of the corpora already exists, or a file cannot be written.
    """
    if songs < MIN_SONGS:
        raise DataError(f"{songs} songs are too few to train and to validate", hint=f"At least {MIN_SONGS} are needed")
    for name in (spec.dataset for spec in CHAIN_MODELS):
        if (root / name).exists():
            hint = "Choose another folder, or remove it first"
            raise DataError("already exists, and a demo must not mix with it", where=root / name, hint=hint)
    written = list(map_ordered(partial(_song, seed=seed), range(1, songs + 1), jobs=jobs))
    contents = {
        "deam": _deam(written),
        "lakh_midi": _lakh(written),
        "chords": _chords(written),
        "maestro": _maestro(written),
        "groove_midi": _groove_midi(written),
    }
    for files in contents.values():
        files[RULES_FILE] = corpus_text().encode()
    for name, files in contents.items():
        atomic_write_all({root / name / path: content for path, content in files.items()}, error_type=DataError)
    guides = {"README.md": readme_text(), CONFIG_FILE: CONFIG_TEXT}
    atomic_write_all({root / name: text.encode() for name, text in guides.items()}, error_type=DataError)
    return {name: sum(map(len, files.values())) for name, files in contents.items()}


def ideal_output(valence: float, arousal: float, frames: int = 1) -> ChainOutput:
    """Return the outputs of a chain that follows the demo's rules exactly, for T frames of one emotion."""
    rows = (
        encode_affect(valence, arousal),
        _melody(valence, arousal),
        _chord_shares(valence, arousal),
        _dynamics(valence, arousal),
        _groove(valence, arousal),
    )
    code, melody, chords, dynamics, groove = (np.tile(row, (frames, 1)) for row in rows)
    return ChainOutput(code, decode_affect(code), melody, chords, dynamics, groove)


def _song(number: int, seed: int) -> Song:
    # One random stream per song, so that the songs do not depend on the number of processes.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    # The same origin for all songs, which keeps their points evenly spread.
    origin = np.random.default_rng(seed).random(2)
    valence, arousal = (_REACH * (2 * ((origin + number * np.array(_PLASTIC)) % 1) - 1)).tolist()
    tonic = int(rng.integers(12))
    score = compose(ideal_output(valence, arousal), bars=BARS, seed=int(rng.integers(2**31)), tonic=tonic)
    return Song(
        number,
        valence,
        arousal,
        score,
        recording=wav_bytes(score, valence, arousal, CLIP_SECONDS, rng),
        parts_midi=midi_bytes(score),
        piano_midi=midi_bytes(_of_parts(score, [_piano(score)])),
        drums_midi=midi_bytes(_of_parts(score, [score.part("Drums")])),
    )


def _melody(valence: float, arousal: float) -> Floats:
    pitch, center = np.arange(PITCHES), 67 + 8 * arousal + 10 * _balance(valence, arousal)
    major, minor = (_weights(scale, 12)[pitch % 12] for scale in (_MAJOR_SCALE, _MINOR_SCALE))
    weights = (1 + valence) / 2 * major + (1 - valence) / 2 * minor
    weights *= np.exp(-0.5 * ((pitch - center) / 4.0) ** 2)
    probabilities: Floats = np.minimum(_SOUNDING_PITCHES * weights / weights.sum(), 0.9).astype(np.float32)
    return probabilities


def _balance(valence: float, arousal: float) -> float:
    """Return 1 if valence and arousal are both moderate or both extreme, -1 if only one is extreme; smooth in between.

    It is orthogonal to polynomials of degree three. These are one of the baselines, which therefore cannot fit it.
    """
    return float(np.prod(np.cos(np.pi / _REACH * np.array([valence, arousal]))))


def _chord_shares(valence: float, arousal: float) -> Floats:
    major, minor = (
        _weights({parse_chord(name): weight for name, weight in chords.items()}, CLASSES)
        for chords in (_MAJOR_CHORDS, _MINOR_CHORDS)
    )
    triads = (1 + valence) / 2 * major + (1 - valence) / 2 * minor
    balance = _balance(valence, arousal)
    shares = (1 - balance) / 2 * triads
    for triad, seventh in _SEVENTHS.items():
        shares[parse_chord(seventh)] = (1 + balance) / 2 * triads[parse_chord(triad)]
    return shares.astype(np.float32)


def _weights(values: dict[int, int], size: int) -> Doubles:
    weights = np.zeros(size)
    weights[list(values)] = list(values.values())
    shares: Doubles = weights / weights.sum()
    return shares


def _dynamics(valence: float, arousal: float) -> Floats:
    v, a, balance = valence, arousal, _balance(valence, arousal)
    parameters = {
        "base velocity": 0.5 + 0.18 * a,
        "velocity range": 0.4 + 0.15 * a,
        "velocity deviation": 0.32 + 0.12 * a,
        "trend": 0.5 + 0.1 * a,
        "arch": 0.6 - 0.05 * a,
        "accent": 0.3 + 0.2 * balance,
        "voicing": 0.64 + 0.06 * v,
        "bass": 0.4 - 0.1 * v,
        "velocity with pitch": 0.62,
        "articulation": 0.42 - 0.18 * balance,
        "staccato share": 0.3 + 0.25 * balance,
        "pedal share": 0.5 - 0.4 * balance,
        "pedal presses": 0.3 + 0.1 * a,
        "chord spread": 0.35 - 0.25 * balance,
        "rubato": 0.2 - 0.1 * a,
        "density": 0.55 + 0.2 * a,
    }
    return np.array([parameters[name] for name in PARAMETER_NAMES], np.float32)


def _groove(valence: float, arousal: float) -> Floats:
    position = np.arange(POSITIONS)
    on_beat, on_eighth = position % 4 == 0, position % 4 == 2
    balance = _balance(valence, arousal)
    timing = np.where(on_beat, 0.0, np.where(on_eighth, -0.4 * balance, 0.3 + 0.15 * (valence + balance)))
    accent = np.where(on_beat, 0.3, np.where(on_eighth, -0.8 * balance, 0.5 * balance))
    return np.concatenate([timing, accent]).astype(np.float32)


Files = dict[str, bytes]
"""Content of each file, by path in the corpus."""


def _deam(songs: Sequence[Song]) -> Files:
    """``audio/<id>.wav`` and the static table, whose scale is 1 to 9 and whose columns begin with a space."""
    files = {f"audio/{song.number}.wav": song.recording for song in songs}
    header = ["song_id", " valence_mean", " valence_std", " arousal_mean", " arousal_std"]
    rows = [[song.number, f"{5 + 4 * song.valence:.3f}", 0.5, f"{5 + 4 * song.arousal:.3f}", 0.5] for song in songs]
    return files | {"annotations/annotations.csv": _table(header, rows)}


def _lakh(songs: Sequence[Song]) -> Files:
    files = {f"{song.number % 16:x}/{song.name}.mid": song.parts_midi for song in songs}
    return files | _sidecar({f"{song.name}.mid": song for song in songs})


def _chords(songs: Sequence[Song]) -> Files:
    entries = [
        {"source": song.name, "chords": [CHORD_NAMES[index] for index in song.score.chords], "emotion": song.emotion}
        for song in songs
    ]
    return {"chord_progressions.json": _json(entries)}


def _maestro(songs: Sequence[Song]) -> Files:
    """Return year folders and the official table; the piano plays all parts but the drums."""
    paths = {f"{2004 + song.number % 10}/{song.name}.midi": song for song in songs}
    files = {path: song.piano_midi for path, song in paths.items()}
    header = ["canonical_composer", "canonical_title", "split", "year", "midi_filename", "audio_filename", "duration"]
    rows = [
        ["Kelly", song.name, song.split, path[:4], path, "", f"{song.score.seconds:.3f}"]
        for path, song in paths.items()
    ]
    return files | {"maestro-v3.0.0.csv": _table(header, rows)} | _sidecar(paths)


def _groove_midi(songs: Sequence[Song]) -> Files:
    """Return drummer and session folders and the official table."""
    paths = {}
    for song in songs:
        bpm = round(song.score.tempos[0][1])
        session = f"drummer{song.number % 3 + 1}/session{song.number % 2 + 1}"
        paths[f"{session}/{song.number}_pop_{bpm}_beat_4-4.mid"] = song
    files = {path: song.drums_midi for path, song in paths.items()}
    header = ["drummer", "session", "id", "style", "bpm", "beat_type", "time_signature"]
    header += ["midi_filename", "audio_filename", "duration", "split"]
    rows = []
    for path, song in paths.items():
        drummer, session, name = path.split("/")
        style, bpm_text, kind, meter = name.removesuffix(".mid").split("_")[1:]
        columns = [drummer, f"{drummer}/{session}", f"{drummer}/{session}/{song.number}", style, bpm_text, kind, meter]
        rows.append([*columns, path, "", f"{song.score.seconds:.3f}", song.split])
    return files | {"info.csv": _table(header, rows)} | _sidecar(paths)


def _piano(score: Score) -> Part:
    """Return melody, chords and bass as one part that two hands can play, with the pedal of the chords."""
    parts = [part for part in score.parts if part.name != "Drums"]
    notes = {(note.tick, note.pitch): note for part in parts for note in part.notes}
    pedal = score.part("Chords").pedal
    return Part("Piano", 0, 0, tuple(sorted(notes.values())), pedal)


def _of_parts(score: Score, parts: Sequence[Part]) -> Score:
    return Score(tuple(parts), score.tempos, score.key, score.chords)


def _sidecar(songs: dict[str, Song]) -> Files:
    return {SIDECAR: _json({name: song.emotion for name, song in songs.items()})}


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1).encode()


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


def corpus_text() -> str:
    """Return the text of the file that marks a corpus as made by rules."""
    return f"""\
# Made by rules

`kelly-core datasets demo` made this corpus. It is not real music. These rules tie it to emotion:

{RULES}
Models learn these rules far better than they learn real music. Figures of models that are trained on this corpus show
that the program works, and nothing about real music. Because this file is here, trainings and exports state it, and
a gain that is implausible for real music is not reported as a leak.
"""


def readme_text() -> str:
    """Return the text of the README.md in the folder of the demo corpora."""
    folders = ", ".join(f"`{spec.dataset}`" for spec in CHAIN_MODELS)
    return f"""\
# Demo corpora

Five corpora, {folders}, in the layouts of the real ones.
All are made by rules, as `{RULES_FILE}` in each of them states.

## Rules

{RULES}
## Next steps

1. Show the corpora: `kelly-core datasets --datasets-dir FOLDER`, where FOLDER is this folder.
2. Train on them: `kelly-core train --config FOLDER/{CONFIG_FILE} --datasets-dir FOLDER --output OUTPUT`.
3. Train on real corpora: `kelly-core datasets` lists where to get each and where to put it.
"""
