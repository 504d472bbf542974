"""Cache of the features of one corpus: a complete store, and segments that a running or killed process computed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kelly_core.errors import DataError
from kelly_core.features.cache_key import KEY_FILE, CacheKey
from kelly_core.features.store import ArrayLayout, ArrayStore, Chunk, Manifest, open_store, verify_store, write_store
from kelly_core.io.atomic import make_folder, sync_folder, write_error
from kelly_core.io.locks import FileLock

LOCK = "lock"
_COMPLETE = "features"
_PART = "part"


class FeatureCache:
    """Folder with one complete store, and segments of the next one while a process computes it.

    A store is written under a temporary name and renamed when it is complete. A new store gets a new name and the
    previous one is deleted then: a process that has mapped it can continue to read. All changes require ``write_lock``.

    Args:
        cache_dir: parent of the folder.
        key: key of the features in it.
    """

    def __init__(self, cache_dir: Path, key: CacheKey) -> None:
        self.folder = cache_dir / key.folder
        self._key = key

    def latest_store(self) -> ArrayStore | None:
        """Return the complete store; None if there is none, or if it is corrupted."""
        folders = self._numbered(_COMPLETE)
        return open_store(folders[-1]) if folders else None

    def parts(self) -> list[ArrayStore]:
        """Return the segments that were computed after the complete store, the oldest first."""
        return [store for folder in self._numbered(_PART) if (store := open_store(folder))]

    @contextmanager
    def write_lock(self, while_waiting: Callable[[], object]) -> Iterator[None]:
        """Context manager that excludes other writers; waits until no other process writes.

        Raises:
            DataError: the folder cannot be written, or its file system has no locks.
        """
        while (lock := self._lock()) is None:
            while_waiting()
        try:
            _remove(self.folder.glob(".*.tmp"))
            self._key.write(self.folder)
            yield
        finally:
            lock.release()

    def touch(self) -> None:
        """Record that the features are used; a read-only folder is not an error."""
        with suppress(OSError):
            os.utime(self.folder / KEY_FILE)

    def _lock(self) -> FileLock | None:
        try:
            make_folder(self.folder)
        except OSError as fault:
            raise write_error(self.folder, fault, DataError) from fault
        try:
            return FileLock.acquire(self.folder / LOCK, error=DataError)
        except DataError:
            if self.folder.exists():
                raise
            # It was removed just now, by someone who clears the cache.
            return None

    def add_segment(
        self, manifest: Manifest, layouts: Mapping[str, ArrayLayout], rows: Mapping[str, Iterable[Chunk]]
    ) -> ArrayStore:
        """Add a segment of the next store; arguments and errors are those of ``replace``."""
        return self._write(_PART, manifest, layouts, rows)

    def replace(
        self, manifest: Manifest, layouts: Mapping[str, ArrayLayout], rows: Mapping[str, Iterable[Chunk]]
    ) -> ArrayStore:
        """Replace the store and all segments by a new complete store.

        Args:
            manifest, layouts, rows: as in ``write_store``.

        Raises:
            DataError: no space, no permission, or another fault of the file system.
        """
        former = [*self._numbered(_COMPLETE), *self._numbered(_PART)]
        store = self._write(_COMPLETE, manifest, layouts, rows)
        _remove(former)
        return store

    def _write(
        self, kind: str, manifest: Manifest, layouts: Mapping[str, ArrayLayout], rows: Mapping[str, Iterable[Chunk]]
    ) -> ArrayStore:
        others = self._numbered(kind)
        number = 1 + (_number(others[-1]) if others else 0)
        target = self.folder / f"{kind}-{number:06d}"
        temporary = self.folder / f".{target.name}.{secrets.token_hex(4)}.tmp"
        try:
            try:
                write_store(temporary, manifest, layouts, rows)
                temporary.rename(target)
            finally:
                _remove([temporary])
            sync_folder(self.folder)
        except OSError as fault:
            raise write_error(target, fault, DataError) from fault
        return ArrayStore(target, manifest, layouts)

    def _numbered(self, kind: str) -> list[Path]:
        return _numbered(self.folder, kind)


def verify_folder(folder: Path) -> list[str]:
    """Read every store in a cache folder and return its faults, one line per array; [] if there are none.

    A store that another process replaces meanwhile is left out.
    """
    stores = [*_numbered(folder, _COMPLETE), *_numbered(folder, _PART)]
    problems = [(store, problem) for store in stores for problem in verify_store(store)]
    return [f"{store.name}/{problem}" for store, problem in problems if store.exists()]


def _numbered(folder: Path, kind: str) -> list[Path]:
    folders = [path for path in folder.glob(f"{kind}-*") if path.name.removeprefix(f"{kind}-").isdecimal()]
    return sorted(folders, key=_number)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _remove(folders: Iterable[Path]) -> None:
    """Delete stores; files that the system keeps because they are mapped are deleted with the next store."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
