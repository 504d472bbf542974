"""Advisory file locks that the system releases when the owner exits, even after kill -9."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from kelly_core.bounds import Pid
from kelly_core.errors import KellyError, RunError
from kelly_core.io.atomic import open_for_writing, open_regular, write_error

_SECONDS_BETWEEN_TRIES = 0.02
_MAX_SIGNATURE = 4096
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class FileLock:
    """Exclusive ownership of a file, held until the last process that inherited its handle has ended.

    A lock cannot be stale: after ``kill -9`` or a power cut the next process can acquire it.
    """

    def __init__(self, path: Path, handle: int) -> None:
        self.path = path
        self.handle = handle

    @classmethod
    def acquire(cls, path: Path, timeout: float = 0.5, *, error_type: type[KellyError] = KellyError) -> FileLock | None:
        """Lock a file, which is created if missing.

        Args:
            path: the file; its content stays as it is.
            timeout: seconds to wait for its release; a call of ``is_held`` also holds the lock briefly.
            error_type: class of the error to raise.

        Returns:
            The lock, or None if another process holds it.

        Raises:
            KellyError: (or ``error_type``) the file cannot be created, or its file system has no locks.
        """
        # Polled, because flock itself has no timeout.
        deadline = time.monotonic() + timeout
        while True:
            lock = cls._try_acquire(path, error_type)
            if lock is not None or time.monotonic() > deadline:
                return lock
            time.sleep(_SECONDS_BETWEEN_TRIES)

    @classmethod
    def _try_acquire(cls, path: Path, error_type: type[KellyError]) -> FileLock | None:
        with error_type.from_os_error("cannot be opened", where=path):
            handle = open_for_writing(path, os.O_RDWR)
        try:
            # flock, not lockf: its lock belongs to the open file, so that a child inherits it and closing another
            # handle of the same file does not free it.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError as error:
            os.close(handle)
            raise _no_lock(path, error, error_type) from error
        lock = cls(path, handle)
        if lock.identity.is_current():
            return lock
        # The previous owner removed the file between opening and locking; the locked file has no name any more.
        lock.release()
        return None

    @property
    def identity(self) -> LockIdentity:
        """The locked file."""
        status = os.fstat(self.handle)
        return LockIdentity(self.path.absolute(), status.st_dev, status.st_ino)

    def remove(self) -> None:
        """Remove the file, so that the next owner creates another one; a file that another owner created stays.

        Raises:
            OSError: the file cannot be removed.
        """
        if self.identity.is_current():
            self.path.unlink(missing_ok=True)

    def write_owner(self, run_id: str, pid: int) -> None:
        """Write the owner into the file, for ``LockOwner.read``.

        Raises:
            RunError: the file cannot be written.
        """
        text = json.dumps({"run": run_id, "pid": pid, "host": socket.gethostname()})
        # Written in place: a file renamed over this one would have another inode and no lock.
        try:
            os.ftruncate(self.handle, 0)
            os.pwrite(self.handle, text.encode(), 0)
        except OSError as error:
            raise write_error(self.path, error, RunError) from error

    def release(self) -> None:
        """Close this process's handle; the lock is free once no process has a handle."""
        os.close(self.handle)


@dataclass(frozen=True)
class LockIdentity:
    """Path, device and inode of a locked file; unlike the lock, it can be passed to other processes."""

    path: Path
    device: int
    inode: int

    def is_current(self) -> bool:
        """Return True if the path leads to the locked file; if not, the lock excludes no other process.

        Raises:
            OSError: the path cannot be looked up.
        """
        try:
            status = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (status.st_dev, status.st_ino) == (self.device, self.inode)


@dataclass(frozen=True)
class LockOwner:
    """Current or last owner of a lock: run, process and machine; "" and 0 if there is none."""

    run: str = ""
    pid: Pid = 0
    host: str = ""

    @classmethod
    def read(cls, path: Path) -> LockOwner:
        """Return the owner recorded in a locked file; an empty owner if the file is missing or damaged."""
        try:
            with open_regular(path) as file:
                content = json.loads(file.read(_MAX_SIGNATURE))
            return TypeAdapter(cls).validate_python(content)
        except (OSError, ValueError, RecursionError):
            return cls()


def is_held(path: Path, *, error_type: type[KellyError] = KellyError) -> bool:
    """Return True if a process holds the lock of a file.

    Raises:
        KellyError: (or ``error_type``) the file cannot be opened, or its file system has no locks.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise error_type(f"cannot be opened ({error.strerror})", where=path) from error
    with file:
        try:
            # Shared, so that simultaneous calls of this function do not mistake each other for the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            raise _no_lock(path, error, error_type) from error
    return False


def _no_lock(path: Path, error: OSError, error_type: type[KellyError]) -> KellyError:
    hint = "Choose a folder on a file system with locks" if error.errno in _NO_LOCKS else None
    return error_type(f"cannot be locked ({error.strerror})", where=path, hint=hint)
