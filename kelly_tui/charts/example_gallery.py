"""Examples of a corpus side by side, in characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.geometry import Size

from kelly_tui.pictures import BAR_EIGHTHS, SHADES, WIDTH, fitted
from kelly_tui.themes import ThemeColors

_LEAST_WIDTH = 30
_GAP = 2
_MOST_ROWS = 12
"""Lines of one picture at most."""
_LINES_BESIDE = 3
"""Lines of the title and of the names of input and target."""
_BAR_ROWS = 2


@dataclass(frozen=True)
class ShownExample:
    """One example: origin, and input and target as lines of digits, see ``pictures.to_levels``."""

    index: int
    group: str
    label_source: str
    split: str
    input: tuple[str, ...]
    target: tuple[str, ...]

    def lines(self, width: int, rows: int, colors: ThemeColors) -> list[Text]:
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

    examples: tuple[ShownExample, ...]

    def draw(self, size: Size, colors: ThemeColors) -> Text:
        """Return the pictures, in as many columns as leave each its width."""
        columns = max(1, min(len(self.examples), (size.width + _GAP) // (WIDTH // 2 + _GAP)))
        width = min(WIDTH, (size.width - _GAP * (columns - 1)) // columns)
        if width < _LEAST_WIDTH:
            return Text()
        rows = max(1, min(_MOST_ROWS, (size.height - _LINES_BESIDE) // 2))
        lines: list[Text] = []
        for start in range(0, len(self.examples), columns):
            blocks = [each.lines(width, rows, colors) for each in self.examples[start : start + columns]]
            if lines and len(lines) + 1 + max(map(len, blocks)) > size.height:
                break
            lines += [*([Text()] if lines else []), *_beside(blocks, width + _GAP)]
        return Text("\n", no_wrap=True).join(lines[: size.height])


def _shaded(levels: Sequence[str], width: int, rows: int) -> list[str]:
    """Return lines of shades, each value as wide as the room lets it be; a single frame becomes bars."""
    lines = fitted(levels, width, rows)
    wide = max(1, width // len(lines[0]))
    if len(lines) == 1:
        return ["".join(_bar(int(level), row) * wide for level in lines[0]) for row in reversed(range(_BAR_ROWS))]
    return ["".join(SHADES[int(level)] * wide for level in line) for line in lines]


def _bar(level: int, row: int) -> str:
    """Return the part of a bar that is in a row, counted from the lowest."""
    height = 8 * _BAR_ROWS * level // (len(SHADES) - 1)
    return BAR_EIGHTHS[min(8, max(0, height - 8 * row))]


def _beside(blocks: list[list[Text]], width: int) -> list[Text]:
    """Return blocks of lines beside each other, each ``width`` columns wide."""
    lines = []
    for row in range(max(map(len, blocks))):
        line = Text()
        for number, block in enumerate(blocks):
            line.append(" " * (number * width - line.cell_len))
            line.append_text(block[row] if row < len(block) else Text())
        lines.append(line)
    return lines
