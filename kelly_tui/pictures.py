"""Frames of numbers as pictures of few gray levels, in characters."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

SHADES = " ░▒▓█"
BAR_EIGHTHS = " ▁▂▃▄▅▆▇█"
"""Parts of a bar by their height in eighths of a line."""
WIDTH, ROWS = 64, 16
"""Columns and lines of a picture at most."""


def picture(frames: Sequence[Sequence[float]], shades: str) -> str:
    """Return frames [T, n] as lines of shades from the least value to the greatest, at most 64 wide and 16 high.

    Time runs to the right and numbers upwards; a single frame is one line.
    """
    rows = to_levels(frames, len(shades))
    wide = max(1, WIDTH // len(rows[0])) if len(rows) > 1 else 1
    return "\n".join("".join(shades[int(level)] * wide for level in row) for row in rows)


def to_levels(frames: Sequence[Sequence[float]], levels: int = len(SHADES)) -> list[str]:
    """Return frames [T, n] as lines of digits, 0 for the least value to ``levels`` - 1 for the greatest.

    Time runs to the right and numbers upwards; a single frame is one line.
    """
    rows = [list(frames[0])] if len(frames) == 1 else [list(row) for row in zip(*frames, strict=True)][::-1]
    rows = fitted(rows, WIDTH, ROWS)
    lowest, highest = min(map(min, rows)), max(map(max, rows))
    scale = (levels - 1) / (highest - lowest) if highest > lowest else 0.0
    return ["".join(str(round((value - lowest) * scale)) for value in row) for row in rows]


def fitted(rows: Sequence[Sequence[Any]], width: int, height: int) -> list[list[Any]]:
    """Return the maximum of neighboring values of rows, so that there are at most ``height`` rows of ``width``."""
    columns = zip(*(_pooled(row, width) for row in rows), strict=True)
    return [list(row) for row in zip(*(_pooled(column, height) for column in columns), strict=True)]


def _pooled(values: Sequence[Any], count: int) -> Sequence[Any]:
    """Return the maximum of each of ``count`` neighboring groups."""
    if len(values) <= count:
        return values
    edges = [index * len(values) // count for index in range(count + 1)]
    return [max(values[start:stop]) for start, stop in itertools.pairwise(edges)]
