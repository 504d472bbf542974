"""Screens in ASCII alone, and screens without any colour: filters that every line passes on its way to the terminal."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter, NoColor

from kelly_core.ascii import to_ascii

KEY_NAMES = {"↑": "up", "↓": "down", "←": "left", "→": "right", "⌫": "backspace", "⏎": "enter"}
"""Names of keys for which Textual shows a sign."""


class Ascii(LineFilter):
    """Puts ASCII in the place of all other characters: names of files, borders and scroll bars included."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments in ASCII."""
        return [Segment(to_ascii(text), style, control) for text, style, control in segments]


ASCII = Ascii()
NO_COLOUR = NoColor()
