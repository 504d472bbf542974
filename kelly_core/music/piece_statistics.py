"""Statistics of a piece: how its melody fits its chords and moves, and how much of it is repeated."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Indices
from kelly_core.errors import DataError
from kelly_core.music.chords import CHORD_BEATS, CHORD_TONES, NO_CHORD
from kelly_core.music.key import MAJOR_SCALE, Tonality, tonality_of
from kelly_core.music.melody import find_melody
from kelly_core.music.notes import BEATS_PER_BAR, Notes

Chords = Indices

EXCERPT_BARS = 32
"""Bars over which repetition and range are counted: in a longer piece both are larger."""

_ON_BEAT = 1 / 8
_MIN_BEATS, _MAX_BEATS = 1 / 16, 16.0
STEP, LEAP = 2, 5
"""Largest step and smallest leap, in semitones."""
_MOTIF = 4
_BLOCK_BARS = 4
_CHORDS_PER_BAR = 2
_MIN_NOTES = 8
_BASS_WEIGHT, _TRIADS = 1 / 8, 24
_SCALES = {"major": MAJOR_SCALE, "minor": (0, 2, 3, 5, 7, 8, 9, 10, 11)}
"""Degrees of the keys; minor with both sixths and sevenths."""


class PieceStatistics(NamedTuple):
    """Statistics of a piece; a share without cases is NaN.

    Attributes:
        chord_tones_on_beat: share of the melody's notes on the first and third beat that belong to the chord.
        steps: share of one or two semitones among the melody's intervals that are not repetitions.
        leaps: share of five semitones or more among the same intervals.
        leaps_resolved: share of leaps after which the melody's next movement goes in the other direction.
        non_chord_by_step: share of the melody's notes outside the chord that are followed by a step or a repetition.
        motifs_repeated: share of the melody's runs of four intervals that occur earlier, within 32 bars.
        chords_repeated: share of the blocks of four bars that agree with an earlier one in seven of the eight chords of
            half a bar, within 32 bars.
        range: semitones from the melody's lowest to its highest note, within its first 32 bars.
        notes_per_beat: of the melody, over the beats from its first to its last note.
        ends_on_tonic: 1 if the melody's last note is the tonic, else 0.
        ends_in_key: share of the notes of the last bar that belong to the key.
    """

    chord_tones_on_beat: float
    steps: float
    leaps: float
    leaps_resolved: float
    non_chord_by_step: float
    motifs_repeated: float
    chords_repeated: float
    range: float
    notes_per_beat: float
    ends_on_tonic: float
    ends_in_key: float


class Reference(NamedTuple):
    """Distribution of a statistic over a corpus: the limits of the middle 80 % and the median."""

    low: float
    median: float
    high: float


POP909 = {
    "chord_tones_on_beat": Reference(0.45, 0.74, 0.94),
    "steps": Reference(0.42, 0.57, 0.72),
    "leaps": Reference(0.09, 0.19, 0.29),
    "leaps_resolved": Reference(0.61, 0.80, 0.97),
    "non_chord_by_step": Reference(0.55, 0.73, 0.87),
    "motifs_repeated": Reference(0.26, 0.44, 0.60),
    "chords_repeated": Reference(0.04, 0.24, 0.56),
    "range": Reference(14.0, 17.0, 21.0),
    "notes_per_beat": Reference(0.83, 1.24, 1.77),
    "ends_on_tonic": Reference(0.0, 1.0, 1.0),
    "ends_in_key": Reference(0.76, 1.0, 1.0),
}
"""The measures of POP909 (Wang et al., ISMIR 2020; MIT license): songs 001 to 200, of which 192 are in 4/4.

