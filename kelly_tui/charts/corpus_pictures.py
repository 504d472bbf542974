"""A corpus in characters: examples in shades, the density of pairs of valence and arousal, and histograms of both."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rich.text import Text

from kelly_core.formatting import MISSING

if TYPE_CHECKING:
    # For annotations only: the worker that reads corpora needs neither of these modules.
    from textual.geometry import Size

    from kelly_tui.themes import ThemeColors

_SHADES = " ░▒▓█"
_BAR_EIGHTHS = " ▁▂▃▄▅▆▇█"
"""Parts of a bar by their height in eighths of a line."""
_WIDTH, _ROWS = 64, 16
"""Maximum columns and lines of a picture."""
_GAP = 2
"""Columns between two examples."""
_MIN_WIDTH, _MAX_ROWS = 30, 12
"""Minimum columns of one of several examples, and maximum lines of one of its pictures."""
_LINES_BESIDE_PICTURES = 3
"""Lines of the title and of the names of input and target."""
_BAR_ROWS = 2
_LEFT = 3
"""Columns before the plane, for its scale, and between it and a histogram."""
_LINES_BESIDE = 2
"""Lines of the titles and of the scale."""
_MIN_ROWS, _MIN_COLUMNS, _MIN_HISTOGRAM_ROWS, _MAX_HISTOGRAM_ROWS = 6, 22, 6, 12

Lines = list[Text]
T = TypeVar("T")


def picture(frames: Sequence[Sequence[float]]) -> str:
    """Return frames [T, n] as lines of shades from the lowest value to the highest, at most 64 wide and 16 high.

    Time increases to the right and the index upwards; a single frame is one line.
    """
    rows = to_levels(frames)
    return "\n".join(_shades(row, _WIDTH // len(row) if len(rows) > 1 else 1) for row in rows)


def to_levels(frames: Sequence[Sequence[float]]) -> list[str]:
    """Return frames [T, n] as lines of digits, from 0 for the lowest value to 4 for the highest.

    Time increases to the right and the index upwards; a single frame is one line.
    """
    rows = [list(frames[0])] if len(frames) == 1 else [list(row) for row in zip(*frames, strict=True)][::-1]
    rows = _fitted(rows, _WIDTH, _ROWS)
    lowest, highest = min(map(min, rows)), max(map(max, rows))
    # If all values are equal, all are shown as the lowest.
    scale = (len(_SHADES) - 1) / (highest - lowest) if highest > lowest else 0.0
    return ["".join(str(round((value - lowest) * scale)) for value in row) for row in rows]


def _shades(levels: str, wide: int) -> str:
    """Return digits as shades, each ``wide`` columns wide."""
    return "".join(_SHADES[int(level)] * wide for level in levels)


def _fitted(rows: Sequence[Sequence[Any]], width: int, height: int) -> list[list[Any]]:
    """Return rows reduced to at most ``height`` rows of ``width`` values, by the maximum of neighboring values."""
    columns = zip(*(_maxima(row, width) for row in rows), strict=True)
    return [list(row) for row in zip(*(_maxima(column, height) for column in columns), strict=True)]


def _maxima(values: Sequence[Any], count: int) -> Sequence[Any]:
    """Return the maximum of each of ``count`` neighboring groups."""
    if len(values) <= count:
        return values
    edges = [index * len(values) // count for index in range(count + 1)]
    return [max(values[start:stop]) for start, stop in itertools.pairwise(edges)]


@dataclass(frozen=True)
class ShownExample:
    """One example: origin, and input and target as lines of digits, see ``to_levels``."""

    index: int
    group: str
    label_source: str
    split: str
    input: Sequence[str]
    target: Sequence[str]

    def lines(self, width: int, rows: int, colors: ThemeColors) -> Lines:
        """Return origin, input and target in lines of at most ``width`` columns."""
        title = Text.assemble((self.group, colors.text), (f" · {self.split}, {self.label_source}", colors.muted))
        title.truncate(width, overflow="ellipsis")
        lines = [title]
        for name, levels in (("input", self.input), ("target", self.target)):
            lines.append(Text(name, colors.muted))
            lines += [Text(line, colors.series[0]) for line in _shaded(levels, width, rows)]
        return lines


@dataclass(frozen=True)
class ExampleGallery:
    """As many examples as fit, in columns."""

    examples: Sequence[ShownExample]

    def draw(self, size: Size, colors: ThemeColors) -> Text:
        """Return the pictures, in as many columns as their minimum width allows."""
        columns = max(1, min(len(self.examples), (size.width + _GAP) // (_WIDTH // 2 + _GAP)))
        width = min(_WIDTH, (size.width - _GAP * (columns - 1)) // columns)
        if width < _MIN_WIDTH:
            return Text()
        rows = max(1, min(_MAX_ROWS, (size.height - _LINES_BESIDE_PICTURES) // 2))
        lines: Lines = []
        for start in range(0, len(self.examples), columns):
            blocks = [each.lines(width, rows, colors) for each in self.examples[start : start + columns]]
            if lines and len(lines) + 1 + max(map(len, blocks)) > size.height:
                break
            lines += [*([Text()] if lines else []), *_side_by_side(blocks, width + _GAP)]
        return Text("\n", no_wrap=True).join(lines[: size.height])


def _shaded(levels: Sequence[str], width: int, rows: int) -> list[str]:
    """Return lines of shades, each value as wide as the available space allows; a single frame becomes bars."""
    lines = ["".join(line) for line in _fitted(levels, width, rows)]
    wide = max(1, width // len(lines[0]))
    if len(lines) > 1:
        return [_shades(line, wide) for line in lines]
    heights = [8 * _BAR_ROWS * int(level) // (len(_SHADES) - 1) for level in lines[0]]
    return ["".join(sign * wide for sign in row) for row in _bars(heights, _BAR_ROWS)]


def _bars(heights: Sequence[int], rows: int) -> list[str]:
    """Return bars side by side as ``rows`` lines from the top; heights are in eighths of a line."""
    return ["".join(_BAR_EIGHTHS[min(8, max(0, height - 8 * row))] for height in heights) for row in range(rows)][::-1]


def _side_by_side(blocks: Sequence[Lines], width: int) -> Lines:
    """Return blocks of lines side by side, each beginning ``width`` columns after the previous one."""
    lines = []
    for row in range(max(map(len, blocks))):
        line = Text()
        for number, block in enumerate(blocks):
            if row < len(block):
                line.append(" " * (number * width - line.cell_len))
                line.append_text(block[row])
        lines.append(line)
    return lines


@dataclass(frozen=True)
class LabelPlane:
    """Label counts by valence (first axis) and arousal, -1..1, in equal numbers of intervals; and by each alone."""

    plane: Sequence[Sequence[int]]
    valence: Sequence[int]
    arousal: Sequence[int]

    def draw(self, size: Size, colors: ThemeColors) -> Text:
        """Return the plane if any pair of labels is known, and the histograms below or next to it if they fit."""
        has_pairs = any(map(any, self.plane))
        rows = _rows(len(self.plane), min(size.height - _LINES_BESIDE, (size.width - _LEFT) // 2)) if has_pairs else 0
        lines = _plane(_pooled_plane(self.plane, rows), colors) if rows else []
        below, start = size.height - len(lines) - 1, 2 * (_LEFT + rows)
        if size.width < _MIN_COLUMNS:
            return Text()
        if not lines or below >= _LINES_BESIDE + _MIN_HISTOGRAM_ROWS:
            both = self._histograms((size.width - _LEFT) // 2, below, colors)
            lines += [*([Text()] if lines else []), *_side_by_side(both, (size.width + _LEFT) // 2)]
        elif size.width - start >= _MIN_COLUMNS:
            upper, lower = self._histograms(size.width - start, (size.height - 1) // 2, colors)
            lines = _side_by_side([lines, [*upper, Text(), *lower]], start)
        return Text("\n", no_wrap=True).join(lines[: size.height])

    def _histograms(self, width: int, height: int, colors: ThemeColors) -> tuple[Lines, Lines]:
        """Return the histograms of valence and of arousal."""
        rows = max(1, min(_MAX_HISTOGRAM_ROWS, height - _LINES_BESIDE))
        return (
            _histogram("valence", self.valence, width, rows, colors),
            _histogram("arousal", self.arousal, width, rows, colors),
        )


def _rows(bins: int, room: int) -> int:
    """Return the largest number of rows that divides the intervals and fits; 0 if too few fit."""
    return next((rows for rows in range(min(bins, room), _MIN_ROWS - 1, -1) if bins % rows == 0), 0)


def _pooled_plane(plane: Sequence[Sequence[int]], rows: int) -> list[list[int]]:
    """Return counts by arousal (from the highest to the lowest) and valence, in ``rows`` intervals each."""
    by_valence = [_pooled([sum(column) for column in zip(*group, strict=True)], rows) for group in _groups(plane, rows)]
    return [list(row) for row in zip(*by_valence, strict=True)][::-1]


def _pooled(counts: Sequence[int], parts: int) -> list[int]:
    return [sum(group) for group in _groups(counts, parts)]


def _groups(values: Sequence[T], parts: int) -> list[Sequence[T]]:
    width = len(values) // parts
    return [values[start : start + width] for start in range(0, len(values), width)]


def _plane(counts: list[list[int]], colors: ThemeColors) -> Lines:
    """Return the plane with its axes through 0; the shade is proportional to the logarithm of the count."""
    rows, most = len(counts), max(map(max, counts))
    scale = (len(_SHADES) - 1) / math.log1p(most)
    lines = [Text(" " * _LEFT + "arousal", colors.muted)]
    for row, line in enumerate(counts):
        label = {0: "+1", rows // 2: " 0", rows - 1: "-1"}.get(row, "")
        text = Text(label.ljust(_LEFT), colors.muted)
        for column, count in enumerate(line):
            if count:
                # Rounded up, so that a single label is visible.
                text.append(_SHADES[math.ceil(scale * math.log1p(count))] * 2, colors.accent)
            else:
                text.append(_axis(row == rows // 2, column == rows // 2), colors.muted)
        lines.append(text)
    lines.append(Text(" " * _LEFT + _scale(2 * rows, "valence"), colors.muted))
    return lines


def _axis(is_row: bool, is_column: bool) -> str:
    if is_row:
        return "┼─" if is_column else "──"
    return "│ " if is_column else "  "


def _scale(columns: int, title: str = "") -> str:
    """Return a scale from -1 to 1 with 0 in the middle, and a title in the right half if it fits."""
    half = columns // 2
    right = f"{title:^{half - 4}}" if len(title) <= half - 4 else " " * (half - 4)
    return f"-1{' ' * (half - 2)}0 {right}+1"


def _histogram(name: str, counts: Sequence[int], width: int, rows: int, colors: ThemeColors) -> Lines:
    """Return title, bars and scale of one dimension."""
    columns = next(columns for columns in range(min(len(counts), width), 0, -1) if len(counts) % columns == 0)
    total, bars = sum(counts), _pooled(counts, columns)
    centers = [(2 * number + 1) / len(counts) - 1 for number in range(len(counts))]
    mean = sum(map(math.prod, zip(counts, centers, strict=True))) / total if total else math.nan
    texts = [f"mean {mean:+.2f}, {total:,} labels", f"mean {mean:+.2f}"] if total else ["drawn in training", MISSING]
    fitting = next((text for text in texts if len(name) + 1 + len(text) <= width), "")
    title = Text.assemble((name, colors.text), (f" {fitting}", colors.muted))
    if not total:
        return [title]
    scale = 8 * rows / max(bars)
    # Rounded up, so that a single label is visible.
    heights = [math.ceil(scale * count) for count in bars]
    return [
        title,
        *(Text(line, colors.accent) for line in _bars(heights, rows)),
        Text(_scale(columns), colors.muted),
    ]
