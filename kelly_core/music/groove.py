"""Timing and accent of a drummer at the sixteen positions of a bar."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.music.notes import PPQ

POSITIONS = 16
WINDOW_BARS = 8
HOP_BARS = 4
MIN_BARS = 2
MIN_HITS = 2
SHIFT_TICKS = 60.0
"""Ticks at ``PPQ`` by which a timing of 1 moves a note."""
NEUTRAL_ACCENT = 0.5
"""Accent that leaves velocities unchanged."""

_POSITION_TICKS = PPQ // 4
_MIN_SCALE, _SCALE_SPAN = 0.8, 0.4


class GrooveWindows(NamedTuple):
    """Grooves of the windows of a recording.

    Attributes:
        values: [windows, 32], -1..1: timing, then accent, of the sixteen positions; 0 where unknown.
        mask: [windows, 32], whether a value is known.
    """

    values: Floats
    mask: NDArray[np.bool_]


def groove_windows(tick: ArrayLike, velocity: ArrayLike) -> GrooveWindows:
    """Return timing and accent of each sixteenth in windows of eight 4/4 bars, every four bars.

    A hit belongs to the nearest sixteenth p, at position p mod 16 of its bar, and is (tick - 120 p) / 60 late. The
    timing of a position is the velocity-weighted mean lateness of its hits minus the mean lateness of all hits in the
    window. Its accent is (V_i / V - .8) / .4, where V_i is the mean velocity of the loudest hit over the bars with a
    hit at the position, and V the mean of V_i over the positions, weighted by their hits. Both are clipped to ±1. A
    position with fewer than two hits in the window is unknown.

    Bars are counted from the first with a hit. A recording of two to seven bars is one window; bars at the end that do
    not fill a window and windows without a known value are omitted.

    Args:
        tick: [hits], onsets, ``PPQ`` per quarter note.
        velocity: [hits], 1..127.
    """
    onset, loudness = np.asarray(tick, np.float64), np.asarray(velocity, np.float64)
    nearest = _nearest_sixteenth(onset)
    bar = nearest // POSITIONS
    if len(bar) == 0 or np.ptp(bar) + 1 < MIN_BARS:
        return GrooveWindows(np.empty((0, 2 * POSITIONS), np.float32), np.empty((0, 2 * POSITIONS), np.bool_))
    sixteenth = nearest - POSITIONS * bar.min()
    late = (onset - _POSITION_TICKS * nearest) / SHIFT_TICKS
    hits = _window_sums(np.bincount(sixteenth))
    values = np.concatenate([_timings(sixteenth, late, loudness, hits), _accents(sixteenth, loudness, hits)], axis=1)
    known = np.tile(hits >= MIN_HITS, 2)
    values = np.where(known, np.clip(values, -1, 1), 0).astype(np.float32)
    some = known.any(axis=1)
    return GrooveWindows(values[some], known[some])


def apply_groove(tick: ArrayLike, velocity: ArrayLike, groove: ArrayLike) -> tuple[Doubles, Doubles]:
    """Apply a groove to notes as the plugin does: later by timing · 60 ticks, velocity times .8 + .4 · accent.

    Args:
        tick: [notes], ``PPQ`` per quarter note.
        velocity: [notes].
        groove: [32], -1..1: timing, then accent, of the sixteen positions.

    Returns:
        Ticks [notes] and velocities [notes], not rounded or limited.
    """
    position = _nearest_sixteenth(np.asarray(tick, np.float64)) % POSITIONS
    timing, accent = np.split(np.asarray(groove, np.float64), 2)
    scale = _MIN_SCALE + _SCALE_SPAN * accent[position]
    return np.asarray(tick) + SHIFT_TICKS * timing[position], np.asarray(velocity) * scale


def _nearest_sixteenth(tick: Doubles) -> Indices:
    # np.rint would round a tick halfway between two positions to the even one.
    return np.floor(tick / _POSITION_TICKS + 0.5).astype(np.intp)


def _timings(sixteenth: Indices, late: Doubles, loudness: Doubles, hits: Doubles) -> Doubles:
    """Return velocity-weighted mean lateness [windows, 16] minus that of all hits."""
    weighted = _window_sums(np.bincount(sixteenth, loudness * late))
    weight = _window_sums(np.bincount(sixteenth, loudness))
    lag = _window_sums(np.bincount(sixteenth, late)).sum(axis=1, keepdims=True)
    return _ratio(weighted, weight) - _ratio(lag, hits.sum(axis=1, keepdims=True))


def _accents(sixteenth: Indices, loudness: Doubles, hits: Doubles) -> Doubles:
    """Return accents [windows, 16] before clipping to ±1."""
    loudest = np.zeros(sixteenth.max() + 1)
    # Several hits can belong to one sixteenth; assignment by index would keep only the last one.
    np.maximum.at(loudest, sixteenth, loudness)
    # The mean covers only bars with a hit at the position, because other bars have no loudness.
    level = _ratio(_window_sums(loudest), _window_sums(loudest > 0))
    reference = _ratio((level * hits).sum(axis=1, keepdims=True), hits.sum(axis=1, keepdims=True))
    return (_ratio(level, reference) - _MIN_SCALE) / _SCALE_SPAN


def _window_sums(by_sixteenth: NDArray[np.generic]) -> Doubles:
    """Return sums [windows, 16] of per-sixteenth values [sixteenths] of the recording."""
    missing = -len(by_sixteenth) % POSITIONS
    bars = np.pad(by_sixteenth.astype(np.float64), (0, missing)).reshape(-1, POSITIONS)
    windows = sliding_window_view(bars, min(WINDOW_BARS, len(bars)), axis=0)[::HOP_BARS]
    total: Doubles = windows.sum(axis=-1)
    return total


def _ratio(part: Doubles, whole: Doubles) -> Doubles:
    """Return ``part / whole``, and 0 where both are 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole > 0)
