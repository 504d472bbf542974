"""Opening and writing files: atomically, writable by the owner only, without waiting for FIFOs or devices."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from kelly_core.errors import KellyError, closest

_FILE_MODE = 0o644
_FOLDER_MODE = 0o755
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

_NOT_ALLOWED = ("permission was denied", "Choose a folder you may write to, or change its permissions")
_FULL = ("the disk is full", "Free some space and try again; the previous file, if there was one, is untouched")
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

Content = bytes | memoryview | Callable[[BinaryIO], object]
"""Content of a file, or a function that writes it to the given stream."""

IsOwned = Callable[[], bool]
"""Returns True while this process, or its parent, owns a folder."""

_guards: dict[str, IsOwned] = {}


_MAX_NAMES = 1000
"""Maximum number of names in a folder that are compared with the name of a missing file."""


def read_error(path: Path, error: OSError, error_type: type[KellyError], otherwise: str = "") -> KellyError:
    """Return the error for a file that cannot be read.

    If the file is missing, the hint is the closest name in the folder, or ``otherwise`` if there is none.
    """
    hint = _near(path) or otherwise if isinstance(error, FileNotFoundError) else ""
    return error_type(f"cannot be read ({error.strerror or error})", where=path, hint=hint or None)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"There is no folder {path.parent}"
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _MAX_NAMES) if entry.name != path.name]
    except OSError:
        return ""
    return f"Did you mean {path.with_name(near)}?" if (near := closest(path.name, names)) else ""


def atomic_write(path: Path, content: Content, *, error_type: type[KellyError] = KellyError) -> None:
    """Write a temporary file next to the target, make it durable, and rename it to the target in one step.

    Missing parent folders are created. If writing is interrupted, also by a signal, the previous file stays unchanged
    and the temporary one is removed.

    Args:
        path: the file to create or to replace.
        content: what to write.
        error_type: class of the error to raise.

    Raises:
        KellyError: (or ``error_type``) no space, no permission, a folder in the way, or another file system error.
    """
    atomic_write_all({path: content}, error_type=error_type)


def atomic_write_all(contents: Mapping[Path, Content], *, error_type: type[KellyError] = KellyError) -> None:
    """Write several files as ``atomic_write`` does; none is renamed to its target before all are written.

    Renaming takes no space and almost no time, but is one step per file: if the machine crashes in between, each file
    is either the complete previous one or the complete new one.

    Args:
        contents: what to write, by the file to create or to replace; at least one.
        error_type: class of the error to raise, naming the file that caused it.

    Raises:
        KellyError: as ``atomic_write``.
    """
    # In the folder of the target: renaming is atomic only within one file system.
    temporaries = {path: path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp") for path in contents}
    path = next(iter(contents))
    try:
        try:
            for path, content in contents.items():
                _check_guards(path)
                make_folder(path.parent)
                with os.fdopen(open_for_writing(temporaries[path], os.O_WRONLY | os.O_EXCL), "wb") as stream:
                    if callable(content):
                        content(stream)
                    else:
                        stream.write(content)
                    stream.flush()
                    _sync_file(stream.fileno())
            for path, temporary in temporaries.items():
                # A folder may have been removed, and created again by its next owner, while the content was written.
                _check_guards(path)
                temporary.replace(path)
        finally:
            for temporary in temporaries.values():
                temporary.unlink(missing_ok=True)
        for folder in {path.parent for path in contents}:
            sync_folder(folder)
    except OSError as error:
        raise write_error(path, error, error_type) from error


@contextmanager
def guard_folder(folder: Path, is_owned: IsOwned) -> Iterator[None]:
    """Refuse every ``atomic_write`` of this process below a folder once the folder is no longer owned.

    Args:
        folder: the folder.
        is_owned: returns True until the folder is removed, moved or taken by another process, then always False.
    """
    key = _absolute(folder)
    _guards[key] = is_owned
    try:
        yield
    finally:
        del _guards[key]


def folder_guards() -> dict[str, IsOwned]:
    """Return the active guards by absolute path of their folder, for a child process of the owner."""
    return dict(_guards)


def add_folder_guards(guards: Mapping[str, IsOwned]) -> None:
    """Activate the guards of the parent process for the rest of this process."""
    _guards.update(guards)


def _check_guards(path: Path) -> None:
    if not _guards:
        return
    place = Path(_absolute(path))
    for folder, is_owned in _guards.items():
        if place.is_relative_to(folder) and not is_owned():
            raise OSError(errno.ESTALE, f"the folder {folder} was removed or replaced while this process used it")


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100, links in the path are not resolved


def make_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Create a folder and its parents, writable only by the owner for any umask; read permission follows the umask.

    Raises:
        OSError: a folder cannot be created; FileExistsError if it exists and ``exist_ok`` is False.
    """
    try:
        path.mkdir(_FOLDER_MODE)
    except FileNotFoundError:
        make_folder(path.parent)
        path.mkdir(_FOLDER_MODE, exist_ok=exist_ok)
    except OSError:
        # A read-only file system raises its error before it checks whether the folder exists.
        if not exist_ok or not path.is_dir():
            raise


