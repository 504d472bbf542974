"""Musical context: properties of music other than its emotion, the last eight numbers of the emotion code.

Each descriptor has one scale for all corpora and all models: its quantiles over real music are constants of this
module. They are not quantiles of each training corpus, because one code is the input of four networks that are trained
on different corpora, a host computes the code without any corpus, and the code must be the same on all machines.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Doubles, Floats
from kelly_core.errors import ConfigError, did_you_mean
from kelly_core.music.emotion import CODE_SIZE, CONTEXT, CONTEXT_SIZE
from kelly_core.music.key import MAX_SECONDS, tonality_of
from kelly_core.music.notes import DEFAULT_BPM, Notes

LIMIT = 0.9
"""Largest magnitude of a descriptor: two standard deviations from the median."""
SPREAD = 0.45
"""Standard deviation of a descriptor over the music that its scale was measured on."""
UNKNOWN_EXAMPLES, UNKNOWN_DESCRIPTORS = 0.3, 0.3
"""Share of training examples without any context, and share of unknown descriptors in the others."""
MIN_RELIABILITY = 0.4
"""Smallest squared correlation of a noisy descriptor with the true one."""
MEAN_FRAMES = 30
"""Frames over which the chain averages a context estimated from audio: 15 s, as long as a window of the dynamics."""

_SCORES = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
_CHORD_SECONDS = 0.05


@dataclass(frozen=True)
class Descriptor:
    """One number of the musical context.

    Attributes:
        name: name in options and metadata.
        unit: unit of its measure.
        meaning: definition of the measure of notes.
        quantiles: measure at -2, -1, 0, 1 and 2 standard scores, in ascending order.
        audio_quantiles: quantiles of the corresponding measure of audio; empty if audio does not determine it.
        agreement: correlation of the two measures.
    """

    name: str
    unit: str
    meaning: str
    quantiles: tuple[float, float, float, float, float]
    audio_quantiles: tuple[float, ...] = ()
    agreement: float = 0.0

    def encode(self, measure: ArrayLike) -> Doubles:
        """Return the descriptor for measures [...]: .45 times the standard score by rank, within ±.9; 0 for NaN."""
        return _scaled(measure, self.quantiles)

    def decode(self, value: float) -> float:
        """Return the measure that a descriptor represents; the median for an unknown descriptor."""
        return float(np.interp(value / SPREAD, _SCORES, self.quantiles))


# Means of the quantiles of three corpora: 292 songs (POP909 and game music), 70 performances of MAESTRO, 990 clips of
# EMOPIA. Tempo: the songs and Groove MIDI. Audio: ten recordings of DEAM, forty rendered clips of EMOPIA and 33
# excerpts of the songs, rendered by ``demo.synth``.
DESCRIPTORS: tuple[Descriptor, ...] = (
    Descriptor(
        "register",
        "MIDI pitch",
        "mean pitch of the melody in C major or A minor, weighted by duration",
        (57.0, 64.0, 70.0, 77.0, 83.0),
        (54.0, 60.0, 67.0, 74.0, 79.0),
        0.6,
    ),
    Descriptor(
        "density",
        "notes/s",
        "note onsets per second, chords counted once",
        (2.1, 3.2, 4.2, 5.5, 7.0),
        (1.6, 2.5, 3.5, 4.5, 6.0),
        0.85,
    ),
    # The level of a recording depends more on its mastering than on how loudly it was played.
    Descriptor("loudness", "velocity", "mean velocity", (49.0, 59.0, 74.0, 88.0, 92.0)),
    Descriptor("tempo", "bpm", "quarter notes per minute", (60.0, 76.0, 96.0, 127.0, 150.0)),
    Descriptor(
        "mode",
        "correlation",
        "best correlation with a major key less the best with a minor key",
        (-0.3, -0.17, 0.12, 0.33, 0.4),
    ),
)
"""The descriptors in the order of the code: number i is e[56 + i]. The remaining entries are 0."""

NAMES = tuple(descriptor.name for descriptor in DESCRIPTORS)
AUDIO_DESCRIPTORS = tuple(descriptor.name for descriptor in DESCRIPTORS if descriptor.audio_quantiles)
"""Descriptors that can be measured in audio."""
_REGISTER = NAMES.index("register")


def context_metadata() -> list[dict[str, object]]:
    """Return the entry ``context`` of an export's features: what each number means, and its scale."""
    return [
        {
            "index": CONTEXT.start + number,
            "name": each.name,
            "unit": each.unit,
            "meaning": each.meaning,
            "quantiles": list(each.quantiles),
        }
        for number, each in enumerate(DESCRIPTORS)
    ]


