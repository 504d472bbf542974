"""MIDI files as notes, read with symusic and timed in double precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.errors import DataError
from kelly_core.music.notes import Notes

MAX_BYTES = 16 * 2**20
"""A larger file is no piece of music: the largest of Lakh's 176,581 files has 1.4 MB."""

SUFFIXES = frozenset({".mid", ".midi"})

_MAX_BEATS = 50_000
"""More than twelve hours at 60 bpm: times beyond that are damage, and would ask for huge arrays."""
_SUSTAIN_PEDAL = 64
_DEFAULT_BPM = 120.0


def read_notes(path: Path) -> Notes:
    """Read one MIDI file.

    Raises:
        DataError: the file cannot be read, is too large, damaged, or holds no note.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"MIDI file larger than {MAX_BYTES // 2**20} MiB", where=path)
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path) from error
    return parse_notes(content, path)


def parse_notes(content: bytes, where: Path) -> Notes:
    """Parse the bytes of one MIDI file; ``where`` names it in errors.

    Raises:
        DataError: the bytes are no sound MIDI file, or hold no note.
    """
    import symusic

    try:
        score: Any = symusic.Score.from_midi(content)
    except (RuntimeError, ValueError) as error:
        raise DataError("damaged MIDI file", where=where, hint=str(error).split(": iostream error")[0]) from error
    if not score.note_num():
        raise DataError("no notes", where=where)
    notes = _to_notes(score)
    if (notes.onset_beats + notes.duration_beats).max() > _MAX_BEATS:
        raise DataError(f"notes beyond {_MAX_BEATS:,} beats", where=where)
    return notes


def _to_notes(score: Any) -> Notes:
    clock = _Clock(score)
    columns = [track.notes.numpy() for track in score.tracks]
    counts = [len(column["time"]) for column in columns]
    start = np.concatenate([column["time"] for column in columns]).astype(np.int64)
    end = start + np.concatenate([column["duration"] for column in columns])
    pitch = np.concatenate([column["pitch"] for column in columns]).astype(np.int16)
    order = np.lexsort((pitch, start))
    start, end = start[order], end[order]
    onset = clock.seconds(start)
    return Notes(
        onset=onset,
        duration=clock.seconds(end) - onset,
        onset_beats=start / score.ticks_per_quarter,
        duration_beats=(end - start) / score.ticks_per_quarter,
        pitch=pitch[order],
        velocity=np.concatenate([column["velocity"] for column in columns]).astype(np.int16)[order],
        track=np.repeat(np.arange(len(columns), dtype=np.int16), counts)[order],
        drum=np.repeat([bool(track.is_drum) for track in score.tracks], counts)[order],
        track_names=tuple(track.name for track in score.tracks),
        pedal=_pedal(score, clock),
        bpm=clock.bpm,
        beats_per_bar=_beats_per_bar(score),
    )


class _Clock:
    """Ticks to seconds through the tempo changes of one score."""

    def __init__(self, score: Any) -> None:
        changes = {0: _DEFAULT_BPM}
        changes.update({t.time: t.qpm for t in score.tempos if np.isfinite(t.qpm) and t.qpm > 0})
        self._ticks = np.array(sorted(changes))
        rates = np.array([changes[tick] for tick in self._ticks])
        self._seconds_per_tick = 60.0 / (rates * score.ticks_per_quarter)
        self._starts = np.concatenate([[0.0], np.cumsum(np.diff(self._ticks) * self._seconds_per_tick[:-1])])
        self.bpm = float(rates[0])

    def seconds(self, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
        segment = np.searchsorted(self._ticks, ticks, side="right") - 1
        return np.asarray(self._starts[segment] + (ticks - self._ticks[segment]) * self._seconds_per_tick[segment])


def _pedal(score: Any, clock: _Clock) -> NDArray[np.float64]:
    """Sustain pedal of all tracks as [events, 2]: seconds, value."""
    times, values = [], []
    for track in score.tracks:
        controls = track.controls.numpy()
        sustain = controls["number"] == _SUSTAIN_PEDAL
        times.append(controls["time"][sustain].astype(np.int64))
        values.append(controls["value"][sustain].astype(np.float64))
    ticks = np.concatenate(times)
    order = np.argsort(ticks, kind="stable")
    return np.column_stack([clock.seconds(ticks[order]), np.concatenate(values)[order]])


def _beats_per_bar(score: Any) -> float:
    for signature in score.time_signatures:
        if signature.numerator > 0 and signature.denominator > 0:
            return float(4.0 * signature.numerator / signature.denominator)
    return 4.0
