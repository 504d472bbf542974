"""The frame that the terminal shows, so that only cells that have changed are sent to it.

Textual draws whole widgets, and the whole screen when a dialog opens or another screen comes. Most of those cells look
as before; over a slow link, sending them again is what takes the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter

from rich.cells import cell_len
from rich.color import ColorSystem
from rich.console import Console
from rich.control import Control
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.geometry import Size
from textual.strip import Strip

StyledCell = tuple[str, Style]
"""A character of one column, and its style."""

_PLAIN = Style()
_MAX_GAP = 8
"""Unchanged cells between two changed ones that are sent with them: moving the cursor takes as many bytes."""


class ShownFrame:
    """Keeps what the terminal shows, cell by cell; None where that is not known."""

    def __init__(self) -> None:
        self._size = Size(0, 0)
        self._lines: list[list[StyledCell | None]] = []

    def forget(self) -> None:
        """Send the next frame in full: the terminal may show something else."""
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
            # Terminals differ in the width of some of these characters: such a piece is always sent as a whole.
            line[x:end] = [None] * (len(line[x:end]))
            yield x, strip
            return
        new = [(character, style) for text, style, _ in strip for style in [_look(style)] for character in text]
        for start, stop in _changed_runs(line[x:end], new):
            parts = groupby(new[start:stop], itemgetter(1))
            yield x + start, Strip(Segment("".join(sign for sign, _ in cells), style) for style, cells in parts)
        line[x:end] = new[: len(line[x:end])]


@dataclass
class ChangesUpdate(CompositorUpdate):
    """Sends what differs from the shown frame; found when it is written, for Textual drops some updates."""

    frame: ShownFrame
    update: LayoutUpdate | ChopsUpdate
    size: Size

    def render_segments(self, console: Console) -> str:
        """Return the control sequences and texts for the terminal; a style stays in force until another one comes."""
        parts: list[str] = []
        colors = console._color_system or ColorSystem.TRUECOLOR
        current = _PLAIN
        for y, x, strip in self.frame.changes(self.update, self.size):
            parts.append(Control.move_to(x, y).segment.text)
            for text, style, _ in strip:
                look = _look(style)
                parts += (_transition(current, look, colors), text)
                current = look
        return "".join([*parts, _transition(current, _PLAIN, colors)])


def _pieces(update: LayoutUpdate | ChopsUpdate) -> Iterator[tuple[int, int, Strip]]:
    """Yield line, column and content of everything that Textual would send."""
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            x = update.region.x
            for strip in strips:
                yield y, x, strip
                x += strip.cell_length
        return
    for y, x1, x2 in update.spans:
        for end, (x, piece) in zip(update.chop_ends[y], update.chops[y].items(), strict=False):
            if piece is not None and x < x2 and end > x1:
                yield y, x, piece if end <= x2 else piece.crop(0, x2 - x)


def _changed_runs(old: Sequence[StyledCell | None], new: Sequence[StyledCell]) -> Iterator[tuple[int, int]]:
    """Yield the bounds of runs of cells that differ; short gaps between two of them are closed."""
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
    """Return the sequence that changes one style into another, of the colors only what differs."""
    if before == after:
        return ""
    codes: list[str] = []
    if before.without_color != after.without_color or None in (after.color, after.bgcolor):
        codes, before = ["0"], _PLAIN
        codes += filter(None, [after.without_color._make_ansi_codes(colors)])
    if after.color not in (None, before.color):
        codes += after.color.downgrade(colors).get_ansi_codes(foreground=True)
    if after.bgcolor not in (None, before.bgcolor):
        codes += after.bgcolor.downgrade(colors).get_ansi_codes(foreground=False)
    return f"\x1b[{';'.join(codes)}m"


@lru_cache(maxsize=4096)
def _look(style: Style | None) -> Style:
    """Return what a style looks like, without the places in a table and the actions that Textual keeps in it."""
    return _PLAIN if style is None else style.clear_meta_and_links()
