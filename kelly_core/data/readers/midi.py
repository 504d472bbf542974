"""MIDI files as notes, timed in double precision."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Ints
from kelly_core.data.readers.smf import TEMPO, TIME_SIGNATURE, TRACK_NAME, SmfEvents, parse_smf
from kelly_core.data.tables import decode_text
from kelly_core.errors import DataError
from kelly_core.formatting import format_bytes
from kelly_core.io.atomic import open_for_reading
from kelly_core.music.notes import DEFAULT_BPM, Notes

_NOTE_OFF, _NOTE_ON = 0x8, 0x9


def pair_notes(events: SmfEvents, part: Ints) -> tuple[Ints, Ints]:
    """Return the indices of the events that start and end each note.

    Notes of one part and pitch form a key. If a key has an end for each start, the note that started first ends
    first. If ends are missing, a start also ends the note that sounds on its key. Notes without an end and ends
    without a note are left out.

    Args:
        events: events of one file.
        part: [events] track and channel of each event as one number.

    Returns:
        on, off: [notes].
    """
    kind = events.status >> 4
    noted = np.flatnonzero((kind == _NOTE_ON) | (kind == _NOTE_OFF))
    key = part[noted] * 128 + events.data1[noted]
    # The sort is stable: within a key, events keep the order of the file, which matters for simultaneous events.
    noted = noted[np.argsort(key, kind="stable")]
    key = part[noted] * 128 + events.data1[noted]
    # A note-on with velocity 0 is a note-off, by the MIDI specification.
    starts = (events.status[noted] >> 4 == _NOTE_ON) & (events.data2[noted] > 0)

    same_key = key[1:] == key[:-1]
    plain = np.append(starts[:-1] & ~starts[1:] & same_key, False)
    # A key is regular if each of its starts is followed by an end; all other keys are paired one by one.
    is_irregular = np.zeros(int(key[-1]) + 1 if len(key) else 0, bool)
    is_irregular[key[starts & ~plain]] = True
    on = np.flatnonzero(plain & ~is_irregular[key])
    pairs = [np.column_stack([on, on + 1])]
    irregular = np.flatnonzero(is_irregular)
    for first, end in zip(np.searchsorted(key, irregular), np.searchsorted(key, irregular, side="right"), strict=True):
        of_key = _pair_key(starts[first:end].tolist(), events.tick[noted[first:end]].tolist())
        pairs.append(np.array(of_key, np.int64).reshape(-1, 2) + first)
    indices = noted[np.concatenate(pairs)]
    return indices[:, 0], indices[:, 1]


def _pair_key(starts: list[bool], ticks: list[int]) -> list[tuple[int, int]]:
    """Return pairs of indices into the events of one key."""
    sounding: deque[int] = deque()
    pairs = []
    for index, is_start in enumerate(starts):
        if is_start:
            sounding.append(index)
        elif sounding:
            pairs.append((sounding.popleft(), index))
    return _cut_at_next_start(starts, ticks) if sounding else pairs


def _cut_at_next_start(starts: list[bool], ticks: list[int]) -> list[tuple[int, int]]:
    """Return pairs in which the next event of the key ends a note; notes that start together end together."""
    pairs = []
    sounding: list[int] = []
    for index, is_start in enumerate(starts):
        if not is_start or (sounding and ticks[index] > ticks[sounding[0]]):
            pairs += [(start, index) for start in sounding]
            sounding = []
        if is_start:
            sounding.append(index)
    return pairs


MAX_BYTES = 16_000_000
"""Maximum size of a file in bytes; the largest of Lakh's 176,581 files has 1.4 MB."""

SUFFIXES = frozenset({".mid", ".midi"})

_MAX_BEATS = 50_000
"""More than twelve hours at 60 bpm; later times indicate damage and would require huge arrays."""
_CONTROL_CHANGE = 0xB
_SUSTAIN_PEDAL = 64
_PEDAL_DOWN = 64
_CHANNELS = 16
_DRUM_CHANNEL = 9
_MICROSECONDS_PER_MINUTE = 60e6
_MAX_DENOMINATOR_POWER = 7


def read_notes(path: Path) -> Notes:
    """Read one MIDI file.

    Raises:
        DataError: the file cannot be read, is too large or damaged, has a format without beats, or contains no note.
    """
    with open_for_reading(path, DataError) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"MIDI file larger than {format_bytes(MAX_BYTES)}", where=path)
    return parse_notes(content, path)


def parse_notes(content: bytes, where: Path) -> Notes:
    """Parse the bytes of one MIDI file; ``where`` names it in errors.

    Each track of the result is one channel of one MIDI track. ``pair_notes`` defines where notes end.

    Raises:
        DataError: the bytes are not a valid MIDI file, or contain no note.
    """
    try:
        return _to_notes(parse_smf(content))
    except DataError as error:
        raise DataError(error.problem, where=where, hint=error.hint) from error


def _to_notes(events: SmfEvents) -> Notes:
    channel = events.status & 0x0F
    part = events.track.astype(np.int64) * _CHANNELS + channel
    on, off = pair_notes(events, part)
    if not len(on):
        raise DataError("no notes")
    start, end = events.tick[on], events.tick[off]
    if end.max() > _MAX_BEATS * events.ticks_per_quarter:
        raise DataError(f"notes beyond {_MAX_BEATS:,} beats")
    # By time and then by pitch, so that the order of the tracks in the file does not matter.
    order = np.lexsort((events.data1[on], start))
    on, start, end = on[order], start[order], end[order]
    clock = _TempoMap(events)
    onset = clock.seconds(start)
    parts, track = np.unique(part[on], return_inverse=True)
    return Notes(
        onset=onset,
        duration=np.maximum(clock.seconds(end) - onset, 0),
        onset_beats=start / events.ticks_per_quarter,
        duration_beats=(end - start) / events.ticks_per_quarter,
        pitch=events.data1[on].astype(np.int16),
        velocity=events.data2[on].astype(np.int16),
        track=track.astype(np.int16),
        drum=channel[on] == _DRUM_CHANNEL,
        track_names=_track_names(events, parts),
        pedal=_pedal(events, part, parts, clock),
        bpm=clock.first_bpm(int(start[0]) + events.ticks_per_quarter),
        beats_per_bar=_beats_per_bar(events),
    )


