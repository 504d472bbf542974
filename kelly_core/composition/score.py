"""A score as named parts of notes, and its MIDI file."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import mido

from kelly_core.music.chords import CHORD_NAMES, NO_CHORD
from kelly_core.music.notes import BEATS_PER_BAR, PPQ

BAR = BEATS_PER_BAR * PPQ
EIGHTH = PPQ // 2
EIGHTHS = BAR // EIGHTH
"""Eighths in a bar, the grid of melody, chords and bass."""
PHRASE_BARS = 4
DRUM_CHANNEL = 9
"""Channel 10 of General MIDI, counted from 0."""

_SUSTAIN_PEDAL = 64
_MICROSECONDS = 1_000_000
_DOWN, _UP = 127, 0
_ORDER_AT_EQUAL_TICK = {"note_off": 0, "control_change": 1, "note_on": 2}


class Note(NamedTuple):
    """One note: start and length in ticks, pitch and velocity 0..127."""

    tick: int
    length: int
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """One instrument.

    Attributes:
        name: name of its track.
        channel: MIDI channel, 0..15.
        program: General MIDI program, 0..127; None for drums.
        notes: in any order.
        pedal: start and end tick of each press of the sustain pedal.
    """

    name: str
    channel: int
    program: int | None
    notes: tuple[Note, ...]
    pedal: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Score:
    """A piece in 4/4.

    Attributes:
        parts: the instruments.
        tempos: beats per minute from a tick on, in order, the first at tick 0.
        key: tonic and mode as MIDI writes them, "C", "F#m".
        chords: class of each bar's chord, in the key of the score.
        sections: number of the first bar and letter of each section, in order.
        lead_in: seconds from the beginning of a recording to the first bar, filled by a silent bar in the MIDI file;
            None for a piece without a recording.
    """

    parts: tuple[Part, ...]
    tempos: tuple[tuple[int, float], ...]
    key: str
    chords: tuple[int, ...]
    sections: tuple[tuple[int, str], ...] = ()
    lead_in: float | None = None

    @property
    def bars(self) -> int:
        """Number of bars."""
        return len(self.chords)

    @property
    def seconds(self) -> float:
        """Duration in seconds, to the end of the last bar."""
        return self.bar_times()[-1]

    def bar_times(self) -> list[float]:
        """Return the times [bars + 1] at which bars begin and the last one ends, in seconds from the file's start."""
        ticks, bpms = zip(*self.tempos, strict=True)
        # The tempo of a bar is the last one that begins at or before it.
        rates = [bpms[bisect_right(ticks, bar * BAR) - 1] for bar in range(self.bars)]
        return list(accumulate((60 * BEATS_PER_BAR / bpm for bpm in rates), initial=self.lead_in or 0.0))

    def summary(self) -> str:
        """Return key, tempo, length and number of notes as text."""
        bpms = [bpm for _, bpm in self.tempos]
        pace = f"{min(bpms):.4g}" if min(bpms) == max(bpms) else f"{min(bpms):.4g} to {max(bpms):.4g}"
        mode = "minor" if self.key.endswith("m") else "major"
        notes = sum(len(part.notes) for part in self.parts)
        return (
            f"{self.key.removesuffix('m')} {mode}  ·  {pace} bpm  ·  {self.bars} bars, {self.seconds:.0f} s  ·  "
            f"{notes:,} notes"
        )

    def part(self, name: str) -> Part:
        """Return the part of that name."""
        return next(part for part in self.parts if part.name == name)


def midi_bytes(score: Score) -> bytes:
    """Return the score as a MIDI file of type 1: a track of tempo, meter, key and chords, then one track per part.

    A marker at each bar names its chord. A lead-in is a silent bar whose tempo gives it the required duration.
    """
    start = _start(score)
    chords = [NO_CHORD] * (start // BAR) + list(score.chords)
    file = mido.MidiFile(type=1, ticks_per_beat=PPQ)
    head = [
        (0, mido.MetaMessage("time_signature", numerator=BEATS_PER_BAR, denominator=4)),
        (0, mido.MetaMessage("key_signature", key=score.key)),
        *((tick, mido.MetaMessage("set_tempo", tempo=round(microseconds))) for tick, microseconds in _tempos(score)),
        *((BAR * bar, mido.MetaMessage("marker", text=CHORD_NAMES[chord])) for bar, chord in enumerate(chords)),
    ]
    end = start + score.bars * BAR
    file.tracks.append(_track(sorted(head, key=_in_order), end))
    file.tracks += [_track(sorted(_events(part, start), key=_in_order), end) for part in score.parts]
    stream = io.BytesIO()
    file.save(file=stream)
    return stream.getvalue()


_Event = tuple[int, mido.Message | mido.MetaMessage]


def _start(score: Score) -> int:
    """Return the tick of the first bar."""
    return BAR if score.lead_in else 0


def _tempos(score: Score) -> Iterator[tuple[int, float]]:
    """Yield the start tick of each tempo and the tempo in microseconds per beat."""
    if score.lead_in:
        yield 0, score.lead_in / BEATS_PER_BAR * _MICROSECONDS
    for tick, bpm in score.tempos:
        yield _start(score) + tick, 60 / bpm * _MICROSECONDS


def _events(part: Part, first: int) -> Iterator[_Event]:
    yield 0, mido.MetaMessage("track_name", name=part.name)
    if part.program is not None:
        yield 0, mido.Message("program_change", channel=part.channel, program=part.program)
    for start, end in part.pedal:
        for tick, value in ((start, _DOWN), (end, _UP)):
            yield (
                first + tick,
                mido.Message("control_change", channel=part.channel, control=_SUSTAIN_PEDAL, value=value),
            )
    for tick, length, pitch, velocity in part.notes:
        yield first + tick, mido.Message("note_on", channel=part.channel, note=pitch, velocity=velocity)
        yield first + tick + length, mido.Message("note_off", channel=part.channel, note=pitch, velocity=0)


def _in_order(event: _Event) -> tuple[int, int]:
    """Return a sort key by tick; at the same tick, names and programs come first, and notes end before others start."""
    tick, message = event
    return tick, _ORDER_AT_EQUAL_TICK.get(message.type, -1)


def _track(events: list[_Event], end: int) -> mido.MidiTrack:
    track = mido.MidiTrack()
    now = 0
    # MIDI counts ticks from the previous event.
    for tick, message in events:
        message.time = tick - now
        track.append(message)
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    return track