def encode_context(measures: Mapping[str, ArrayLike]) -> Floats:
    """Return the context [..., 8] for measures by name; a descriptor without a measure, or with NaN, is unknown and 0.

    Raises:
        ConfigError: a key is not the name of a descriptor.
    """
    for name in measures:
        if name not in NAMES:
            hint = did_you_mean(name, NAMES, f"The descriptors are {', '.join(NAMES)}")
            raise ConfigError(f"no descriptor of the musical context is called {name!r}", hint=hint)
    known = {name: np.asarray(values, np.float64) for name, values in measures.items()}
    shape = np.broadcast_shapes(*(values.shape for values in known.values()))
    context = np.zeros((*shape, CONTEXT_SIZE), np.float32)
    for number, descriptor in enumerate(DESCRIPTORS):
        if descriptor.name in known:
            context[..., number] = descriptor.encode(known[descriptor.name])
    return context


def note_measures(notes: Notes, melody: Notes, shift: int) -> dict[str, float]:
    """Measure the descriptors of a piece from its notes; NaN where the notes do not determine one.

    Args:
        notes: of the piece, with or without drums.
        melody: the notes of the melody; empty if there is none.
        shift: semitones from its key to C major or A minor.
    """
    pitched = notes.pitched()
    seconds = max(1.0, float(np.ptp(pitched.onset)))
    key = tonality_of(pitched)
    return {
        "register": mean_pitch(melody) + shift,
        "density": onset_count(pitched.onset) / seconds,
        "loudness": float(np.mean(pitched.velocity)),
        "tempo": known_tempo(notes),
        "mode": key.m,
    }


def mean_pitch(notes: Notes) -> float:
    """Return the mean pitch of notes, weighted by duration up to 2 s; NaN for no notes."""
    if not len(notes):
        return float("nan")
    return float(np.average(notes.pitch, weights=np.clip(notes.duration, 1e-3, MAX_SECONDS)))


def onset_count(onset: Doubles) -> int:
    """Return the number of ascending onsets [n] that are more than 50 ms after the previous one."""
    return int(np.count_nonzero(np.diff(onset) > _CHORD_SECONDS)) + 1


def known_tempo(notes: Notes) -> float:
    """Return the tempo in bpm; NaN for MIDI's default of 120, which recordings without a beat have."""
    return float("nan") if notes.bpm == DEFAULT_BPM else notes.bpm


def context_from_audio(measures: ArrayLike) -> Floats:
    """Return the expected context [n, 8] of the notes of recordings, given ``audio_analysis.audio_measures`` [n, 2];
    descriptors that cannot be measured in audio are 0.

    Each other descriptor is its expectation: the audio descriptor times the agreement of the two measures.
    """
    table = np.asarray(measures, np.float64)
    context = np.zeros((len(table), CONTEXT_SIZE), np.float32)
    for column, name in enumerate(AUDIO_DESCRIPTORS):
        number = NAMES.index(name)
        descriptor = DESCRIPTORS[number]
        context[:, number] = descriptor.agreement * _scaled(table[:, column], descriptor.audio_quantiles)
    return context


class ContextMean:
    """Running mean of the musical context in the codes of a recognizer; its state is kept until ``reset``.

    A context describes a piece: the recognizer is trained on the mean of its outputs, and the other models on constant
    contexts. The mean is that of all frames up to 30, and later m += (x - m) / 30, so that it adapts to another piece.
    Only the register reaches the other models: a density estimated from audio makes melodies worse.

    Attributes:
        mean: [8], mean of each descriptor.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Discard all frames."""
        self._frames = 0
        self.mean = np.zeros(CONTEXT_SIZE, np.float32)

    def process(self, codes: Floats) -> Floats:
        """Return codes [64], or [T, 64] in sequence, with the mean of the registers so far as the only known
        descriptor."""
        averaged = np.array(codes, np.float32)
        # The rows are views of the copy: writing to a context changes ``averaged``.
        for context in averaged.reshape(-1, CODE_SIZE)[:, CONTEXT]:
            self._frames = min(self._frames + 1, MEAN_FRAMES)
            self.mean += (context - self.mean) / np.float32(self._frames)
            context[:] = 0
            context[_REGISTER] = self.mean[_REGISTER]
        return averaged


def noisy_context(context: Floats, rng: np.random.Generator) -> Floats:
    """Return contexts [n, 8] as a recognizer estimates them: some unknown, the others noisy and shrunk to the mean.

    A descriptor of reliability q is q · x + N(0, q (1 - q) · .45²), with q ~ U(.4, 1). It equals the expectation of x
    given the descriptor, like the outputs of a network that is trained on the squared error.
    """
    shape = context.shape
    known = (rng.random((len(context), 1)) >= UNKNOWN_EXAMPLES) & (rng.random(shape) >= UNKNOWN_DESCRIPTORS)
    reliability = rng.uniform(MIN_RELIABILITY, 1.0, shape)
    noise = SPREAD * np.sqrt(reliability * (1 - reliability)) * rng.standard_normal(shape)
    noisy = np.clip(reliability * context + noise, -LIMIT, LIMIT)
    return np.where(known & (context != 0), noisy, 0.0).astype(np.float32)


def _scaled(measure: ArrayLike, quantiles: tuple[float, ...]) -> Doubles:
    values = np.asarray(measure, np.float64)
    scores = np.interp(values, quantiles, _SCORES)
    return np.where(np.isnan(values), 0.0, SPREAD * scores)
