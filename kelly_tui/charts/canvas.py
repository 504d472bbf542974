"""Grid of characters for curves of braille dots.

All cells are in arrays: a chart is drawn every second while a training is watched, in a thread that shares the GIL with
the screens, and drawing cell by cell in Python would take fifty times as long.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Size
from textual.strip import Strip

Line = tuple[Sequence[float], Sequence[float]]
"""x and y of the points of an unbroken line, at least one."""

_BLANK = ord(" ")
_BRAILLE = 0x2800
_DOT_ROWS, _DOT_COLUMNS = 4, 2
_DOT_BITS = np.array([0x01, 0x08, 0x02, 0x10, 0x04, 0x20, 0x40, 0x80], np.uint32)
"""Bit of each dot of a braille character, row by row from the top left."""

_ENCODING = f"utf-32-{sys.byteorder[0]}e"


class Canvas:
    """Characters with one color each, and a plot area in which points have coordinates.

    Args:
        size: columns and lines.
        margin: columns left of the plot area.
        rows: lines of the plot area, which begins at the top.
        xs: x of the first and of the last column of the plot area.
        ys: y of the lowest and of the highest line of the plot area.
        color: ``#RRGGBB`` of blank cells.
    """

    def __init__(
        self, size: Size, margin: int, rows: int, xs: tuple[float, float], ys: tuple[float, float], color: str
    ) -> None:
        self.margin, self.rows, self.columns = margin, rows, max(2, size.width - margin)
        self.xs, self.ys = xs, ys
        self._signs = np.full((size.height, margin + self.columns), _BLANK, np.uint32)
        self._colors = np.full_like(self._signs, _number(color))

    def column(self, x: float) -> int:
        """Return the column in which a curve has its dot for an x."""
        return self.margin + _place(x, self.xs, self.columns * _DOT_COLUMNS) // _DOT_COLUMNS

    def row(self, y: float) -> int:
        """Return the line, counted from the top, in which a curve has its dot for a y."""
        return self.rows - 1 - _place(y, self.ys, self.rows * _DOT_ROWS) // _DOT_ROWS

    def write(self, row: int, column: int, text: str, color: str) -> None:
        """Write characters of one column each; characters that do not fit are left out."""
        height, width = self._signs.shape
        text = text[: max(0, width - column)]
        if 0 <= row < height and column >= 0 and text:
            self._signs[row, column : column + len(text)] = [ord(sign) for sign in text]
            self._colors[row, column : column + len(text)] = _number(color)

    def draw_column(self, x: float, sign: str, color: str) -> None:
        """Fill a column of the plot area with one character."""
        self._signs[: self.rows, self.column(x)] = ord(sign)
        self._colors[: self.rows, self.column(x)] = _number(color)

    def draw_dots(self, pieces: Sequence[Line], color: str) -> None:
        """Draw the lines of a curve as braille dots; dots of earlier curves in the same cells stay."""
        rows, columns = self._dots_of(pieces)
        dots = np.zeros((self.rows * _DOT_ROWS, self.columns * _DOT_COLUMNS), bool)
        dots[rows, columns] = True
        # The eight dots of each cell, row by row; their bits add up to the code point of a braille character.
        by_cell = dots.reshape(self.rows, _DOT_ROWS, self.columns, _DOT_COLUMNS).transpose(0, 2, 1, 3)
        bits = by_cell.reshape(self.rows, self.columns, -1) @ _DOT_BITS
        area = (slice(self.rows), slice(self.margin, None))
        previous = self._signs[area]
        # Braille characters differ in the last byte only. Dots of an earlier curve are kept, other characters are not.
        kept = np.where((previous & ~np.uint32(0xFF)) == _BRAILLE, previous, _BRAILLE)
        self._signs[area] = np.where(bits > 0, kept | bits, previous)
        self._colors[area][bits > 0] = _number(color)

    def draw_signs(self, pieces: Sequence[Line], sign: str, color: str) -> None:
        """Draw the lines of a curve with one character."""
        rows, columns = self._dots_of(pieces)
        rows, columns = rows // _DOT_ROWS, columns // _DOT_COLUMNS + self.margin
        self._signs[rows, columns] = ord(sign)
        self._colors[rows, columns] = _number(color)

    def _dots_of(self, pieces: Sequence[Line]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows, from the top, and columns of the dots through which the lines go."""
        shape = (self.rows * _DOT_ROWS, self.columns * _DOT_COLUMNS)
        xs = _places(np.concatenate([xs for xs, _ in pieces]), self.xs, shape[1])
        ys = _places(np.concatenate([ys for _, ys in pieces]), self.ys, shape[0])
        # Dots from each point up to the next one; for the last point of a piece only its own dot.
        to_x, to_y = np.diff(xs, append=xs[-1]), np.diff(ys, append=ys[-1])
        lasts = np.cumsum([len(xs) for xs, _ in pieces]) - 1
        to_x[lasts] = to_y[lasts] = 0
        # Each line has as many steps as its longer side has dots, so it has no gaps.
        counts = np.maximum(1, np.maximum(np.abs(to_x), np.abs(to_y)))
        origin = np.repeat(np.arange(len(xs)), counts)
        # Index of each step within its line: its index among all steps minus the index of the line's first step.
        along = np.arange(len(origin)) - np.repeat(np.cumsum(counts) - counts, counts)
        columns = xs[origin] + to_x[origin] * along // counts[origin]
        rows = shape[0] - 1 - (ys[origin] + to_y[origin] * along // counts[origin])
        within = (columns >= 0) & (columns < shape[1]) & (rows >= 0) & (rows < shape[0])
        return rows[within], columns[within]

    def texts(self) -> list[str]:
        """Return the characters of each line."""
        # The characters are code points of four bytes, which is UTF-32.
        return [line.tobytes().decode(_ENCODING) for line in self._signs]

    def strips(self, background: Style) -> list[Strip]:
        """Return the lines for Textual, on a background.

        A blank has the color of the previous character, because each change of color costs bytes on a slow link.
        """
        columns = np.arange(self._signs.shape[1])
        inked = np.maximum.accumulate(np.where(self._signs != _BLANK, columns, 0), axis=1)
        colors = np.take_along_axis(self._colors, inked, axis=1)
        styles = {number: background + Style(color=f"#{number:06x}") for number in np.unique(colors).tolist()}
        strips = []
        for text, line in zip(self.texts(), colors, strict=True):
            starts = [0, *(np.flatnonzero(np.diff(line)) + 1).tolist(), len(line)]
            numbers = line[starts[:-1]].tolist()
            parts = zip(starts, starts[1:], numbers, strict=False)
            strips.append(Strip([Segment(text[start:stop], styles[each]) for start, stop, each in parts], len(line)))
        return strips

    def changes_since(self, previous: Canvas) -> list[range]:
        """Return for each line the range of columns that differ from another canvas; colors of blanks are ignored."""
        if self._signs.shape != previous._signs.shape:
            return [range(self._signs.shape[1])] * len(self._signs)
        recolored = (self._colors != previous._colors) & (self._signs != _BLANK)
        changed = (self._signs != previous._signs) | recolored
        width = changed.shape[1]
        # argmax finds the first True of a line; it returns 0 for a line without one, which any() detects.
        firsts, stops = changed.argmax(axis=1).tolist(), (width - changed[:, ::-1].argmax(axis=1)).tolist()
        return [
            range(first, stop) if some else range(0)
            for first, stop, some in zip(firsts, stops, changed.any(axis=1).tolist(), strict=True)
        ]


def _number(color: str) -> int:
    """Return ``#RRGGBB`` as a number."""
    return int(color[1:7], 16)


def _place(value: float, limits: tuple[float, float], count: int) -> int:
    return int(_places(np.array([value]), limits, count)[0])


def _places(values: NDArray[np.float64], limits: tuple[float, float], count: int) -> NDArray[np.int64]:
    """Return the nearest of ``count`` places for each value; the first and the last place are at the limits."""
    scaled = 0.5 + (count - 1) * (values - limits[0]) / (limits[1] - limits[0])
    # Without rounding, 9.9999999999 would become place 9 instead of 10.
    return np.floor(np.round(scaled, 8)).astype(np.int64)
