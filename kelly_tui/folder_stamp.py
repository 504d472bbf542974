"""Stamp of a folder, which shows whether its files have changed since an earlier look."""

from __future__ import annotations

import os
import time
from pathlib import Path

_ENTRIES_AT_ONCE = 500
_PAUSE = 1e-3
"""Seconds after these entries, in which the screens take the interpreter if they want it."""


def folder_stamp(folder: Path) -> list[int]:
    """Return number, bytes and latest modification time (ns) of all files below a folder.

    Entries that cannot be read are left out. Meant for a thread: a corpus may have a hundred thousand files.
    """
    files = size = latest = entries = 0
    waiting = [str(folder)]
    while waiting:
        try:
            found = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in found:
            entries += 1
            if entries % _ENTRIES_AT_ONCE == 0:
                time.sleep(_PAUSE)
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                    continue
                status = entry.stat()
            except OSError:
                continue
            files, size, latest = files + 1, size + status.st_size, max(latest, status.st_mtime_ns)
    return [files, size, latest]
