"""A progression drawn bar by bar from the chord distributions of HarmonyPredictor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kelly_core.composition.score import PHRASE_BARS
from kelly_core.music.chords import CLASSES, NO_CHORD

Doubles = NDArray[np.float64]
Mode = Literal["major", "minor"]

TEMPERATURE = 0.7
"""Exponent 1 / .7 on the probabilities: likely chords more likely, so that the tail of 64 classes stays a spice."""

HOME: dict[Mode, int] = {"major": 0, "minor": 21}
"""The tonic triad: C, or Am in the frame where minor keys are A minor."""

_DOMINANTS: dict[Mode, tuple[int, ...]] = {"major": (7, 31), "minor": (4, 28, 16, 7)}
_REPEATED = 0.4
_ROOT_MOTION = (1.0, 0.7, 1.2, 1.1, 1.1, 1.6, 0.5, 1.3, 1.1, 1.1, 1.2, 0.7)
"""By semitones upwards from root to root: a falling fifth (5) moves best, a tritone (6) worst."""
_PHRASE_START, _BEFORE_LAST, _LAST = 2.0, 3.0, 50.0


def draw_progression(
    distributions: NDArray[np.floating], valence: Sequence[float], rng: np.random.Generator
) -> list[int]:
    """Draw the class of each bar's chord.

    A class's chance is its probability to the power of 1 / ``TEMPERATURE``, times a rule of a factor between .4 and
    1.6 for the step from the chord before. The tonic is favoured where a phrase begins (2), the dominant in the bar
    before the last (3), and the tonic in the last (50); they are those of C major where valence is above 0, of A minor
    where it is below. A class of probability 0 is never drawn.

    Args:
        distributions: [bars, 64], not negative, rows that sum to more than 0.
        valence: of each bar.
        rng: one draw a bar is taken from it.
    """
    draws = rng.random(len(distributions))
    progression: list[int] = []
    for bar, (distribution, draw) in enumerate(zip(distributions, draws, strict=True)):
        weights = (distribution / distribution.max()).astype(np.float64) ** (1 / TEMPERATURE)
        weights *= _step_factors(progression)
        weights *= _place_factors(bar, len(distributions), mode_of(valence[bar]))
        progression.append(draw_index(weights, float(draw)))
    return progression


def mode_of(valence: float) -> Mode:
    """Major for a valence of 0 or above, minor below."""
    return "major" if valence >= 0 else "minor"


def draw_index(weights: Doubles, draw: float) -> int:
    """The index at which the cumulative share of ``weights`` [n] passes ``draw``, 0..1 exclusive."""
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))


def _step_factors(progression: Sequence[int]) -> Doubles:
    factors = np.ones(CLASSES)
    if not progression or progression[-1] == NO_CHORD:
        return factors
    before = progression[-1]
    classes = np.arange(NO_CHORD)
    factors[:NO_CHORD] = np.take(_ROOT_MOTION, (classes - before) % 12)
    factors[before] = _REPEATED
    return factors


def _place_factors(bar: int, bars: int, mode: Mode) -> Doubles:
    factors = np.ones(CLASSES)
    if bar == bars - 1:
        factors[HOME[mode]] = _LAST
    elif bar == bars - 2:
        factors[list(_DOMINANTS[mode])] = _BEFORE_LAST
    elif bar % PHRASE_BARS == 0:
        factors[HOME[mode]] = _PHRASE_START
    return factors
