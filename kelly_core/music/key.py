"""Tonality, and the note features from which a file's emotion is estimated."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Doubles
from kelly_core.errors import DataError
from kelly_core.music.notes import Notes

NOTE_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
"""Names of the pitch classes 0..11 as roots and tonics."""
MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
"""Semitones above the tonic; as pitch classes those of C major and A minor."""
MAX_SECONDS = 2.0
"""Maximum duration of a note in seconds; longer notes are sustained, or lack a note-off event."""

_MAJOR = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
_MINOR = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)


def _standardized_profiles() -> Doubles:
    """Return both key profiles on all twelve tonics, [24, 12], major first, each with mean 0 and norm 1."""
    turned = np.array([np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)])
    centered = turned - turned.mean(axis=1, keepdims=True)
    profiles: Doubles = centered / np.linalg.norm(centered, axis=1, keepdims=True)
    return profiles


_PROFILES = _standardized_profiles()


class Tonality(NamedTuple):
    """Correlation of a pitch-class histogram with the keys.

    Attributes:
        m: best correlation with a major key minus the best with a minor key; above 0 for major.
        kappa: the better of the two correlations, a measure of key clarity.
        tonic: pitch class of the best key's tonic, 0 = C.
        mode: mode of the best key.
    """

    m: float
    kappa: float
    tonic: int
    mode: Literal["major", "minor"]


class AffectFeatures(NamedTuple):
    """Note features for the emotion estimate; rows of these form the table for ``emotion.AffectEstimator``.

    Attributes:
        d: log2 of notes per second and track.
        w: mean velocity / 127.
        g: trust in the velocities, 0 (all alike) to 1: min(1, (sd of velocity / 127) / .06)².
        m, kappa: as in ``Tonality``.
    """

    d: float
    w: float
    g: float
    m: float
    kappa: float


def pitch_class_histogram(pitch: ArrayLike, duration: ArrayLike) -> Doubles:
    """Return the seconds that each of the twelve pitch classes sounds; a note [n] counts for at most 2 s."""
    seconds = np.minimum(np.asarray(duration, np.float64), MAX_SECONDS)
    return np.bincount(np.asarray(pitch) % 12, seconds, 12).astype(np.float64)


def tonality(histogram: ArrayLike, tonic: int | None = None) -> Tonality:
    """Find the key whose Temperley-Kostka-Payne profile correlates best with a pitch-class histogram [12].

    A flat histogram has correlation 0 with every key, and the result is C major. With a given tonic, only its major and
    its minor key are compared.
    """
    weights = np.asarray(histogram, np.float64)
    centered = weights - weights.mean()
    length = np.linalg.norm(centered)
    # A flat histogram differs from its mean only by rounding errors; dividing by them would choose a random key.
    fit = _PROFILES @ (centered / length) if length > 1e-9 * weights.sum() else np.zeros(len(_PROFILES))
    if tonic is not None:
        fit[np.arange(len(fit)) % 12 != tonic] = -np.inf
    major, minor = float(fit[:12].max()), float(fit[12:].max())
    return Tonality(major - minor, max(major, minor), int(fit.argmax()) % 12, "major" if major >= minor else "minor")


def tonality_of(notes: Notes) -> Tonality:
    """Return the tonality of pitched notes, weighted by their durations."""
    return tonality(pitch_class_histogram(notes.pitch, notes.duration))


def semitones_to_c(key: Tonality) -> int:
    """Return the transposition, -6..+5 semitones, from a key to C major or A minor."""
    home = 0 if key.mode == "major" else 9
    return int(nearest_transposition(home - key.tonic))


def nearest_transposition(semitones: ArrayLike) -> Doubles:
    """Return the transpositions, -6..+5 semitones, that lead to the same keys as ``semitones`` [...]."""
    # A tritone up and a tritone down lead to the same keys; the downward one is used.
    return (np.asarray(semitones, np.float64) + 6) % 12 - 6


def affect_features(notes: Notes) -> AffectFeatures:
    """Compute the features of one file; drums are ignored.

    Notes per second are averaged over tracks, because more tracks do not mean higher arousal: the number of notes is
    divided by the time from the first onset to the last release (at least 1 s) and by the number of tracks with notes.

    Raises:
        DataError: there is no pitched note.
    """
    pitched = notes.pitched()
    if len(pitched) == 0:
        raise DataError("there are no notes other than drums")
    seconds = max(1.0, float((pitched.onset + pitched.duration).max() - pitched.onset.min()))
    tracks = len(np.unique(pitched.track))
    # Files with constant velocities were entered, not played: their loudness has little relation to arousal.
    trust = min(1.0, float(np.std(pitched.velocity)) / 127 / 0.06) ** 2
    key = tonality_of(pitched)
    density = float(np.log2(len(pitched) / (seconds * tracks)))
    return AffectFeatures(density, float(np.mean(pitched.velocity)) / 127, trust, key.m, key.kappa)
