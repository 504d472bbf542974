"""Tables and documents of corpora: CSV in any dialect and encoding, JSON, and JSON lists of any length."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

from kelly_core.errors import DataError
from kelly_core.formatting import format_bytes, printable
from kelly_core.io.atomic import open_for_reading

MAX_TABLE_BYTES = 256_000_000
HEADER_BYTES = 64 * 2**10
"""Bytes at the beginning of a table that are enough to read its columns."""
_MARKLESS_BYTES = 32
"""Bytes at the beginning of a text that are enough to recognize UTF-16 without a byte order mark."""
MUSIC_ENDING = re.compile(r"\.(?:midi?|wav|mp3|flac|ogg|m4a)$")
"""Ending of a MIDI or audio file, in lower case."""
_GZIP = b"\x1f\x8b"
_WINDOW_CHARACTERS = 2**16
_MAX_ELEMENT = 16_000_000
_BEHIND_ELEMENT = frozenset(" \t\n\r,]")
EXTRA_CELLS = "(beyond the header)"
"""Name for cells without a column. For example, a decimal comma without quotes splits a cell into two."""
_SPACES = re.compile(r"[\s_-]+")
_IN_BRACKETS = re.compile(r"_?([()])_?")
_LINE = re.compile(r"([^\r\n]*)(?:\r\n?|\n)")
_COMMENT = re.compile(r"\s*(?:#.*|sep=.)?\s*", re.IGNORECASE)
_MAX_PREAMBLE_LINES = 20
"""Maximum lines above the header of a table."""
_SHOWN_CELL = 40
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_NOT_SPACE = re.compile(r"[^ \t\n\r]")


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file by column name; spaces around names and values are stripped.

    The delimiter is a comma, a semicolon, a tab or a vertical bar, the most frequent one in the header. Everything
    above the header is left out: empty lines, comments after ``#``, ``sep=;``, and titles of one cell. Missing cells of
    a row are "". Cells beyond the header are joined to one cell named ``EXTRA_CELLS``. An unclosed quote damages only
    its own line. The encoding is UTF-8, UTF-16, UTF-32 with a byte order mark, or else Latin-1, in which every byte is
    a character. The file may be compressed by gzip.

    Raises:
        DataError: the file cannot be read or is too large.
    """
    return table_rows(decode_text(_read_plain(path)))


