"""The successive stores of one corpus: the newest is read, and what a killed process had computed is not lost."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from kelly_core.errors import DataError
from kelly_core.features.cache_key import RECIPE, CacheKey
from kelly_core.features.store import ArrayStore, Block, Layout, Manifest, open_store, verify_store, write_store
from kelly_core.io.atomic import make_folder, sync_folder, write_error
from kelly_core.io.locks import FileLock

LOCK = "lock"
_COMPLETE = "features"
_PART = "part"


class FeatureCache:
    """A folder with one complete store, and parts of the next one while a process computes it.

    Stores are made under another name and renamed when complete. A new one gets a name of its own, and the former is
    removed then: who has mapped it can go on reading. All that changes the folder is for the one ``write_lock``.

    Args:
        cache_dir: parent of the folder.
        recipe: what is kept in it.
    """

    def __init__(self, cache_dir: Path, recipe: CacheKey) -> None:
        self.folder = cache_dir / recipe.folder
        self._recipe = recipe

    def latest_store(self) -> ArrayStore | None:
        """The complete store; None where there is none, or where it is damaged."""
        folders = self._numbered(_COMPLETE)
        return open_store(folders[-1]) if folders else None

    def parts(self) -> list[ArrayStore]:
        """What has been computed since the complete store was, oldest first."""
        return [store for folder in self._numbered(_PART) if (store := open_store(folder))]

    @contextmanager
    def write_lock(self, while_waiting: Callable[[], object]) -> Iterator[None]:
        """Wait until no other process writes here, and let none do so until the end of the block.

        Raises:
            DataError: the folder cannot be written, or its file system has no locks.
        """
        while (lock := self._lock()) is None:
            while_waiting()
        try:
            _remove(self.folder.glob(".*.tmp"))
            self._recipe.write(self.folder)
            yield
        finally:
            lock.release()

    def touch(self) -> None:
        """Note that the features are used; those in a folder that may only be read are used all the same."""
        with suppress(OSError):
            os.utime(self.folder / RECIPE)

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
        self, manifest: Manifest, layouts: Mapping[str, Layout], rows: Mapping[str, Iterable[Block]]
    ) -> ArrayStore:
        """Keep a part of the next store; arguments and errors are those of ``replace``."""
        return self._write(_PART, manifest, layouts, rows)

    def replace(
        self, manifest: Manifest, layouts: Mapping[str, Layout], rows: Mapping[str, Iterable[Block]]
    ) -> ArrayStore:
        """Put a new complete store in the place of the former one and of the parts.

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
        self, kind: str, manifest: Manifest, layouts: Mapping[str, Layout], rows: Mapping[str, Iterable[Block]]
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
    """Read every store in the folder of a cache and return what is wrong, one line an array; [] if nothing is.

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
    """Remove stores; what some system keeps because it is mapped goes with the next one."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
