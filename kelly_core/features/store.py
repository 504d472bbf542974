"""Features in a folder: one flat file an array, which readers map, and a manifest that vouches for all of them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.io.atomic import make_folder, open_for_writing, open_regular

Ints = NDArray[np.int64]
Block = bytes | memoryview

_MANIFEST = "manifest"
_DIGEST_BYTES = 32
_HASH_BYTES = 16
_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class Manifest:
    """What a store knows of each file, in columns with one entry a file, F of them.

    Attributes:
        paths: relative to the corpus, with forward slashes.
        sizes, times: [F] bytes, and nanoseconds of the last change, when the file was read.
        hashes: hexadecimal hash of the content.
        reasons: why a file is of no use, "" if it is of use.
        counts: by array, [F] rows of each file; 0 for one that is of no use.
    """

    paths: list[str]
    sizes: Ints
    times: Ints
    hashes: list[str]
    reasons: list[str]
    counts: dict[str, Ints]

    def starts(self, name: str) -> Ints:
        """First row of each file in the array ``name``, [F]."""
        counts = self.counts[name]
        starts: Ints = np.cumsum(counts) - counts
        return starts


@dataclass(frozen=True)
class Layout:
    """How the rows of an array are made: NumPy's name of the type, and the shape of one row."""

    dtype: str
    row: tuple[int, ...]

    @classmethod
    def of(cls, array: NDArray[Any]) -> Layout:
        """That of an array [rows, ...]."""
        return cls(array.dtype.str, array.shape[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return int(np.dtype(self.dtype).itemsize * np.prod(self.row, dtype=np.int64))


@dataclass(frozen=True)
class _ArrayFile:
    """A file of rows as it was when it was written: its size and time, by which it is recognised, and its CRC-32."""

    layout: Layout
    size: int
    time: int
    checksum: int

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> _ArrayFile:
        layout = Layout(entry["layout"]["dtype"], tuple(entry["layout"]["row"]))
        if np.dtype(layout.dtype).hasobject:
            raise ValueError("arrays of objects cannot be mapped")
        return cls(layout, entry["size"], entry["time"], entry["checksum"])

    def is_sound(self, path: Path) -> bool:
        """Whether the file is the one that was written; only one with another time, a copy perhaps, is read."""
        status = path.stat()
        if status.st_size != self.size:
            return False
        return status.st_mtime_ns == self.time or self.checksum == _checksum(_blocks(path, 0, self.size))


class ArrayStore:
    """A complete store; ``open_store`` gives one, ``write_store`` makes one.

    Attributes:
        folder: where it lies.
        manifest: what it knows of each file.
        layouts: by array.
    """

    def __init__(self, folder: Path, manifest: Manifest, layouts: Mapping[str, Layout]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.layouts = dict(layouts)
        self.arrays = {name: self._map(name) for name in layouts}
        """By name [rows of all files, ...], mapped: only the parts that are looked at are read."""

    @cached_property
    def starts(self) -> dict[str, Ints]:
        """By array, the first row of each file, [F]."""
        return {name: self.manifest.starts(name) for name in self.layouts}

    def read(self, name: str, start: int, stop: int) -> Iterator[Block]:
        """The bytes of some rows of an array, piece by piece; unlike mapped ones they never count as memory in use."""
        size = self.layouts[name].row_bytes
        return _blocks(self.folder / name, start * size, stop * size)

    def _map(self, name: str) -> NDArray[Any]:
        layout, rows = self.layouts[name], int(self.manifest.counts[name].sum())
        shape = (rows, *layout.row)
        if not rows * layout.row_bytes:
            return np.empty(shape, layout.dtype)
        return np.asarray(np.memmap(self.folder / name, layout.dtype, mode="r", shape=shape))


def open_store(folder: Path) -> ArrayStore | None:
    """Open a store; None where there is none or where it is not, byte for byte, what was written."""
    try:
        with open_regular(folder / _MANIFEST) as file:
            content = file.read()
        if content[:_DIGEST_BYTES] != _digest(content[_DIGEST_BYTES:]):
            return None
        manifest, files = _unpack(content[_DIGEST_BYTES:])
        if not all(file.is_sound(folder / name) for name, file in files.items()):
            return None
        return ArrayStore(folder, manifest, {name: file.layout for name, file in files.items()})
    except (OSError, KeyError, TypeError, ValueError):
        return None


def write_store(
    folder: Path, manifest: Manifest, layouts: Mapping[str, Layout], rows: Mapping[str, Iterable[Block]]
) -> None:
    """Write a store into a new folder and make it durable.

    Args:
        folder: the folder to make.
        manifest: of the files whose rows follow.
        layouts: of each array.
        rows: the bytes of each array's rows, in the order of the files; taken one array after the other.

    Raises:
        OSError: it cannot be written.
    """
    make_folder(folder, exist_ok=False)
    files = {name: _write_rows(folder / name, layouts[name], blocks) for name, blocks in rows.items()}
    payload = _pack(manifest, files)
    _write_file(folder / _MANIFEST, [_digest(payload), payload])


def _write_rows(path: Path, layout: Layout, blocks: Iterable[Block]) -> _ArrayFile:
    checksum = 0

    def checked() -> Iterator[Block]:
        nonlocal checksum
        for block in blocks:
            checksum = zlib.crc32(block, checksum)
            yield block

    status = _write_file(path, checked())
    return _ArrayFile(layout, status.st_size, status.st_mtime_ns, checksum)


def _write_file(path: Path, blocks: Iterable[Block]) -> os.stat_result:
    with os.fdopen(open_for_writing(path, os.O_WRONLY | os.O_EXCL), "wb") as file:
        for block in blocks:
            file.write(block)
        file.flush()
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


def _checksum(blocks: Iterable[bytes]) -> int:
    checksum = 0
    for block in blocks:
        checksum = zlib.crc32(block, checksum)
    return checksum


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()


def _pack(manifest: Manifest, files: Mapping[str, _ArrayFile]) -> bytes:
    """Columns as arrays: a manifest of 200,000 files is then read in a fraction of a second."""
    reasons = sorted(set(manifest.reasons))
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
    # savez also takes keyword options, which the stubs cannot tell from names of arrays.
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
