"""Notes written down in a test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.music.notes import Notes


def make_notes(
    onset: ArrayLike,
    pitch: ArrayLike = 60,
    velocity: ArrayLike = 64,
    duration: ArrayLike = 0.5,
    *,
    track: ArrayLike = 0,
    drum: ArrayLike = False,
    names: Sequence[str] = ("",),
    pedal: Sequence[tuple[float, int]] = (),
) -> Notes:
    """Notes at 60 bpm, so that seconds are beats; single values go for all notes."""
    columns = np.broadcast_arrays(np.asarray(onset, np.float64), pitch, velocity, duration, track, drum)
    order = np.lexsort((columns[1], columns[0]))
    start, key, loudness, length, part, is_drum = (column[order] for column in columns)
    return Notes(
        onset=start,
        duration=length.astype(np.float64),
        onset_beats=start,
        duration_beats=length.astype(np.float64),
        pitch=key.astype(np.int16),
        velocity=loudness.astype(np.int16),
        track=part.astype(np.int16),
        drum=is_drum.astype(bool),
        track_names=tuple(names),
        pedal=np.array(pedal, np.float64).reshape(-1, 2),
        bpm=60.0,
    )
