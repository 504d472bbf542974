"""The melody of a file, and which pitches of it sound in each beat."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kelly_core.errors import DataError
from kelly_core.music.notes import Notes

PITCHES = 128
SEQUENCE_BEATS = 64
MAX_BEATS = 20_000

_NAME = re.compile("melod|vocal|voice|lead", re.IGNORECASE)
_MIN_NOTES = 32
_MIN_DISTINCT_PITCHES = 5
_PITCH_RANGE = (55, 84)
_MIN_MONOPHONY = 0.9
_LEGATO_BEATS = 0.1
_MIN_SOUNDING_BEATS = 0.25
_ROUNDING = 1e-6


class Melody(NamedTuple):
    """The notes taken for a file's melody, and how they were found."""

    notes: Notes
    how: Literal["named", "monophonic", "skyline"]


def find_melody(notes: Notes) -> Melody:
    """Find the melody: the track so named, else the best monophonic track, else the skyline of all tracks.

    Of several tracks whose names say melody, vocal, voice or lead, the one with the most notes is taken. A track is
    monophonic if at most a tenth of its notes begin more than a tenth of a beat before an earlier one ends; it is a
    candidate with at least 32 notes of at least 5 pitches, on average between 55 and 84. The best candidate overlaps
    least, and of those the one with the most notes. The drums are left out.

    Raises:
        DataError: there is no pitched note.
    """
    pitched = notes.pitched()
    if len(pitched) == 0:
        raise DataError("there are no notes other than drums")
    tracks = [pitched.select(pitched.track == track) for track in np.unique(pitched.track)]
    named = [track for track in tracks if _NAME.search(notes.track_names[track.track[0]])]
    if named:
        return Melody(max(named, key=len), "named")
    candidates = [(_monophony(track), len(track), -i) for i, track in enumerate(tracks) if _may_be_melody(track)]
    best = max(candidates, default=(0.0, 0, 0))
    if best[0] >= _MIN_MONOPHONY:
        return Melody(tracks[-best[2]], "monophonic")
    return Melody(_skyline(pitched), "skyline")


def melody_piano_roll(melody: Melody, shift: int = 0) -> NDArray[np.bool_]:
    """Which pitches sound for at least a quarter of a beat in each beat.

    Args:
        melody: the notes to look at; the first step is the beat in which their first note begins.
        shift: semitones to transpose by; what leaves 0..127 is moved back by an octave.

    Returns:
        [beats, 128].

    Raises:
        DataError: the melody takes more than 20,000 beats, hours that only a damaged file has.
    """
    notes = melody.notes
    pitch = notes.pitch.astype(np.intp) + shift
    pitch -= 12 * (pitch >= PITCHES) - 12 * (pitch < 0)
    start = notes.onset_beats - np.floor(notes.onset_beats.min())
    end = start + notes.duration_beats
    if end.max() > MAX_BEATS:
        raise DataError(f"the melody is {end.max():.0f} beats long")
    first, last = np.floor(start).astype(np.intp), np.ceil(end).astype(np.intp)
    touched = np.maximum(last - first, 1)
    note = np.repeat(np.arange(len(notes)), touched)
    beat = np.arange(len(note)) - np.repeat(np.cumsum(touched) - touched - first, touched)
    overlap = np.minimum(end[note], beat + 1) - np.maximum(start[note], beat)
    beats = int(beat.max()) + 1
    sounding = np.bincount(beat * PITCHES + pitch[note], weights=overlap, minlength=beats * PITCHES)
    return (sounding >= _MIN_SOUNDING_BEATS - _ROUNDING).reshape(beats, PITCHES)


def _may_be_melody(track: Notes) -> bool:
    low, high = _PITCH_RANGE
    return (
        len(track) >= _MIN_NOTES
        and low <= float(track.pitch.mean()) <= high
        and len(np.unique(track.pitch)) >= _MIN_DISTINCT_PITCHES
    )


def _monophony(track: Notes) -> float:
    """Share of the notes that begin when all earlier ones have ended, but for a little legato."""
    latest_end = np.maximum.accumulate(track.onset_beats + track.duration_beats)
    return float(np.mean(latest_end[:-1] - track.onset_beats[1:] <= _LEGATO_BEATS))


def _skyline(notes: Notes) -> Notes:
    """The notes above which nothing sounds when they begin."""
    latest_end = np.full((len(notes), PITCHES + 1), -np.inf)
    latest_end[np.arange(len(notes)), notes.pitch] = notes.onset_beats + notes.duration_beats
    latest_end = np.maximum.accumulate(latest_end, axis=0)
    latest_end = np.maximum.accumulate(latest_end[:, ::-1], axis=1)[:, ::-1]
    begun = np.searchsorted(notes.onset_beats, notes.onset_beats, side="right") - 1
    return notes.select(latest_end[begun, notes.pitch + 1] <= notes.onset_beats + _ROUNDING)
