"""Writing a file so that a reader finds either the former file whole or the new one whole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from kelly_core.errors import KellyError

_NOT_ALLOWED = ("permission was denied", "Choose a folder you may write to, or change its permissions")
_FULL = ("the disk is full", "Free some space and try again; the former file, if there was one, is untouched")
_BLOCKED = ("a part of its path is a file, not a folder", "Choose another folder")
_WORDS: dict[int | None, tuple[str, str]] = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _NOT_ALLOWED,
    errno.EEXIST: _BLOCKED,
    errno.ENOTDIR: _BLOCKED,
    errno.EISDIR: ("it is a folder", "Name a file, or remove the folder"),
}

Writer = Callable[[BinaryIO], object]
"""Puts content into the binary stream it is given."""


def atomic_write(path: Path, write: Writer, *, error: type[KellyError] = KellyError) -> None:
    """Write a file beside its target, make it durable, and put it in the target's place in one step.

    Missing parent folders are made. Whatever interrupts the writing, a signal included, the former file stays as it
    was and the temporary one is removed.

    Args:
        path: the file to make or to replace.
        write: puts the content into a stream.
        error: kind of error to raise.

    Raises:
        KellyError: (or ``error``) no space, no permission, a folder in the way, or another fault of the file system.
    """
    _replace_all({path: write}, error)


def atomic_write_all(contents: Mapping[Path, bytes], *, error: type[KellyError] = KellyError) -> None:
    """Write several files as ``atomic_write`` does, none of them put in its place before all are written.

    Putting them in place takes no space and next to no time, but is one step a file: should the machine die in
    between, each file is the former one or the new one, whole.

    Args:
        contents: what to write, by the file to make or to replace; at least one.
        error: kind of error to raise, naming the file at fault.

    Raises:
        KellyError: as ``atomic_write``.
    """
    _replace_all({path: _writer(content) for path, content in contents.items()}, error)


def _writer(content: bytes) -> Writer:
    return lambda stream: stream.write(content)


def _replace_all(files: Mapping[Path, Writer], error: type[KellyError]) -> None:
    temporaries = {path: path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp") for path in files}
    path = next(iter(files))
    try:
        try:
            for path, write in files.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                with temporaries[path].open("xb") as stream:
                    write(stream)
                    stream.flush()
                    os.fsync(stream.fileno())
            for path, temporary in temporaries.items():
                temporary.replace(path)
        finally:
            for temporary in temporaries.values():
                temporary.unlink(missing_ok=True)
        for folder in {path.parent for path in files}:
            sync_folder(folder)
    except OSError as fault:
        raise write_error(path, fault, error) from fault


def write_error(path: Path, fault: OSError, error: type[KellyError] = KellyError) -> KellyError:
    """Say in words why a file or folder cannot be written."""
    reason, hint = _WORDS.get(fault.errno, (fault.strerror or str(fault), None))
    return error(f"cannot be written: {reason}", where=path, hint=hint)


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove what writers of files in ``folder`` that begin with ``prefix`` left when they were killed.

    Only for who owns these files: another writer's temporary file would go, too.
    """
    for leftover in folder.glob(f".{prefix}*.tmp"):
        leftover.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the renaming itself durable, where the system lets a folder be opened and its file system can do it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as fault:
        # Shares of other systems refuse; the file is in its place all the same.
        if fault.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading, without ever waiting for a writer of a FIFO or for a device.

    Raises:
        OSError: the file cannot be opened, or it is a directory, a FIFO, a socket or a device.
    """
    # A FIFO without a writer would block a plain open() for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(handle, "rb")
