"""Features of a corpus: looked up in the cache by content and settings; missing features are computed and merged."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Indices, Ints
from kelly_core.errors import DataError
from kelly_core.features.feature_cache import CacheKey, FeatureCache
from kelly_core.features.store import ArrayLayout, ArrayStore, Chunk, Manifest, StoreContent
from kelly_core.formatting import printable
from kelly_core.io.atomic import open_regular
from kelly_core.io.user_dirs import user_cache_dir
from kelly_core.parallel.executor import map_ordered

_log = logging.getLogger(__name__)

Features = dict[str, NDArray[Any]]
"""Features of one file: arrays whose first axis counts rows (sequences, windows, frames, or one row per file)."""


class Progress(Protocol):
    """Callback for the progress of an extraction."""

    def __call__(self, done: int, total: int, note: str = "") -> object:
        """Called every second, from any thread, with the numbers of finished files and of all files, and a message."""


_SEGMENT_BYTES = 4 * 2**20
"""Maximum bytes of features in memory before they are written; independent of the size of the corpus."""
_SEGMENT_SECONDS = 10.0
"""Maximum seconds of work that is lost when the process is killed."""

_Place = tuple[int, int]
"""Index of a store, and index of a file in it."""

DUPLICATE = "same content as another file"
"""Reason to skip a file with the same content as another one."""

_TRANSIENT = ("cannot be read (", "no such file", "needs more memory")
"""Beginnings of reasons that may not apply at the next attempt: permissions, disks, shares and free memory change."""

_NO_PLACE = -1


@dataclass(frozen=True)
class FeatureExtractor:
    """Extraction of the features of one corpus.

    Attributes:
        corpus: name of the corpus, part of the cache folder's name.
        version: number to increase whenever the results of ``extract`` change.
        settings: everything other than the files' content that changes features (JSON types).
        extract: computes one file's features, or raises DataError whose ``problem`` becomes the reason to skip it. Any
            other exception also skips the file, with its class in the reason; ImportError ends the extraction.
            Every file must yield the same arrays, each with the same data type and row shape.
        few_files: number of files below which starting worker processes takes longer than extraction.
    """

    corpus: str
    version: int
    settings: Mapping[str, Any]
    extract: Callable[[Path], Features]
    few_files: int = 300


@dataclass(frozen=True)
class FeatureTable:
    """Features of all usable files, concatenated file after file.

    Attributes:
        files: path of each usable file relative to its corpus, F of them, with forward slashes.
        hashes: content hash of each usable file.
        arrays: one array per feature, [rows of all files, ...], memory-mapped: index them, never copy an entire array.
        counts: number of rows of each file in each array, [F].
        skipped: names of unusable files by reason.
    """

    files: list[str]
    hashes: list[str]
    arrays: dict[str, NDArray[Any]]
    counts: dict[str, Ints]
    skipped: dict[str, list[str]]

    def file_indices(self, name: str) -> Indices:
        """Return the index into ``files`` of each row of the array ``name``."""
        return np.repeat(np.arange(len(self.files)), self.counts[name])

    def hashes_of(self, name: str, chosen: NDArray[np.bool_]) -> list[str]:
        """Return the content hashes of the files with at least one of the ``chosen`` rows of the array ``name``."""
        return [self.hashes[file] for file in np.unique(self.file_indices(name)[chosen])]


class ExtractionResult(NamedTuple):
    """Result of one file: hash of its content, reason if it is unusable (else ""), and features."""

    hash: str
    reason: str
    features: Features


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


@dataclass(frozen=True)
class ExtractionOptions:
    """How the features of a corpus are computed and cached.

    Attributes:
        max_files: maximum number of files, evenly spread; 0 uses all.
        cache_dir: folder of the caches, created if missing; it may begin with ~.
        jobs: worker processes; 0 chooses by the number of files and cores.
        scheduler: address of a Dask cluster to compute on; "" computes on this machine.
        progress: called with (files done, total files) while computing, and with a note while a cluster has no worker;
            an exception that it raises ends the extraction.
    """

    max_files: int = 0
    cache_dir: Path = field(default_factory=user_cache_dir)
    jobs: int = 0
    scheduler: str = ""
    progress: Progress | None = None


def load_features(
    root: Path, files: Sequence[str], extraction: FeatureExtractor, options: ExtractionOptions
) -> FeatureTable:
    """Return the features of ``files``, from the cache if content and settings match, otherwise computed.

    A file whose size and modification time have not changed is not opened, unless it was skipped for lack of
    permission, memory or a working disk. Features are written to disk as they are computed: memory does not grow with
    the corpus, and a killed process loses only its last seconds. If several processes need the same features, one
    computes them and the others wait.

    Args:
        root: the corpus folder.
        files: paths of the files to read, relative to ``root``, with forward slashes.
        extraction: features to compute.
        options: limits, cache folder and workers.

    Raises:
        DataError: the cache cannot be written.
    """
    settings = dict(extraction.settings)
    if options.max_files:
        # A separate cache: reading a few files must not evict the features of all files.
        settings["max_files"] = options.max_files
    key = CacheKey(extraction.corpus, str(root.resolve()), settings, extraction.version)
    cache = FeatureCache(options.cache_dir.expanduser(), key)
    # One array instead of tuples: a corpus may have hundreds of thousands of files, and all are listed at each start.
    stamps = np.fromiter((value for name in files for value in _size_and_time(f"{root}/{name}")), np.int64)
    index = FileIndex(list(files), stamps[::2].copy(), stamps[1::2].copy())
    store = cache.latest_store()
    if store is None or not _is_current(store, index, root):
        with cache.write_lock(lambda: options.progress(0, len(files)) if options.progress else None):
            # Read again under the lock, because another process may have just replaced it.
            store = cache.latest_store()
            if store is None or not _is_current(store, index, root):
                store = _compute_missing(root, extraction, options, cache, store, index)
    cache.touch()
    return _table(store, index.paths)


def _is_current(store: ArrayStore, index: FileIndex, root: Path) -> bool:
    """Return True if a store begins with exactly these files, and none of them must be read again.

    More files may follow in the store, from a test split that was read before.
    """
    known, count = store.manifest, len(index.paths)
    return (
        index.paths == known.paths[:count]
        and np.array_equal(index.sizes, known.sizes[:count])
        and np.array_equal(index.times, known.times[:count])
        and not any(
            _is_transient(reason) and os.access(root / path, os.R_OK)
            for path, reason in zip(index.paths, known.reasons, strict=False)
        )
    )


def _is_transient(reason: str) -> bool:
    """Return True if an unchanged file that was skipped for this reason should be read again."""
    return reason.startswith(_TRANSIENT)


def _size_and_time(path: str) -> tuple[int, int]:
    """Return size and modification time of a file; (0, 0) if it is missing, which the extractor then reports."""
    try:
        status = os.stat(path)  # noqa: PTH116, takes a third of the time of Path.stat
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _compute_missing(
    root: Path,
    extraction: FeatureExtractor,
    options: ExtractionOptions,
    cache: FeatureCache,
    store: ArrayStore | None,
    index: FileIndex,
) -> ArrayStore:
    """Compute missing features, segment by segment, and write the store of all files."""
    stores = [*([store] if store else []), *cache.segments()]
    plan = MergePlan(index, stores, lambda row: _content_hash(root / index.paths[row]))
    pending = plan.missing()
    files = [index.paths[row] for row in pending]
    segment: list[ExtractionResult] = []
    done, size, began = 0, 0, time.monotonic()

    def waiting(note: str) -> None:
        if options.progress:
            options.progress(done, len(files), note)

    results = map_ordered(
        partial(_extract_file, extraction.extract, root),
        files,
        jobs=options.jobs or (1 if len(files) < extraction.few_files else 0),
        scheduler=options.scheduler,
        # Each worker checks these three files: another version of the corpus most likely differs in one of them.
        required_paths=[root / name for name in (*files[:1], *files[len(files) // 2 :][:1], *files[-1:])],
        waiting=waiting,
    )
    for done, result in enumerate(results, start=1):
        if options.progress:
            options.progress(done, len(files))
        segment.append(result)
        size += sum(array.nbytes for array in result.features.values())
        # Small enough for memory, and quick enough to compute again if the process is killed.
        if size >= _SEGMENT_BYTES or time.monotonic() - began >= _SEGMENT_SECONDS or done == len(files):
            rows = pending[done - len(segment) : done]
            plan.add(rows, _add_segment(cache, index, rows, segment))
            segment, size, began = [], 0, time.monotonic()
    return cache.replace(plan.merged())


def _extract_file(extract: Callable[[Path], Features], root: Path, name: str) -> ExtractionResult:
    path = root / name
    content = _content_hash(path)
    try:
        return ExtractionResult(content, "", extract(path))
    except DataError as error:
        return ExtractionResult(content, error.problem, {})
    except ImportError:
        raise  # The installation is incomplete, and every other file would be skipped, too.
    except Exception as error:  # noqa: BLE001 - see below
        # A decoder can raise anything for unexpected content; only this file is skipped.
        kind = "MemoryError" if isinstance(error, MemoryError) else type(error).__name__
        _log.warning("skipped %s: %s", printable(str(path)), printable(f"{kind}: {error}"))
        _log.debug("while reading %s", printable(str(path)), exc_info=True)
        what = "needs more memory than is available" if isinstance(error, MemoryError) else "could not be read"
        return ExtractionResult(content, f"{what} ({kind})", {})


def _content_hash(path: Path) -> str:
    """Return the hash of a file's bytes; a file that cannot be opened gets a unique hash and fails in the extractor."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError:
        return hashlib.blake2b(f"unreadable {path.name}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _add_segment(
    cache: FeatureCache, index: FileIndex, rows: Indices, segment: Sequence[ExtractionResult]
) -> ArrayStore:
    arrays: dict[str, list[NDArray[Any]]] = {}
    for result in segment:
        for name, array in result.features.items():
            arrays.setdefault(name, []).append(np.ascontiguousarray(array))
    manifest = Manifest(
        paths=[index.paths[row] for row in rows],
        sizes=index.sizes[rows],
        times=index.times[rows],
        hashes=[result.hash for result in segment],
        reasons=[result.reason for result in segment],
        counts={
            name: np.array([len(result.features.get(name, ())) for result in segment], np.int64) for name in arrays
        },
    )
    layouts = {name: ArrayLayout.of(pieces[0]) for name, pieces in arrays.items()}
    rows_of = {name: _blocks(pieces, layouts[name]) for name, pieces in arrays.items()}
    return cache.add_segment(StoreContent(manifest, layouts, rows_of))


