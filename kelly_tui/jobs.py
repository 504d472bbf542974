"""Worker processes of the screens: started, read line by line, cancelled."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence

KELLY_CORE = (sys.executable, "-c", "from kelly_core.cli.app import main; main()")
"""The start of a command line that runs ``kelly-core`` as it is installed here."""

_MAX_ERROR_BYTES = 2000


def worker(module: str, *arguments: str) -> list[str]:
    """Command line of a program in ``kelly_tui.workers``."""
    return [sys.executable, "-m", f"kelly_tui.workers.{module}", *arguments]


def shell_text(*words: str) -> str:
    """A command as a person would type it."""
    return shlex.join(words)


class Job:
    """A process of its own session, so that neither Ctrl-C nor a lost terminal reaches it halfway.

    Args:
        command: program and arguments.
        with_errors: give what it writes to standard error among its lines.
    """

    def __init__(self, command: Sequence[str], *, with_errors: bool = False) -> None:
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
        """Lines of its output as they come; afterwards ``problem`` holds its last words if it failed without any."""
        assert self._process.stdout is not None
        said_something = False
        with self._process.stdout as output:
            for line in output:
                said_something = True
                yield line.decode(errors="replace")
        failed = self._process.wait() != 0
        self._errors.seek(0)
        words = self._errors.read()[-_MAX_ERROR_BYTES:].decode(errors="replace").strip()
        self._errors.close()
        if failed and not said_something and not self.cancelled:
            self.problem = words.splitlines()[-1] if words else f"ended with code {self._process.returncode}"

    def cancel(self) -> None:
        """End the process and all it has started."""
        self.cancelled = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