def open_for_writing(path: Path, flags: int) -> int:
    """Open a regular file, created if missing, that only its owner can write; never wait for a FIFO or a device.

    Args:
        path: the file; write permission of others on the caller's own file is removed first.
        flags: flags of ``os.open``, including ``O_WRONLY`` or ``O_RDWR``.

    Returns:
        A file handle, which the caller must close.

    Raises:
        OSError: the file cannot be opened, or it is a directory, a FIFO, a socket or a device.
    """
    # Without O_NONBLOCK, opening a FIFO would wait for its reader.
    handle = os.open(path, flags | os.O_CREAT | os.O_NONBLOCK, _FILE_MODE)
    try:
        _check_regular(handle, path)
        deny_others_writing(handle)
    except BaseException:
        os.close(handle)
        raise
    return handle


def deny_others_writing(file: int | Path) -> None:
    """Remove write permission for group and others if the caller owns the file or folder.

    Raises:
        OSError: the permissions cannot be read or changed.
    """
    status = os.stat(file)  # noqa: PTH116, also takes a handle
    if status.st_mode & _OTHERS_WRITE and status.st_uid == os.geteuid():
        os.chmod(file, stat.S_IMODE(status.st_mode) & ~_OTHERS_WRITE)  # noqa: PTH101, also takes a handle


def deny_others_writing_new_files() -> None:
    """Set the umask so that others cannot write any file or folder that this process or its libraries create."""
    os.umask(os.umask(_OTHERS_WRITE) | _OTHERS_WRITE)


def write_error(path: Path, error: OSError, error_type: type[KellyError] = KellyError) -> KellyError:
    """Return an error with the reason why a file or folder cannot be written."""
    reason, hint = _WORDS.get(error.errno, (error.strerror or str(error), None))
    return error_type(f"cannot be written: {reason}", where=path, hint=hint)


def remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove temporary files that killed writers left in ``folder``, for targets whose names begin with ``prefix``.

    Only the owner of these files may call this: another writer's temporary file would be removed, too.
    """
    for leftover in folder.glob(f".{prefix}*.tmp"):
        leftover.unlink(missing_ok=True)


def _sync_file(handle: int) -> None:
    """Make the content of an open file durable.

    On macOS ``fsync`` leaves it in the drive's own cache, which ``F_FULLFSYNC`` flushes (see macOS's fsync(2)). Network
    file systems do not support ``F_FULLFSYNC``, so ``fsync`` is used there.
    """
    request = getattr(fcntl, "F_FULLFSYNC", None)
    if request is not None:
        with suppress(OSError):
            fcntl.fcntl(handle, request)
            return
    os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """Make the renaming itself durable, if the system can open a folder and its file system supports syncing it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Network shares of other systems do not support this; the file has been renamed anyway.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting for a writer of a FIFO or for a device.

    Raises:
        OSError: the file cannot be opened, or it is a directory, a FIFO, a socket or a device.
    """
    # A FIFO without a writer would block a plain open() forever.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _check_regular(handle, path)
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


@contextmanager
def open_for_reading(path: Path, error_type: type[KellyError], otherwise: str = "") -> Iterator[BufferedReader]:
    """Context manager for a file opened as by ``open_regular``; errors while reading become those of ``read_error``.

    Raises:
        KellyError: (``error_type``) the file cannot be opened or read.
    """
    try:
        with open_regular(path) as file:
            yield file
    except OSError as error:
        raise read_error(path, error, error_type, otherwise) from error


def _check_regular(handle: int, path: Path) -> None:
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
