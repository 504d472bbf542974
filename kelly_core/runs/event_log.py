"""The log of a run: its records, their descriptions as text, a writer, and a reader for observers."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import TypeAdapter

from kelly_core import events
from kelly_core.bounds import Count, Percent, Seconds
from kelly_core.errors import RunError
from kelly_core.formatting import printable
from kelly_core.io.atomic import open_for_writing
from kelly_core.io.json import LineTail, dumps

LOG_FORMAT = 1
_MAX_ATTEMPT = 2**31
_MAX_TIME = 2.5e11
_MAX_BUSY = 1e12

LiveState = Literal["queued", "running", "pausing", "paused", "stopping"]
EndState = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class AttemptBegun:
    """A process was started to train or to resume; an earlier recorded end belongs to an earlier attempt."""

    format: int = LOG_FORMAT


@dataclass(frozen=True)
class StateChanged:
    """The state of the process changed; ``epochs_left`` is set if it stops after a number of epochs."""

    state: LiveState
    epochs_left: Count | None = None


@dataclass(frozen=True)
class FeaturesRead:
    """Progress of feature extraction in files; ``note`` is a message for the user."""

    dataset: str
    done: Count
    total: Count
    note: str = ""


@dataclass(frozen=True)
class GpuLoad:
    """Load of one GPU: utilization in percent, memory in bytes."""

    name: str
    percent: Percent
    memory_used: Count
    memory_total: Count


@dataclass(frozen=True)
class HostLoad:
    """Load of the machine: CPU in percent of all cores, memory in bytes; ``process_memory`` includes all children."""

    cpu_percent: Percent
    process_memory: Count
    memory_used: Count
    memory_total: Count
    gpus: tuple[GpuLoad, ...] = ()


@dataclass(frozen=True)
class Revived:
    """The process is running again after some seconds without a heartbeat (it or the machine was suspended)."""

    silent_seconds: Seconds


@dataclass(frozen=True)
class RunEnded:
    """The attempt ended; ``error`` is the reason if it failed."""

    state: EndState
    error: str = ""


RunEvent = events.Event | AttemptBegun | StateChanged | FeaturesRead | HostLoad | Revived | RunEnded

KINDS: dict[str, type[RunEvent]] = {
    "attempt": AttemptBegun,
    "state": StateChanged,
    "features": FeaturesRead,
    "model": events.ModelStarted,
    "batch": events.BatchDone,
    "epoch": events.EpochDone,
    "checkpoint": events.CheckpointSaved,
    "alarm": events.TrainingWarning,
    "set": events.SettingsChanged,
    "model_end": events.ModelEnded,
    "export": events.Exported,
    "outcome": events.ModelResult,
    "host": HostLoad,
    "revived": Revived,
    "end": RunEnded,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class LogRecord:
    """One line of a log.

    Attributes:
        time: Unix time of writing; for display only, because clocks can be changed.
        busy: seconds of training in the attempt, excluding pauses; the basis of all durations.
        attempt: number of the attempt that wrote the record, 1 for the first.
        event: what happened.
    """

    time: float
    busy: float
    attempt: Count
    event: RunEvent


class DamagedLineError(ValueError):
    """A line that is not a record of any version."""


class UnknownKindError(ValueError):
    """A record of a kind that this version does not know; a newer version may have written it."""


def encode_record(record: LogRecord) -> bytes:
    """Encode a record as a line of JSON."""
    line = {
        "t": round(record.time, 3),
        "busy": round(record.busy, 3),
        "attempt": record.attempt,
        "kind": _NAMES[type(record.event)],
        "data": record.event,
    }
    return dumps(line).encode() + b"\n"


def decode_record(line: bytes) -> LogRecord:
    """Decode a line of JSON.

    Raises:
        DamagedLineError: the line is not a record.
        UnknownKindError: the line is a record of an unknown kind.
    """
    try:
        fields = _parse(line)
        kind = fields["kind"]
        if not isinstance(kind, str):
            raise DamagedLineError("its kind is not a text")
        if kind not in KINDS:
            raise UnknownKindError(kind)
        event = _adapter(kind).validate_python(fields["data"])
        return LogRecord(
            _number(fields["t"], _MAX_TIME), _number(fields["busy"], _MAX_BUSY), _attempt(fields["attempt"]), event
        )
    except UnknownKindError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedLineError(str(error)) from error


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        # The json module also reads NaN and lone surrogates, which earlier versions wrote, but is five times slower.
        return json.loads(line)


def _number(value: object, largest: float) -> float:
    """Check that a number is from 0 to ``largest``, and round it to ms: smaller differences would overflow speeds."""
    if isinstance(value, int | float) and 0 <= value <= largest:
        return round(float(value), 3)
    raise TypeError(f"not a number from 0 to {largest:g}")


def _attempt(value: object) -> int:
    if type(value) is int and 0 <= value <= _MAX_ATTEMPT:
        return value
    raise TypeError("not the number of an attempt")


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])


_ENDINGS = {
    "epochs_done": "all epochs done",
    "early_stopping": "stopped early, no more progress",
    "stopped": "stopped as requested",
    "diverged": "stopped, because the loss diverged repeatedly",
}


def describe(event: RunEvent) -> str | None:
    """Describe an event in one line; None for frequent events."""
    match event:
        case events.ModelStarted():
            data = f"{'synthetic ' if event.synthetic else ''}{event.dataset}"
            return (
                f"{event.model}: {event.train_examples:,} training and {event.validation_examples:,} validation "
                f"examples of {data} on {event.device}, baseline loss {event.baseline_loss:.4f}"
            )
        case events.EpochDone():
            losses = f"train {event.train_loss:.4f} val {event.val_loss:.4f} best {event.best_loss:.4f}"
            return f"{event.model}: epoch {event.epoch}/{event.epochs} {losses} ({event.seconds:.1f} s)"
        case events.TrainingWarning():
            return f"{event.model}: {event.message}"
        case events.SettingsChanged():
            values = {"learning rate": event.learning_rate, "patience": event.patience, "epochs": event.epochs}
            changed = ", ".join(f"{name} {value:g}" for name, value in values.items() if value is not None)
            return f"{event.model}: from epoch {event.epoch + 1} on {changed}, as requested"
        case events.ModelEnded():
            return f"{event.model}: {_ENDINGS[event.reason]} after epoch {event.epoch}"
        case events.Exported():
            return f"{event.model}: wrote {event.path}"
        case events.ModelResult():
            text = event.error or event.verdict
            return f"{event.model}: {text}" if text else None
    return _describe_record(event)


def _describe_record(event: RunEvent) -> str | None:
    """Describe the events that the run's process adds to those of the training."""
    match event:
        case FeaturesRead():
            return f"features of {event.dataset}: {event.note}" if event.note else None
        case StateChanged():
            left = event.epochs_left
            later = f" after {left} more epoch{'s' if left > 1 else ''}" if left else ""
            return f"{event.state}{later}"
        case Revived():
            return f"running again after {event.silent_seconds:.0f} s without a heartbeat"
        case RunEnded():
            return f"{event.state}: {event.error}" if event.error else event.state
    return None