class _TempoMap:
    """Conversion of ticks to seconds by the tempo changes of one file."""

    def __init__(self, events: SmfEvents) -> None:
        changes = {
            event.tick: _MICROSECONDS_PER_MINUTE / microseconds
            for event in sorted((event for event in events.meta if event.type == TEMPO), key=lambda event: event.tick)
            if len(event.data) == 3 and (microseconds := int.from_bytes(event.data, "big"))
        }
        self._first_change = next(iter(changes), 0)
        self._first_bpm = next(iter(changes.values()), DEFAULT_BPM)
        changes = {0: DEFAULT_BPM} | changes
        self._ticks = np.array(list(changes), np.int64)
        rates = np.array(list(changes.values()))
        self._seconds_per_tick = 60.0 / (rates * events.ticks_per_quarter)
        # Seconds at each change: the sum of the durations between the changes before it.
        self._starts = np.concatenate([[0.0], np.cumsum(np.diff(self._ticks) * self._seconds_per_tick[:-1])])

    def seconds(self, ticks: Ints) -> Doubles:
        """Return the time of each tick."""
        segment = np.searchsorted(self._ticks, ticks, side="right") - 1
        return np.asarray(self._starts[segment] + (ticks - self._ticks[segment]) * self._seconds_per_tick[segment])

    def first_bpm(self, latest_tick: int) -> float:
        """Return the first tempo of the file if it is set at or before ``latest_tick``, else the default of 120 bpm.

        Some sequencers write the first tempo a few ticks late.
        """
        return self._first_bpm if self._first_change <= latest_tick else DEFAULT_BPM


def _track_names(events: SmfEvents, parts: Ints) -> tuple[str, ...]:
    """Return the name of each part; "" if the file has one MIDI track, because its name is the title of the piece."""
    names: dict[int, str] = {}
    if events.tracks > 1:
        for event in events.meta:
            if event.type == TRACK_NAME:
                names.setdefault(event.track, decode_text(event.data))
    return tuple(names.get(track, "") for track in (parts // _CHANNELS).tolist())


def _pedal(events: SmfEvents, part: Ints, parts: Ints, clock: _TempoMap) -> Doubles:
    """Return the sustain pedal as [events, 2]: seconds, value.

    Each part with notes has a separate pedal; pedal events of other MIDI tracks belong to their channel. The pedals are
    merged into one that is down while any of them is down. Otherwise, a raised pedal would release another.
    """
    chosen = np.flatnonzero((events.status >> 4 == _CONTROL_CHANGE) & (events.data1 == _SUSTAIN_PEDAL))
    chosen = chosen[np.argsort(events.tick[chosen], kind="stable")]
    has_notes = np.zeros(events.tracks * _CHANNELS, bool)
    has_notes[parts] = True
    # Parts are numbered from 16; lower numbers are channels of pedal events that belong to no part with notes.
    source = np.where(has_notes[part[chosen]], part[chosen], part[chosen] % _CHANNELS - _CHANNELS) + _CHANNELS
    down = events.data2[chosen] >= _PEDAL_DOWN
    sources = _sustaining(np.flatnonzero(np.bincount(source[down])), parts)
    is_used = np.zeros((events.tracks + 1) * _CHANNELS, bool)
    is_used[sources] = True
    used = is_used[source]
    chosen, source, down = chosen[used], source[used], down[used]
    seconds = clock.seconds(events.tick[chosen])
    if len(sources) < 2:
        return np.column_stack([seconds, events.data2[chosen]]).astype(np.float64)
    return _merged(seconds, source, down)


def _sustaining(sources: Ints, parts: Ints) -> Ints:
    """Return the pressed pedals of channels with notes other than drums, or all pressed pedals if there are none."""
    pitched = np.zeros(_CHANNELS, bool)
    pitched[parts % _CHANNELS] = True
    pitched[_DRUM_CHANNEL] = False
    sustaining = sources[pitched[sources % _CHANNELS]]
    return sustaining if len(sustaining) else sources


def _merged(seconds: Doubles, source: Ints, down: NDArray[np.bool_]) -> Doubles:
    """Return one pedal [changes, 2] with values 0 and 127; it is down while any source's pedal is down."""
    order = np.argsort(source, kind="stable")
    previous = np.zeros(len(down), bool)
    same = np.diff(source[order]) == 0
    previous[order[1:]] = down[order[:-1]] & same
    change = down.astype(np.int64) - previous
    # At equal times, presses sort before releases, so that a change of source does not press the pedal again.
    order = np.lexsort((-change, seconds))
    is_down = np.cumsum(change[order]) > 0
    turns = np.diff(is_down, prepend=False)
    return np.column_stack([seconds[order][turns], 127.0 * is_down[turns]])


def _beats_per_bar(events: SmfEvents) -> float:
    for event in sorted(events.meta, key=lambda event: event.tick):
        if event.type == TIME_SIGNATURE and len(event.data) >= 2:
            numerator, power = event.data[:2]
            if numerator and power <= _MAX_DENOMINATOR_POWER:
                return 4.0 * numerator / 2.0**power
    return 4.0
