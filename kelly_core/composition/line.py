"""A melodic line sampled from weights of its notes and of its intervals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles
from kelly_core.composition.harmony import draw_index

LINE_SPAN = 20
"""Pitches from the lowest to the highest that a line may have; POP909's songs have a range of 15 to 22 semitones."""

_STEP, _LEAP = 2, 5
_INTERVALS = np.array([0.7, 1.0, 1.0, 0.45, 0.4, 0.3, 0.05, 0.25, 0.1, 0.06, 0.05, 0.03, 0.08] + 7 * [0.005])
"""Weight by semitones."""
_FOREIGN_BY_LEAP = 0.55
"""Factor on leaving a note outside the chord by more than a step."""
_UNRESOLVED = 0.5
"""Factor on an interval in the direction of the leap before it."""
_DIRECTIONS = (0, 1, -1)
"""States of a line: no leap before, a leap up, a leap down."""


def _transitions() -> tuple[Doubles, NDArray[np.intp]]:
    """Return weights and states after a move from a state and a pitch to a pitch, both [3, span, span]."""
    pitch = np.arange(LINE_SPAN)
    interval = pitch - pitch[:, np.newaxis]
    direction = np.array(_DIRECTIONS)[:, np.newaxis, np.newaxis]
    weights = np.where(direction * interval > 0, _UNRESOLVED, 1.0) * _INTERVALS[np.abs(interval)]
    leap = np.select([interval >= _LEAP, interval <= -_LEAP], [1, 2], 0)
    states = np.where(interval == 0, np.arange(len(_DIRECTIONS))[:, np.newaxis, np.newaxis], leap)
    return weights, states


_WEIGHTS, _STATES = _transitions()
_BY_STEP = np.abs(np.arange(LINE_SPAN) - np.arange(LINE_SPAN)[:, np.newaxis]) <= _STEP


def draw_line(
    notes: Doubles, foreign: NDArray[np.bool_], draws: Doubles, before: tuple[int, int] | None = None
) -> list[tuple[int, int]]:
    """Draw the pitches of a line with a probability proportional to all weights, those of its later notes included.

    The weight of a line is the product of those of its notes and of its intervals: steps are likely, a leap is likely
    to be followed by a move in the other direction, and a note outside the chord to be left by step. The line is drawn
    exactly, by a backward pass over the notes and a draw forward.

    Args:
        notes: weights [n, LINE_SPAN] of each pitch; every row has one above 0.
        foreign: [n, LINE_SPAN], whether a pitch is outside the chord of its note.
        draws: [n], uniform random numbers.
        before: pitch and state of the note before the line, None at the beginning.

    Returns:
        Pitch of each note, 0 the lowest of the span, and state, as ``before`` takes it.
    """
    moves = [_WEIGHTS * np.where(_BY_STEP | ~row[:, np.newaxis], 1.0, _FOREIGN_BY_LEAP) for row in foreign]
    future = np.ones((len(notes), len(_DIRECTIONS), LINE_SPAN))
    pitch = np.arange(LINE_SPAN)
    for note in range(len(notes) - 2, -1, -1):
        values = (moves[note] * notes[note + 1] * future[note + 1][_STATES, pitch]).sum(axis=-1)
        future[note] = values / values.max()
    line: list[tuple[int, int]] = []
    for note, draw in enumerate(draws.tolist()):
        if before is None:
            weights, states = notes[note] * future[note, 0], np.zeros(LINE_SPAN, np.intp)
        else:
            last, state = before
            states = _STATES[state, last]
            # How the last note of the phrase before is left does not depend on its chord.
            move = moves[note - 1] if note else _WEIGHTS
            weights = move[state, last] * notes[note] * future[note, states, pitch]
        chosen = draw_index(weights, draw)
        before = chosen, int(states[chosen])
        line.append(before)
    return line
