"""Conversion of text to ASCII for terminals and pipes that cannot show every character."""

from __future__ import annotations

import codecs
import string
import unicodedata
from functools import lru_cache
from io import TextIOWrapper
from typing import TextIO

from rich.cells import cell_len

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

    Signs become one of like shape or meaning, letters lose their accents, all others become question marks.
    """
    return text if text.isascii() else "".join(map(_plain, text.translate(_TABLE)))


def _plain(sign: str) -> str:
    # Escape characters begin the styles of a terminal. Those of foreign text have been escaped before.
    if sign in string.printable or sign == "\x1b":
        return sign
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
