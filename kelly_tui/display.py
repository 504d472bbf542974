"""Drawing of the application: color modes, themes, style rules, and updates of the changed cells only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.cells import cell_len
from rich.color import Color as RichColor
from rich.color import ColorSystem, ColorType
from rich.console import Console, RenderableType
from rich.control import Control
from rich.palette import Palette as Numbered
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.app import App
from textual.binding import Binding
from textual.color import Color
from textual.filter import ANSIToTruecolor, LineFilter, Monochrome, NoColor
from textual.geometry import Size
from textual.notifications import SeverityLevel
from textual.screen import Screen
from textual.strip import Strip

from kelly_core.formatting import printable, printable_lines, to_ascii
from kelly_tui.screens.base_screen import BaseScreen
from kelly_tui.shutdown import Driver
from kelly_tui.themes import ANSI16_THEME, THEMES

_KEY_NAMES = {"↑": "up", "↓": "down", "←": "left", "→": "right", "⌫": "backspace", "⏎": "enter"}
"""Names of keys that Textual shows as a symbol."""

_RGB = (
    (0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170),
    (85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85), (85, 85, 255), (255, 85, 255), (85, 255, 255),
    (255, 255, 255),
)  # fmt: skip
"""RGB of the 16 colors on the Linux console; those of other terminals are similar."""

LEGIBLE = {
    0: (2, 6, 7, 9, 10, 11, 13, 14, 15),
    1: (11, 15),
    2: (0,),
    4: (7, 10, 11, 14, 15),
    6: (0,),
    7: (0, 4),
}
"""Permitted background colors, each with the text colors that are legible on it, in xterm and on the Linux console.

Bright backgrounds are excluded, because the console has none; yellow is excluded, because it is brown there.
"""

_BLACK = 0
_FAINT, _MAX_FAINT_VALUE = 8, 0x60
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
    background = _nearest(style.bgcolor, tuple(LEGIBLE), _BLACK)
    faint = background == _BLACK and style.color is not None and max(style.color.get_truecolor()) <= _MAX_FAINT_VALUE
    sign = _FAINT if faint else _nearest(style.color, LEGIBLE[background], LEGIBLE[background][-1])
    # Many terminals show bold text in the bright variant of its color: black would become gray.
    bold = False if sign == _BLACK else None
    return style + Style(color=RichColor.from_ansi(sign), bgcolor=RichColor.from_ansi(background), bold=bold, dim=False)


def _nearest(color: RichColor | None, among: tuple[int, ...], otherwise: int) -> int:
    """Return the number of the nearest color; ``otherwise`` for the terminal's default."""
    if color is None or color.type is ColorType.DEFAULT:
        return otherwise
    if color.type is ColorType.STANDARD and color.number in among:
        return color.number
    return among[Numbered([_RGB[number] for number in among]).match(color.get_truecolor())]


def _harmless(text: str) -> str:
    """Replace characters that could harm the display, and keep the width of the text, which the layout relies on."""
    if printable(text) == text:
        return text
    return "".join(sign if printable(sign) == sign else "\N{REPLACEMENT CHARACTER}" * cell_len(sign) for sign in text)


class TextFilter(LineFilter):
    """Replace the text of all segments, including file names, borders and scroll bars."""

    def __init__(self, replaced: Callable[[str], str]) -> None:
        super().__init__()
        self._replaced = replaced

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's signature
        """Return the segments with their texts replaced."""
        return [Segment(text if control else self._replaced(text), style, control) for text, style, control in segments]


# Textual caches filtered lines by filter object, so each filter is created only once.
ANSI16_FILTER = Ansi16Filter()
PRINTABLE_FILTER = TextFilter(_harmless)
"""Removes control characters and surrogates that no widget has escaped before the layout."""
ASCII_FILTER = TextFilter(to_ascii)
NO_COLOR_FILTER = NoColor()


