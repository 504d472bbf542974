"""Feature caches on disk: a cache's key, complete store and segments; and listing, verification and removal."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kelly_core.corpora import CORPORA
from kelly_core.errors import DataError
from kelly_core.features.store import ArrayStore, StoreContent, open_store, verify_store, write_store
from kelly_core.io.atomic import atomic_write, make_folder, open_regular, sync_folder, write_error
from kelly_core.io.locks import FileLock

KEY_FILE = "recipe.json"
"""File of the key; its modification time is the time at which the features were last used."""

FORMAT = 4
"""Version of the format of cache folders."""

_MAX_BYTES = 2**20

_LOCK = "lock"
_COMPLETE = "features"
_SEGMENT = "part"

OLD_FORMAT = "of a previous version"
SUPERSEDED = "computed again since"
GONE = "its corpus is gone"

_NAME = re.compile(rf"(?P<corpus>{'|'.join(CORPORA)})-[0-9a-f]{{16}}(?P<single>\.npz)?")
"""Name of a folder of features, or of the single file of the first format."""
_OWN = re.compile(rf"{re.escape(_LOCK)}|{re.escape(KEY_FILE)}|(features|part)-\d+|\..+\.tmp")


@dataclass(frozen=True)
class CacheKey:
    """Corpus of cached features, and how they were computed.

    Attributes:
        corpus: name of the corpus.
        root: absolute path of the corpus folder.
        settings: everything other than the files' content that changes features (JSON types).
        version: version of the code that computes them.
        format: version of the format of their folder.
    """

    corpus: str
    root: str
    settings: dict[str, Any]
    version: int
    format: int = FORMAT

    @property
    def folder(self) -> str:
        """Name of the folder of these features, different for each key."""
        parts = [self.format, self.root, self.version, self.settings]
        key = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()
        return f"{self.corpus}-{key}"

    @property
    def subject(self) -> tuple[str, str, str]:
        """Parts of the key that stay the same when a later version computes the features again."""
        return self.corpus, self.root, json.dumps(self.settings, sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> CacheKey | None:
        """Return the key in a cache folder; None if there is no readable key."""
        try:
            with open_regular(folder / KEY_FILE) as file:
                key = cls(**json.loads(file.read(_MAX_BYTES)))
            return key if key.folder == folder.name else None
        except (OSError, ValueError, TypeError, RecursionError):
            return None

    def write(self, folder: Path) -> None:
        """Write the key into a cache folder.

        Raises:
            DataError: it cannot be written.
        """
        atomic_write(folder / KEY_FILE, json.dumps(asdict(self), indent=2).encode(), error_type=DataError)


class FeatureCache:
    """Folder with one complete store, and segments of the next one while a process computes it.

    A store is written under a temporary name and renamed when it is complete. A new store gets a new name, then the
    previous store is deleted: a process that has mapped it can still read it. All changes require ``write_lock``.

    Args:
        cache_dir: parent of the folder.
        key: key of the features in it.
    """

    def __init__(self, cache_dir: Path, key: CacheKey) -> None:
        self.folder = cache_dir / key.folder
        self._key = key

    def latest_store(self) -> ArrayStore | None:
        """Return the complete store; None if there is none, or if it is corrupted."""
        folders = _numbered(self.folder, _COMPLETE)
        return open_store(folders[-1]) if folders else None

    def segments(self) -> list[ArrayStore]:
        """Return the segments that were computed after the complete store, oldest first."""
        return [store for folder in _numbered(self.folder, _SEGMENT) if (store := open_store(folder))]

    @contextmanager
    def write_lock(self, while_waiting: Callable[[], object]) -> Iterator[None]:
        """Context manager that excludes other writers; waits until no other process writes.

        Raises:
            DataError: the folder cannot be written, or its file system has no locks.
        """
        # The system frees the advisory lock when its owner ends, so a killed writer never blocks the next one.
        while (lock := self._lock()) is None:
            while_waiting()
        try:
            # While the lock is held there is no other writer, so every temporary folder belongs to a killed process.
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
        except OSError as error:
            raise write_error(self.folder, error, DataError) from error
        try:
            return FileLock.acquire(self.folder / _LOCK, error_type=DataError)
        except DataError:
            if self.folder.exists():
                raise
            # Another process, such as `kelly-core cache --clear`, has just removed the folder.
            return None

    def add_segment(self, content: StoreContent) -> ArrayStore:
        """Add a segment of the next store; raise the same errors as ``replace``."""
        return self._write(_SEGMENT, content)

    def replace(self, content: StoreContent) -> ArrayStore:
        """Replace the store and all segments by a new complete store.

        Raises:
            DataError: no space, no permission, or another file system error.
        """
        previous = [*_numbered(self.folder, _COMPLETE), *_numbered(self.folder, _SEGMENT)]
        store = self._write(_COMPLETE, content)
        _remove(previous)
        return store

    def _write(self, kind: str, content: StoreContent) -> ArrayStore:
        others = _numbered(self.folder, kind)
        # A new name, because the previous store is deleted later, and another process may have mapped it.
        number = 1 + (_number(others[-1]) if others else 0)
        target = self.folder / f"{kind}-{number:06d}"
        temporary = self.folder / f".{target.name}.{secrets.token_hex(4)}.tmp"
        try:
            try:
                write_store(temporary, content)
                # Renaming is atomic: after a kill at any time there is a complete store of this name or none.
                temporary.rename(target)
            finally:
                _remove([temporary])
            # Without this a power cut may undo the renaming after the previous store has been deleted.
            sync_folder(self.folder)
        except OSError as error:
            raise write_error(target, error, DataError) from error
        return ArrayStore(target, content.manifest, content.layouts)


def verify_folder(folder: Path) -> list[str]:
    """Read every store in a cache folder and return the damage, one line per array; [] if there is none.

    A store that another process replaces during the check is skipped.
    """
    # Both kinds, because the next process uses the segments of a killed process.
    stores = [*_numbered(folder, _COMPLETE), *_numbered(folder, _SEGMENT)]
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


@dataclass(frozen=True)
class CachedFeatures:
    """Cached features of one corpus and one set of settings.

    Attributes:
        path: their folder, or their file if they have the first format.
        corpus: name of the corpus.
        source: the folder they were computed from, "" if it is not known.
        bytes: size on disk.
        last_used: when they were last read or written, in seconds since 1970.
        stale: why they are stale, "" if they are not.
    """

    path: Path
    corpus: str
    source: str
    bytes: int
    last_used: float
    stale: str


def list_caches(cache_dir: Path) -> list[CachedFeatures]:
    """Return all caches in a folder, by name; [] if there is no such folder.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        with os.scandir(cache_dir) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=cache_dir) from error
    looked = [seen for entry in entries for seen in _read_entry(entry)]
    latest: dict[tuple[str, ...], int] = {}
    for _, key in looked:
        if key:
            latest[key.subject] = max(key.version, latest.get(key.subject, 0))
    return [replace(cached, stale=_why_stale(key, latest)) for cached, key in looked]


