"""Lock that lets one training at a time write to an output folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from kelly_core.errors import RunError
from kelly_core.io.atomic import make_folder
from kelly_core.io.locks import FileLock, LockOwner

_NAME = ".lease"


def output_lock_path(output: Path) -> Path:
    """Return the file that a training into ``output`` locks."""
    return output / _NAME


def acquire_output_lock(output: Path) -> FileLock:
    """Acquire the lock of an output folder, which is created if necessary.

    Raises:
        RunError: another run trains into it (the message names it), or the folder cannot be made.
    """
    path = output_lock_path(output)
    try:
        make_folder(output)
    except OSError as error:
        raise RunError(f"cannot be made a folder ({error.strerror})", where=output) from error
    lock = FileLock.acquire(path, error=RunError)
    if lock is None:
        raise _refusal(output, path)
    return lock


def release_output_lock(lock: FileLock) -> None:
    """Release the output folder; only for the process that holds the lock."""
    # Removing the name frees it: the lock that stays until this process ends is then on a file without a name.
    # Where it cannot be removed, the end of the process frees it a moment later.
    with contextlib.suppress(OSError):
        lock.remove()


def _refusal(output: Path, path: Path) -> RunError:
    holder = LockOwner.read(path)
    who = f"run {holder.run} (process {holder.pid} on {holder.host})" if holder.run else "another run"
    stop = f"stop it with `kelly-core runs stop {holder.run}`" if holder.run else "stop it"
    return RunError(f"{who} is training into this folder", where=output, hint=f"Wait for it, {stop}, or choose another")
