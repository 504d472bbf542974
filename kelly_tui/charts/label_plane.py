"""Emotion labels of a corpus in characters: density of pairs of valence and arousal, and histograms of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.text import Text
from textual.geometry import Size

from kelly_core.formatting import MISSING
from kelly_tui.pictures import BAR_EIGHTHS, SHADES
from kelly_tui.themes import ThemeColors

_LEFT = 3
"""Columns before the plane, for its scale."""
_GAP = 3
_LINES_BESIDE = 2
"""Lines of the titles and of the scale."""
_LEAST_ROWS, _LEAST_COLUMNS, _LEAST_BAR_ROWS, _MOST_BAR_ROWS = 6, 22, 6, 12

Lines = list[Text]
T = TypeVar("T")


@dataclass(frozen=True)
class LabelPlane:
    """Labels by valence (first axis) and arousal, -1..1, in as many intervals each; and by each of the two alone."""

    plane: tuple[tuple[int, ...], ...]
    valence: tuple[int, ...]
    arousal: tuple[int, ...]

    def draw(self, size: Size, colors: ThemeColors) -> Text:
        """Return the plane if any pair of both is known, and the histograms below or beside it where they fit."""
        has_pairs = any(map(any, self.plane))
        rows = _rows(len(self.plane), min(size.height - _LINES_BESIDE, (size.width - _LEFT) // 2)) if has_pairs else 0
        lines = _plane(_pooled_plane(self.plane, rows), colors) if rows else []
        below, start = size.height - len(lines) - 1, _LEFT + 2 * rows + _GAP
        if size.width < _LEAST_COLUMNS:
            return Text()
        if not lines or below >= _LINES_BESIDE + _LEAST_BAR_ROWS:
            left, right = self._histograms((size.width - _GAP) // 2, below, colors)
            lines += [*([Text()] if lines else []), *_side_by_side(left, right, (size.width + _GAP) // 2)]
        elif size.width - start >= _LEAST_COLUMNS:
            upper, lower = self._histograms(size.width - start, (size.height - 1) // 2, colors)
            lines = _side_by_side(lines, [*upper, Text(), *lower], start)
        return Text("\n", no_wrap=True).join(lines[: size.height])

    def _histograms(self, width: int, height: int, colors: ThemeColors) -> tuple[Lines, Lines]:
        """Return the histograms of valence and of arousal."""
        rows = max(1, min(_MOST_BAR_ROWS, height - _LINES_BESIDE))
        return (
            _histogram("valence", self.valence, width, rows, colors),
            _histogram("arousal", self.arousal, width, rows, colors),
        )


def _rows(bins: int, room: int) -> int:
    """Return the largest number of rows that divides the intervals and fits; 0 if too few fit."""
    return next((rows for rows in range(min(bins, room), _LEAST_ROWS - 1, -1) if bins % rows == 0), 0)


def _pooled_plane(plane: Sequence[Sequence[int]], rows: int) -> list[list[int]]:
    """Return counts by arousal from the highest to the lowest, and valence, of ``rows`` intervals each."""
    by_valence = [_pooled([sum(column) for column in zip(*group, strict=True)], rows) for group in _groups(plane, rows)]
    return [list(row) for row in zip(*by_valence, strict=True)][::-1]


def _pooled(counts: Sequence[int], parts: int) -> list[int]:
    return [sum(group) for group in _groups(counts, parts)]


def _groups(values: Sequence[T], parts: int) -> list[Sequence[T]]:
    width = len(values) // parts
    return [values[start : start + width] for start in range(0, len(values), width)]


def _plane(counts: list[list[int]], colors: ThemeColors) -> Lines:
    """Return the plane with its axes through 0; darker is more, by the logarithm of the count."""
    rows, most = len(counts), max(map(max, counts))
    scale = (len(SHADES) - 1) / math.log1p(most)
    lines = [Text(" " * _LEFT + "arousal", colors.muted)]
    for row, line in enumerate(counts):
        label = {0: "+1", rows // 2: " 0", rows - 1: "-1"}.get(row, "")
        text = Text(label.ljust(_LEFT), colors.muted)
        for column, count in enumerate(line):
            if count:
                text.append(SHADES[math.ceil(scale * math.log1p(count))] * 2, colors.accent)
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
    right = f"{title:^{half - 4}}" if title and len(title) <= half - 4 else " " * (half - 4)
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
    heights = [math.ceil(scale * count) for count in bars]
    lines = [
        Text("".join(BAR_EIGHTHS[min(8, max(0, height - 8 * row))] for height in heights), colors.accent)
        for row in reversed(range(rows))
    ]
    return [title, *lines, Text(_scale(columns), colors.muted)]


def _side_by_side(left: Lines, right: Lines, start: int) -> Lines:
    """Return the lines of both, the right ones from a column on."""
    lines = []
    for number in range(max(len(left), len(right))):
        line = left[number].copy() if number < len(left) else Text()
        if number < len(right):
            line.append(" " * (start - line.cell_len))
            line.append_text(right[number])
        lines.append(line)
    return lines