def verify_cache(cached: CachedFeatures) -> list[str]:
    """Verify a cache's checksums; return one line per corrupted array, [] if there is none.

    Stale caches of older versions are not read.
    """
    return [] if cached.stale == OLD_FORMAT else verify_folder(cached.path)


def remove_cache(cached: CachedFeatures) -> None:
    """Remove cached features; processes that have mapped them can still read them.

    Only the cache's own files are removed, and no link is followed.

    Raises:
        DataError: a process is computing them, the folder also contains other files, or it cannot be changed.
    """
    try:
        if cached.path.suffix:
            cached.path.unlink(missing_ok=True)
        else:
            _remove_folder(cached.path)
    except OSError as error:
        raise DataError(f"cannot be removed ({error.strerror})", where=error.filename or cached.path) from error


def _read_entry(entry: os.DirEntry[str]) -> Iterator[tuple[CachedFeatures, CacheKey | None]]:
    """Yield the cache and its key if a folder entry is a cache that still exists."""
    match = _NAME.fullmatch(entry.name)
    if not match or not (entry.is_file if match["single"] else entry.is_dir)(follow_symlinks=False):
        return
    path = Path(entry.path)
    key = CacheKey.read(path)
    source = key.root if key else ""
    with suppress(FileNotFoundError):
        used = (path / KEY_FILE if key else path).stat().st_mtime
        yield CachedFeatures(path, match["corpus"], source, sum(_sizes(entry)), used, ""), key


def _sizes(entry: os.DirEntry[str]) -> Iterator[int]:
    """Yield the size in bytes of a file, or of each file below a folder; unreadable and removed files are skipped."""
    with suppress(OSError):
        if entry.is_dir(follow_symlinks=False):
            with os.scandir(entry.path) as found:
                for each in found:
                    yield from _sizes(each)
        else:
            yield entry.stat(follow_symlinks=False).st_size


def _why_stale(key: CacheKey | None, latest: Mapping[tuple[str, ...], int]) -> str:
    """Return why a cache is stale, "" if it is not; ``latest`` contains the latest version of each subject."""
    if key is None or key.format < FORMAT:
        return OLD_FORMAT
    if key.version < latest[key.subject]:
        return SUPERSEDED
    return "" if Path(key.root).exists() else GONE


def _remove_folder(folder: Path) -> None:
    if (folder / _LOCK).is_symlink():
        raise DataError("its lock is a link, which is not followed", where=folder)
    lock = FileLock.acquire(folder / _LOCK, 0.0, error_type=DataError)
    if lock is None:
        raise DataError("features are being computed into it", where=folder, hint="Try again when that is done")
    try:
        others = [path.name for path in _clear(folder)]
        if others:
            raise DataError(f"contains files that are not part of a cache: {', '.join(others)}", where=folder)
        # The lock is removed last: until then no other process writes into the folder.
        lock.path.unlink()
        with suppress(OSError):
            # A process that waited for the lock may have created another cache by now.
            folder.rmdir()
    finally:
        lock.release()


def _clear(folder: Path) -> list[Path]:
    """Remove a cache's own files except the lock."""
    others = []
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not _OWN.fullmatch(path.name):
            others.append(path)
        elif path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
    return others


def total_bytes(caches: Iterable[CachedFeatures]) -> int:
    """Return the total size in bytes."""
    return sum(cached.bytes for cached in caches)
