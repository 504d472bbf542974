"""The melody of a file, and its pitches per beat."""

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

_WORD = re.compile(r"[^\W\d_]+")
_CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MELODY = re.compile(
    r"\b(?:melody|melodie|melodia|melodía|mélodie|leads?|vocals?|vocalist|vox|voices?|singer|gesang|voz|voix|voce)\b"
)
_OTHER_PART = re.compile(
    r"\b(?:back|backing|backup|background|bgv?s?|bvs?|harm|harmony|harmonies|choir|chorus|choral|oohs?|aahs?|pads?|bass"
    r"|drums?|perc|percussion|accomp|accompaniment|rhythm|counter|countermelody)\b"
)
"""Words in names of accompanying parts, which are never the melody."""
_GENERAL_MIDI = re.compile(
    "lead (?:square|saw|sawtooth|calliope|chiff|charang|voice|fifths)(?: wave)?( lead)?"
    "|(?:square|saw|sawtooth|calliope|chiff|chiffer|charang|fifths)(?: wave)? lead|(?:synth|syn) (?:voice|vox)|solo vox"
)
"""Words of General MIDI program names, which name a sound instead of a part."""
_MIN_NOTES = 32
_MIN_DISTINCT_PITCHES = 5
_PITCH_RANGE = (55, 84)
_MIN_MONOPHONY = 0.9
_LEGATO_BEATS = 0.1
_MIN_SOUNDING_BEATS = 0.25
_ROUNDING = 1e-6
_SKYLINE_ONSETS = 4096
"""Onsets per batch; this bounds memory."""


class Melody(NamedTuple):
    """Melody notes of a file, and how they were found."""

    notes: Notes
    how: Literal["named", "monophonic", "skyline"]


def find_melody(notes: Notes) -> Melody:
    """Find the melody: the track with a melody name, else the best monophonic track, else the skyline of all tracks.

    The first choice is the track with the most notes whose name has melody, vocal, voice or lead; accompanying parts,
    such as backing vocals, and names of General MIDI programs are ignored. A track is monophonic if at most a tenth of
    its notes begin more than a tenth of a beat before an earlier one ends; it is a candidate with at least 32 notes of
    at least 5 pitches, on average between 55 and 84. The best candidate has the least overlap and, if several have the
    same overlap, the most notes. Drums are ignored.

    Raises:
        DataError: there is no pitched note.
    """
    pitched = notes.pitched()
    if len(pitched) == 0:
        raise DataError("there are no notes other than drums")
    tracks = [pitched.select(pitched.track == track) for track in np.unique(pitched.track)]
    named = [track for track in tracks if _names_melody(notes.track_names[track.track[0]])]
    if named:
        return Melody(max(named, key=len), "named")
    # With -i, the first of otherwise equal tracks is preferred.
    candidates = [(_monophony(track), len(track), -i) for i, track in enumerate(tracks) if _may_be_melody(track)]
    best = max(candidates, default=(0.0, 0, 0))
    if best[0] >= _MIN_MONOPHONY:
        return Melody(tracks[-best[2]], "monophonic")
    return Melody(_skyline(pitched), "skyline")


def melody_piano_roll(melody: Melody, shift: int = 0) -> NDArray[np.bool_]:
    """Return the pitches that sound for at least a quarter of a beat in each beat.

    Args:
        melody: the notes to use; the first step is the beat in which their first note begins.
        shift: semitones to transpose by; a pitch outside 0..127 is moved back by an octave.

    Returns:
        [beats, 128].

    Raises:
        DataError: the melody is longer than 20,000 beats, which takes hours and occurs only in damaged files.
    """
    notes = melody.notes
    pitch = notes.pitch.astype(np.intp) + shift
    pitch -= 12 * (pitch >= PITCHES) - 12 * (pitch < 0)
    start = notes.onset_beats - np.floor(notes.onset_beats.min())
    end = start + notes.duration_beats
    if end.max() > MAX_BEATS:
        raise DataError(f"the melody is {end.max():.0f} beats long")
    first = np.floor(start).astype(np.intp)
    last = np.maximum(np.ceil(end).astype(np.intp) - 1, first)
    beats = int(last.max()) + 1
    # A note sounds in part of its first and last beat, and in every complete beat between them. Only the first and the
    # last complete beat are marked and then summed up, so memory does not grow with the length of notes.
    cells = np.concatenate([first, last]) * PITCHES + np.tile(pitch, 2)
    at_start = np.minimum(end, first + 1) - start
    at_end = np.where(last > first, end - last, 0)
    partly = np.bincount(cells, weights=np.concatenate([at_start, at_end]), minlength=beats * PITCHES)
    several = last > first
    begun = np.bincount((first[several] + 1) * PITCHES + pitch[several], minlength=beats * PITCHES)
    ended = np.bincount(last[several] * PITCHES + pitch[several], minlength=beats * PITCHES)
    wholly = np.cumsum((begun - ended).reshape(beats, PITCHES), axis=0)
    return np.asarray(partly.reshape(beats, PITCHES) + wholly >= _MIN_SOUNDING_BEATS - _ROUNDING)


def _names_melody(name: str) -> bool:
    """Return True if this is the name of a melody track."""
    words = " ".join(_WORD.findall(_CAMEL_CASE.sub(" ", name).casefold()))
    is_other = _OTHER_PART.search(words) or _GENERAL_MIDI.fullmatch(words)
    return not is_other and _MELODY.search(words) is not None


def _may_be_melody(track: Notes) -> bool:
    low, high = _PITCH_RANGE
    return (
        len(track) >= _MIN_NOTES
        and low <= float(track.pitch.mean()) <= high
        and len(np.unique(track.pitch)) >= _MIN_DISTINCT_PITCHES
    )


def _monophony(track: Notes) -> float:
    """Return the share of notes that start after all earlier ones have ended, with a tolerance for legato."""
    latest_end = np.maximum.accumulate(track.onset_beats + track.duration_beats)
    return float(np.mean(latest_end[:-1] - track.onset_beats[1:] <= _LEGATO_BEATS))


def _skyline(notes: Notes) -> Notes:
    """Return the notes at whose onset no higher note sounds."""
    end = notes.onset_beats + notes.duration_beats
    begins = np.diff(notes.onset_beats, prepend=-np.inf) > 0
    onset, bounds = np.cumsum(begins) - 1, np.append(np.flatnonzero(begins), len(notes))
    top = np.empty(len(notes), bool)
    carried = np.full(PITCHES + 1, -np.inf)
    for first in range(0, len(bounds) - 1, _SKYLINE_ONSETS):
        last = min(first + _SKYLINE_ONSETS, len(bounds) - 1)
        here = slice(bounds[first], bounds[last])
        row, pitch = onset[here] - first, notes.pitch[here]
        latest_end = np.full((last - first, PITCHES + 1), -np.inf)
        np.maximum.at(latest_end, (row, pitch), end[here])
        # Notes of earlier batches can extend into this one.
        latest_end[0] = np.maximum(latest_end[0], carried)
        latest_end = np.maximum.accumulate(latest_end, axis=0)
        carried = latest_end[-1].copy()
        # For each onset and pitch: the latest end of the notes at or above this pitch that have begun by then.
        above = np.maximum.accumulate(latest_end[:, ::-1], axis=1)[:, ::-1]
        top[here] = above[row, pitch + 1] <= notes.onset_beats[here] + _ROUNDING
    return notes.select(top)
