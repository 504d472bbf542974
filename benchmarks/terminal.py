"""A program in a pseudo-terminal: read its output, press keys, hang up."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TIMEOUT_SECONDS = 300.0


class Terminal:
    """A program in its own session, on a terminal of a given size.

    Attributes:
        pid: process ID of the program.
        output: everything that it has written so far.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], size: tuple[int, int] = (120, 40)
    ) -> None:
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
            sized = {"COLUMNS", "LINES"}  # They would override the terminal's own size.
            os.execve(command[0], list(command), {k: v for k, v in environment.items() if k not in sized})
        self.output = b""
        self._code: int | None = None

    def press(self, keys: str) -> None:
        """Type some keys."""
        os.write(self._handle, keys.encode())

    def read_for(self, seconds: float) -> int:
        """Read the output for ``seconds``; return the number of bytes."""
        before, deadline = len(self.output), time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and self._read(left):
            pass
        return len(self.output) - before

    def read_until(self, text: str) -> float:
        """Read until new output contains the text; return the time on the monotonic clock.

        Raises:
            TimeoutError: the text did not appear in time.
        """
        start, deadline = len(self.output), time.monotonic() + TIMEOUT_SECONDS
        while text.encode() not in self.output[start:]:
            if time.monotonic() > deadline or not self._read(deadline - time.monotonic()):
                raise TimeoutError(f"{text!r} did not appear; the last output was {self.output[-500:]!r}")
        return time.monotonic()

    def lose(self) -> None:
        """Hang up the terminal, as closing its window does."""
        os.close(self._handle)

    def local_modes(self) -> int:
        """Return the terminal's flags for keys and lines: ``ICANON``, ``ECHO`` and others."""
        flags: int = termios.tcgetattr(self._handle)[3]
        return flags

    def wait(self, seconds: float) -> int | None:
        """Return the exit code, the negative number of the signal that ended the program, or None if it is running."""
        deadline = time.monotonic() + seconds
        while self._code is None and time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            else:
                select.select([], [], [], 0.02)
        return self._code

    def _read(self, seconds: float) -> bool:
        """Read available output once; return False if the program has ended."""
        if not select.select([self._handle], [], [], max(0.0, seconds))[0]:
            return True
        try:
            got = os.read(self._handle, 1 << 16)
        except OSError:
            return False
        self.output += got
        return bool(got)
