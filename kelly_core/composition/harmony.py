"""A chord progression sampled bar by bar from the harmony model's distributions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kelly_core.composition.score import PHRASE_BARS
from kelly_core.music.chords import CLASSES, NO_CHORD

Doubles = NDArray[np.float64]
Mode = Literal["major", "minor"]

TEMPERATURE = 0.7
"""Exponent 1 / .7 on the probabilities, which favors likely chords and damps the tail of the 64 classes."""

HOME: dict[Mode, int] = {"major": 0, "minor": 21}
"""The tonic triad: C, or Am in the frame where minor keys are A minor."""

_DOMINANTS: dict[Mode, tuple[int, ...]] = {"major": (7, 31), "minor": (4, 28, 16, 7)}
_REPETITION = 0.4
_ROOT_MOTION = (1.0, 0.7, 1.2, 1.1, 1.1, 1.6, 0.5, 1.3, 1.1, 1.1, 1.2, 0.7)
"""Weight by semitones from root to root, upwards: a falling fifth (5) is best, a tritone (6) worst."""
_PHRASE_START, _BEFORE_LAST, _LAST = 2.0, 3.0, 50.0
_ROUNDS = 20
"""Iterations of Sinkhorn's scaling; after 20 the shares are right within .001, as the weights are within a factor
of 4.
"""


def _preferences() -> Doubles:
    """Return the transition weights between classes, [64, 64]."""
    classes = np.arange(CLASSES)
    steps = np.take(_ROOT_MOTION, (classes - classes[:, np.newaxis]) % 12)
    steps[NO_CHORD] = steps[:, NO_CHORD] = 1.0
    steps[classes, classes] = _REPETITION
    return steps


_PREFERENCES = _preferences()


def draw_progression(
    distributions: NDArray[np.floating], valence: Sequence[float], rng: np.random.Generator
) -> list[int]:
    """Draw the class of each bar's chord.

    Each bar has its target shares: the probabilities to the power of 1 / ``TEMPERATURE``, with the tonic favoured where
    a phrase begins (factor 2), the dominant in the bar before the last (3), and the tonic in the last (50); they are
    those of C major where valence is 0 or above, of A minor where it is below.

    The chord before matters, without a change of these shares: of all ways to pair the shares of one bar with those of
    the next, steps are drawn from the one nearest to a table of preferences (falling fifths, few repetitions). It is
    found by Sinkhorn's scaling of the table to the two shares (Sinkhorn & Knopp, 1967). A class of probability 0 is
    never drawn.

    Args:
        distributions: [bars, 64], not negative, rows that sum to more than 0.
        valence: of each bar.
        rng: one draw a bar is taken from it.
    """
    draws = rng.random(len(distributions)).tolist()
    shares = [_shares(row, mode_of(valence[bar]), bar, len(draws)) for bar, row in enumerate(distributions)]
    progression = [draw_index(shares[0], draws[0])]
    for (before, after), draw in zip(pairwise(shares), draws[1:], strict=True):
        weights = _PREFERENCES[progression[-1]] * _scaling(before, after)
        progression.append(draw_index(weights, draw))
    return progression


def _shares(distribution: NDArray[np.floating], mode: Mode, bar: int, bars: int) -> Doubles:
    weights = (distribution / distribution.max()).astype(np.float64) ** (1 / TEMPERATURE)
    if bar == bars - 1:
        weights[HOME[mode]] *= _LAST
    elif bar == bars - 2:
        weights[list(_DOMINANTS[mode])] *= _BEFORE_LAST
    elif bar % PHRASE_BARS == 0:
        weights[HOME[mode]] *= _PHRASE_START
    shares: Doubles = weights / weights.sum()
    return shares


def _scaling(before: Doubles, after: Doubles) -> Doubles:
    """Return factors [64] on the columns of the weights that map the shares ``before`` to those ``after``."""
    columns = after
    for _ in range(_ROUNDS):
        rows = before / (_PREFERENCES @ columns)
        columns = after / (rows @ _PREFERENCES)
    return columns


def mode_of(valence: float) -> Mode:
    """Return major for a valence of 0 or above, else minor."""
    return "major" if valence >= 0 else "minor"


def draw_index(weights: Doubles, draw: float) -> int:
    """Return the index at which the cumulative share of ``weights`` [n] passes ``draw``, 0..1 exclusive."""
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))