Beats and bars are those of its annotation (``beat_midi.txt``), see ``tools/measure_pop909.py``. 71 % of the songs end
on the tonic.
"""


def measure_piece(notes: Notes) -> PieceStatistics:
    """Measure a piece in 4/4 whose bars begin at beat 0.

    The melody is that of ``find_melody``, reduced to the highest of simultaneous notes; chords are estimated from the
    other notes.

    Raises:
        DataError: there are fewer than eight notes of melody.
    """
    pitched = notes.pitched()
    found = find_melody(notes)
    melody = _top_voice(found.notes)
    if len(melody) < _MIN_NOTES:
        raise DataError(f"expected at least {_MIN_NOTES} notes of melody, got {len(melody)}")
    others = pitched if found.how == "skyline" else pitched.select(pitched.track != found.notes.track[0])
    chords = estimate_triads(others)
    key = tonality_of(pitched)
    onset, pitch = melody.onset_beats, melody.pitch.astype(np.intp)
    interval = np.diff(pitch)
    moving = interval[interval != 0]
    chord = _chord_at(onset, chords)
    has_chord, in_chord = chord != NO_CHORD, CHORD_TONES[chord, pitch % 12] > 0
    return PieceStatistics(
        chord_tones_on_beat=_share(in_chord[_is_stressed(onset) & has_chord]),
        steps=_share(np.abs(moving) <= STEP),
        leaps=_share(np.abs(moving) >= LEAP),
        leaps_resolved=_leaps_resolved(moving),
        non_chord_by_step=_non_chord_by_step(in_chord, has_chord, interval),
        motifs_repeated=_motifs_repeated(onset, interval),
        chords_repeated=_chords_repeated(chords),
        range=float(np.ptp(pitch[onset < onset[0] + EXCERPT_BARS * BEATS_PER_BAR])),
        notes_per_beat=len(melody) / max(1.0, float(onset[-1] + melody.duration_beats[-1] - onset[0])),
        ends_on_tonic=float(pitch[-1] % 12 == key.tonic),
        ends_in_key=_ends_in_key(pitched, key),
    )


def estimate_triads(notes: Notes) -> Chords:
    """Estimate the triad, or no chord, of each two beats from the first beat of the file: [ceil(beats / 2)].

    The score of a triad is the share of its tones in the sounding time, with the square root of the time of each pitch
    class, plus an eighth if its root is the lowest note. Notes are cut off after sixteen beats.
    """
    start = notes.onset_beats
    end = start + np.minimum(notes.duration_beats, _MAX_BEATS)
    first = np.floor(start / CHORD_BEATS).astype(np.intp)
    blocks = int(np.ceil(end.max(initial=0.0) / CHORD_BEATS))
    histogram, lowest = np.zeros((blocks, 12)), np.full(blocks, 128)
    # A note spans at most nine blocks, so the number of iterations does not depend on the number of notes.
    for block in first + np.arange(int(_MAX_BEATS / CHORD_BEATS) + 1)[:, np.newaxis]:
        beats = np.minimum(end, (block + 1) * CHORD_BEATS) - np.maximum(start, block * CHORD_BEATS)
        sounding = beats > _MIN_BEATS
        # np.add.at is unbuffered: several notes of a pitch class can sound in one block.
        np.add.at(histogram, (block[sounding], notes.pitch[sounding] % 12), beats[sounding])
        np.minimum.at(lowest, block[sounding], notes.pitch[sounding])
    weight = np.sqrt(histogram)
    fit = weight @ CHORD_TONES[:_TRIADS].T
    # Twelve major triads come first, then twelve minor ones, so the root is the index mod 12.
    fit += _BASS_WEIGHT * weight.sum(axis=1, keepdims=True) * (lowest[:, np.newaxis] % 12 == np.arange(_TRIADS) % 12)
    return np.where(lowest < 128, fit.argmax(axis=1), NO_CHORD)


def _top_voice(melody: Notes) -> Notes:
    """Return the highest of the notes that begin within a thirty-second of a beat of each other."""
    # Onsets are rounded, because the notes of a played chord begin at slightly different times.
    _, onset = np.unique(np.round(melody.onset_beats * 32), return_inverse=True)
    highest = np.zeros(len(melody), np.int16)
    np.maximum.at(highest, onset, melody.pitch)
    return melody.select(melody.pitch == highest[onset])


def _chord_at(beats: Doubles, chords: Chords) -> Chords:
    """Return the chord at each time; times after the last chord have none."""
    # A note slightly before a change belongs to the chord that follows.
    block = np.floor((beats + _ON_BEAT) / CHORD_BEATS).astype(np.intp)
    return np.append(chords, NO_CHORD)[np.minimum(block, len(chords))]


def _is_stressed(beats: Doubles) -> NDArray[np.bool_]:
    """Return True for times on the first or third beat of a bar."""
    return np.abs(beats / CHORD_BEATS - np.round(beats / CHORD_BEATS)) * CHORD_BEATS < _ON_BEAT


def _non_chord_by_step(in_chord: NDArray[np.bool_], has_chord: NDArray[np.bool_], interval: Chords) -> float:
    foreign = (has_chord & ~in_chord)[:-1]
    return _share(np.abs(interval[foreign]) <= STEP)


def _leaps_resolved(moving: Chords) -> float:
    before, after = moving[:-1], moving[1:]
    return _share((np.sign(after) != np.sign(before))[np.abs(before) >= LEAP])


def _motifs_repeated(onset: Doubles, interval: Chords) -> float:
    """Return the share of the runs of four intervals that begin in the excerpt and occur earlier in it."""
    inside = onset[:-_MOTIF] < onset[0] + EXCERPT_BARS * BEATS_PER_BAR
    runs = sliding_window_view(interval, _MOTIF)[inside]
    # Overlapping runs share intervals, so only earlier runs that do not overlap count.
    return _repeated_share(runs, apart=_MOTIF, equal=_MOTIF)


def _chords_repeated(chords: Chords) -> float:
    """Return the share of blocks of four bars, from the first bar with a chord, that occur earlier."""
    bars = chords[: len(chords) // _CHORDS_PER_BAR * _CHORDS_PER_BAR].reshape(-1, _CHORDS_PER_BAR)
    with_chord = np.flatnonzero((bars != NO_CHORD).any(axis=1))
    if len(with_chord) == 0 or np.ptp(with_chord) + 1 < _BLOCK_BARS:
        return float("nan")
    excerpt = bars[with_chord[0] : with_chord[-1] + 1][:EXCERPT_BARS].reshape(-1)
    blocks = sliding_window_view(excerpt, _BLOCK_BARS * _CHORDS_PER_BAR)[::_CHORDS_PER_BAR]
    return _repeated_share(blocks, apart=_BLOCK_BARS, equal=_BLOCK_BARS * _CHORDS_PER_BAR - 1)


def _repeated_share(rows: Chords, apart: int, equal: int) -> float:
    """Return the share of rows, from number ``apart`` on, with ``equal`` or more entries equal to those of a row at
    least ``apart`` earlier.
    """
    return _share(
        np.array(
            [
                ((rows[: number - apart + 1] == rows[number]).sum(axis=1) >= equal).any()
                for number in range(apart, len(rows))
            ],
            bool,
        )
    )


def _ends_in_key(pitched: Notes, key: Tonality) -> float:
    end = float((pitched.onset_beats + pitched.duration_beats).max())
    last = pitched.onset_beats + pitched.duration_beats > end - BEATS_PER_BAR
    degrees = (pitched.pitch[last] - key.tonic) % 12
    return _share(np.isin(degrees, _SCALES[key.mode]))


def _share(cases: NDArray[np.bool_]) -> float:
    return float(cases.mean()) if len(cases) else float("nan")
