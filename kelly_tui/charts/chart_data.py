"""Curves of charts: curves of runs, and their preparation for drawing (split at gaps, decimate), with axis ticks."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from kelly_core.runs.overview import Curves, thinned
from kelly_core.runs.state import ModelSnapshot
from kelly_tui.formatting import distinct_names, model_color, run_colors
from kelly_tui.run_watcher import RunView
from kelly_tui.themes import ThemeColors

_FEW_TICKS = 4

Segment = tuple[list[float], list[float]]
"""x and y of the points of an unbroken line."""


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
        faint: raw values behind a smoothed curve, drawn without a name.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    color: str
    mark: int | None = None
    dashed: bool = False
    guide: bool = False
    faint: bool = False

    def value_at(self, x: float) -> float:
        """Return the value at the last point that is not after ``x``; NaN if there is none."""
        if self.dashed:
            return self.ys[0]
        index = bisect_right(self.xs, x) - 1
        return self.ys[index] if index >= 0 and x <= self.xs[-1] else math.nan


def validation_series(name: str, curves: Curves, color: str) -> Series:
    """Return the validation loss as a series with the best epoch marked."""
    return Series(name, curves.epochs, curves.val_loss, color, curves.best)


def loss_series(curves: Curves, model: ModelSnapshot, colors: ThemeColors) -> list[Series]:
    """Return training and validation loss of one model, with baselines as guides."""
    baseline = _level("baseline", curves, model.baseline_loss, colors, guide=True)
    return [*baseline, *curve_series(curves, model_color(model.model, colors), colors)]


def curve_series(curves: Curves, color: str, colors: ThemeColors) -> list[Series]:
    """Return training loss and validation loss in separate colors."""
    return [
        Series("train", curves.epochs, curves.train_loss, colors.muted),
        validation_series("validation", curves, color),
    ]


def baseline_series(curves: Curves, model: ModelSnapshot, colors: ThemeColors) -> list[Series]:
    """Return the loss of the best constant output and, on synthetic data, the lowest possible loss."""
    return [
        *_level("baseline", curves, model.baseline_loss, colors),
        *_level("Bayes", curves, model.bayes_loss, colors),
        validation_series("val", curves, model_color(model.model, colors)),
    ]


def overlaid_series(model: str, views: Sequence[RunView], colors: ThemeColors) -> list[Series]:
    """Return the validation losses of one model in several runs, one color per run; empty before the first epoch."""
    of_runs = run_colors([view.snapshot.id for view in views], colors)
    names = distinct_names([view.snapshot.id for view in views])
    return [
        validation_series(name, view.curves.get(model, Curves()), of_runs[view.snapshot.id])
        for view, name in zip(views, names, strict=True)
        if model in view.curves or any(each.model == model for each in view.snapshot.models)
    ]


def _level(name: str, curves: Curves, value: float | None, colors: ThemeColors, *, guide: bool = False) -> list[Series]:
    if value is None or not curves.epochs:
        return []
    ends = (curves.epochs[0], curves.epochs[-1])
    return [Series(name, ends, (value, value), colors.muted, dashed=True, guide=guide)]


def smoothed(series: Series) -> Series:
    """Return the centered moving average of a curve over about a 25th of it, at least five points; gaps stay gaps."""
    # Imported here so that the first screen does not wait for NumPy.
    import numpy as np

    values = np.asarray(series.ys, dtype=np.float64)
    finite = np.isfinite(values)
    half = max(2, len(values) // 50)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    places = np.arange(len(values))
    # Near the ends the window is shortened on both sides equally, so that the average does not lag behind the curve.
    reach = np.minimum(half, np.minimum(places, len(values) - 1 - places))
    start, stop = places - reach, places + reach + 1
    number = counts[stop] - counts[start]
    means = np.where(finite, (sums[stop] - sums[start]) / np.maximum(number, 1), np.nan)
    return replace(series, ys=means.tolist(), mark=None)


def with_gaps_over(pieces: Sequence[Segment], below: Sequence[Segment], tolerance: float, step: float) -> list[Segment]:
    """Return a curve with gaps where it would hide an earlier one, so that both appear as dashes.

    Args:
        pieces: the curve.
        below: curves that are drawn before it.
        tolerance: largest difference of two values that is invisible.
        step: length of a dash and of a gap.
    """
    known: dict[float, list[float]] = {}
    for xs, ys in below:
        for x, y in zip(xs, ys, strict=True):
            known.setdefault(x, []).append(y)
    shown: list[Segment] = []
    for xs, ys in pieces:
        hides = [any(abs(y - other) <= tolerance for other in known.get(x, ())) for x, y in zip(xs, ys, strict=True)]
        # A line hides another one only if it hides both of its ends; at a single point two curves can simply cross.
        pairs = list(map(all, itertools.pairwise(hides)))
        if not any(pairs):
            shown.append((xs, ys))
            continue
        for hidden, group in itertools.groupby(enumerate(pairs), itemgetter(1)):
            indices = [index for index, _ in group]
            if not hidden:
                shown.append((xs[indices[0] : indices[-1] + 2], ys[indices[0] : indices[-1] + 2]))
                continue
            for index in indices:
                shown += _dashed((xs[index], xs[index + 1]), (ys[index], ys[index + 1]), step)
    return shown


def _dashed(xs: tuple[float, float], ys: tuple[float, float], step: float) -> Iterator[Segment]:
    """Yield the dashes of a straight line; their places do not depend on the line's ends."""
    slope = (ys[1] - ys[0]) / (xs[1] - xs[0]) if xs[1] > xs[0] else 0.0
    for number in range(math.floor(xs[0] / step), math.floor(xs[1] / step) + 1):
        start, stop = max(xs[0], number * step), min(xs[1], (number + 1) * step)
        if number % 2 == 0 and start <= stop:
            yield [start, stop], [ys[0] + slope * (start - xs[0]), ys[0] + slope * (stop - xs[0])]


