"""Requirements for workers on other machines, so that results are the same."""

from __future__ import annotations

import hashlib
import platform
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from kelly_core.errors import ParallelError

Result = TypeVar("Result")

_PACKAGES = ("numpy", "av", "soundfile", "torch", "dask")
"""Packages whose version may change a result, or the format in which it is sent."""


@dataclass(frozen=True)
class Requirements:
    """Properties of a worker that must equal those of the process that submits work to it.

    Attributes:
        versions: (name, version) of each package that may change results.
        files: (path, size in bytes; -1 for a folder).
    """

    versions: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, int | None], ...]

    @classmethod
    def of_this_process(cls, paths: Sequence[Path]) -> Requirements:
        """Return the versions of this process, and the sizes of some paths as it sees them."""
        return cls(_versions(), tuple((str(path.absolute()), _size(path)) for path in sorted(set(paths))))


@dataclass(frozen=True)
class Guarded(Generic[Result]):
    """A function that only runs on a worker that meets the requirements."""

    function: Callable[..., Result]
    requirements: Requirements

    def __call__(self, *arguments: Any, **options: Any) -> Result:
        """Check this worker, then call the function."""
        _check_this_worker(self.requirements)
        return self.function(*arguments, **options)


@cache
def _check_this_worker(requirements: Requirements) -> None:
    """Check the requirements, once in each worker process.

    Raises:
        ParallelError: its versions or files differ.
    """
    worker = f"worker on {socket.gethostname()}"
    for (name, here), (_, wanted) in zip(_versions(), requirements.versions, strict=True):
        if here != wanted:
            hint = "All machines need the same versions, or the results would differ"
            raise ParallelError(
                f"has {name} {here or 'not installed'}, not {wanted or 'none'}", where=worker, hint=hint
            )
    for path, size in requirements.files:
        seen = _size(Path(path))
        if seen != size:
            problem = f"does not see {path}" if seen is None else f"sees another {path}"
            hint = "All machines need the same files at the same paths: a shared folder, or copies"
            raise ParallelError(problem, where=worker, hint=hint)


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("Python", platform.python_version()), ("code of kelly_core", _code_hash())]
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            found.append((package, ""))
    return tuple(found)


def _code_hash() -> str:
    digest = hashlib.blake2b(digest_size=6)
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _size(path: Path) -> int | None:
    """Return the bytes of a file, -1 for a folder, None for anything else."""
    try:
        return path.stat().st_size if path.is_file() else -1 if path.is_dir() else None
    except OSError:
        return None
