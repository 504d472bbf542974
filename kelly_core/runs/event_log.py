"""The log of a run, written by its process and read by observers."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kelly_core.errors import RunError
from kelly_core.io.atomic import open_for_writing
from kelly_core.io.jsonl import LineTail
from kelly_core.runs.log_records import DamagedLineError, LogRecord, RunEvent, UnknownKindError, decode, encode
from kelly_core.runs.messages import describe, print_line

_MAX_WAITING = 4 * 2**20
_RESERVE_BYTES = 2**16


class LogWriter:
    """Appends records; safe to use from several threads.

    What a full disk refuses waits in memory for the next record. Some space is set aside, so that at least the ending
    can be written.

    Raises:
        RunError: the log cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._handle = open_for_writing(path, os.O_RDWR | os.O_APPEND)
        except OSError as error:
            raise RunError(f"cannot be opened ({error.strerror})", where=path) from error
        self._waiting = bytearray()
        self._refused = self._closed = False
        self._lock = threading.Lock()
        self._reserve = path.with_name(".reserve")
        size = os.fstat(self._handle).st_size
        if size and os.pread(self._handle, 1, size - 1) != b"\n":
            # A killed process left half a line; what follows must not become a part of it.
            self._waiting += b"\n"
        self._set_space_aside()

    def _set_space_aside(self) -> None:
        try:
            with os.fdopen(open_for_writing(self._reserve, os.O_WRONLY | os.O_TRUNC), "wb") as file:
                file.write(bytes(_RESERVE_BYTES))
        except OSError:
            self._free_reserve()

    def _free_reserve(self) -> None:
        # Something else of this name, a folder perhaps, takes no space of the log's.
        with contextlib.suppress(OSError):
            self._reserve.unlink()

    def append(self, record: LogRecord) -> None:
        """Write a record after the waiting ones; dropped if too many are waiting or the log is closed."""
        with self._lock:
            # A thread that measures the load may still report while the process ends.
            if self._closed:
                return
            if len(self._waiting) < _MAX_WAITING:
                self._waiting += encode(record)
            self._flush()

    def close(self) -> None:
        """Write waiting records, if necessary into the reserved space, and sync the log to disk."""
        with self._lock:
            self._free_reserve()
            self._flush()
            os.fsync(self._handle)
            os.close(self._handle)
            self._closed = True

    def _flush(self) -> None:
        try:
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
        damaged: lines that are no records.
        unknown: records of kinds that this version does not know.
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
        """Return the number of lines that are not records, and of other damage."""
        return self._damaged + self._tail.damaged

    def read(self) -> list[LogRecord]:
        """Return the next records, at most ``tail.CHUNK`` bytes; [] if there are none."""
        while lines := self._tail.read():
            if found := list(self._records(lines)):
                return found
        return []

    def one_by_one(self) -> Iterator[LogRecord]:
        """Yield the next records until there are none, for callers that pause between two of them."""
        while lines := self._tail.read():
            yield from self._records(lines)

    def skip_to_last(self, limit: int) -> int:
        """Skip all but the last ``limit`` bytes; return the number of bytes skipped."""
        return self._tail.skip_to_last(limit)

    def _records(self, lines: list[bytes]) -> Iterator[LogRecord]:
        return filter(None, map(self._record, lines))

    def _record(self, line: bytes) -> LogRecord | None:
        try:
            return decode(line) if line else None
        except UnknownKindError:
            self.unknown += 1
        except DamagedLineError:
            self._damaged += 1
        return None


class EventLogger:
    """Writes events as records of one attempt, and those of interest to users as lines.

    Args:
        log: the log.
        attempt: number of the attempt.
    """

    def __init__(self, log: LogWriter, attempt: int) -> None:
        self._log = log
        self._attempt = attempt
        self.busy: Callable[[], float] = lambda: 0.0
        """Function that returns the seconds of training so far; its owner subtracts pauses."""

    def log(self, event: RunEvent) -> None:
        """Write an event."""
        self._log.append(LogRecord(time.time(), self.busy(), self._attempt, event))
        line = describe(event)
        if line is not None:
            print_line(line)
