"""JSON documents that the program writes, and files of JSON lines that another process is writing.

JSON has no NaN and no infinity, so every such number is written as ``null``. A field that can be such a number is
declared as ``bounds.Real``, which reads ``null`` back as NaN.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kelly_core.errors import RunError
from kelly_core.io.atomic import open_regular


def to_json(value: Any) -> Any:
    """Return a value as JSON types: dataclasses as objects, tuples as lists, numbers that are not finite as None."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON text, on one line without spaces unless indented; see ``to_json``."""
    separators = (",", ":") if indent is None else None
    return json.dumps(to_json(value), indent=indent, separators=separators, allow_nan=False)


CHUNK = 2**20
"""Bytes of one read, and the maximum length of a line; longer lines count as damaged."""


class LineTail:
    """Reader of the complete lines of a growing file, each returned once; an incomplete line is left for later.

    Attributes:
        path: the file; it need not exist yet.
        offset: position of the first line that has not been returned yet.
        damaged: number of errors that a correct writer never causes: endless lines, and a file that became shorter.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.damaged = 0
        self._inside_endless_line = False

    def read(self) -> list[bytes]:
        """Return the next lines, at most ``CHUNK`` bytes of them; an empty list if there are none.

        Raises:
            RunError: the file exists and cannot be read.
        """
        while True:
            chunk = self._chunk()
            # A writer may be in the middle of a line: only complete lines are returned, the rest is read again.
            end = chunk.rfind(b"\n") + 1
            if end:
                lines = chunk[: end - 1].split(b"\n")
                self.offset += end
                if not self._inside_endless_line:
                    return lines
                self._inside_endless_line = False
                if len(lines) > 1:
                    return lines[1:]
            elif len(chunk) == CHUNK:
                self.damaged += not self._inside_endless_line
                self._inside_endless_line = True
                self.offset += CHUNK
            else:
                return []

    def skip_to_last(self, limit: int) -> int:
        """Skip all but the last ``limit`` bytes; return the number of skipped bytes.

        Raises:
            RunError: the file exists and its size cannot be read.
        """
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise RunError(f"cannot be read ({error.strerror})", where=self.path) from error
        skipped = size - limit - self.offset
        if skipped <= 0:
            return 0
        # The line at the new offset is incomplete, and must not be counted as damaged.
        self.offset += skipped
        self._inside_endless_line = True
        return skipped

    def _chunk(self) -> bytes:
        try:
            with open_regular(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                # Another process shortened or replaced the file; its content has been read already or is different.
                if size < self.offset:
                    self.damaged += 1
                    self.offset = size
                return os.pread(file.fileno(), CHUNK, self.offset)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise RunError(f"cannot be read ({error.strerror})", where=self.path) from error