class DisplayApp(App[None]):
    """An application whose drawing suits slow links and any terminal.

    Args:
        ascii_only: draw with ASCII characters only.
        wanted_theme: name of the theme that the user requests, "" for none.
    """

    # For dialogs: their notices have the same width as on screens.
    HORIZONTAL_BREAKPOINTS = BaseScreen.HORIZONTAL_BREAKPOINTS

    def __init__(self, *, ascii_only: bool, wanted_theme: str) -> None:
        super().__init__(driver_class=Driver)
        # Each step of an animated scroll would be sent, which is too much data for a slow link.
        self.animation_level = "none"
        self._ascii_only = ascii_only
        self._shown_frame = ShownFrame()
        self._theme_in_rules = ""
        self.has_ansi16 = not self.no_color and self.console.color_system == "standard"
        has_ansi16_theme = self.has_ansi16 or wanted_theme == ANSI16_THEME.name
        for theme in (ANSI16_THEME, *THEMES) if has_ansi16_theme else THEMES:
            self.register_theme(theme)
        self.set_class(self.has_ansi16, "-ansi16")
        self.set_class(self.console.color_system == "256", "-of-256")

    def choose_theme(self, name: object) -> None:
        """Use the theme of this name; the first one if there is no such theme."""
        self.theme = name if isinstance(name, str) and name in self.available_themes else THEMES[0].name

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the line filters for the color mode (NO_COLOR, 16 colors) or theme, and for ASCII-only terminals."""
        filters = [NO_COLOR_FILTER if isinstance(each, Monochrome) else each for each in super().get_line_filters()]
        # Otherwise, shades of that theme would use more than 16 colors, and text on them would be too faint.
        if self.has_ansi16 or self.theme == ANSI16_THEME.name:
            # The background of a dialog is filtered twice, so the terminal's own colors must not be converted to RGB.
            filters = [each for each in filters if not isinstance(each, ANSIToTruecolor)]
            filters.append(ANSI16_FILTER)
        filters = [PRINTABLE_FILTER, *filters]
        return [*filters, ASCII_FILTER] if self._ascii_only else filters

    def get_key_display(self, binding: Binding) -> str:
        """Return a key's display text; ASCII names if the terminal cannot show the symbols."""
        shown = super().get_key_display(binding)
        return _KEY_NAMES.get(shown, shown) if self._ascii_only else shown

    @property
    def style_key(self) -> tuple[object, ...]:
        """Return all values that a screen's style depends on, except the screen itself."""
        return self.theme, frozenset(self.pseudo_classes)

    def refresh_css(self, animate: bool = True) -> None:
        """Reparse the style rules and restyle the screen only if its ``style_key`` has changed.

        Textual calls this for every new screen as well, and would parse all rules each time.
        """
        page = next(reversed(self.screen_stack), None)
        if self.theme != self._theme_in_rules or (isinstance(page, BaseScreen) and page.is_out_of_date):
            self._theme_in_rules = self.theme
            super().refresh_css(animate)

    def delay_update(self, delay: float = 0.05) -> None:
        """Draw immediately: a switch draws the complete screen at once, so a delay would only add latency."""

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Send only the cells that have changed."""
        if isinstance(renderable, LayoutUpdate | ChopsUpdate):
            super()._display(screen, ChangesUpdate(self._shown_frame, renderable, screen.outer_size))  # type: ignore[arg-type] # its stub knows Rich only
        else:
            super()._display(screen, renderable)

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: SeverityLevel = "information",
        timeout: float | None = None,
        markup: bool = False,
    ) -> None:
        """Show a notice; brackets in it, such as ``[training]`` in an error, are never parsed as markup."""
        del markup  # Screens and widgets pass Textual's default.
        super().notify(
            printable_lines(message), title=printable(title), severity=severity, timeout=timeout, markup=False
        )

    def action_redraw(self) -> None:
        """Redraw the whole screen, for use after another program has written to the terminal."""
        self._shown_frame.forget()
        self.refresh(layout=True)


StyledCell = tuple[str, Style]
"""A character of one column, and its style."""

_PLAIN = Style()
_MAX_GAP = 8
"""Maximum unchanged cells between two changed ones to send as well: moving the cursor takes as many bytes."""


class ShownFrame:
    """Content of the terminal, cell by cell; a cell is None if its content is unknown."""

    def __init__(self) -> None:
        self._size = Size(0, 0)
        self._lines: list[list[StyledCell | None]] = []

    def forget(self) -> None:
        """Send the next frame in full, because the terminal's content may have changed."""
        self._size = Size(0, 0)

    def changes(self, update: LayoutUpdate | ChopsUpdate, size: Size) -> Iterator[tuple[int, int, Strip]]:
        """Yield line, column and content of each run of changed cells, and remember what is shown afterwards."""
        if size != self._size:
            self._size, self._lines = size, [[None] * size.width for _ in range(size.height)]
        for y, x, strip in _pieces(update):
            if 0 <= y < size.height:
                yield from ((y, start, run) for start, run in self._changes_of(self._lines[y], x, strip))

    def _changes_of(self, line: list[StyledCell | None], x: int, strip: Strip) -> Iterator[tuple[int, Strip]]:
        end = x + strip.cell_length
        if not all(text.isascii() or all(map(_is_narrow, text)) for text, *_ in strip):
            # Terminals differ in the width of some of these characters, so such a piece is always sent completely.
            line[x:end] = [None] * (len(line[x:end]))
            yield x, strip
            return
        new = [
            (character, style) for text, style, _ in strip for style in [_visible_style(style)] for character in text
        ]
        for start, stop in _changed_runs(line[x:end], new):
            parts = groupby(new[start:stop], itemgetter(1))
            yield x + start, Strip(Segment("".join(sign for sign, _ in cells), style) for style, cells in parts)
        line[x:end] = new[: len(line[x:end])]


