"""Features in a folder: one flat file per array, which readers memory-map, and a manifest that describes all of them.

Files of a store are never changed, shortened or replaced once it has its final name: a process that reads a mapped
page beyond the end of a shortened file is killed by SIGBUS. Each new store gets its own folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Ints
from kelly_core.formatting import printable
from kelly_core.io.atomic import make_folder, open_for_writing, open_regular

Chunk = bytes | memoryview

_MANIFEST = "manifest"
_DIGEST_BYTES = 32
_HASH_BYTES = 16
_BLOCK_BYTES = 2**20
_LISTED = 3

SAMPLED_BLOCKS = 128
"""Number of 1 MiB blocks whose checksums are compared when a store is opened; this takes about 0.1 s."""


@dataclass(frozen=True)
class Manifest:
    """State of each file in a store, in columns with one entry per file, F of them.

    Attributes:
        paths: paths relative to the corpus, with forward slashes.
        sizes, times: [F] size in bytes, and modification time in nanoseconds, when the file was read.
        hashes: hexadecimal hash of the content.
        reasons: why a file is unusable, "" if it is usable.
        counts: by array, [F] number of rows of each file; 0 if it is unusable.
    """

    paths: list[str]
    sizes: Ints
    times: Ints
    hashes: list[str]
    reasons: list[str]
    counts: dict[str, Ints]

    def starts(self, name: str) -> Ints:
        """Return the index of the first row of each file in the array ``name``, [F]."""
        counts = self.counts[name]
        starts: Ints = np.cumsum(counts) - counts
        return starts


@dataclass(frozen=True)
class ArrayLayout:
    """Layout of an array: NumPy's name of the data type, and the shape of one row."""

    dtype: str
    row: tuple[int, ...]

    @classmethod
    def of(cls, array: NDArray[Any]) -> ArrayLayout:
        """Return the layout of an array [rows, ...]."""
        return cls(array.dtype.str, array.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Size of one row in bytes."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.row, dtype=np.int64))


@dataclass(frozen=True)
class _ArrayFile:
    """File of rows as written: size, modification time, and CRC-32 of each block of 1 MiB."""

    layout: ArrayLayout
    size: int
    time: int
    checksums: tuple[int, ...]

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> _ArrayFile:
        layout = ArrayLayout(entry["layout"]["dtype"], tuple(entry["layout"]["row"]))
        # An array of objects is unpickled, which runs code from the file.
        if np.dtype(layout.dtype).hasobject:
            raise ValueError("arrays of objects cannot be mapped")
        file = cls(layout, entry["size"], entry["time"], tuple(entry["checksums"]))
        if len(file.checksums) != -(-file.size // _BLOCK_BYTES):
            raise ValueError("checksums do not cover the file")
        return file

    def stamp(self, path: Path) -> Literal["same", "copied", "other"]:
        """Compare a file's size and modification time: "copied" means the same size and another time."""
        status = path.stat()
        if status.st_size != self.size:
            return "other"
        return "same" if status.st_mtime_ns == self.time else "copied"

    def corrupted_blocks(self, path: Path, blocks: Iterable[int]) -> list[int]:
        """Return the numbers of the ``blocks`` whose content differs from what was written.

        Raises:
            OSError: the file cannot be read, or is shorter.
        """
        found = []
        for number in blocks:
            start = number * _BLOCK_BYTES
            content = b"".join(_blocks(path, start, min(start + _BLOCK_BYTES, self.size)))
            if zlib.crc32(content) != self.checksums[number]:
                found.append(number)
        return found


class ArrayStore:
    """A complete store, opened by ``open_store`` or created by ``write_store``.

    Attributes:
        folder: path of the store.
        manifest: state of each file.
        layouts: layout of each array, by name.
    """

    def __init__(self, folder: Path, manifest: Manifest, layouts: Mapping[str, ArrayLayout]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.layouts = dict(layouts)
        self.arrays = {name: self._map(name) for name in layouts}
        """Arrays [rows of all files, ...] by name, memory-mapped: only the parts that are indexed are read."""

    @cached_property
    def starts(self) -> dict[str, Ints]:
        """Index of the first row of each file, [F], by array."""
        return {name: self.manifest.starts(name) for name in self.layouts}

    def read(self, name: str, start: int, stop: int) -> Iterator[Chunk]:
        """Yield the bytes of some rows of an array in pieces; unlike mapped pages these do not count as memory in
        use.
        """
        size = self.layouts[name].row_bytes
        return _blocks(self.folder / name, start * size, stop * size)

    def _map(self, name: str) -> NDArray[Any]:
        layout, rows = self.layouts[name], int(self.manifest.counts[name].sum())
        shape = (rows, *layout.row)
        # mmap raises an error for empty files.
        if not rows * layout.row_bytes:
            return np.empty(shape, layout.dtype)
        return np.asarray(np.memmap(self.folder / name, layout.dtype, mode="r", shape=shape))


def open_store(folder: Path) -> ArrayStore | None:
    """Open a store; return None if there is none, or if its content differs from what was written.

    Sizes, modification times and the manifest's hash are always compared. Block checksums detect changed bytes
    if size and time are the same: all blocks are checked, or ``SAMPLED_BLOCKS`` random ones if there are more. A file
    with another modification time, such as a copy, is read completely.
    """
    try:
        manifest, files = _read_manifest(folder)
        stamps = {name: file.stamp(folder / name) for name, file in files.items()}
        if "other" in stamps.values():
            return None
        blocks = [
            (name, number)
            for name, file in files.items()
            for number in range(len(file.checksums))
            if stamps[name] == "same"
        ]
        # Different blocks at each start, so that repeated starts cover all of them.
        chosen = random.SystemRandom().sample(blocks, min(len(blocks), SAMPLED_BLOCKS))
        for name, file in files.items():
            all_blocks = stamps[name] == "copied"
            numbers = range(len(file.checksums)) if all_blocks else [number for key, number in chosen if key == name]
            if file.corrupted_blocks(folder / name, numbers):
                return None
        return ArrayStore(folder, manifest, {name: file.layout for name, file in files.items()})
    except (OSError, KeyError, TypeError, ValueError):
        # If a store is damaged, its features are computed again.
        return None


def verify_store(folder: Path) -> list[str]:
    """Read an entire store and return its damage, one line per array; [] if there is none."""
    try:
        manifest, files = _read_manifest(folder)
    except (OSError, KeyError, TypeError, ValueError) as error:
        return [f"{_MANIFEST}: cannot be used ({error})"]
    return [f"{name}: {problem}" for name, file in files.items() if (problem := _damage(folder / name, file, manifest))]


def _damage(path: Path, file: _ArrayFile, manifest: Manifest) -> str:
    try:
        if file.stamp(path) == "other":
            return f"has {path.stat().st_size} bytes, expected {file.size}"
        blocks = file.corrupted_blocks(path, range(len(file.checksums)))
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if not blocks:
        return ""
    files = _files_in_blocks(blocks, file.layout.row_bytes, manifest.counts[path.name])
    names = [printable(manifest.paths[number]) for number in files[:_LISTED]]
    more = f" and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
    return f"{len(blocks)} of {len(file.checksums)} blocks differ from what was written ({', '.join(names)}{more})"


def _files_in_blocks(blocks: Sequence[int], row_bytes: int, counts: Ints) -> list[int]:
    """Return the numbers of the corpus's files that have rows in some blocks of an array."""
    ends = np.cumsum(counts) * row_bytes
    starts = ends - counts * row_bytes
    # Two intervals overlap if each begins before the other ends.
    first = np.array(blocks)[:, None] * _BLOCK_BYTES
    touched = (starts < first + _BLOCK_BYTES) & (ends > first) & (counts > 0)
    found: list[int] = np.flatnonzero(touched.any(axis=0)).tolist()
    return found


def _read_manifest(folder: Path) -> tuple[Manifest, dict[str, _ArrayFile]]:
    """Read the manifest of a store.

    Raises:
        OSError, KeyError, TypeError, ValueError: it cannot be read, or differs from what was written.
    """
    with open_regular(folder / _MANIFEST) as file:
        content = file.read()
    if content[:_DIGEST_BYTES] != _digest(content[_DIGEST_BYTES:]):
        raise ValueError("its hash is wrong")
    return _unpack(content[_DIGEST_BYTES:])


class StoreContent(NamedTuple):
    """Content of a store that is to be written.

    Attributes:
        manifest: manifest of the files.
        layouts: layout of each array, by name.
        rows: the bytes of each array's rows, in the order of the files; consumed one array after another.
    """

    manifest: Manifest
    layouts: Mapping[str, ArrayLayout]
    rows: Mapping[str, Iterable[Chunk]]


def write_store(folder: Path, content: StoreContent) -> None:
    """Write a store into a new folder and make it durable.

    Raises:
        OSError: it cannot be written.
    """
    make_folder(folder, exist_ok=False)
    files = {name: _write_rows(folder / name, content.layouts[name], blocks) for name, blocks in content.rows.items()}
    # The manifest is written last: a folder without a complete one is not a store.
    payload = _pack(content.manifest, files)
    _write_file(folder / _MANIFEST, [_digest(payload), payload])


def _write_rows(path: Path, layout: ArrayLayout, blocks: Iterable[Chunk]) -> _ArrayFile:
    checksums: list[int] = []

    def checked() -> Iterator[Chunk]:
        size = 0
        for block in blocks:
            # Checksums are per block of the file, not per write, so writes are cut at block boundaries without copying.
            rest = memoryview(block)
            while rest:
                room = _BLOCK_BYTES - size % _BLOCK_BYTES
                piece, rest = rest[:room], rest[room:]
                if room == _BLOCK_BYTES:
                    checksums.append(0)
                checksums[-1] = zlib.crc32(piece, checksums[-1])
                size += len(piece)
            yield block

    status = _write_file(path, checked())
    return _ArrayFile(layout, status.st_size, status.st_mtime_ns, tuple(checksums))


def _write_file(path: Path, blocks: Iterable[Chunk]) -> os.stat_result:
    with os.fdopen(open_for_writing(path, os.O_WRONLY | os.O_EXCL), "wb") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        # Without this a power cut could leave a renamed folder with empty files.
        os.fsync(file.fileno())
        return os.fstat(file.fileno())


def _blocks(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with open_regular(path) as file:
        file.seek(start)
        while start < stop:
            block = file.read(min(_BLOCK_BYTES, stop - start))
            if not block:
                raise OSError(f"{path} ends early")
            start += len(block)
            yield block


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()


def _pack(manifest: Manifest, files: Mapping[str, _ArrayFile]) -> bytes:
    """Pack columns as arrays, so that a manifest of 200,000 files is read in a fraction of a second."""
    reasons = sorted(set(manifest.reasons))
    # There are few reasons for many files, so each file stores the index of its reason.
    number = {reason: index for index, reason in enumerate(reasons)}
    about = {"reasons": reasons, "arrays": {name: asdict(file) for name, file in files.items()}}
    columns = {
        "about": _text(json.dumps(about)),
        "paths": _text("\0".join(manifest.paths)),
        "sizes": manifest.sizes,
        "times": manifest.times,
        "hashes": np.frombuffer(bytes.fromhex("".join(manifest.hashes)), np.uint8),
        "reasons": np.array([number[reason] for reason in manifest.reasons], np.int32),
        **{f"count.{name}": manifest.counts[name] for name in files},
    }
    stream = io.BytesIO()
    # savez also takes keyword options, which the stubs cannot distinguish from names of arrays.
    np.savez(stream, **columns)  # type: ignore[arg-type]
    return stream.getvalue()


def _unpack(payload: bytes) -> tuple[Manifest, dict[str, _ArrayFile]]:
    with np.load(io.BytesIO(payload), allow_pickle=False) as columns:
        about = json.loads(columns["about"].tobytes())
        files = {name: _ArrayFile.parse(entry) for name, entry in about["arrays"].items()}
        hashes = columns["hashes"].tobytes().hex()
        manifest = Manifest(
            paths=columns["paths"].tobytes().decode("utf-8", "surrogateescape").split("\0")[: len(columns["sizes"])],
            sizes=columns["sizes"],
            times=columns["times"],
            hashes=[hashes[start : start + 2 * _HASH_BYTES] for start in range(0, len(hashes), 2 * _HASH_BYTES)],
            reasons=[about["reasons"][number] for number in columns["reasons"].tolist()],
            counts={name: columns[f"count.{name}"] for name in files},
        )
    for name, file in files.items():
        if file.size != manifest.counts[name].sum() * file.layout.row_bytes:
            raise ValueError(f"rows of {name} do not add up")
    return manifest, files


def _text(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8", "surrogateescape"), np.uint8)
