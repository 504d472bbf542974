"""Structure of MPEG audio (MP3) and Ogg files, read without decoding: tags, frame headers, the last page."""

from __future__ import annotations

import os
from typing import BinaryIO, NamedTuple

_KBPS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_KBPS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Sample rates by the version bits of the header: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5."""
_LAYER_3 = 1
_HEADER_BYTES = 4
_ID3V2_BYTES = 10
_ID3V2_FOOTER = 0x10
"""Flag of a tag whose header is repeated at its end."""
_ID3V1_BYTES = 128
_XING_BYTES_TOLERANCE = 0.01
_MIN_CONSECUTIVE_FRAMES = 3
"""Minimum consecutive frames; fewer occur by chance in any content."""

_OGG_MAGIC = b"OggS"
_OGG_HEADER_BYTES = 27
_OGG_MAX_PAGE_BYTES = _OGG_HEADER_BYTES + 255 + 255 * 255
_OGG_END_OF_STREAM = 4
"""Flag of the last page of a stream."""


class FrameHeader(NamedTuple):
    """One frame of MPEG audio: its layer bits (1 is layer III), its size in bytes, and its samples per channel."""

    layer: int
    size: int
    samples: int


class Stream(NamedTuple):
    """Layout of a layer III stream.

    Attributes:
        start, stop: byte offsets at which its frames begin and end in the file.
        samples: samples per channel of all frames, including the encoder's delay and padding.
        claimed_samples: samples per channel that the Xing header claims, 0 without one.
        clean: True if there are no gaps between frames, and the size in the Xing header, if there is one, is correct.
    """

    start: int
    stop: int
    samples: int
    claimed_samples: int
    clean: bool


def skip_tags(content: bytes) -> int:
    """Return the offset of the first byte after ID3v2 tags and the zeros that may follow them."""
    at = 0
    while content[at : at + 3] == b"ID3" and len(content) >= at + _ID3V2_BYTES:
        # The size has seven bits per byte, so that it never contains the sync word of a frame.
        flags, seven_bits = content[at + 5], content[at + 6 : at + _ID3V2_BYTES]
        at += _ID3V2_BYTES + sum((byte & 0x7F) << shift for byte, shift in zip(seven_bits, (21, 14, 7, 0), strict=True))
        at += _ID3V2_BYTES if flags & _ID3V2_FOOTER else 0
        while content[at : at + 1] == b"\0":
            at += 1
    return at


def frame_header(content: bytes, at: int) -> FrameHeader | None:
    """Return the header of the frame at an offset, or None if there is no header of a frame of known size."""
    if len(content) < at + _HEADER_BYTES or content[at] != 0xFF or content[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = content[at + 1] >> 3 & 3, content[at + 1] >> 1 & 3
    bitrate, rate, padding = content[at + 2] >> 4, content[at + 2] >> 2 & 3, content[at + 2] >> 1 & 1
    # Reject reserved values, and bit rate index 0 ("free"), for which the header specifies no frame size.
    if version == 1 or layer == 0 or bitrate in (0, 15) or rate == 3:
        return None
    if layer != _LAYER_3:
        return FrameHeader(layer, 0, 0)
    samples = 1152 if version == 3 else 576
    kbps = (_KBPS_V1 if version == 3 else _KBPS_V2)[bitrate]
    return FrameHeader(layer, samples // 8 * kbps * 1000 // _RATES[version][rate] + padding, samples)


def has_frames(content: bytes) -> bool:
    """Return True if the content has consecutive layer III frames anywhere, even after other bytes."""
    at = content.find(b"\xff")
    while at >= 0:
        end, count = at, 0
        while count < _MIN_CONSECUTIVE_FRAMES and (header := frame_header(content, end)) and header.size:
            end, count = end + header.size, count + 1
        if count == _MIN_CONSECUTIVE_FRAMES:
            return True
        at = content.find(b"\xff", at + 1)
    return False


def read_stream(content: bytes) -> Stream | None:
    """Return the layout of a file from its frame headers; None if it does not begin with a layer III frame."""
    start = at = skip_tags(content)
    first = frame_header(content, at)
    if first is None or first.layer != _LAYER_3:
        return None
    samples = 0
    while (header := frame_header(content, at)) and header.size and at + header.size <= len(content):
        at += header.size
        samples += header.samples
    # An ID3v1 tag is the last 128 bytes of a file, after all frames.
    tagless = len(content) - (_ID3V1_BYTES if content[-_ID3V1_BYTES:][:3] == b"TAG" else 0)
    frames, claimed_bytes = _read_xing(content[start : start + first.size])
    size = at - start
    agrees = claimed_bytes is None or abs(claimed_bytes - size) <= _XING_BYTES_TOLERANCE * size
    return Stream(start, at, samples, frames * first.samples, at == tagless and agrees)


def _read_xing(frame: bytes) -> tuple[int, int | None]:
    """Return the number of frames and of bytes in the first frame's Xing header; 0 and None if they are missing."""
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    flags = int.from_bytes(frame[at + 4 : at + 8]) if at >= 0 else 0
    frames = int.from_bytes(frame[at + 8 : at + 12]) if flags & 1 else 0
    # Each field exists only if its flag is set, and the number of bytes follows that of frames.
    after = at + (12 if flags & 1 else 8)
    return frames, int.from_bytes(frame[after : after + 4]) if flags & 2 else None


def has_last_page(file: BinaryIO) -> bool:
    """Return True if the last page of an Ogg file is complete and marked as the end of its stream."""
    size = file.seek(0, os.SEEK_END)
    # Enough for a page and data that may follow it, such as a tag.
    file.seek(max(0, size - 2 * _OGG_MAX_PAGE_BYTES))
    tail = file.read(2 * _OGG_MAX_PAGE_BYTES)
    at = tail.rfind(_OGG_MAGIC)
    if at < 0 or len(tail) < at + _OGG_HEADER_BYTES:
        return False
    lengths = tail[at + _OGG_HEADER_BYTES : at + _OGG_HEADER_BYTES + tail[at + _OGG_HEADER_BYTES - 1]]
    end = at + _OGG_HEADER_BYTES + len(lengths) + sum(lengths)
    return (
        bool(tail[at + 5] & _OGG_END_OF_STREAM)
        and len(lengths) == tail[at + _OGG_HEADER_BYTES - 1]
        and end <= len(tail)
    )
