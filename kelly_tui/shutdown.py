"""Exit within a time limit, whatever the state of the terminal."""

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
"""Maximum seconds of an orderly end after the request to end."""

_RESTORE_SEQUENCE = (
    "\x1b[?2004l\x1b[?7h\x1b[?2048l\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[<u\x1b[?1049l\x1b[?25h\x1b[?1004l"
)
"""No pasting brackets, wrapped lines, no mouse, plain keys, the former screen with its cursor."""


class _TerminalOutput:
    """Standard error that may be written to after its terminal has gone; what is written then is lost.

    Textual writes from a thread of its own, through a queue of limited length: were that thread to end with an error,
    the next writes would fill the queue and then wait for ever.
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
        """Take the screen again after Ctrl-Z.

        A terminal that goes away sends this signal too, to a program that never gave the screen back: a second pair
        of threads would then read and write beside the first.
        """
        if self._must_signal_resume:
            super()._sigcont_application()


def exit_on_signals(leave: Callable[[], None], clean_up: Callable[[], None]) -> None:
    """End the process within ``SHUTDOWN_SECONDS`` after SIGINT, SIGTERM, SIGHUP or the loss of the terminal.

    Ctrl-C is a key while the screens are shown; SIGINT comes from another program.

    Args:
        leave: begins an orderly end; called in the main thread between any two of its steps.
        clean_up: what must be done even where that end does not come in time.
    """
    terminal = sys.__stdin__.fileno() if sys.__stdin__ is not None and sys.__stdin__.isatty() else None
    modes = None if terminal is None else termios.tcgetattr(terminal)

    def at_once() -> None:
        clean_up()
        if terminal is not None and modes is not None:
            _restore(terminal, modes)
        os._exit(1)

    def request_end(_number: int, _frame: FrameType | None) -> None:
        # The loop may be stuck in a write to a terminal that takes no more: then only another thread can end it.
        deadline = threading.Timer(SHUTDOWN_SECONDS, at_once)
        deadline.daemon = True
        deadline.start()
        leave()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, request_end)
    if terminal is not None:
        threading.Thread(target=_watch, args=(terminal,), daemon=True).start()


def limit_exit() -> None:
    """End the process within ``SHUTDOWN_SECONDS``, after the screens have given the terminal back.

    Python waits for its threads without a limit, and one that reads a folder on a lost network drive may never end.
    """
    deadline = threading.Timer(SHUTDOWN_SECONDS, os._exit, (0,))
    deadline.daemon = True
    deadline.start()


def _watch(terminal: int) -> None:
    """Wait until the terminal is gone, then signal it like the terminal itself."""
    poll = select.poll()
    # Without a kind of event, poll reports only that the other side is gone.
    poll.register(terminal, 0)
    if any(what & select.POLLHUP for _, what in poll.poll()):
        os.kill(os.getpid(), signal.SIGHUP)


def _restore(terminal: int, modes: list[Any]) -> None:
    """Restore the terminal's modes without blocking: it may no longer accept output."""
    with contextlib.suppress(OSError, termios.error):
        # What the terminal has not taken yet would hold up all that follows.
        termios.tcflush(terminal, termios.TCOFLUSH)
        termios.tcsetattr(terminal, termios.TCSANOW, modes)
        output = os.open(os.ttyname(terminal), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        os.write(output, _RESTORE_SEQUENCE.encode())
