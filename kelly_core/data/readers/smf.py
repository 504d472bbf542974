"""Standard MIDI files (SMF 1.0) as columns of events.

Regular expressions split sequences of channel events into single events; NumPy then decodes all events of a file at
once. Only meta events and System Exclusive packets are read one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Ints
from kelly_core.errors import DataError

Bytes = NDArray[np.uint8]

DAMAGED = "damaged MIDI file"
MAX_EVENTS = 1_000_000
"""Maximum number of events in a file; the longest performance of MAESTRO has a tenth of that."""
MAX_TRACKS = 1_000
MAX_META = 100_000
"""Maximum names, markers, tempo changes and time signatures of a file; these objects use the most memory."""

TRACK_NAME, MARKER, TEMPO, TIME_SIGNATURE = 0x03, 0x06, 0x51, 0x58
_END_OF_TRACK = 0x2F
_KEPT_META = frozenset({TRACK_NAME, MARKER, TEMPO, TIME_SIGNATURE})
_META, _SYSEX, _SYSEX_PACKET = 0xFF, 0xF0, 0xF7
_PADDING = 8
"""Zero bytes after the content, so that indices a few bytes past an event stay inside the array."""

_STRETCH_EVENTS = 4096
"""Maximum events that exist as separate objects at a time: this bounds memory."""


class _ChannelEvents:
    """Regular expressions for channel events with a given number of data bytes.

    The size of an event in running status depends on the status before it. A matched sequence therefore has events of
    one size only: those with status bytes in ``statuses``, and those in running status that follow them.
    """

    def __init__(self, statuses: bytes, data_bytes: int) -> None:
        # Possessive quantifiers (+) never backtrack: on damaged bytes the time stays linear in the size.
        delta, data = rb"[\x80-\xff]{0,3}+[\x00-\x7f]", rb"[\x00-\x7f]{%d}" % data_bytes
        event = rb"%b[%b]?+%b" % (delta, statuses, data)
        self.with_status = re.compile(rb"%b[%b]%b" % (delta, statuses, data))
        self.stretch = re.compile(rb"(?:%b){1,%d}+" % (event, _STRETCH_EVENTS))
        self.event = re.compile(event)


_TWO_DATA_BYTES = _ChannelEvents(rb"\x80-\xbf\xe0-\xef", 2)
_ONE_DATA_BYTE = _ChannelEvents(rb"\xc0-\xdf", 1)


class MetaEvent(NamedTuple):
    """A meta event: its track, its time in ticks, its type, and its data."""

    track: int
    tick: int
    type: int
    data: bytes


@dataclass(frozen=True)
class SmfEvents:
    """The events of one file.

    Attributes:
        format: 0, 1, or 2.
        ticks_per_quarter: 1..32,767.
        tracks: number of track chunks.
        track: [events] index of the track chunk of each channel event.
        tick: [events] absolute time; events are in file order, so ticks ascend within a track.
        status, data1, data2: [events] bytes; ``data2`` is 0 for messages with one data byte.
        meta: track names, markers, tempo changes and time signatures, in file order.
    """

    format: int
    ticks_per_quarter: int
    tracks: int
    track: NDArray[np.int16]
    tick: Ints
    status: Bytes
    data1: Bytes
    data2: Bytes
    meta: list[MetaEvent]


def parse_smf(content: bytes) -> SmfEvents:
    """Parse a Standard MIDI File, bare or inside a RIFF container (RMID).

    Running status continues across meta and System Exclusive events, because some sequencers write such files. The
    payload of F0 and F7 packets has no duration. Unknown chunks, and data after the end of a track, are ignored.

    Raises:
        DataError: the content is damaged, its time base is not ticks per quarter note, its tracks are independent
            sequences (format 2), or it exceeds ``MAX_EVENTS``, ``MAX_META`` or ``MAX_TRACKS``.
    """
    start = _find_header(content)
    midi_format, division = _read_header(content, start)
    scan = _Scan(content)
    for number, (first, end) in enumerate(_track_chunks(content, start)):
        if number == MAX_TRACKS:
            raise DataError(f"more than {MAX_TRACKS:,} MIDI tracks")
        scan.read_track(first, end)
    if midi_format == 2 and len(scan.track_starts) > 1:
        raise DataError("MIDI format 2 (tracks are independent sequences)")
    return scan.events(midi_format, division)


def _damaged(position: int, problem: str) -> DataError:
    return DataError(DAMAGED, hint=f"Byte {position:,}: {problem}")


def _find_header(content: bytes) -> int:
    """Return the position of MThd: 0, or inside the data chunk of a RIFF file."""
    position = 0
    if content[:4] == b"RIFF" and content[8:12] == b"RMID":
        position = 12
        while content[position : position + 4] not in {b"data", b""}:
            position += 8 + int.from_bytes(content[position + 4 : position + 8], "little")
            position += position % 2
        position += 8
    if content[position : position + 4] != b"MThd":
        raise _damaged(position, "expected the header chunk MThd")
    return position


def _read_header(content: bytes, start: int) -> tuple[int, int]:
    """Return format and ticks per quarter note."""
    size = int.from_bytes(content[start + 4 : start + 8], "big")
    found = max(0, len(content) - start - 8)
    if size < 6 or found < size:
        raise _damaged(start, f"expected a header of {max(size, 6):,} bytes, got {min(size, found):,}")
    midi_format, _, division = (int.from_bytes(content[at : at + 2], "big") for at in range(start + 8, start + 14, 2))
    if midi_format > 2:
        raise DataError(f"unknown MIDI format {midi_format} (expected 0, 1 or 2)")
    if division == 0:
        raise DataError("header division 0 (expected ticks per quarter note)")
    if division >= 0x8000:
        raise DataError(f"SMPTE time base ({256 - (division >> 8)} frames per second), which has no beats")
    return midi_format, division


def _track_chunks(content: bytes, start: int) -> list[tuple[int, int]]:
    """Return start and end of each track chunk, up to the number in the header; additional chunks are ignored."""
    position = start + 8 + int.from_bytes(content[start + 4 : start + 8], "big")
    expected = int.from_bytes(content[start + 10 : start + 12], "big")
    chunks: list[tuple[int, int]] = []
    while len(chunks) < expected and position + 8 <= len(content):
        size = int.from_bytes(content[position + 4 : position + 8], "big")
        first, end = position + 8, position + 8 + size
        if end > len(content):
            raise _damaged(position, f"expected a chunk of {size:,} bytes, got {len(content) - first:,}")
        if content[position : position + 4] == b"MTrk":
            chunks.append((first, end))
        position = end
    if len(chunks) < expected:
        raise _damaged(position, f"expected {expected} tracks, got {len(chunks)}")
    return chunks


class _Scan:
    """Positions of events in the track chunks, before they are decoded."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._stretches: list[tuple[int, int]] = []
        """Position and number of events of each sequence of channel events."""
        self._sizes: list[int] = []
        """Bytes of each channel event."""
        self._others: list[tuple[int, int]] = []
        """Position and delta time of every meta event and packet."""
        self._meta: list[tuple[int, int, int, bytes]] = []
        """Index into ``_others``, track, type and data of each meta event that is kept."""
        self.track_starts: list[int] = []

    def read_track(self, position: int, end: int) -> None:
        """Find the events of one track chunk."""
        self.track_starts.append(position)
        running: _ChannelEvents | None = None
        while position < end:
            if len(self._sizes) + len(self._others) > MAX_EVENTS:
                raise DataError(f"more than {MAX_EVENTS:,} MIDI events")
            for kind in (_TWO_DATA_BYTES, _ONE_DATA_BYTE):
                if kind.with_status.match(self._content, position, end):
                    running = kind
                    break
            found = running and running.stretch.match(self._content, position, end)
            if running and found:
                events = running.event.findall(self._content, position, found.end())
                self._stretches.append((position, len(events)))
                self._sizes.extend(map(len, events))
                position = found.end()
            else:
                position = self._read_other(position, end)

    def _read_other(self, position: int, end: int) -> int:
        """Read one meta event or packet; return the position after it."""
        content = self._content
        delta, at = _varlen(content, position, end)
        status = content[at] if at < end else -1
        if status not in {_META, _SYSEX, _SYSEX_PACKET}:
            raise _damaged(at, "expected a complete event")
        kind = content[at + 1] if status == _META and at + 1 < end else -1
        size, first = _varlen(content, at + (2 if status == _META else 1), end)
        if first + size > end:
            raise _damaged(at, f"expected an event of {size:,} bytes, got {end - first:,}")
        # Some files contain megabytes of lyrics; only events needed for the notes' times and names are kept.
        if kind in _KEPT_META:
            if len(self._meta) == MAX_META:
                raise DataError(f"more than {MAX_META:,} tempo changes, names and markers")
            self._meta.append((len(self._others), len(self.track_starts) - 1, kind, content[first : first + size]))
        self._others.append((position, delta))
        return end if kind == _END_OF_TRACK else first + size

    def events(self, midi_format: int, division: int) -> SmfEvents:
        """Decode all events that were found."""
        # Zero padding instead of a bounds check at each of the accesses below.
        data = np.zeros(len(self._content) + _PADDING, np.uint8)
        data[: len(self._content)] = np.frombuffer(self._content, np.uint8)
        high = data >= 0x80
        delta_size = _delta_sizes(high)
        position = self._positions()
        others = np.array(self._others, np.int64).reshape(-1, 2)
        at = position + delta_size[position]
        has_status = high[at]
        first_data = at + has_status
        # The first event of each track has a status byte, so running status is never taken from another track.
        # accumulate carries the index of the last event with a status byte forward: running status without a loop.
        status = data[at][np.maximum.accumulate(np.where(has_status, np.arange(len(at)), 0))]
        two = (status & 0xE0) != 0xC0
        tick, other_tick = self._ticks(position, _deltas(data, position, delta_size), others)
        return SmfEvents(
            format=midi_format,
            ticks_per_quarter=division,
            tracks=len(self.track_starts),
            track=(np.searchsorted(self.track_starts, position, side="right") - 1).astype(np.int16),
            tick=tick,
            status=status,
            data1=data[first_data],
            data2=np.where(two, data[first_data + 1], 0).astype(np.uint8),
            meta=[MetaEvent(track, int(other_tick[index]), kind, value) for index, track, kind, value in self._meta],
        )

    def _positions(self) -> Ints:
        """Return positions of all channel events, ascending."""
        if not self._stretches:
            return np.empty(0, np.int64)
        size = np.array(self._sizes, np.int64)
        first, count = np.array(self._stretches, np.int64).T
        begin = np.cumsum(size) - size
        position: Ints = begin + np.repeat(first - begin[np.cumsum(count) - count], count)
        return position

    def _ticks(self, position: Ints, delta: Ints, others: Ints) -> tuple[Ints, Ints]:
        """Return absolute ticks of the channel events and of the others; each track starts at 0."""
        positions = np.concatenate([position, others[:, 0]])
        # Meta events and packets advance time as well, so both kinds are summed in the order of the file.
        order = np.argsort(positions, kind="stable")
        elapsed = np.cumsum(np.concatenate([delta, others[:, 1]])[order])
        # The time elapsed before the first event of a track is subtracted from all events of the track.
        first = np.searchsorted(positions[order], self.track_starts)
        before = np.append(0, elapsed)[first]
        track = np.searchsorted(self.track_starts, positions[order], side="right") - 1
        ticks = np.empty_like(elapsed)
        ticks[order] = elapsed - before[track] if len(before) else elapsed
        return ticks[: len(position)], ticks[len(position) :]


def _varlen(content: bytes, position: int, end: int) -> tuple[int, int]:
    """Return a variable-length quantity of at most four bytes, and the position after it."""
    value = 0
    for at in range(position, min(position + 4, end)):
        value = value << 7 | content[at] & 0x7F
        if content[at] < 0x80:
            return value, at + 1
    raise _damaged(position, "expected a number of at most four bytes")


def _delta_sizes(high: NDArray[np.bool_]) -> Bytes:
    """Return for each position the size of a delta time that starts there: 1..4 bytes."""
    size = np.ones(len(high), np.uint8)
    # A byte with its top bit set continues the number, so a run of such bytes is counted, at most three.
    run = high.copy()
    for shift in range(1, 4):
        size += run
        run[:-shift] &= high[shift:]
    return size


def _deltas(data: Bytes, position: Ints, delta_size: Bytes) -> Ints:
    """Return delta times of the events at these positions."""
    value = np.zeros(len(position), np.int64)
    size = delta_size[position]
    for digit in range(4):
        value = np.where(digit < size, value << 7 | data[position + digit] & 0x7F, value)
    return value
