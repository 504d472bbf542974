"""Line filters for 16-color, monochrome and ASCII-only terminals; every rendered line passes through them."""

from __future__ import annotations

from functools import lru_cache

from rich.color import Color as RichColor
from rich.color import ColorType
from rich.palette import Palette as Numbered
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter, NoColor

from kelly_core.ascii import to_ascii
from kelly_core.formatting import printable

KEY_NAMES = {"↑": "up", "↓": "down", "←": "left", "→": "right", "⌫": "backspace", "⏎": "enter"}
"""Names of keys for which Textual shows a sign."""

_RGB = (
    (0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170),
    (85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85), (85, 85, 255), (255, 85, 255), (85, 255, 255),
    (255, 255, 255),
)  # fmt: skip
"""The colors as the Linux console shows them; every terminal's are near these."""

LEGIBLE = {
    0: (2, 6, 7, 9, 10, 11, 13, 14, 15),
    1: (11, 15),
    2: (0,),
    4: (7, 10, 11, 14, 15),
    6: (0,),
    7: (0, 4),
}
"""Grounds that may be used, each with the colors in which text on it is legible, in xterm and on the Linux console.

The bright ones are no grounds, for the console has none; nor is yellow, which is brown there.
"""

_BLACK = 0
_FAINT, _AT_MOST = 8, 0x60
"""Limit for dark gray on black, which borders and the background of dialogs use."""


class Ansi16Filter(LineFilter):
    """Replace every color by the nearest of 16; for text, by the nearest legible one."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's signature
        """Return the segments in 16 colors."""
        return [
            Segment(text, style if style is None else to_ansi16(style), control) for text, style, control in segments
        ]


@lru_cache(4096)
def to_ansi16(style: Style) -> Style:
    """Convert a style to 16 colors; dim text gets a darker color instead of the attribute."""
    ground = _nearest(style.bgcolor, tuple(LEGIBLE), _BLACK)
    faint = ground == _BLACK and style.color is not None and max(style.color.get_truecolor()) <= _AT_MOST
    sign = _FAINT if faint else _nearest(style.color, LEGIBLE[ground], LEGIBLE[ground][-1])
    # Many a terminal shows what is bold in the bright variant of its color: black would become gray.
    bold = False if sign == _BLACK else None
    return style + Style(color=RichColor.from_ansi(sign), bgcolor=RichColor.from_ansi(ground), bold=bold, dim=False)


def _nearest(color: RichColor | None, among: tuple[int, ...], otherwise: int) -> int:
    """Return the number of the nearest color; ``otherwise`` for the terminal's default."""
    if color is None or color.type is ColorType.DEFAULT:
        return otherwise
    if color.type is ColorType.STANDARD and color.number in among:
        return color.number
    return among[Numbered([_RGB[number] for number in among]).match(color.get_truecolor())]


class AsciiFilter(LineFilter):
    """Replace non-ASCII characters everywhere, including file names, borders and scroll bars."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's signature
        """Return the segments in ASCII."""
        return [Segment(to_ascii(text), style, control) for text, style, control in segments]


ANSI16_FILTER = Ansi16Filter()


class PrintableFilter(LineFilter):
    """Escapes control characters and surrogates in text from data and file names."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's signature
        """Return the same segments with escapes."""
        return [Segment(text if control else printable(text), style, control) for text, style, control in segments]


PRINTABLE_FILTER = PrintableFilter()
ASCII_FILTER = AsciiFilter()
NO_COLOR_FILTER = NoColor()
