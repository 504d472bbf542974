"""Errors that mean that memory ran out, as messages: requested and available memory, and what to do."""

from __future__ import annotations

import re
import resource
from pathlib import Path

from kelly_core.errors import KellyError

_GIBIBYTE = 2**30
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": _GIBIBYTE, "TiB": 2**40, "PiB": 2**50, "EiB": 2**60}
_WANTED = re.compile(r"(?:[Uu]nable to allocate|[Tt]ried to allocate) (?P<number>[\d.]+) (?P<unit>[KMGTPE]iB|bytes)")
"""Messages of NumPy, and of PyTorch for processors and GPUs."""
_NO_MAPPING = ("failed to map segment", "annot allocate memory", "error return without exception set")
"""Messages of the loader of shared libraries and of the system, and Python's for a library that failed to start."""
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_HINT = "Use a smaller batch size, fewer --jobs, or fewer files (--max-files), or raise the limit"


def as_memory_error(error: BaseException) -> KellyError | None:
    """Return a KellyError if ``error`` means that memory ran out, else None."""
    text = str(error)
    out_of_memory = isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | ImportError | OSError | SystemError)
        and (_WANTED.search(text) is not None or any(words in text for words in _NO_MAPPING))
    )
    if not out_of_memory:
        return None
    wanted = _WANTED.search(text)
    needed = "" if wanted is None else f": {_size(float(wanted['number']) * _UNITS[wanted['unit']])} more were needed"
    if isinstance(error, ImportError | SystemError):
        needed = ": a library could not be loaded"
    limit = _limit()
    allowed = "" if limit is None else f" (this process may use {_size(limit)})"
    return KellyError(f"memory ran out{needed}{allowed}", hint=_HINT)


def _limit() -> int | None:
    """Return the bytes of memory that limits allow this process, None where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    found = [] if soft == resource.RLIM_INFINITY else [soft]
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            # Another system, or another version of control groups.
            continue
        # Control groups of the first version write a huge number for no limit.
        if text.isdecimal() and len(text) < len(str(2**62)):
            found.append(int(text))
    return min(found, default=None)


def _size(count: float) -> str:
    return f"{count / _GIBIBYTE:.1f} GiB" if count >= _GIBIBYTE / 10 else f"{count / 2**20:.1f} MiB"
