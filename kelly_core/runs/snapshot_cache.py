"""Snapshot of a log up to an offset, so that observers need not read a long log from the beginning."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kelly_core.bounds import Count
from kelly_core.io.atomic import open_for_writing, open_regular
from kelly_core.io.json import dumps
from kelly_core.runs.run_dir import RunDirectory
from kelly_core.runs.snapshot import RunSnapshot

_FORMAT = 1
_CHECKED_BYTES = 256
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class SnapshotCache:
    """State of a log up to ``offset``; ``check`` identifies the log.

    Only a help: it can be written again from the log, and a damaged or older one is not used.
    """

    format: int
    offset: Count
    check: str
    snapshot: RunSnapshot


def write_summary(folder: RunDirectory, snapshot: RunSnapshot, offset: int) -> None:
    """Replace the summary; on failure the previous one stays."""
    text = dumps(SnapshotCache(_FORMAT, offset, _check(folder.events, offset), snapshot))
    temporary = folder.summary.with_name(".summary.json.tmp")
    with contextlib.suppress(OSError):
        with os.fdopen(open_for_writing(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(text.encode())
        temporary.replace(folder.summary)


def read_summary(folder: RunDirectory) -> SnapshotCache | None:
    """Return the summary if it exists and matches the log."""
    try:
        with open_regular(folder.summary) as file:
            # A longer one is cut here, so that it is refused as damaged.
            summary = _adapter().validate_json(file.read(_MAX_BYTES))
    except (OSError, ValidationError):
        return None
    fits = summary.format == _FORMAT and summary.check == _check(folder.events, summary.offset)
    return summary if fits else None


def _check(log: Path, offset: int) -> str:
    """Return a hash of the log's bytes before an offset; "" if the log is shorter."""
    try:
        with open_regular(log) as file:
            if os.fstat(file.fileno()).st_size < offset:
                return ""
            start = max(0, offset - _CHECKED_BYTES)
            file.seek(start)
            return hashlib.blake2b(file.read(offset - start), digest_size=8).hexdigest()
    except OSError:
        return ""


@cache
def _adapter() -> TypeAdapter[SnapshotCache]:
    return TypeAdapter(SnapshotCache)
