"""Exit status of a run's process that could not report its own end: killed by a signal, or with an exit code.

A shell of a few hundred kilobytes starts the process, waits for it and writes its status into a file of the run. The
shell holds nothing that the run needs: if it is killed, only the status is missing.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from kelly_core.display_text import printable
from kelly_core.io.atomic import open_regular
from kelly_core.runs.run_dir import RunDirectory

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
    """Say how the process of an attempt ended without writing so into its log, and what to do.

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