@dataclass
class ChangesUpdate(CompositorUpdate):
    """Sends the cells that differ from the shown frame; compares on writing, because Textual drops some updates."""

    frame: ShownFrame
    update: LayoutUpdate | ChopsUpdate
    size: Size

    def render_segments(self, console: Console) -> str:
        """Return the control sequences and texts for the terminal; a style applies until it is changed."""
        parts: list[str] = []
        colors = console._color_system or ColorSystem.TRUECOLOR
        current = _PLAIN
        for y, x, strip in self.frame.changes(self.update, self.size):
            parts.append(Control.move_to(x, y).segment.text)
            for text, style, _ in strip:
                visible = _visible_style(style)
                parts += (_transition(current, visible, colors), text)
                current = visible
        return "".join([*parts, _transition(current, _PLAIN, colors)])


def _pieces(update: LayoutUpdate | ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Yield line, column and content of each piece that Textual would send."""
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in strips:
                yield y, x, strip
                x += strip.cell_length
        return
    for y, x1, x2 in update.spans:
        # Columns x1 to x2 have changed; the first and the last piece may extend beyond them.
        for end, (x, piece) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if piece is not None and x < x2 and end > x1:
                yield y, x, piece if end <= x2 else piece.crop(0, x2 - x)


def _changed_runs(old: Sequence[StyledCell | None], new: Sequence[StyledCell]) -> Iterator[tuple[int, int]]:
    """Yield start and end of each run of cells that differ; runs with a short gap between them are joined."""
    changed: Iterable[int] = (index for index, cells in enumerate(zip(old, new, strict=False)) if cells[0] != cells[1])
    start = stop = -1
    for index in changed:
        if start >= 0 and index - stop > _MAX_GAP:
            yield start, stop
            start = -1
        start, stop = (index if start < 0 else start), index + 1
    if start >= 0:
        yield start, stop


@lru_cache(maxsize=4096)
def _is_narrow(character: str) -> bool:
    return cell_len(character) == 1


@lru_cache(maxsize=4096)
def _transition(before: Style, after: Style, colors: ColorSystem) -> str:
    """Return the escape sequence that changes one style into another; it sets only the colors that differ."""
    if before == after:
        return ""
    codes: list[str] = []
    if before.without_color != after.without_color or None in (after.color, after.bgcolor):
        # Not all terminals can switch off single attributes or set the default color, but all can reset the style.
        codes, before = ["0"], _PLAIN
        codes += filter(None, [after.without_color._make_ansi_codes(colors)])
    if after.color not in (None, before.color):
        codes += after.color.downgrade(colors).get_ansi_codes(foreground=True)
    if after.bgcolor not in (None, before.bgcolor):
        codes += after.bgcolor.downgrade(colors).get_ansi_codes(foreground=False)
    return f"\x1b[{';'.join(codes)}m"


@lru_cache(maxsize=4096)
def _visible_style(style: Style | None) -> Style:
    """Return the visible part of a style, without the table positions and actions that Textual stores in it."""
    return _PLAIN if style is None else style.clear_meta_and_links()
