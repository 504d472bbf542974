"""Cache of the features of one corpus: its key, a complete store, and segments of running or killed processes."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kelly_core.arrays import Indices, Ints
from kelly_core.errors import DataError
from kelly_core.features.store import ArrayLayout, ArrayStore, Chunk, Manifest, open_store, verify_store, write_store
from kelly_core.io.atomic import atomic_write_all, make_folder, open_regular, sync_folder, write_error
from kelly_core.io.locks import FileLock

KEY_FILE = "recipe.json"
"""File of the key; its modification time is the time at which the features were last used."""

FORMAT = 4
"""Version of the format of cache folders."""

_MAX_BYTES = 2**20


@dataclass(frozen=True)
class CacheKey:
    """Corpus of cached features, and how they were computed.

    Attributes:
        corpus: name of the corpus.
        root: absolute path of the corpus folder.
        settings: everything besides the files' content that changes features (JSON types).
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
        """Name of the folder of these features; other keys have other names."""
        parts = [self.format, self.root, self.version, self.settings]
        key = hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()
        return f"{self.corpus}-{key}"

    @property
    def subject(self) -> tuple[str, str, str]:
        """Parts of the key that do not change when a later version computes the features again."""
        return self.corpus, self.root, json.dumps(self.settings, sort_keys=True)

    @classmethod
    def read(cls, folder: Path) -> CacheKey | None:
        """Return the key in a cache folder; None if it has no readable one."""
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
        atomic_write_all({folder / KEY_FILE: json.dumps(asdict(self), indent=2).encode()}, error=DataError)


_Place = tuple[int, int]
"""Index of a store, and index of a file in it."""

DUPLICATE = "same content as another file"
"""Reason to skip a file with the same content as another one."""

_PASSING = ("cannot be read (", "no such file", "needs more memory")
"""Beginnings of reasons that another attempt may not meet: permissions, a disk or share, and free memory change."""

_NOWHERE = -1


def may_pass(reason: str) -> bool:
    """Return True if a file that was skipped for this reason is to be tried again though it has not changed."""
    return reason.startswith(_PASSING)


@dataclass(frozen=True)
class FileIndex:
    """The files of a corpus in their current state, F of them, in order.

    Attributes:
        paths: relative to the corpus.
        sizes, times: [F] bytes, and nanoseconds of the last change.
    """

    paths: list[str]
    sizes: Ints
    times: Ints

    def begins(self, store: ArrayStore) -> bool:
        """Return True if a store was made of exactly these files, and perhaps of more that follow them."""
        known, count = store.manifest, len(self.paths)
        return (
            self.paths == known.paths[:count]
            and np.array_equal(self.sizes, known.sizes[:count])
            and np.array_equal(self.times, known.times[:count])
        )


