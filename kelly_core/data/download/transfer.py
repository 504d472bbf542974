"""Download of one file over HTTP, resumed after an interruption.

pooch is not used: it has no range requests, so a download interrupted at 1.7 GB would start at zero (docs/adr/0008).
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from kelly_core import __version__
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.io.atomic import atomic_write, open_regular, write_error

CHUNK = 2**18
ByteProgress = Callable[[int, int], None]
"""Called with the number of bytes received and the total, 0 if not known."""

_CONNECT_SECONDS, _READ_SECONDS = 15.0, 60.0
_TRIES = 4
"""Consecutive attempts without any new byte before the next URL is tried."""
_BASE_PAUSE, _MAX_PAUSE = 0.5, 30.0
_NETWORK_ERRORS = (HTTPError, ConnectionError, TimeoutError)
_BUSY = frozenset((408, 425, 429, 500, 502, 503, 504))
_CONNECTION = re.compile(r"^\w+\(host=[^)]*\): ")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _RetryError(Exception):
    """An error after which another attempt with the same URL may succeed."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class UnavailableError(DataError):
    """The file cannot be downloaded from a URL."""


@dataclass(frozen=True)
class Downloaded:
    """Result of a download.

    Attributes:
        url: the URL that the last bytes came from.
        received: bytes downloaded by this call.
        resumed: bytes of an earlier attempt that were kept.
        content_type: content type that the server sent.
        is_sized: True if the server sent the file's length, without which a broken connection looks like the end.
    """

    url: str
    received: int
    resumed: int
    content_type: str
    is_sized: bool = True


def part_of(target: Path) -> Path:
    """Return the path of the partial download of ``target``."""
    return target.with_name(target.name + ".part")


def discard_part(target: Path) -> None:
    """Remove the partial download of ``target``."""
    part_of(target).unlink(missing_ok=True)
    _state_file(target).unlink(missing_ok=True)


def _state_file(target: Path) -> Path:
    return target.with_name(target.name + ".part.json")


def download(url: str, target: Path, *, limit: int, trust_any: bool, progress: ByteProgress) -> Downloaded:
    """Download a file to ``part_of(target)``, continuing a partial download.

    Args:
        url: its URL; redirections are followed.
        target: the complete file's path; the caller checks the partial file and renames it.
        limit: maximum size of the file in bytes; 0 sets no limit.
        trust_any: True if a partial file may be continued from another URL or without a validator, because the caller
            compares a checksum. Otherwise only an unchanged file at the same URL is continued.
        progress: called after each piece.

    Raises:
        UnavailableError: the URL does not deliver the complete file. The partial file is kept for the next attempt.
        DataError: the partial file cannot be written.
    """
    kept = _size(part_of(target))
    transfer = _Transfer(target, limit, trust_any, progress)
    fruitless = 0
    while True:
        before = transfer.received
        try:
            content_type = transfer.attempt(url)
        except _RetryError as reason:
            # An attempt that received new bytes restarts the count: a slow download must not fail.
            fruitless = 1 if transfer.received > before else fruitless + 1
            if fruitless >= _TRIES:
                raise UnavailableError(str(reason), where=url) from reason
            time.sleep(min(_MAX_PAUSE, reason.pause or _BASE_PAUSE * 2 ** (fruitless - 1)))
        else:
            resumed = 0 if transfer.restarted else kept
            return Downloaded(url, transfer.received, resumed, content_type, transfer.is_sized)


