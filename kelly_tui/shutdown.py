"""Exit within a time limit, in any state of the terminal."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from textual.drivers.linux_driver import LinuxDriver

SHUTDOWN_SECONDS = 3.0
"""Maximum seconds from the request to exit until the orderly exit."""

_RESTORE_SEQUENCE = (
    "\x1b[?2004l\x1b[?7h\x1b[?2048l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
)
"""Resets the terminal: bracketed paste, mouse and key reports off, line wrap and cursor on, normal screen buffer."""


class _TerminalOutput:
    """Standard error that may still be written to after its terminal is lost; such output is discarded.

    Textual writes from a separate thread, through a queue of limited length. If that thread ended with an error, later
    writes would fill the queue and then block forever.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        number: int = self._file.fileno()
        return number


class Driver(LinuxDriver):
    """Textual's driver for a terminal that may disappear at any moment."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file = _TerminalOutput(self._file)  # type: ignore[assignment]

    def _sigcont_application(self, *_: object) -> None:
        """Take over the terminal again after Ctrl-Z.

        A terminal that closes also sends this signal to a program that was never suspended: Textual would then start
        a second pair of threads that read and write in addition to the first.
        """
        if self._must_signal_resume:
            super()._sigcont_application()


def exit_on_signals(leave: Callable[[], None], clean_up: Callable[[], None]) -> None:
    """End the process within ``SHUTDOWN_SECONDS`` after SIGINT, SIGTERM, SIGHUP or the loss of the terminal.

    Ctrl-C is a key while the screens are shown; SIGINT comes from another program.

    Args:
        leave: starts an orderly exit; called in the main thread, possibly between any two bytecode instructions.
        clean_up: runs before the process is killed because the orderly exit took too long.
    """
    terminal = sys.__stdin__.fileno() if sys.__stdin__ is not None and sys.__stdin__.isatty() else None
    modes = None if terminal is None else termios.tcgetattr(terminal)

    def at_once() -> None:
        clean_up()
        if terminal is not None and modes is not None:
            _restore(terminal, modes)
        os._exit(1)

    def request_end(_number: int, _frame: FrameType | None) -> None:
        # The event loop may be blocked by a write to a terminal that accepts no more output; then only another thread
        # can end the process.
        deadline = threading.Timer(SHUTDOWN_SECONDS, at_once)
        deadline.daemon = True
        deadline.start()
        leave()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, request_end)
    if terminal is not None:
        threading.Thread(target=_watch, args=(terminal,), daemon=True).start()


def limit_exit() -> None:
    """End the process within ``SHUTDOWN_SECONDS`` after the screens have restored the terminal.

    Python waits for its threads without a time limit, and a thread that reads from a lost network drive may never end.
    """
    deadline = threading.Timer(SHUTDOWN_SECONDS, os._exit, (0,))
    deadline.daemon = True
    deadline.start()


def _watch(terminal: int) -> None:
    """Wait until the terminal is lost, then send this process the signal that the terminal would send."""
    poll = select.poll()
    # With an empty event mask, poll reports only that the other end was closed.
    poll.register(terminal, 0)
    if any(what & select.POLLHUP for _, what in poll.poll()):
        os.kill(os.getpid(), signal.SIGHUP)


def _restore(terminal: int, modes: list[Any]) -> None:
    """Restore the terminal's modes without blocking: it may no longer accept output."""
    with contextlib.suppress(OSError, termios.error):
        # Output that the terminal has not accepted yet would block all later output.
        termios.tcflush(terminal, termios.TCOFLUSH)
        termios.tcsetattr(terminal, termios.TCSANOW, modes)
        output = os.open(os.ttyname(terminal), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        os.write(output, _RESTORE_SEQUENCE.encode())
