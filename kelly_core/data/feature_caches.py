"""Administration of the feature cache folder: list, verify and remove caches."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kelly_core.corpora import CORPORA
from kelly_core.errors import DataError
from kelly_core.features.feature_cache import FORMAT, KEY_FILE, LOCK, CacheKey, verify_folder
from kelly_core.io.locks import FileLock

FORMER = "of a former version"
SUPERSEDED = "computed again since"
GONE = "its corpus is gone"

_NAME = re.compile(rf"(?P<corpus>{'|'.join(CORPORA)})-[0-9a-f]{{16}}(?P<single>\.npz)?")
"""A folder of features, or the single file of the first format."""
_OWN = re.compile(rf"{re.escape(LOCK)}|{re.escape(KEY_FILE)}|(features|part)-\d+|\..+\.tmp")


@dataclass(frozen=True)
class CachedFeatures:
    """Cached features of one corpus and one set of settings.

    Attributes:
        path: their folder, or their file in the first format.
        corpus: its name.
        source: the folder they were computed from, "" where that is not known.
        bytes: on disk.
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
    latest_store: dict[tuple[str, ...], int] = {}
    for _, key in looked:
        if key:
            latest_store[key.subject] = max(key.version, latest_store.get(key.subject, 0))
    return [replace(cached, stale=_why_stale(key, latest_store)) for cached, key in looked]


def verify_cache(cached: CachedFeatures) -> list[str]:
    """Verify a cache's checksums; return one line per corrupted array, [] if there is none.

    Stale caches of older versions are not read.
    """
    return [] if cached.stale == FORMER else verify_folder(cached.path)


def remove_cache(cached: CachedFeatures) -> None:
    """Remove cached features; processes that have mapped them can still read them.

    Nothing is removed that is not the cache's own, and no link is followed.

    Raises:
        DataError: a process computes them just now, the folder holds something else as well, or it cannot be changed.
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


def _why_stale(key: CacheKey | None, latest_store: dict[tuple[str, ...], int]) -> str:
    if key is None or key.format < FORMAT:
        return FORMER
    if key.version < latest_store[key.subject]:
        return SUPERSEDED
    return "" if Path(key.root).exists() else GONE


def _remove_folder(folder: Path) -> None:
    if (folder / LOCK).is_symlink():
        raise DataError("its lock is a link, which is not followed", where=folder)
    lock = FileLock.acquire(folder / LOCK, 0.0, error=DataError)
    if lock is None:
        raise DataError("features are being computed into it", where=folder, hint="Try again when that is done")
    try:
        others = [path.name for path in _clear(folder)]
        if others:
            raise DataError(f"holds what is not a cache and stays: {', '.join(others)}", where=folder)
        lock.path.unlink()
        with suppress(OSError):
            # A process that waited for the lock has created another cache by now.
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
        elif path.name != LOCK:
            path.unlink()
    return others


def total_bytes(caches: Iterable[CachedFeatures]) -> int:
    """Return the total size in bytes."""
    return sum(cached.bytes for cached in caches)
