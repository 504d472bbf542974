"""Keeping what C libraries print off the terminal."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

_STDERR = 2
_lock = threading.Lock()
_MPG123 = re.compile(rb"\[[^\]\n]*libmpg123/[^\n]*\n?")


@contextmanager
def without_mpg123_messages() -> Iterator[None]:
    """Remove libmpg123's messages from the standard error stream, and write them to the log at level DEBUG.

    libsndfile does not let a caller set libmpg123's option to be quiet. What other threads print meanwhile appears at
    the end, unchanged.
    """
    with _lock:
        try:
            terminal = os.dup(_STDERR)
        except OSError:  # There is no standard error stream.
            terminal = -1
        if terminal < 0:
            yield
            return
        with tempfile.TemporaryFile() as captured:
            os.dup2(captured.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(terminal, _STDERR)
                os.close(terminal)
                captured.seek(0)
                _pass_on(captured.read())


def _pass_on(printed: bytes) -> None:
    for message in _MPG123.findall(printed):
        _log.debug("%s", message.decode("ascii", "replace").rstrip())
    rest = _MPG123.sub(b"", printed)
    if rest:
        os.write(_STDERR, rest)
