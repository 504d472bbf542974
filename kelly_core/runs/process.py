"""The process of a run as others see it: heartbeat, lock of its output folder, and exit status."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kelly_core.errors import RunError
from kelly_core.formatting import printable
from kelly_core.io.atomic import make_folder, open_regular
from kelly_core.io.locks import FileLock, LockOwner, is_held
from kelly_core.runs.run_dir import RunDirectory

SILENT_SECONDS = 10.0
"""Seconds without a heartbeat (one per second) after which a process counts as silent."""

# A shell of a few hundred kilobytes starts the process, waits for it and writes its status into a file of the run. It
# holds nothing that the run needs: if it is killed, only the status is missing.
_OBSERVE = """
umask go-w
status_file=$1 attempt=$2 notifier=$3
shift 3
rm -f "$status_file"
"$@" >&2 &
process=$!
trap '' HUP INT TERM
echo $process
exec >&-
wait $process
echo "$attempt $?" > "$status_file"
[ -z "$notifier" ] || eval "exec $notifier"
"""
_OUTPUT_LOCK = ".lease"
_FIRST_SIGNAL = 128
_MAX_BYTES = 64
_MAX_STATUS = 255
_TAIL_BYTES = 4096
_MAX_LINE = 200

_CAUSES = {
    signal.SIGKILL: (
        "by `kill -9`, or by the system because memory ran out",
        "Look for `Out of memory` in the kernel's log; if it is there, use fewer --jobs or a smaller batch size",
    ),
    signal.SIGBUS: (
        "a mapped file became shorter while it was read, or the disk or shared memory is full or failing",
        "`kelly-core cache --verify` checks the cached features",
    ),
    signal.SIGSEGV: ("a fault in native code", "The stack is at the end of console.log; update the package it names"),
    signal.SIGABRT: ("native code gave up, often because memory ran out", "The reason is at the end of console.log"),
    signal.SIGILL: (
        "an instruction that this processor lacks",
        "Install packages that are built for this processor",
    ),
    signal.SIGXCPU: ("its limit of CPU time is used up", "Raise the limit: ulimit -t"),
}


@dataclass(frozen=True)
class Heartbeat:
    """Heartbeat of a run: owner, whether it is locked, and its age in seconds."""

    owner: LockOwner
    locked: bool
    age: float

    @classmethod
    def read(cls, folder: RunDirectory) -> Heartbeat:
        """Read the heartbeat of a run; its age is infinite if there is none.

        Raises:
            RunError: it cannot be read.
        """
        try:
            age = max(0.0, time.time() - folder.heartbeat.stat().st_mtime)
        except FileNotFoundError:
            age = math.inf
        except OSError as error:
            raise RunError(f"cannot be read ({error.strerror})", where=folder.heartbeat) from error
        return cls(LockOwner.read(folder.heartbeat), is_held(folder.heartbeat, error=RunError), age)

    @property
    def here(self) -> bool:
        """True if the process runs or ran on this machine."""
        return self.owner.host in ("", socket.gethostname())

    @property
    def alive(self) -> bool:
        """True if a process is working; for another machine, whose locks may not be visible here, the age decides."""
        return self.locked or (not self.here and self.age < SILENT_SECONDS)


def observed(command: Sequence[str], folder: RunDirectory, attempt: int, notifier: Sequence[str] = ()) -> list[str]:
    """Return a command that runs another one, prints its process id and writes its status when it has ended.

    What the other command prints goes to standard error.

    Args:
        command: the other command.
        folder, attempt: what it is the process of.
        notifier: command that takes the place of the observing one in the end, however the other one has ended.
    """
    return ["/bin/sh", "-c", _OBSERVE, "sh", str(folder.exit_status), str(attempt), shlex.join(notifier), *command]


def describe_exit(folder: RunDirectory, attempt: int) -> str:
    """Describe how a process ended that did not log its end, and what to do.

    The text is "its process is gone" where nothing is known, as after a power cut.
    """
    resume = f"`kelly-core runs resume {folder.id}` continues from the last checkpoint"
    status = _read(folder, attempt)
    if status is None:
        return f"its process is gone. {resume}"
    if status <= _FIRST_SIGNAL:
        last = _last_line(folder.console)
        words = f", its last words: {last}" if last else ""
        return f"its process ended with exit code {status}{words} (see {folder.console}). {resume}"
    number = status - _FIRST_SIGNAL
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"killed by signal {number}. {resume}"
    words = (signal.strsignal(number) or name).lower()
    cause, fix = _CAUSES.get(signal.Signals(number), ("", ""))
    return ". ".join(filter(None, [f"killed by {name} ({words}){cause and ': ' + cause}", fix, resume]))


def _read(folder: RunDirectory, attempt: int) -> int | None:
    try:
        with open_regular(folder.exit_status) as file:
            words = file.read(_MAX_BYTES).split()
        known, status = map(int, words)
    except (OSError, ValueError):
        return None
    return status if known == attempt and 0 <= status <= _MAX_STATUS else None


def _last_line(console: Path) -> str:
    """Return the last line that is not empty, cut after 200 characters; "" if there is none."""
    try:
        with open_regular(console) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((printable(line.strip()[:_MAX_LINE]) for line in reversed(lines) if line.strip()), "")


def output_lock_path(output: Path) -> Path:
    """Return the file that a training into ``output`` locks."""
    return output / _OUTPUT_LOCK


def acquire_output_lock(output: Path) -> FileLock:
    """Acquire the lock of an output folder, which is created if necessary.

    Raises:
        RunError: another run trains into it (the message names it), or the folder cannot be made.
    """
    path = output_lock_path(output)
    try:
        make_folder(output)
    except OSError as error:
        raise RunError(f"cannot be made a folder ({error.strerror})", where=output) from error
    lock = FileLock.acquire(path, error=RunError)
    if lock is None:
        raise _refusal(output, path)
    return lock


def release_output_lock(lock: FileLock) -> None:
    """Release the output folder; only for the process that holds the lock."""
    # Removing the name frees it: the lock that stays until this process ends is then on a file without a name.
    # Where it cannot be removed, the end of the process frees it shortly after.
    with contextlib.suppress(OSError):
        lock.remove()


def _refusal(output: Path, path: Path) -> RunError:
    holder = LockOwner.read(path)
    who = f"run {holder.run} (process {holder.pid} on {holder.host})" if holder.run else "another run"
    stop = f"stop it with `kelly-core runs stop {holder.run}`" if holder.run else "stop it"
    return RunError(f"{who} is training into this folder", where=output, hint=f"Wait for it, {stop}, or choose another")
