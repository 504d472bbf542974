"""A lock on the cache of librosa's compiled functions."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
from collections.abc import Iterator


@contextlib.contextmanager
def librosa_cache_lock() -> Iterator[None]:
    """Let one process at a time import modules of librosa; some functions are compiled by the first import of all.

    numba keeps each of these functions as two files, which it writes one after the other. Where two processes compile
    at the same time, one file of each may stay, and every later process that calls the function ends by a segmentation
    fault (numba issue 10128). Other threads of this process wait too.

    Raises:
        ModuleNotFoundError: librosa is not installed.
    """
    spec = importlib.util.find_spec("librosa")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'librosa'", name="librosa")
    # NFS grants an exclusive lock only on a file that is open for writing; other file systems need no right to write.
    access = os.O_RDWR if os.access(spec.origin, os.W_OK) else os.O_RDONLY
    handle = os.open(spec.origin, access | os.O_CLOEXEC)
    try:
        # Without locks on the file system it is imported nevertheless: two first imports at once are rare.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        # Closing would leave the lock with a child that was forked meanwhile.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)
