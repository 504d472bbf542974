"""Structure of Ogg files: their last page, read without decoding."""

from __future__ import annotations

import os
from typing import BinaryIO

_MAGIC = b"OggS"
_HEADER_BYTES = 27
_MAX_PAGE_BYTES = _HEADER_BYTES + 255 + 255 * 255
_END_OF_STREAM = 4
"""Flag of the last page of a stream."""


def has_last_page(file: BinaryIO) -> bool:
    """Return True if the last page of an Ogg file is whole and marked as the end of its stream."""
    size = file.seek(0, os.SEEK_END)
    # A page and what may follow it, such as a tag.
    file.seek(max(0, size - 2 * _MAX_PAGE_BYTES))
    tail = file.read(2 * _MAX_PAGE_BYTES)
    at = tail.rfind(_MAGIC)
    if at < 0 or len(tail) < at + _HEADER_BYTES:
        return False
    lengths = tail[at + _HEADER_BYTES : at + _HEADER_BYTES + tail[at + _HEADER_BYTES - 1]]
    end = at + _HEADER_BYTES + len(lengths) + sum(lengths)
    return bool(tail[at + 5] & _END_OF_STREAM) and len(lengths) == tail[at + _HEADER_BYTES - 1] and end <= len(tail)
