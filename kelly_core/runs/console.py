"""Output of a run's process, which goes to its ``console.log``."""

from __future__ import annotations

import contextlib
import sys
import time

from kelly_core.display_text import printable_lines


def print_line(text: str) -> None:
    """Print a line with the time of day; if the disk is full, the line is lost instead of the training."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {printable_lines(text)}\n")
        sys.stdout.flush()
