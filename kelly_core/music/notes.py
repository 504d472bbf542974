"""Notes as arrays, in seconds and in beats."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles

BEATS_PER_BAR = 4
"""Quarter notes in a bar of 4/4, the only meter that grooves, pieces and the pulse of recordings support."""
PPQ = 480
"""Ticks per quarter note (pulses per quarter) of grooves and of MIDI files that are written."""
DEFAULT_BPM = 120.0
"""MIDI's default tempo, for a file that sets none."""


@dataclass(frozen=True)
class Notes:
    """Notes of one file, sorted by onset, then pitch; every array has one entry per note unless stated otherwise.

    Attributes:
        onset, duration: seconds.
        onset_beats, duration_beats: quarter notes.
        pitch, velocity: 0..127.
        track: index into ``track_names``.
        drum: whether the note belongs to a drum track or channel 10.
        track_names: one name per track, as stored in the file.
        pedal: [events, 2] sustain pedal (CC64): time in seconds, value 0..127; sorted by time.
        bpm: first tempo of the file.
        beats_per_bar: quarter notes in a bar of the first time signature.
    """

    onset: Doubles
    duration: Doubles
    onset_beats: Doubles
    duration_beats: Doubles
    pitch: NDArray[np.int16]
    velocity: NDArray[np.int16]
    track: NDArray[np.int16]
    drum: NDArray[np.bool_]
    track_names: tuple[str, ...]
    pedal: Doubles
    bpm: float = DEFAULT_BPM
    beats_per_bar: float = BEATS_PER_BAR

    def __len__(self) -> int:
        return len(self.onset)

    def select(self, mask: NDArray[np.bool_]) -> Notes:
        """Return the notes where ``mask`` [n] is true, with names, pedal and tempo unchanged."""
        return replace(self, **{name: getattr(self, name)[mask] for name in _NOTE_COLUMNS})

    def pitched(self) -> Notes:
        """Return the notes without drums."""
        return self.select(~self.drum)


_NOTE_COLUMNS = tuple(f.name for f in fields(Notes) if f.name not in {"track_names", "pedal", "bpm", "beats_per_bar"})
