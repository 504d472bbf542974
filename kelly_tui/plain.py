"""Screens in ASCII alone, and screens without any colour: filters that every line passes on its way to the terminal."""

from __future__ import annotations

import string
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter, NoColor

_SAME_MEANING = {
    "–—·─╌┄": "-",
    "━═": "=",
    "│┃║▏▎▍▌▐▕": "|",
    "╭╮╰╯┌┐└┘├┤┬┴┼╔╗╚╝": "+",
    "…": ".",
    "×✗✘": "x",
    "✓✔": "+",
    "●•◉": "*",
    "◆◇": "@",
    "→▶▸❯": ">",
    "←◀◂": "<",
    "↑▲▔▀": "^",
    "↓▼": "v",
    "µ": "u",
    "█▉▊▋": "#",
    "▓": "*",
    "▒": ":",
    "░": ".",
    "▁▂▃▄▅▆▇": "_",
    "“”„": '"',
    "‘’": "'",
    "\N{NO-BREAK SPACE}": " ",
}
_TABLE = {ord(sign): plain for signs, plain in _SAME_MEANING.items() for sign in signs}
_UNKNOWN = "?"

KEY_NAMES = {"↑": "up", "↓": "down", "←": "left", "→": "right", "⌫": "backspace", "⏎": "enter"}
"""Names of keys for which Textual shows a sign."""


@lru_cache(4096)
def to_ascii(text: str) -> str:
    """The text in ASCII, as wide as before: signs by one of like shape or meaning, all others by question marks."""
    if text.isascii():
        return text
    plain = text.translate(_TABLE)
    return "".join(sign if sign in string.printable or sign == "\x1b" else _UNKNOWN * cell_len(sign) for sign in plain)


class Ascii(LineFilter):
    """Puts ASCII in the place of all other characters: names of files, borders and scroll bars included."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments in ASCII."""
        return [Segment(to_ascii(text), style, control) for text, style, control in segments]


ASCII = Ascii()
NO_COLOUR = NoColor()