def _blocks(pieces: Sequence[NDArray[Any]], layout: ArrayLayout) -> Iterator[Chunk]:
    for piece in pieces:
        if ArrayLayout.of(piece) != layout:
            raise ValueError(f"rows of {ArrayLayout.of(piece)} among rows of {layout}")
        yield piece.tobytes()


def _table(store: ArrayStore, files: Sequence[str]) -> FeatureTable:
    """Return the table of these files, the first ones of a store; later ones belong to a test split read before."""
    manifest = store.manifest
    reasons = manifest.reasons[: len(files)]
    skipped: dict[str, list[str]] = {}
    for path, reason in zip(files, reasons, strict=True):
        if reason:
            skipped.setdefault(reason, []).append(path)
    rows = [row for row, reason in enumerate(reasons) if not reason]
    counts = {name: counts[rows] for name, counts in manifest.counts.items()}
    return FeatureTable(
        files=[files[row] for row in rows],
        hashes=[manifest.hashes[row] for row in rows],
        arrays={name: array[: counts[name].sum()] for name, array in store.arrays.items()},
        counts=counts,
        skipped=skipped,
    )


class MergePlan:
    """Source of each file's features: a store and a file in it, or none yet.

    Args:
        index: the files.
        stores: stores of earlier computations.
        content_hash: returns the content hash of the file with this index; called only where it may save computing.
    """

    def __init__(self, index: FileIndex, stores: Sequence[ArrayStore], content_hash: Callable[[int], str]) -> None:
        self._index = index
        self._stores = list(stores)
        self._store = np.full(len(index.paths), _NO_PLACE)
        self._row = np.zeros(len(index.paths), np.intp)
        self._hashes = [""] * len(index.paths)
        by_path, by_hash = self._known_places()
        stamps = zip(index.sizes.tolist(), index.times.tolist(), strict=True)
        for number, (path, stamp) in enumerate(zip(index.paths, stamps, strict=True) if by_path else ()):
            place = by_path.get(path)
            content = reason = ""
            if place is not None:
                known, row = self._stores[place[0]].manifest, place[1]
                content, reason = known.hashes[row], known.reasons[row]
                if stamp != (known.sizes[row], known.times[row]) or _is_transient(reason):
                    place = None
            # A duplicate has no rows, and its previous source may be gone: look up its content again.
            if place is None or reason == DUPLICATE:
                place = by_hash.get(content_hash(number) if place is None else content)
            if place is not None:
                self._hashes[number] = self._stores[place[0]].manifest.hashes[place[1]]
                self._store[number], self._row[number] = place

    def missing(self) -> Indices:
        """Return the indices of the files that have to be computed."""
        return np.flatnonzero(self._store == _NO_PLACE)

    def add(self, numbers: Indices, store: ArrayStore) -> None:
        """Set the files of a new store, in order, as the source of the files with these indices."""
        self._store[numbers], self._row[numbers] = len(self._stores), np.arange(len(numbers))
        self._stores.append(store)
        for number, content in zip(numbers.tolist(), store.manifest.hashes, strict=True):
            self._hashes[number] = content

    def merged(self) -> StoreContent:
        """Return the content of one store of all files; of files with equal content only the first has rows.

        Raises:
            ValueError: stores contain rows of different kinds under one name.
        """
        reasons = self._reasons()
        usable = np.flatnonzero([not reason for reason in reasons])
        layouts = self._layouts(usable)
        places = {name: self._places(name, usable) for name in layouts}
        counts = {name: np.zeros(len(reasons), np.int64) for name in layouts}
        for name, (first, stop) in places.items():
            counts[name][usable] = stop - first
        manifest = Manifest(self._index.paths, self._index.sizes, self._index.times, self._hashes, reasons, counts)
        return StoreContent(
            manifest, layouts, {name: self._read(name, usable, *place) for name, place in places.items()}
        )

    def _known_places(self) -> tuple[dict[str, _Place], dict[str, _Place]]:
        """Return the latest place of each path, and the places of usable files by content hash."""
        by_path: dict[str, _Place] = {}
        by_hash: dict[str, _Place] = {}
        for number, store in enumerate(self._stores):
            known = store.manifest
            for row, (path, content, reason) in enumerate(zip(known.paths, known.hashes, known.reasons, strict=True)):
                by_path[path] = (number, row)
                if not reason:
                    by_hash[content] = (number, row)
        return by_path, by_hash

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
