"""Expression parameters of a performance: sixteen numbers per window of fifteen seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.music.notes import Notes

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
_TEMPO_SPAN = 9
_PEDAL_DOWN = 64
_STACCATO_RATIO = 0.5 - 1e-6
"""Slightly below one half, so rounding of seconds does not change the result for exact halves in notated music."""


def expression_windows(notes: Notes) -> tuple[Floats, Doubles]:
    """Return the sixteen parameters of each window with at least 24 notes; drums are ignored.

    Windows begin every 7.5 s from the first onset, and no window extends beyond the last release. Notes whose onsets
    follow each other within 50 ms form one group, which begins with its first note; a group of several notes is a
    chord. The IOI of a note is the time from the beginning of its group to that of the next. A constant velocity has
    correlation 0 with any series; a window without chords has voicing and bass .5 and no chord spread.

    Returns:
        values: [windows, 16], 0..1, named by ``PARAMETER_NAMES``.
        starts: [windows], seconds.
    """
    notes = notes.pitched()
    starts = _full_windows(notes)
    starts = starts[_Members.of(notes.onset, starts).count >= MIN_NOTES]
    if len(starts) == 0:
        return np.empty((0, len(PARAMETER_NAMES)), np.float32), starts
    columns = _parameters(notes, _Groups.of(notes), starts)
    return np.clip(np.stack(columns, axis=1), 0, 1).astype(np.float32), starts


@dataclass(frozen=True)
class _Members:
    """Membership of events in windows. Windows overlap, so an event can belong to two.

    Attributes:
        event, window: [members] indices, by window, then in the order of the events.
        count: [windows], number of members.
    """

    event: Indices
    window: Indices
    count: Indices

    @classmethod
    def of(cls, times: Doubles, starts: Doubles) -> Self:
        """Return the membership of events at ascending ``times`` in the windows that start at ``starts``."""
        first, end = np.searchsorted(times, starts), np.searchsorted(times, starts + WINDOW_SECONDS)
        count = end - first
        window = np.repeat(np.arange(len(starts)), count)
        # Indices of the members of all windows, computed without a loop over windows.
        event = np.arange(len(window)) - np.repeat(np.cumsum(count) - count - first, count)
        return cls(event, window, count)

    def only(self, wanted: NDArray[np.bool_]) -> Self:
        """Return only the members that are ``wanted`` events."""
        keep = wanted[self.event]
        window = self.window[keep]
        return type(self)(self.event[keep], window, np.bincount(window, minlength=len(self.count)))

    def mean(self, values: NDArray[np.generic]) -> Doubles:
        """Return means [windows] of values [members]; 0 for empty windows."""
        return np.bincount(self.window, values, len(self.count)) / np.maximum(self.count, 1)

    def centered(self, values: Doubles) -> Doubles:
        """Return values [members] minus the mean of their window."""
        return values - self.mean(values)[self.window]

    def variance(self, centered: Doubles) -> Doubles:
        """Return the variance [windows] of centered values [members]."""
        return self.mean(centered**2)

    def quantiles(self, values: Doubles, *shares: float) -> Doubles:
        """Return quantiles [shares, windows] of values [members], linearly interpolated; 0 for empty windows."""
        if len(values) == 0:
            return np.zeros((len(shares), len(self.count)))
        # With an offset per window, a single sort orders all windows, in a third of the time of sorting by two keys.
        apart = self.window * float(np.ptp(values) + 1)
        ordered = np.append(np.sort(values + apart) - apart, 0.0)
        first, last = np.cumsum(self.count) - self.count, np.maximum(self.count - 1, 0)
        rank = np.multiply.outer(shares, last)
        below = np.floor(rank).astype(np.intp)
        low, high = ordered[first + below], ordered[first + np.minimum(below + 1, last)]
        return np.where(self.count > 0, low + (rank - below) * (high - low), 0.0)


@dataclass(frozen=True)
class _Groups:
    """Groups of notes that start together.

    Attributes:
        of_note: [notes] index of a note's group.
        onset: [groups] of the first note, seconds.
        size: [groups] notes.
        accent: [groups] by how much the loudest note exceeds the mean loudest note within ±1 s, not below 0.
        voicing, bass: [groups] velocity of the highest and of the lowest note less the mean of the others.
        spread: [groups] standard deviation of the onsets, seconds.
        ioi: [groups] seconds to the next group; infinite for the last.
        tempo: [groups] log2 of the running median of nine IOIs; 0 for the last.
    """

    of_note: Indices
    onset: Doubles
    size: Indices
    accent: Doubles
    voicing: Doubles
    bass: Doubles
    spread: Doubles
    ioi: Doubles
    tempo: Doubles

    @classmethod
    def of(cls, notes: Notes) -> Self:
        """Group the notes; there must be at least one."""
        begins = np.diff(notes.onset, prepend=-np.inf) > _CHORD_GAP_SECONDS
        first, of_note = np.flatnonzero(begins), np.cumsum(begins) - 1
        size = np.diff(first, append=len(notes))
        onset = notes.onset[first]
        # Sorted by pitch within each group: the first and last entries are the lowest and highest notes.
        by_pitch = notes.velocity[np.lexsort((notes.pitch, of_note))].astype(np.float64)
        total = np.add.reduceat(by_pitch, first)
        lowest, highest = by_pitch[first], by_pitch[first + size - 1]
        others = np.maximum(size - 1, 1)
        lag = notes.onset - (np.bincount(of_note, notes.onset) / size)[of_note]
        ioi = np.diff(onset)
        return cls(
            of_note=of_note,
            onset=onset,
            size=size,
            accent=_accents(onset, np.maximum.reduceat(by_pitch, first)),
            voicing=highest - (total - highest) / others,
            bass=lowest - (total - lowest) / others,
            spread=np.sqrt(np.bincount(of_note, lag**2) / size),
            ioi=np.append(ioi, np.inf),
            tempo=np.append(_running_median(np.log2(ioi)), 0.0),
        )


def _parameters(notes: Notes, groups: _Groups, starts: Doubles) -> list[Doubles]:
    """Compute the parameters, each [windows], before clipping to 0..1."""
    in_window = _Members.of(notes.onset, starts)
    groups_in = _Members.of(groups.onset, starts)
    chords = groups_in.only(groups.size > 1)
    followed = groups_in.only(np.isfinite(groups.ioi))
    note_ioi = groups.ioi[groups.of_note]
    timed = in_window.only(np.isfinite(note_ioi))

    velocity = notes.velocity[in_window.event].astype(np.float64)
    soft, loud = in_window.quantiles(velocity, 0.1, 0.9)
    pitch = notes.pitch[in_window.event].astype(np.float64)
    u = (notes.onset[in_window.event] - starts[in_window.window]) / WINDOW_SECONDS
    ratio = (notes.duration / note_ioi)[timed.event]
    centered = in_window.centered(velocity)
    variance = in_window.variance(centered)

    def with_velocity(series: Doubles) -> Doubles:
        """Return the Pearson correlation of a series [notes in windows] with velocity; 0 if either is constant."""
        other = in_window.centered(series)
        # A constant series differs from its mean only by rounding errors, which must not be used as a divisor.
        size = np.sqrt(variance * in_window.variance(other))
        return np.divide(in_window.mean(centered * other), size, out=np.zeros_like(size), where=size > 1e-9)

    tempo = followed.centered(groups.tempo[followed.event])
    pedal_share, pedal_presses = _pedal_use(notes.pedal, starts)
    return [
        in_window.mean(velocity) / 127,
        (loud - soft) / 80,
        np.sqrt(variance) / 32,
        0.5 + 0.5 * with_velocity(u),
        0.5 + 0.5 * with_velocity(np.sin(np.pi * u)),
        groups_in.mean(groups.accent[groups_in.event]) / 12,
        0.5 + chords.mean(groups.voicing[chords.event]) / 50,
        0.5 + chords.mean(groups.bass[chords.event]) / 40,
        0.5 + 0.5 * with_velocity(pitch),
        timed.quantiles(np.clip(ratio, 0, 2), 0.5)[0] / 2,
        timed.mean(ratio < _STACCATO_RATIO),
        pedal_share,
        pedal_presses / WINDOW_SECONDS / 2,
        chords.mean(groups.spread[chords.event]) / 0.02,
        np.sqrt(followed.variance(tempo)),
        np.log2(1 + in_window.count / WINDOW_SECONDS) / 5,
    ]


def _full_windows(notes: Notes) -> Doubles:
    """Return the starts of the windows that fit between the first onset and the last release."""
    if len(notes) == 0:
        return np.empty(0)
    begin, end = float(notes.onset[0]), float((notes.onset + notes.duration).max())
    count = int(np.floor((end - begin - WINDOW_SECONDS) / HOP_SECONDS)) + 1
    starts: Doubles = begin + HOP_SECONDS * np.arange(max(count, 0), dtype=np.float64)
    return starts


def _accents(onset: Doubles, loudest: Doubles) -> Doubles:
    total = np.append(0.0, np.cumsum(loudest))
    first = np.searchsorted(onset, onset - _ACCENT_SECONDS)
    end = np.searchsorted(onset, onset + _ACCENT_SECONDS, side="right")
    excess: Doubles = loudest - (total[end] - total[first]) / (end - first)
    return np.maximum(0.0, excess)


def _running_median(values: Doubles) -> Doubles:
    """Return centered medians of nine values; the first and the last value are repeated beyond the ends."""
    if len(values) == 0:
        return values
    padded = np.pad(values, _TEMPO_SPAN // 2, mode="edge")
    # The median of nine values is the median of the largest minimum, the median of the medians and the smallest maximum
    # of three triples (J. L. Smith, "Implementing median filters in XC4000E FPGAs", 1996); np.median would partition
    # every window.
    triples = sliding_window_view(padded, len(values)).reshape(3, 3, len(values))
    medians = _median_of_three(*triples.swapaxes(0, 1))
    return _median_of_three(
        triples.min(axis=1).max(axis=0), _median_of_three(*medians), triples.max(axis=1).min(axis=0)
    )


def _median_of_three(a: Doubles, b: Doubles, c: Doubles) -> Doubles:
    least, most = np.minimum(a, b), np.maximum(a, b)
    return np.maximum(least, np.minimum(most, c))


def _pedal_use(pedal: Doubles, starts: Doubles) -> tuple[Doubles, Doubles]:
    """Return the share of each window with the sustain pedal down, and the number of presses in it."""
    ends = starts + WINDOW_SECONDS
    if len(pedal) == 0:
        return np.zeros(len(starts)), np.zeros(len(starts))
    times, down = pedal[:, 0], pedal[:, 1] >= _PEDAL_DOWN
    # The pedal keeps its last state until the end of the last window.
    edges = np.append(times, max(times[-1], ends[-1]))
    held = np.append(0.0, np.cumsum(np.diff(edges) * down))
    # The time that the pedal is down is linear between two changes, so it can be interpolated.
    share: Doubles = (np.interp(ends, edges, held) - np.interp(starts, edges, held)) / WINDOW_SECONDS
    presses = times[down & ~np.append(False, down[:-1])]
    count = np.searchsorted(presses, ends) - np.searchsorted(presses, starts)
    return share, count.astype(np.float64)
