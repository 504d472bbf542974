"""Features of a corpus on disk: computed once, read back by content and settings, never trusted when damaged."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.errors import DataError
from kelly_core.files import atomic_write
from kelly_core.parallel import in_order

Features = dict[str, NDArray[Any]]
"""What one file gives: arrays whose first axis counts rows (sequences, windows, frames, or one row a file)."""

Progress = Callable[[int, int], None]

_FORMAT = 1
_MANIFEST = "manifest"


@dataclass(frozen=True)
class Extraction:
    """How to turn the files of one corpus into features.

    Attributes:
        corpus: name of the corpus, part of the cache file's name.
        version: raised by hand whenever ``extract`` computes something else.
        settings: all that shapes the features besides the files' content (JSON types).
        extract: computes one file's features, or raises DataError whose ``problem`` becomes the reason to skip it.
        few_files: below this many files, starting worker processes takes longer than the work.
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
        arrays: one array a feature, [rows of all files, ...].
        counts: rows that each file has in each array, [F].
        skipped: names of unusable files by reason.
    """

    files: list[str]
    hashes: list[str]
    arrays: dict[str, NDArray[Any]]
    counts: dict[str, NDArray[np.int64]]
    skipped: dict[str, list[str]]

    def owner(self, name: str) -> NDArray[np.intp]:
        """Index into ``files`` of each row of the array ``name``."""
        return np.repeat(np.arange(len(self.files)), self.counts[name])

    def hashes_of(self, name: str, chosen: NDArray[np.bool_]) -> list[str]:
        """Hashes of the files that have any of the ``chosen`` rows of the array ``name``."""
        return [self.hashes[file] for file in np.unique(self.owner(name)[chosen])]


@dataclass(frozen=True)
class _Stamp:
    """One file as the cache knows it: where it is, what it holds, and why it is of no use ("" if it is)."""

    path: str
    size: int
    mtime_ns: int
    hash: str
    reason: str


_Record = tuple[_Stamp, Features]


def load_features(
    root: Path,
    files: Sequence[Path],
    extraction: Extraction,
    *,
    cache_dir: Path,
    jobs: int = 0,
    scheduler: str = "",
    progress: Progress | None = None,
) -> FeatureTable:
    """Features of ``files``: from the cache where content and settings are the same, computed otherwise.

    A file whose size and time of change are those of last time is not even opened.

    Args:
        root: the corpus folder; names in the table are relative to it.
        files: what to read, each below ``root``.
        extraction: what to compute.
        cache_dir: folder of the cache files, made when missing.
        jobs: worker processes; 0 chooses by the number of files and cores.
        scheduler: address of a Dask cluster that computes instead of this machine; "" for none.
        progress: called with (files done, files in all) while computing.
    """
    store = cache_dir / f"{extraction.corpus}-{_key(root, extraction)}.npz"
    known = _read(store)
    by_path = {stamp.path: (stamp, features) for stamp, features in known}
    by_hash = {stamp.hash: features for stamp, features in known if not stamp.reason}
    records: dict[Path, _Record] = {}
    pending: dict[Path, _Stamp] = {}
    for path in files:
        name, (size, mtime_ns) = path.relative_to(root).as_posix(), _size_and_time(path)
        old = by_path.get(name)
        if old and (old[0].size, old[0].mtime_ns) == (size, mtime_ns):
            records[path] = old
            continue
        stamp = _Stamp(name, size, mtime_ns, _content_hash(path), "")
        if stamp.hash in by_hash:
            records[path] = (stamp, by_hash[stamp.hash])
        else:
            pending[path] = stamp
    for path, (reason, features) in _compute(list(pending), extraction, jobs, scheduler, progress):
        records[path] = (replace(pending[path], reason=reason), features)
    ordered = [records[path] for path in files]
    if [stamp for stamp, _ in ordered] != [stamp for stamp, _ in known]:
        _write(store, ordered)
    return _table(ordered)


def _key(root: Path, extraction: Extraction) -> str:
    parts = [_FORMAT, str(root.resolve()), extraction.version, extraction.settings]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _content_hash(path: Path) -> str:
    """Hash of a file's bytes; a file that cannot be opened gets one of its own and fails in the extractor."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError:
        return f"unreadable:{path.name}"


def _compute(
    paths: Sequence[Path], extraction: Extraction, jobs: int, scheduler: str, progress: Progress | None
) -> Iterator[tuple[Path, tuple[str, Features]]]:
    if not paths:
        return
    workers = jobs or (1 if len(paths) < extraction.few_files else 0)
    outcomes = in_order(partial(_outcome, extraction.extract), paths, jobs=workers, scheduler=scheduler, sees=paths)
    for done, (path, outcome) in enumerate(zip(paths, outcomes, strict=True), start=1):
        if progress:
            progress(done, len(paths))
        yield path, outcome


def _outcome(extract: Callable[[Path], Features], path: Path) -> tuple[str, Features]:
    try:
        return "", extract(path)
    except DataError as error:
        return error.problem, {}


def _write(store: Path, records: Sequence[_Record]) -> None:
    names = sorted({name for _, features in records for name in features})
    arrays = {f"array.{name}": _stacked(records, name) for name in names}
    arrays |= {f"count.{name}": _counts(records, name) for name in names}
    manifest = json.dumps([asdict(stamp) for stamp, _ in records]).encode()
    arrays[_MANIFEST] = np.frombuffer(manifest, np.uint8)
    # savez also takes keyword options, which the stubs cannot tell from names of arrays.
    atomic_write(store, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def _stacked(records: Sequence[_Record], name: str) -> NDArray[Any]:
    return np.concatenate([features[name] for _, features in records if name in features])


def _counts(records: Sequence[_Record], name: str) -> NDArray[np.int64]:
    return np.array([len(features.get(name, ())) for _, features in records], np.int64)


def _read(store: Path) -> list[_Record]:
    """Records of a cache file; none where it is missing or damaged in any way, so that it is made anew.

    The archive carries a CRC-32 of each array, which reading checks.
    """
    try:
        with np.load(store, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        stamps = [_Stamp(**entry) for entry in json.loads(arrays.pop(_MANIFEST).tobytes())]
        names = [name.removeprefix("array.") for name in arrays if name.startswith("array.")]
        pieces = {name: _split(arrays[f"array.{name}"], arrays[f"count.{name}"], len(stamps)) for name in names}
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        return []
    return [
        (stamp, {} if stamp.reason else {name: pieces[name][row] for name in names}) for row, stamp in enumerate(stamps)
    ]


def _split(array: NDArray[Any], counts: NDArray[np.int64], files: int) -> list[NDArray[Any]]:
    if len(counts) != files or counts.sum() != len(array):
        raise ValueError("counts do not add up")
    return np.split(array, np.cumsum(counts)[:-1])


def _table(records: Sequence[_Record]) -> FeatureTable:
    usable: list[_Record] = []
    skipped: defaultdict[str, list[str]] = defaultdict(list)
    seen: set[str] = set()
    for stamp, features in records:
        reason = stamp.reason or ("same content as another file" if stamp.hash in seen else "")
        if reason:
            skipped[reason].append(stamp.path)
        else:
            seen.add(stamp.hash)
            usable.append((stamp, features))
    names = sorted({name for _, features in usable for name in features})
    return FeatureTable(
        files=[stamp.path for stamp, _ in usable],
        hashes=[stamp.hash for stamp, _ in usable],
        arrays={name: _stacked(usable, name) for name in names},
        counts={name: _counts(usable, name) for name in names},
        skipped=dict(skipped),
    )
