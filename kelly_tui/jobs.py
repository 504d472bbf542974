"""Worker processes of the screens: start, read line by line, cancel; and calls from worker threads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec

from textual.message_pump import MessagePump
from textual.worker import get_current_worker

KELLY_CORE = (sys.executable, "-c", "from kelly_core.cli.app import main; main()")
"""First words of a command line that runs ``kelly-core`` of this installation."""

_MAX_ERROR_BYTES = 2000

P = ParamSpec("P")


def worker(module: str, *arguments: str) -> list[str]:
    """Return the command line of a program in ``kelly_tui.workers``."""
    return [sys.executable, "-m", f"kelly_tui.workers.{module}", *arguments]


def call_from_worker(receiver: MessagePump, method: Callable[P, object], *arguments: P.args, **named: P.kwargs) -> None:
    """Call a method of a screen or dialog from a worker thread: it runs in the main thread, after earlier messages.

    The call is dropped if a later worker of the same exclusive group has replaced this one. A thread cannot be
    interrupted, so a replaced one may finish after its successor, with older data.
    """
    if not get_current_worker().is_cancelled:
        receiver.call_later(method, *arguments, **named)


class Job:
    """A process in its own session, so that neither Ctrl-C nor the loss of the terminal interrupts it.

    Args:
        command: program and arguments.
        with_errors: merge its standard error into its output lines.
    """

    def __init__(self, command: Sequence[str], *, with_errors: bool = False) -> None:
        # A file instead of a pipe: only standard output is read while it runs, so a full second pipe would block it.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by lines()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if with_errors else self._errors,
            start_new_session=True,
        )
        self.cancelled = False
        self.problem = ""

    def lines(self) -> Iterator[str]:
        """Yield output lines as they arrive; afterwards ``problem`` contains the error, "" if there is none."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                yield line.decode(errors="replace")
        code = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read()[-_MAX_ERROR_BYTES:].decode(errors="replace").strip()
        self._errors.close()
        if code and not self.cancelled:
            ended = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
            self.problem = words.splitlines()[-1] if words else ended

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects that the process prints, one per line; an incomplete last line is skipped."""
        for line in self.lines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record

    def cancel(self) -> None:
        """Kill the process and its children."""
        self.cancelled = True
        # The process leads its own session, so its workers are in its process group and get the signal, too.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)


@dataclass(frozen=True)
class JobProgress:
    """Progress of a job: its current stage, with completed and total counts."""

    stage: str
    done: int
    total: int


class JobQueue:
    """Queue of names, each processed by a worker process, one at a time.

    Args:
        start: starts the job of a name.

    Attributes:
        waiting: names to start after the current one.
        current: the name in progress, "" for none.
        progress: progress of the current job; None before its first report.
    """

    def __init__(self, start: Callable[[str], object]) -> None:
        self.waiting: list[str] = []
        self.current = ""
        self.progress: JobProgress | None = None
        self._start = start
        self._job: Job | None = None
        self._cancelled = False

    def add(self, names: Iterable[str]) -> None:
        """Append the names that are neither waiting nor in progress, and start the first if none is in progress."""
        known = {self.current, *self.waiting}
        self.waiting += [name for name in dict.fromkeys(names) if name not in known]
        if not self.current:
            self.advance()

    def advance(self) -> None:
        """Finish the current name and start the next one, if one waits."""
        self._job, self.progress, self._cancelled = None, None, False
        self.current = self.waiting.pop(0) if self.waiting else ""
        if self.current:
            self._start(self.current)

    def attach(self, job: Job) -> Job:
        """Store and return the job of the current name; cancel it if ``cancel`` was called before it was started."""
        self._job = job
        if self._cancelled:
            job.cancel()
        return job

    def cancel(self) -> None:
        """Cancel the current job and drop the names that wait."""
        self.waiting = []
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()


class LatestJob:
    """The worker process of a dialog, which ends when a later one is started, or with the dialog.

    Args:
        start: starts a process.
    """

    def __init__(self, start: Callable[[Sequence[str]], Job]) -> None:
        self._start = start
        self._jobs: list[Job] = []

    def start(self, command: Sequence[str]) -> Job:
        """Start a process from an exclusive worker thread, and cancel the earlier ones."""
        self.cancel()
        job = self._start(command)
        self._jobs.append(job)
        # Appended before this check: a thread that replaces this one either finds the job, or has replaced it before.
        if get_current_worker().is_cancelled:
            job.cancel()
        return job

    def cancel(self) -> None:
        """Cancel all processes that were started."""
        for job in list(self._jobs):
            job.cancel()
