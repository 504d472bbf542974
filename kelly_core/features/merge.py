"""Selection of the store that has each file's features, and the merge of stores by copying blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kelly_core.arrays import Indices, Ints
from kelly_core.features.store import ArrayLayout, ArrayStore, Chunk, Manifest

_Place = tuple[int, int]
"""Index of a store, and index of a file in it."""

DUPLICATE = "same content as another file"
"""Reason to skip a file with the same content as another one."""

_NOWHERE = -1


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
