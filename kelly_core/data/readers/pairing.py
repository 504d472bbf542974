"""Note-on and note-off events of a MIDI file, paired to notes."""

from __future__ import annotations

from collections import deque

import numpy as np

from kelly_core.arrays import Ints
from kelly_core.data.readers.smf import SmfEvents

_NOTE_OFF, _NOTE_ON = 0x8, 0x9


def pair_notes(events: SmfEvents, part: Ints) -> tuple[Ints, Ints]:
    """Return the indices of the events that start and end each note.

    Notes of one part and pitch are a key. Where a key has an end for each start, the note that started first ends
    first. Where ends are missing, a start also ends the note that sounds on its key. A note without any end is left
    out, as is an end without a note.

    Args:
        events: of one file.
        part: [events] track and channel of each event as one number.

    Returns:
        on, off: [notes].
    """
    kind = events.status >> 4
    noted = np.flatnonzero((kind == _NOTE_ON) | (kind == _NOTE_OFF))
    key = part[noted] * 128 + events.data1[noted]
    noted = noted[np.argsort(key, kind="stable")]
    key = part[noted] * 128 + events.data1[noted]
    starts = (events.status[noted] >> 4 == _NOTE_ON) & (events.data2[noted] > 0)

    same_key = key[1:] == key[:-1]
    plain = np.append(starts[:-1] & ~starts[1:] & same_key, False)
    # A key is regular where each of its starts is followed by an end; all others are paired one by one.
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
    """Pairs of indices into the events of one key."""
    sounding: deque[int] = deque()
    pairs = []
    for index, is_start in enumerate(starts):
        if is_start:
            sounding.append(index)
        elif sounding:
            pairs.append((sounding.popleft(), index))
    return _cut_at_next_start(starts, ticks) if sounding else pairs


def _cut_at_next_start(starts: list[bool], ticks: list[int]) -> list[tuple[int, int]]:
    """Pairs where the next event of the key ends a note; notes that start together end together."""
    pairs = []
    sounding: list[int] = []
    for index, is_start in enumerate(starts):
        if not is_start or (sounding and ticks[index] > ticks[sounding[0]]):
            pairs += [(start, index) for start in sounding]
            sounding = []
        if is_start:
            sounding.append(index)
    return pairs