def print_line(text: str) -> None:
    """Print a line with the time of day; a full disk loses the line but does not end the training."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {printable(text)}\n")
        sys.stdout.flush()


_MAX_WAITING = 4 * 2**20
_RESERVE_BYTES = 2**16


class LogWriter:
    """Appends records; safe to use from several threads.

    Records that cannot be written because the disk is full are kept in memory and written with the next one. Some
    disk space is reserved to write at least the end of the run.

    Raises:
        RunError: the log cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        with RunError.from_os_error("cannot be opened", where=path):
            self._handle = open_for_writing(path, os.O_RDWR | os.O_APPEND)
        self._waiting = bytearray()
        self._refused = self._closed = False
        self._lock = threading.Lock()
        self._reserve = path.with_name(".reserve")
        size = os.fstat(self._handle).st_size
        if size and os.pread(self._handle, 1, size - 1) != b"\n":
            # A killed process left half a line; the next record must not be appended to it.
            self._waiting += b"\n"
        # On a full disk, the space of this file is freed for the last records of a run.
        self._set_space_aside()

    def _set_space_aside(self) -> None:
        try:
            with os.fdopen(open_for_writing(self._reserve, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                file.write(bytes(_RESERVE_BYTES))
        except OSError:
            self._free_reserve()

    def _free_reserve(self) -> None:
        # If the name belongs to a folder, for example, there is no reserved space to free.
        with contextlib.suppress(OSError):
            self._reserve.unlink()

    def append(self, record: LogRecord) -> None:
        """Write a record after the waiting ones; drop it if too many are waiting or the log is closed."""
        with self._lock:
            # A thread that measures the load may still report while the process ends.
            if self._closed:
                return
            # The training continues on a full disk, so the number of waiting records must be limited.
            if len(self._waiting) < _MAX_WAITING:
                self._waiting += encode_record(record)
            self._flush()

    def close(self) -> None:
        """Write waiting records, if necessary into the reserved space, and sync the log to disk."""
        with self._lock:
            # The reserved space is freed first: then even a full disk has room for the end of the run.
            self._free_reserve()
            self._flush()
            os.fsync(self._handle)
            os.close(self._handle)
            self._closed = True

    def _flush(self) -> None:
        try:
            # O_APPEND writes at the end of the file; a signal or a full disk may interrupt a write.
            while self._waiting:
                written = os.write(self._handle, self._waiting)
                del self._waiting[:written]
        except OSError as error:
            if not self._refused:
                print_line(f"the log cannot be written for now ({error.strerror})")
            self._refused = True


class LogReader:
    """Reads records as they arrive.

    Attributes:
        damaged: lines that are not records.
        unknown: records of kinds unknown to this version.
    """

    def __init__(self, path: Path, offset: int = 0, damaged: int = 0, unknown: int = 0) -> None:
        self._tail = LineTail(path, offset)
        self._damaged = damaged
        self.unknown = unknown

    @property
    def offset(self) -> int:
        """Return the offset of the first unread record."""
        return self._tail.offset

    @property
    def damaged(self) -> int:
        """Return the number of lines that are not records, plus ``LineTail.damaged``."""
        return self._damaged + self._tail.damaged

    def read(self) -> list[LogRecord]:
        """Return the next records, at most ``kelly_core.io.json.CHUNK`` bytes; [] if there are none."""
        while lines := self._tail.read():
            if found := list(self._records(lines)):
                return found
        return []

    def one_by_one(self) -> Iterator[LogRecord]:
        """Yield the next records one at a time until there are none, for callers that pause between records."""
        while lines := self._tail.read():
            yield from self._records(lines)

    def skip_to_last(self, limit: int) -> int:
        """Skip all but the last ``limit`` bytes; return the number of bytes skipped."""
        return self._tail.skip_to_last(limit)

    def _records(self, lines: list[bytes]) -> Iterator[LogRecord]:
        return filter(None, map(self._record, lines))

    def _record(self, line: bytes) -> LogRecord | None:
        try:
            return decode_record(line) if line else None
        except UnknownKindError:
            self.unknown += 1
        except DamagedLineError:
            self._damaged += 1
        return None


class EventLogger:
    """Writes events as records of one attempt, and prints those that interest users."""

    def __init__(self, log: LogWriter, attempt: int) -> None:
        self._log = log
        self._attempt = attempt
        self.training_seconds: Callable[[], float] = lambda: 0.0
        """Function that returns the seconds of training so far, excluding pauses."""

    def log(self, event: RunEvent) -> None:
        """Write an event."""
        self._log.append(LogRecord(time.time(), self.training_seconds(), self._attempt, event))
        line = describe(event)
        if line is not None:
            print_line(line)