def table_rows(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV text by column name, as ``read_table`` does."""
    rows = _rows(_from_header(text))
    header = next(rows, [])
    return [_named(header, row) for row in rows if any(row)]


def _named(header: Sequence[str], row: Sequence[str]) -> dict[str, str]:
    named = dict(zip(header, (*row, *[""] * (len(header) - len(row))), strict=False))
    extra = " ".join(row[len(header) :]).strip()
    return {**named, EXTRA_CELLS: extra} if extra else named


def plain_column(column: str) -> str:
    """Return a column's name normalized for comparison: ``Valence mean`` and ``valence-mean`` are ``valence_mean``."""
    return _IN_BRACKETS.sub(r"\1", _SPACES.sub("_", column.strip().casefold()))


def table_columns(path: Path) -> list[str]:
    """Return the names in the header of a CSV file; only its beginning is read.

    Raises:
        DataError: the file cannot be read.
    """
    return header_of(read_beginning(path, HEADER_BYTES))


def header_of(text: str) -> list[str]:
    """Return the names in the header of a CSV text."""
    return next(_rows(_from_header(text)), [])


def read_beginning(path: Path, count: int) -> str:
    """Return the text of the first ``count`` bytes of a table, which may be compressed by gzip.

    Raises:
        DataError: the file cannot be read.
    """
    return decode_text(_read_plain(path, count))


def _read_plain(path: Path, count: int = -1) -> bytes:
    """Return the first ``count`` bytes of a table, -1 for all, decompressed if it is a gzip file."""
    content = read_regular(path, MAX_TABLE_BYTES, count)
    if not content.startswith(_GZIP):
        return content
    most = MAX_TABLE_BYTES + 1 if count < 0 else count
    plain = b""
    try:
        # Some programs concatenate several compressed parts.
        while content.startswith(_GZIP) and len(plain) < most:
            inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
            plain += inflater.decompress(content, most - len(plain))
            content = inflater.unused_data
    except zlib.error as error:
        raise DataError(f"is not gzip data ({error})", where=path) from error
    if len(plain) > MAX_TABLE_BYTES:
        raise DataError(f"is larger than {format_bytes(MAX_TABLE_BYTES)} when it is decompressed", where=path)
    if count < 0 and not inflater.eof:
        raise DataError("is truncated gzip data", where=path, hint="Copy the file again")
    return plain


def _from_header(text: str) -> str:
    """Return the text without the lines above its header."""
    starts = [0]
    while len(starts) <= _MAX_PREAMBLE_LINES and (line := _LINE.match(text, starts[-1])):
        starts.append(line.end())
    lines = [text[first:end].strip("\r\n") for first, end in pairwise(starts)]
    header = next((number for number, line in enumerate(lines) if not _is_preamble(line)), len(lines))
    following = next((line for line in lines[header + 1 :] if not _is_preamble(line)), "")
    # A single cell is the header of a table with one column, but a title above rows with several cells.
    if header < len(lines) and _is_title(lines[header]) and not _is_title(following):
        header += 1 + lines[header + 1 :].index(following) if following else 0
    return text[starts[header] :]


def _is_preamble(line: str) -> bool:
    return _COMMENT.fullmatch(line) is not None


def _is_title(line: str) -> bool:
    """Return True if the first cell is the only non-empty cell of a line."""
    first, *others = line.split(_delimiter(line))
    return bool(first.strip()) and not any(cell.strip() for cell in others)


def _rows(text: str) -> Iterator[list[str]]:
    """Yield rows of CSV text; a row that is not valid CSV becomes one cell with its beginning."""
    options: dict[str, Any] = {"delimiter": _delimiter(text), "skipinitialspace": True}
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True, **options))
    except csv.Error:
        # An unclosed quote includes all following lines, so each line is parsed alone.
        rows = [_row(line, options) for line in io.StringIO(text, newline="")]
    yield from ([value.strip() for value in row] for row in rows)


def _row(line: str, options: dict[str, Any]) -> list[str]:
    try:
        return next(csv.reader([line], **options), [])
    except csv.Error:
        return [line[:_SHOWN_CELL]]


def _delimiter(text: str) -> str:
    """Return the most frequent delimiter in the first line, a comma if it has none."""
    return max(",;\t|", key=re.split(r"[\r\n]", text, maxsplit=1)[0].count)


