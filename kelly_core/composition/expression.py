"""The sixteen dynamics parameters as instructions to a player: the inverse of ``music.dynamics``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

SOFTEST = 12
"""Minimum velocity; below it most sounds are inaudible."""

_RAMP_SD = 1 / np.sqrt(12)
_ARCH_MEAN, _ARCH_SD = 2 / np.pi, np.sqrt(0.5 - 4 / np.pi**2)
_MIDDLE_PITCH, _PITCH_SD = 64.0, 9.0


class Expression(NamedTuple):
    """How to play, in musical units.

    The velocity range says what the deviation says, and a rubato would part the players from the drums, so these two
    parameters are not used.

    Attributes:
        velocity, deviation: of all pitched notes.
        trend, arch, with_pitch: correlation of velocity with time in a phrase, with an arch over it, with pitch.
        accent: velocity by which a stressed note exceeds its neighbors.
        top, bass: velocity by which the melody and the bass exceed the other voices.
        ratio: length of a note over the time to the next.
        staccato: share of the notes that are played short.
        pedal_share: of the time.
        presses_per_second: of the pedal.
        spread_seconds: standard deviation of the onsets within a chord.
        notes_per_second: of all pitched notes.
    """

    velocity: float
    deviation: float
    trend: float
    arch: float
    with_pitch: float
    accent: float
    top: float
    bass: float
    ratio: float
    staccato: float
    pedal_share: float
    presses_per_second: float
    spread_seconds: float
    notes_per_second: float

    @classmethod
    def of(cls, dynamics: ArrayLike) -> Expression:
        """Read the parameters [16], 0..1, in the order of ``music.dynamics.PARAMETER_NAMES``."""
        d = np.asarray(dynamics, np.float64).tolist()
        return cls(
            velocity=127 * d[0],
            deviation=32 * d[2],
            trend=2 * d[3] - 1,
            arch=2 * d[4] - 1,
            with_pitch=2 * d[8] - 1,
            accent=24 * d[5],  # groups above their neighbors alternate with groups below, which count 0 in the mean
            top=50 * (d[6] - 0.5),
            bass=40 * (d[7] - 0.5),
            ratio=2 * d[9],
            staccato=d[10],
            pedal_share=d[11],
            presses_per_second=2 * d[12],
            spread_seconds=0.02 * d[13],
            notes_per_second=2 ** (5 * d[15]) - 1,
        )

    def velocity_of(self, position: float, pitch: float, noise: float) -> float:
        """Return the velocity of an unstressed note of a middle voice.

        Args:
            position: in the phrase, 0..1.
            pitch: MIDI number.
            noise: standard normal.
        """
        shape = self.trend * (position - 0.5) / _RAMP_SD
        shape += self.arch * (np.sin(np.pi * position) - _ARCH_MEAN) / _ARCH_SD
        shape += self.with_pitch * (pitch - _MIDDLE_PITCH) / _PITCH_SD
        # What the three correlations leave unexplained is noise, so that the deviation is the predicted one.
        explained = self.trend**2 + self.arch**2 + self.with_pitch**2
        return float(self.velocity + self.deviation * (shape + np.sqrt(max(0.0, 1 - explained)) * noise))


def limited(velocity: float) -> int:
    """Clip a velocity to MIDI's range and to audible values."""
    return int(np.clip(round(velocity), SOFTEST, 127))