class _Transfer:
    """Attempts to complete one partial file.

    Attributes:
        received: bytes downloaded so far.
        restarted: True if the bytes of an earlier attempt were discarded.
        is_sized: as in ``Downloaded``.
    """

    def __init__(self, target: Path, limit: int, trust_any: bool, progress: ByteProgress) -> None:
        self._target, self._limit, self._trust_any, self._progress = target, limit, trust_any, progress
        self._part = part_of(target)
        self._session = requests.Session()
        # With transparent compression, ranges and sizes would refer to the compressed bytes.
        self._session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"kelly-core/{__version__}"})
        self.received = 0
        self.restarted = False
        self.is_sized = True

    def attempt(self, url: str) -> str:
        """Request the missing bytes and write them; return the content type when the file is complete.

        Raises:
            _RetryError: the connection broke or the server is busy.
            UnavailableError: the file is not at this URL.
            DataError: the partial file cannot be written.
        """
        start = _size(self._part)
        headers = self._range_headers(url, start)
        try:
            with self._session.get(
                url, headers=headers, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS)
            ) as response:
                return self._receive(response, url, start if headers else 0)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _RetryError(_describe_network_error(error)) from error
        except (requests.RequestException, HTTPError, ValueError) as error:
            # A redirection to a malformed URL raises ValueError.
            raise UnavailableError(_describe_network_error(error), where=url) from error

    def _range_headers(self, url: str, start: int) -> dict[str, str]:
        """Return headers that request the rest of the file; an empty dict requests all of it."""
        if not start:
            return {}
        state = _read_state(self._target)
        validator = state.get("validator", "") if state.get("url") == url else ""
        if validator:
            return {"Range": f"bytes={start}-", "If-Range": str(validator)}
        return {"Range": f"bytes={start}-"} if self._trust_any else {}

    def _receive(self, response: requests.Response, url: str, start: int) -> str:
        status = response.status_code
        if status == 416 and start:
            return self._beyond_the_end(response, start)
        if status in _BUSY:
            raise _RetryError(f"HTTP {status} {response.reason}", _retry_after(response))
        if status not in (200, 206):
            raise UnavailableError(f"HTTP {status} {response.reason}", where=response.url)
        if status == 206:
            total = _total_of_range(response, start)
        else:
            # The existing bytes belong to an older version of the file, or the server does not support ranges.
            self.restarted = self.restarted or start > 0 or _size(self._part) > 0
            start, total = 0, _content_length(response)
        self.is_sized = total > 0
        if self._limit and total > self._limit:
            raise UnavailableError(f"has {total:,} bytes, more than the maximum of {self._limit:,}", where=response.url)
        _write_state(self._target, {"url": url, "validator": _validator(response)})
        done = self._write(response, start, total)
        if total and done < total:
            raise _RetryError(f"the connection broke at {done:,} of {total:,} bytes")
        return str(response.headers.get("Content-Type", ""))

    def _beyond_the_end(self, response: requests.Response, start: int) -> str:
        """Accept a partial file with the length of the remote file; a longer one belongs to another file."""
        match = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range", ""))
        if match and int(match[1]) == start:
            return str(response.headers.get("Content-Type", ""))
        discard_part(self._target)
        self.restarted = True
        raise _RetryError("the partial file is longer than the file")

    def _write(self, response: requests.Response, start: int, total: int) -> int:
        done = start
        try:
            if not start:
                # A link or a FIFO at this path is replaced, not written to.
                self._part.unlink(missing_ok=True)
            with self._part.open("r+b" if start else "xb") as file:
                file.truncate(start)
                file.seek(start)
                for chunk in _chunks(response):
                    file.write(chunk)
                    # Flushed, so that the received bytes are kept if the process is killed.
                    file.flush()
                    done += len(chunk)
                    self.received += len(chunk)
                    if self._limit and done > self._limit:
                        discard_part(self._target)
                        raise UnavailableError(
                            f"sends more than the maximum of {self._limit:,} bytes", where=response.url
                        )
                    self._progress(done, total)
                file.flush()
                os.fsync(file.fileno())
        except _NETWORK_ERRORS as error:
            raise _RetryError(_describe_network_error(error)) from error
        except OSError as error:
            raise write_error(self._part, error, DataError) from error
        return done


def _chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield pieces of the body as they arrive; ``iter_content`` drops the piece in which the connection breaks."""
    while chunk := response.raw.read1(CHUNK):
        yield chunk


def _total_of_range(response: requests.Response, start: int) -> int:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if not match or int(match[1]) != start:
        raise UnavailableError("sent another range than was requested", where=response.url)
    return 0 if match[2] == "*" else int(match[2])


def _content_length(response: requests.Response) -> int:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else 0


def _validator(response: requests.Response) -> str:
    """Return the version of the file for If-Range: a strong ETag, else its modification date."""
    tag: str = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _retry_after(response: requests.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _describe_network_error(error: Exception) -> str:
    """Return the innermost reason of a nested network error."""
    while (inner := next((each for each in error.args if isinstance(each, Exception)), None)) is not None:
        error = inner
    reason = getattr(error, "reason", None)
    if isinstance(reason, Exception):
        return _describe_network_error(reason)
    # urllib3 begins with the representation of its connection.
    return printable(_CONNECTION.sub("", str(error)).rstrip(".")) or type(error).__name__


def _size(path: Path) -> int:
    """Return the size of a regular file; 0 for anything else, including links."""
    with suppress(FileNotFoundError):
        status = path.lstat()
        return status.st_size if stat.S_ISREG(status.st_mode) else 0
    return 0


def _read_state(target: Path) -> dict[str, Any]:
    try:
        with open_regular(_state_file(target)) as file:
            state = json.loads(file.read())
    except (OSError, ValueError):
        # Without its state, a partial file is continued without If-Range, or not at all.
        return {}
    return state if isinstance(state, dict) else {}


def _write_state(target: Path, state: dict[str, str]) -> None:
    content = json.dumps(state).encode()
    atomic_write(_state_file(target), content, error_type=DataError)
