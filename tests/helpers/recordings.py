"""Recordings with a known tempo, key and first bar."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.seeds import seeded_rng

RATE = 22_050
_PROGRESSIONS = {
    "major": ((0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)),
    "minor": ((0, 3, 7), (5, 8, 12), (7, 11, 14), (0, 3, 7)),
}


def chords_and_clicks(
    bpm: float, tonic: int, mode: str, first_bar: float, seconds: float = 24.0, *, clicks: bool = True
) -> NDArray[np.float32]:
    """Chords I IV V I, one a bar and struck on every beat, with clicks that are louder on the first beat of a bar.

    Args:
        bpm: constant tempo.
        tonic: pitch class.
        mode: major or minor.
        first_bar: seconds to the beginning of a bar, less than a bar.
        seconds: length.
        clicks: whether there are clicks at all.
    """
    rng = seeded_rng(0)
    samples = np.zeros(round(seconds * RATE))
    beat = 60 / bpm
    for number in range(-4, int(seconds / beat) + 1):
        begin = round((first_bar + number * beat) * RATE)
        time = np.arange(round(0.95 * beat * RATE)) / RATE
        envelope = np.exp(-time / 0.4) * np.minimum(time / 0.004, 1)
        pitches = 48 + tonic + np.array(_PROGRESSIONS[mode][number // 4 % 4])
        hertz = 440 * 2 ** ((pitches[:, np.newaxis] - 69) / 12) * np.arange(1, 5)
        sound = sum(
            0.08 / harmonic * np.sin(2 * np.pi * f * time) for chord in hertz for harmonic, f in enumerate(chord, 1)
        )
        sound = sound * envelope
        if clicks:
            click = rng.standard_normal(len(time)) * np.exp(-time / 0.006)
            sound += (0.5 if number % 4 == 0 else 0.25) * click
        if 0 <= begin < len(samples):
            room = len(samples) - begin
            samples[begin : begin + len(sound)] += sound[:room]
    quieter: NDArray[np.float32] = (0.8 * samples / np.abs(samples).max()).astype(np.float32)
    return quieter
