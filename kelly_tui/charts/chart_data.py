"""Prepare curves for drawing: finite values, split at gaps, decimated to the chart's width."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        name: label.
        xs, ys: coordinates of the points.
        color: ``#RRGGBB``.
        mark: index of a point to mark; None for no mark.
        dashed: constant level.
        guide: reference level that is hidden if it would stretch the chart.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    color: str
    mark: int | None = None
    dashed: bool = False
    guide: bool = False


Segment = tuple[list[float], list[float]]


def segments(series: Series, columns: int, *, log: bool = False, first_x: float = -math.inf) -> list[Segment]:
    """Split a curve into unbroken segments; non-finite values (and non-positive ones on a log scale) are gaps.

    Args:
        series: the curve, its x ascending.
        columns: width of the picture; at most two points each column, the least and the greatest.
        log: take log10 of y.
        first_x: leave out what comes before.
    """
    pieces: list[Segment] = []
    open_piece: list[tuple[float, float]] = []
    for x, y in [*_thinned(series, columns, log, first_x), (math.nan, math.nan)]:
        if _can_be_drawn(y, log):
            open_piece.append((x, math.log10(y) if log else y))
        elif open_piece:
            pieces.append(([x for x, _ in open_piece], [y for _, y in open_piece]))
            open_piece = []
    return pieces


def _can_be_drawn(y: float, log: bool) -> bool:
    return math.isfinite(y) and (y > 0 or not log)


def _thinned(series: Series, columns: int, log: bool, first_x: float) -> Iterable[tuple[float, float]]:
    """Return the points from ``first_x`` on, decimated to the columns; of a level its end points."""
    first = bisect_left(series.xs, first_x)
    if first == len(series.xs):
        return []
    if series.dashed:
        return [(max(series.xs[0], first_x), series.ys[0]), (series.xs[-1], series.ys[-1])]
    if len(series.xs) - first > 2 * columns:
        return _extremes(series.xs[first:], series.ys[first:], columns, log)
    return zip(series.xs[first:], series.ys[first:], strict=True)


def _extremes(xs: Sequence[float], ys: Sequence[float], columns: int, log: bool) -> Iterator[tuple[float, float]]:
    """Return the minimum and maximum of each column in order; NaN where a column has no drawable point."""
    # Here for the first screen's sake; a hundred thousand points are looked through at each redraw.
    import numpy as np

    values = np.asarray(ys, dtype=np.float64)
    drawable = np.isfinite(values) & (values > 0) if log else np.isfinite(values)
    low, high = (np.where(drawable, values, filler) for filler in (np.inf, -np.inf))
    edges = [column * len(xs) // columns for column in range(columns + 1)]
    for start, stop in itertools.pairwise(edges):
        for index in sorted({start + int(low[start:stop].argmin()), start + int(high[start:stop].argmax())}):
            yield xs[index], ys[index]


def without_far_guides(drawn: Sequence[tuple[Series, list[Segment]]]) -> list[tuple[Series, list[Segment]]]:
    """Return curves with their segments, without guides that would stretch the chart."""
    heights = [y for each, pieces in drawn if not each.guide for _, ys in pieces for y in ys]
    low, high = min(heights, default=-math.inf), max(heights, default=math.inf)
    return [
        (each, pieces)
        for each, pieces in drawn
        if not each.guide or all(low <= y <= high for _, ys in pieces for y in ys)
    ]


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """Return at most ``count`` + 1 round numbers between 10^low and 10^high: 1, 2 and 5 of each power, or powers
    only.
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        within = [tick for tick in ticks if low - 1e-9 <= math.log10(tick) <= high + 1e-9]
        if 2 <= len(within) <= count + 1:
            return within
    return nice_ticks(10**low, 10**high, count) if len(within) < 2 else within[:: math.ceil(len(within) / (count + 1))]


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Return at most ``count`` + 1 round numbers between two values, with a step of 1, 2 or 5 times a power of ten."""
    if high <= low or count < 1:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]