def decode_text(content: bytes) -> str:
    """Return the text of bytes in UTF-8, UTF-16, UTF-32 with a byte order mark, or else in Latin-1."""
    # The mark of UTF-32 begins with that of UTF-16.
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return content.decode("utf-32", errors="replace")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    even, odd = content[:_MARKLESS_BYTES:2], content[1:_MARKLESS_BYTES:2]
    # In UTF-16, every second byte of Latin text is 0, which identifies the encoding without a mark.
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if zeros and not any(zeros) and all(others):
            return content.decode(encoding, errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_regular(path: Path, most: int, count: int = -1) -> bytes:
    """Return the first ``count`` bytes of a regular file of any size, or, if -1, a file of at most ``most`` bytes.

    Raises:
        DataError: the file cannot be read, is not a regular file, or is too large.
    """
    with open_for_reading(path, DataError) as file:
        if count < 0 and os.fstat(file.fileno()).st_size > most:
            raise DataError(f"is larger than {format_bytes(most)}", where=path)
        return file.read(count)


def read_json(path: Path) -> object:
    """Read a JSON document in UTF-8, UTF-16, UTF-32, or else in Latin-1. The file may be compressed by gzip.

    Raises:
        DataError: the file cannot be read, is too large, or is not JSON text.
    """
    content = _read_plain(path)
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    try:
        return json.loads(text, parse_int=_whole_number)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON text ({error})", where=path) from error


def is_json_text(path: Path) -> bool:
    """Return True if the text of a file begins as a JSON object or list.

    Raises:
        DataError: the file cannot be read.
    """
    return read_beginning(path, HEADER_BYTES).lstrip()[:1] in ("{", "[")


def read_document(path: Path) -> object:
    """Return a JSON document, the list of documents of a JSON Lines file, or the rows of a CSV file by column name.

    A table with only a header is returned as one row of empty cells.

    Raises:
        DataError: the file cannot be read, is too large, or begins like JSON but is not JSON text.
    """
    if not is_json_text(path):
        return read_table(path) or [dict.fromkeys(table_columns(path), "")]
    try:
        return read_json(path)
    except DataError:
        lines = [line for line in read_beginning(path, MAX_TABLE_BYTES).splitlines() if line.strip()]
        try:
            return [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            pass
        raise


def is_large_list(path: Path) -> bool:
    """Return True if a file of more than 16 MB begins as a JSON list, for ``stream_json_list`` to read."""
    with open_for_reading(path, DataError) as file:
        is_large = os.fstat(file.fileno()).st_size > _MAX_ELEMENT
        return is_large and decode_text(file.read(HEADER_BYTES)).lstrip()[:1] == "["


def stream_json_list(path: Path) -> Iterator[object]:
    """Yield the elements of a JSON list one by one, with a bounded part of the file in memory.

    The encoding is UTF-8; an invalid byte becomes a replacement character.

    Raises:
        DataError: the file cannot be read, is not a JSON list, or has an element of more than 16 million characters.
    """
    try:
        with open_for_reading(path, DataError) as binary, io.TextIOWrapper(binary, "utf-8-sig", "replace") as file:
            yield from _TextWindow(file, path).elements()
    except RecursionError as error:
        raise DataError(f"is not JSON text ({error})", where=path) from error


class _TextWindow:
    """The part of a JSON text that is currently in memory, and a position in it."""

    def __init__(self, file: TextIO, path: Path) -> None:
        self._file, self._path = file, path
        self._decoder = json.JSONDecoder(parse_int=_whole_number)
        self._text, self._position = "", 0

    def elements(self) -> Iterator[object]:
        """Yield the elements of a list."""
        self._expect("[")
        if self._next() == "]":
            self._position += 1
        else:
            yield self._element()
            while self._expect(",]") == ",":
                self._next()
                yield self._element()
        if self._next():
            raise self._error("text after the list")

    def _next(self) -> str:
        """Move to the next non-space character and return it, or "" at the end of the text."""
        while not (found := _NOT_SPACE.search(self._text, self._position)):
            if not self._extend():
                return ""
        self._position = found.start()
        return found[0]

    def _expect(self, characters: str) -> str:
        """Move past the next non-space character, which must be one of ``characters``, and return it."""
        found = self._next()
        if not found or found not in characters:
            raise self._error(f"expected one of {characters}, got {printable(found) or 'the end'}")
        self._position += 1
        return found

    def _element(self) -> object:
        """Return the element at the position and move past it."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._position)
            except json.JSONDecodeError as error:
                if not self._extend():
                    raise self._error(error.msg) from error
                continue
            # A number at the end of the window may be incomplete, and ``-1.`` is read as -1.
            if self._text[end : end + 1] in _BEHIND_ELEMENT or not self._extend():
                self._position = end
                return value

    def _extend(self) -> bool:
        """Read more; return False at the end. The unread part doubles, so an element is parsed only a few times."""
        unread = self._text[self._position :]
        more = self._file.read(max(_WINDOW_CHARACTERS, len(unread)))
        self._text, self._position = unread + more, 0
        if len(unread) > _MAX_ELEMENT:
            raise self._error(f"an element has more than {_MAX_ELEMENT:,} characters")
        return bool(more)

    def _error(self, problem: str) -> DataError:
        return DataError(f"is not a JSON list ({problem})", where=self._path)


def _whole_number(digits: str) -> int | float:
    """Return a JSON integer, as a float beyond 19 digits, because Python rejects integers of 5,000 digits."""
    return int(digits) if len(digits) < 20 else float(digits)


def finite_number(value: object) -> float | None:
    """Return a value read from a file as a float, or None if it is a boolean or not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def finite_text(text: str) -> float | None:
    """Return the number in a table cell, or None if the cell is not a finite number.

    The decimal separator is a point or a comma.
    """
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    if "_" in plain:  # Python reads 1_0 as 10.
        return None
    try:
        number = float(plain.replace(",", ".") if _DECIMAL_COMMA.fullmatch(plain) else plain)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
