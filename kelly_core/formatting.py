"""Durations, bytes, losses, missing values and foreign text, formatted alike for commands, reports and screens.

Text is converted to ASCII for terminals and pipes that cannot show every character.
"""

from __future__ import annotations

import codecs
import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from io import TextIOWrapper
from typing import TextIO

_UNSAFE = (
    "\x00-\x1f\x7f-\x9f"  # control characters: they move the cursor, clear the screen, or end a line
    "\ud800-\udfff"  # surrogates: bytes of a name that are not UTF-8; no encoding can write them
    "\u2028\u2029"  # line and paragraph separators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls: they show text in another order
)
_ANY_UNSAFE = re.compile(f"[{_UNSAFE}]")
_UNSAFE_IN_LINES = re.compile(f"(?![\n\t])[{_UNSAFE}]")
_MAX_VALUE_LENGTH = 200
_SHORT_FORMS = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}
_FIRST_BYTE, _LAST_BYTE = 0xDC80, 0xDCFF
"""Surrogates that represent the bytes 80-FF of a file name (PEP 383)."""


def printable(text: str) -> str:
    r"""Return one line of text with every character that could harm a display as an escape, such as ``\x1b``.

    Control characters, line separators, surrogates (the bytes of a file name that are not UTF-8 appear as ``\xe9``)
    and bidirectional controls are escaped. All other characters, including backslashes, are unchanged, so escaping
    again has no effect. The result can be written in UTF-8 and has no line break.
    """
    return _ANY_UNSAFE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return text of several lines as ``printable`` does, but keep its line feeds and tabs."""
    return _UNSAFE_IN_LINES.sub(_escape, text)


def short_repr(value: object) -> str:
    """Return the ``repr`` of a value that a user typed, with the middle of a long one left out."""
    text = repr(value)
    half = _MAX_VALUE_LENGTH // 2
    return text if len(text) <= _MAX_VALUE_LENGTH else f"{text[:half]}...{text[-half:]}"


def first_names(names: Sequence[str], most: int) -> str:
    """Return the first ``most`` names, escaped, followed by dots if there are more."""
    return ", ".join(map(printable, names[:most])) + (", ..." if len(names) > most else "")


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if _FIRST_BYTE <= code <= _LAST_BYTE:
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT_FORMS.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


MISSING = "–"
"""Placeholder for a value that is not known or does not exist."""

_UNITS = ("B", "kB", "MB", "GB")
_SMALL_LOSS = 1e-3
_WHOLE_MICROSECONDS = 100


def format_bytes(count: float | None) -> str:
    """Return bytes in decimal units: 812 B, 3.2 kB, 640 MB or 1.6 GB."""
    if count is None:
        return MISSING
    for unit in _UNITS[:-1]:
        # A count that would round to 1000 of a unit is shown as 1.0 of the next unit.
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} {_UNITS[-1]}"


def format_duration(seconds: float | None) -> str:
    """Return seconds as 45 s, 3:20 or 1:02:03."""
    if seconds is None:
        return MISSING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def format_micros(time: float | None) -> str:
    """Return a latency in µs with one decimal below 100 µs, without decimals above."""
    return MISSING if time is None else f"{time:,.1f}" if time < _WHOLE_MICROSECONDS else f"{time:,.0f}"


def format_loss(value: float | None) -> str:
    """Return a loss with four decimals, a very small one with four significant digits."""
    return MISSING if value is None else f"{value:.4g}" if abs(value) < _SMALL_LOSS else f"{value:.4f}"


def format_change(share: float, digits: int = 0) -> str:
    """Return a share as a change in percent, such as +21% or, with a digit, -0.8%; one that rounds to 0 has no sign."""
    text = f"{share:+.{digits}%}"
    return text if any(digit in text for digit in "123456789") else text[1:]


def format_interval(low: float, high: float) -> str:
    """Return the ends of an interval of changes, such as -0.8% to +2.3%."""
    return f"{format_change(low, 1)} to {format_change(high, 1)}"


def format_metric(value: float | None) -> str:
    """Return a measure of quality with four significant digits."""
    return MISSING if value is None else f"{value:.4g}"


_SAME_MEANING = {
    "–—−·─╌┄▔": "-",
    "━═▄": "=",
    "│┃║▏▎▍▌▐▕": "|",
    "╭╮╰╯┌┐└┘├┤┬┴┼╔╗╚╝▅✓✔": "+",
    "…▂": ".",
    "×✗✘": "x",
    "●•◉▆▓": "*",
    "◆◇": "@",
    "★": "=",
    "→▶▸❯≥": ">",
    "←◀◂≤": "<",
    "↑▲▀": "^",
    "↓▼": "v",
    "µ": "u",
    "ε": "e",
    "σ": "s",
    "±≈": "~",
    "♯": "#",
    "▇": "%",
    "█▉▊▋": "#",
    "▒": ":",
    "░": ".",
    "▁": "_",
    "▃": "-",
    "“”„": '"',
    "‘’": "'",
    "\N{NO-BREAK SPACE}": " ",
}
_TABLE = {ord(sign): plain for signs, plain in _SAME_MEANING.items() for sign in signs}
_UNKNOWN = "?"
_HANDLER = "kelly_plain"


@lru_cache(4096)
def to_ascii(text: str) -> str:
    """Return the text in ASCII, with the same width.

    Symbols become an ASCII character of similar shape or meaning, letters lose their accents, and all other characters
    become question marks.
    """
    return text if text.isascii() else "".join(map(_plain, text.translate(_TABLE)))


def _plain(sign: str) -> str:
    # Escape characters here begin terminal styles; those in foreign text have been escaped before.
    if sign in string.printable or sign == "\x1b":
        return sign
    # Imported here, because most programs that format a number or an error need no table of widths.
    from rich.cells import cell_len

    letters = [part for part in unicodedata.normalize("NFKD", sign) if not unicodedata.combining(part)]
    if len(letters) == 1 and letters[0] in string.printable:
        return letters[0].ljust(cell_len(sign))
    return _UNKNOWN * cell_len(sign)


def replace_unencodable(*streams: TextIO) -> None:
    """Make streams replace characters that their encoding lacks by ASCII, instead of failing."""
    codecs.register_error(_HANDLER, _replaced)
    for stream in streams:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return to_ascii(error.object[error.start : error.end]), error.end