def segments(
    series: Series, columns: int, *, log: bool = False, first_x: float = -math.inf, last_x: float = math.inf
) -> list[Segment]:
    """Split a curve into unbroken segments; non-finite values (and non-positive ones on a log scale) are gaps.

    Args:
        series: the curve, its x ascending.
        columns: width of the picture; each column gets at most two points, the minimum and the maximum.
        log: take log10 of y.
        first_x, last_x: range of x; points outside are left out.
    """
    pieces: list[Segment] = []
    open_piece: list[tuple[float, float]] = []
    # The NaN at the end closes the last piece.
    for x, y in [*_points(series, columns, log, first_x, last_x), (math.nan, math.nan)]:
        if math.isfinite(y) and (y > 0 or not log):
            open_piece.append((x, math.log10(y) if log else y))
        elif open_piece:
            pieces.append(([x for x, _ in open_piece], [y for _, y in open_piece]))
            open_piece = []
    return pieces


def _points(series: Series, columns: int, log: bool, first_x: float, last_x: float) -> Iterable[tuple[float, float]]:
    """Return the points between two x, decimated to the columns; for a level, its end points."""
    first, end = bisect_left(series.xs, first_x), bisect_right(series.xs, last_x)
    if series.dashed:
        left, right = max(series.xs[0], first_x), min(series.xs[-1], last_x)
        return [(left, series.ys[0]), (right, series.ys[-1])] if left <= right else []
    return thinned(series.xs, series.ys, columns, first, end, log=log)


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
        # Over less than a decade, too few such numbers remain for a tall axis.
        if min(count, _FEW_TICKS) <= len(within) <= count + 1:
            return within
    return nice_ticks(10**low, 10**high, count) if len(within) < 2 else within[:: math.ceil(len(within) / (count + 1))]


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Return two to ``count`` + 1 round numbers between two values, with a step of 1, 2 or 5 times a power of ten.

    If no such step gives a suitable count, every second (or third …) number of a finer step is returned.
    """
    if high <= low or count < 1:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    # The finest step fits at least twice.
    by_step = [_multiples(low, high, factor * power) for factor in (0.5, 1, 2, 5, 10)]
    fitting = [ticks for ticks in by_step if 2 <= len(ticks) <= count + 1]
    if fitting:
        return fitting[0]
    ticks = next(ticks for ticks in reversed(by_step) if len(ticks) >= 2)
    return ticks[:: math.ceil(len(ticks) / (count + 1))]


def _multiples(low: float, high: float, step: float) -> list[float]:
    """Return the multiples of a step between two values."""
    # Without the tolerance, rounding errors would drop a limit that is itself a multiple.
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]