class MergePlan:
    """Source of each file's features: a store and a file in it, or none yet.

    Args:
        listing: the files.
        stores: what has been computed before.
        content_hash: hash of the content of the file with this number, asked only where it may save computing.
    """

    def __init__(self, listing: FileIndex, stores: Sequence[ArrayStore], content_hash: Callable[[int], str]) -> None:
        self._listing = listing
        self._stores = list(stores)
        self._store = np.full(len(listing.paths), _NOWHERE)
        self._row = np.zeros(len(listing.paths), np.intp)
        self._hashes = [""] * len(listing.paths)
        by_path, by_hash = self._index()
        if not by_path:
            return
        for number, known in enumerate(self._as_listed(by_path)):
            if known is not None and may_pass(self._reason(known)):
                known = None
            place = known
            # A duplicate has no rows of its own: if the file that it repeats is gone, its content must be found
            # elsewhere.
            if known is None or self._reason(known) == DUPLICATE:
                content = content_hash(number) if known is None else self._hash(known)
                place = by_hash.get(content)
            if place is not None:
                self._hashes[number] = self._hash(place)
                self._store[number], self._row[number] = place

    def missing(self) -> Indices:
        """Return the indices of the files that have to be computed."""
        return np.flatnonzero(self._store == _NOWHERE)

    def add(self, numbers: Indices, store: ArrayStore) -> None:
        """Assign the files with these indices to a new store, in order."""
        self._store[numbers], self._row[numbers] = len(self._stores), np.arange(len(numbers))
        self._stores.append(store)
        for number, content in zip(numbers.tolist(), store.manifest.hashes, strict=True):
            self._hashes[number] = content

    def merged(self) -> tuple[Manifest, dict[str, ArrayLayout], dict[str, Iterator[Chunk]]]:
        """Return manifest, layouts and rows of one store of all files; of files with equal content the first counts.

        Raises:
            ValueError: stores hold rows of different kinds under one name.
        """
        reasons = self._reasons()
        usable = np.flatnonzero([not reason for reason in reasons])
        layouts = self._layouts(usable)
        places = {name: self._places(name, usable) for name in layouts}
        counts = {name: np.zeros(len(reasons), np.int64) for name in layouts}
        for name, (first, stop) in places.items():
            counts[name][usable] = stop - first
        listing = self._listing
        manifest = Manifest(listing.paths, listing.sizes, listing.times, self._hashes, reasons, counts)
        return manifest, layouts, {name: self._read(name, usable, *place) for name, place in places.items()}

    def _index(self) -> tuple[dict[str, _Place], dict[str, _Place]]:
        """Return the latest place of each path, and the places of usable files by content."""
        by_path: dict[str, _Place] = {}
        by_hash: dict[str, _Place] = {}
        for number, store in enumerate(self._stores):
            known = store.manifest
            for row, (path, content, reason) in enumerate(zip(known.paths, known.hashes, known.reasons, strict=True)):
                by_path[path] = (number, row)
                if not reason:
                    by_hash[content] = (number, row)
        return by_path, by_hash

    def _as_listed(self, by_path: dict[str, _Place]) -> Iterator[_Place | None]:
        """Return the place of each file that has not changed, None for one that is new or has changed."""
        listing = self._listing
        for path, size, time in zip(listing.paths, listing.sizes.tolist(), listing.times.tolist(), strict=True):
            place = by_path.get(path)
            yield place if place and self._stamp(place) == (size, time) else None

    def _stamp(self, place: _Place) -> tuple[int, int]:
        known, row = self._stores[place[0]].manifest, place[1]
        return int(known.sizes[row]), int(known.times[row])

    def _hash(self, place: _Place) -> str:
        return self._stores[place[0]].manifest.hashes[place[1]]

    def _reason(self, place: _Place) -> str:
        return self._stores[place[0]].manifest.reasons[place[1]]

    def _reasons(self) -> list[str]:
        seen: set[str] = set()
        reasons = []
        for store, row, content in zip(self._store.tolist(), self._row.tolist(), self._hashes, strict=True):
            reason = self._stores[store].manifest.reasons[row] or (DUPLICATE if content in seen else "")
            reasons.append(reason)
            if not reason:
                seen.add(content)
        return reasons

    def _layouts(self, usable: Indices) -> dict[str, ArrayLayout]:
        layouts: dict[str, ArrayLayout] = {}
        for number in np.unique(self._store[usable]):
            for name, layout in self._stores[number].layouts.items():
                if layouts.setdefault(name, layout) != layout:
                    raise ValueError(f"{name}: rows of {layout} among rows of {layouts[name]}")
        return dict(sorted(layouts.items()))

    def _places(self, name: str, usable: Indices) -> tuple[Ints, Ints]:
        """Return first row and row after the last of each usable file in its store's array ``name``."""
        first, count = np.zeros((2, len(usable)), np.int64)
        for number in np.unique(self._store[usable]):
            mine = self._store[usable] == number
            store = self._stores[number]
            if name in store.layouts:
                rows = self._row[usable][mine]
                first[mine], count[mine] = store.starts[name][rows], store.manifest.counts[name][rows]
        return first, first + count

    def _read(self, name: str, usable: Indices, first: Ints, stop: Ints) -> Iterator[Chunk]:
        """Yield the rows of all usable files; rows that are adjacent in a store are copied together."""
        stores = self._store[usable]
        # Files whose rows follow one another in the same store form a run; a run is one sequential read.
        follows = (stores[1:] == stores[:-1]) & (first[1:] == stop[:-1])
        # A run begins at every file that does not follow the previous one.
        heads = np.flatnonzero(np.append(True, ~follows)[: len(usable)])
        for head, tail in zip(heads, np.append(heads[1:], len(usable)), strict=False):
            yield from self._stores[stores[head]].read(name, int(first[head]), int(stop[tail - 1]))


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
        # The lock is advisory and freed by the system, so a killed writer never blocks the next one.
        while (lock := self._lock()) is None:
            while_waiting()
        try:
            # Under the lock there is no other writer, so every temporary folder was left behind by a kill.
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
            # Another process has just removed it, such as `kelly-core cache --clear`.
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
                # Renaming is atomic: after a kill at any time there is a complete store of this name or none.
                temporary.rename(target)
            finally:
                _remove([temporary])
            # Without this a power cut may undo the renaming after the former store has been deleted.
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
    # Both kinds: segments of a process that was killed are used by the next one.
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
