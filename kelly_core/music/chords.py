"""Chord classes: five qualities on twelve roots, three diminished sets, no chord."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.errors import DataError
from kelly_core.music.key import NOTE_NAMES, Tonality, tonality
from kelly_core.music.notes import Notes

CLASSES = 64
NO_CHORD = 63

_SUFFIXES = ("", "m", "7", "maj7", "m7")
_MAJOR, _MINOR, _DOMINANT, _MAJOR7, _MINOR7, _DIMINISHED = range(6)
_FIRST_DIMINISHED = 12 * _DIMINISHED

CHORD_NAMES: tuple[str, ...] = (
    *(root + suffix for suffix in _SUFFIXES for root in NOTE_NAMES),
    *(root + "dim7" for root in NOTE_NAMES[:3]),
    "N",
)
"""A symbol for each class, which ``parse_chord`` reads as that class; a diminished set is named by its lowest root."""

CHORD_BEATS = 2.0
"""Beats whose notes are treated as one chord, half a bar of 4/4."""
_MAX_BEATS = 64.0
"""Maximum duration of a note in beats; a longer note is cut off, as it probably lacks a note-off event."""
_MIN_BEATS = 1e-6
_INTERVALS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 4, 7, 11), (0, 3, 7, 10))


def _chord_tones() -> Doubles:
    tones = np.zeros((CLASSES, 12))
    for quality, intervals in enumerate(_INTERVALS):
        for root in range(12):
            tones[12 * quality + root, np.add(root, intervals) % 12] = 1
    for root in range(3):
        tones[_FIRST_DIMINISHED + root, root::3] = 1
    return tones


CHORD_TONES = _chord_tones()
"""Pitch classes of each chord class, [64, 12]: 1 or 0; all 0 for no chord."""


def chord_class(root: int, tones: Collection[int]) -> int:
    """Return the class of a chord: 12·quality + root, 60 + root mod 3 for diminished chords.

    A chord with a minor third and without a major third is of the minor family: diminished if there is a flat fifth and
    no perfect one, else minor with a major seventh, min7 with a minor seventh, otherwise minor. All other chords,
    including those without a third, are of the major family: maj7 with a major seventh, 7 with a minor seventh,
    otherwise major.

    Args:
        root: pitch class of the root, 0 = C.
        tones: intervals above the root in semitones, 0..11.
    """
    minor = 3 in tones and 4 not in tones
    if minor and 6 in tones and 7 not in tones:
        return _FIRST_DIMINISHED + root % 3
    if 11 in tones:
        quality = _MINOR if minor else _MAJOR7
    elif 10 in tones:
        quality = _MINOR7 if minor else _DOMINANT
    else:
        quality = _MINOR if minor else _MAJOR
    return 12 * quality + root


def transpose_chords(index: ArrayLike, semitones: int) -> Indices:
    """Transpose classes [...] up by ``semitones``; the class "no chord" is unchanged."""
    index = np.asarray(index, np.intp)
    turned = index - index % 12 + (index + semitones) % 12
    diminished = _FIRST_DIMINISHED + (index + semitones) % 3
    return np.where(index < _FIRST_DIMINISHED, turned, np.where(index < NO_CHORD, diminished, NO_CHORD))


def progression_key(indices: ArrayLike, durations: ArrayLike | None = None) -> Tonality:
    """Return the tonality of a progression from its chord tones, weighted by duration (any unit; None: equal
    weights).
    """
    return tonality(_class_durations(indices, durations) @ CHORD_TONES)


def chord_distribution(indices: ArrayLike, durations: ArrayLike | None = None) -> Floats:
    """Return the share of time [64] of each class in a progression [n], n ≥ 1; without durations, the share of chords.

    Raises:
        DataError: the sum of the durations is 0 or not finite.
    """
    total = _class_durations(indices, durations)
    if not 0 < total.sum() < np.inf:
        raise DataError("the progression is empty, or its durations have no finite sum")
    share: Floats = (total / total.sum()).astype(np.float32)
    return share


def estimate_chords(notes: Notes, shift: int = 0) -> Indices:
    """Return the class of the chord in each two beats of some pitched notes [n], n ≥ 1.

    The tones of this class have the largest cosine similarity with the durations of the pitch classes; silence has no
    chord.

    Args:
        notes: without drums.
        shift: semitones to transpose by.
    """
    start = notes.onset_beats
    end = start + np.minimum(notes.duration_beats, _MAX_BEATS)
    edges = np.arange(np.floor(start.min() / CHORD_BEATS), np.ceil(end.max() / CHORD_BEATS) + 1) * CHORD_BEATS
    sounding = np.zeros((len(edges) - 1, 12))
    for pitch_class in range(12):
        own = (notes.pitch + shift) % 12 == pitch_class
        sounding[:, pitch_class] = np.diff(_time_since(edges, start[own]) - _time_since(edges, end[own]))
    # Differences of running sums leave rounding errors where nothing sounds.
    sounding = np.where(sounding > _MIN_BEATS, sounding, 0.0)
    size = np.linalg.norm(CHORD_TONES, axis=1)
    # The class without a chord has no tones, so its norm is 0.
    fit = sounding @ (CHORD_TONES / np.maximum(size, 1)[:, np.newaxis]).T
    return np.where(sounding.any(axis=1), fit.argmax(axis=1), NO_CHORD)


def _time_since(moments: Doubles, times: Doubles) -> Doubles:
    """Return for each moment the sum of the time that has passed since each of the earlier ``times``."""
    ordered = np.sort(times)
    over = np.searchsorted(ordered, moments)
    passed: Doubles = over * moments - np.concatenate([[0.0], np.cumsum(ordered)])[over]
    return passed


def minor_share(indices: ArrayLike, durations: ArrayLike | None = None) -> float:
    """Return the share of the time with a chord in which it is minor or min7; 0 if there is no chord."""
    total = _class_durations(indices, durations)[:NO_CHORD]
    minor = total[12 * _MINOR : 12 * _DOMINANT].sum() + total[12 * _MINOR7 : _FIRST_DIMINISHED].sum()
    return float(minor / total.sum()) if total.sum() > 0 else 0.0


def _class_durations(indices: ArrayLike, durations: ArrayLike | None) -> Doubles:
    weights = np.ones(np.shape(indices)) if durations is None else np.asarray(durations, np.float64)
    return np.bincount(np.asarray(indices, np.intp), weights, CLASSES).astype(np.float64)
