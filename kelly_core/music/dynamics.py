"""How expressively a performance is played: sixteen numbers for every window of fifteen seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kelly_core.music.notes import Notes

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

WINDOW_SECONDS = 15.0
HOP_SECONDS = 7.5
MIN_NOTES = 24
PARAMETER_NAMES = (
    "base velocity",
    "velocity range",
    "velocity deviation",
    "trend",
    "arch",
    "accent",
    "voicing",
    "bass",
    "velocity with pitch",
    "articulation",
    "staccato share",
    "pedal share",
    "pedal presses",
    "chord spread",
    "rubato",
    "density",
)

_CHORD_GAP_SECONDS = 0.05
_ACCENT_SECONDS = 1.0
_RUBATO_MEDIAN = 9
_PEDAL_DOWN = 64


def expression_windows(notes: Notes) -> tuple[Floats, Doubles]:
    """The sixteen parameters of each window with at least 24 notes; drums are left out.

    Windows begin every 7.5 s from the first onset and end before the last note does, so that none is partly empty.
    Notes that begin at most 50 ms after the one before belong to one group, a chord, which begins with its first note.
    IOI is the time from the begin of a note's group to the next group's; the last group has none. Where a window
    has nothing to measure, no chord for the voicing say, the parameter is that of an even performance.

    Returns:
        values: [windows, 16], 0..1, named by ``PARAMETER_NAMES``.
        starts: [windows], seconds.
    """
    notes = notes.pitched()
    starts = _window_starts(notes)
    in_window = _Members.of(notes.onset, starts)
    starts = starts[in_window.count >= MIN_NOTES]
    if len(starts) == 0:
        return np.empty((0, len(PARAMETER_NAMES)), np.float32), starts
    groups = _Groups.of(notes)
    columns = [
        *_velocity_parameters(notes, groups, starts),
        *_timing_parameters(notes, groups, starts),
    ]
    return np.clip(np.stack(columns, axis=1), 0, 1).astype(np.float32), starts
