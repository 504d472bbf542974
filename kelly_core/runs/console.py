"""What the process of a run prints, all of which ends in its ``console.log``."""

from __future__ import annotations

import contextlib
import sys
import time


def say(text: str) -> None:
    """Print a line with the time of day; a full disk loses the line, not the training."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stdout.flush()
