"""Draw curves as characters. All inputs are plain data, so that plotting can run in a thread."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.markup import escape
from textual.color import Color
from textual.geometry import Size

from kelly_core.formatting import format_loss
from kelly_tui.charts.chart_data import (
    Segment,
    Series,
    log_ticks,
    nice_ticks,
    segments,
    smoothed,
    with_gaps_over,
    without_far_guides,
)
from kelly_tui.themes import ThemeColors

if TYPE_CHECKING:
    from kelly_tui.charts.canvas import Canvas

TAIL_EPOCHS = 20
MIN_SIZE = Size(16, 4)

_ASCII_MARKERS = "*o+x#"
_MIN_POINTS_TO_SMOOTH = 5
_FAINT = 0.7
"""Share of the background color in the color of raw values behind a smoothed curve."""
_DASH_COLUMNS = 3
_MIN_COLUMNS_FOR_NAMES, _MIN_LINES_FOR_TITLE = 48, 14
"""Minimum columns of a chart for names at the ends of curves, and minimum lines for the title of its x axis."""
_MAX_NAME_LENGTH = 18
_X_TITLE = "epoch"
_MAX_DIGITS = 12
"""Maximum digits of a label of the vertical axis."""


@dataclass(frozen=True)
class PlotRequest:
    """Content of a chart.

    Attributes:
        series: the curves.
        size: columns and lines.
        colors: colors of the current theme.
        logarithmic: draw the logarithms of the values.
        tail: draw the last epochs only.
        ascii: draw with ASCII letters and signs.
        smooth: draw moving averages, with the raw values faint behind them.
        window: first and last x to draw; None for all.
        cursor: x at which a line is drawn and the values are shown; None for none.
    """

    series: tuple[Series, ...]
    size: Size
    colors: ThemeColors
    logarithmic: bool
    tail: bool
    ascii: bool
    smooth: bool = False
    window: tuple[float, float] | None = None
    cursor: float | None = None

    @property
    def first_x(self) -> float:
        """First x to draw."""
        last = max((each.xs[-1] for each in self.series if each.xs), default=0.0)
        return self.window[0] if self.window else last - TAIL_EPOCHS if self.tail else -math.inf

    @property
    def last_x(self) -> float:
        """Last x to draw."""
        return self.window[1] if self.window else math.inf

    @property
    def dash(self) -> str:
        """Character of a dashed level."""
        return "." if self.ascii else "╌"


@dataclass(frozen=True)
class Plot:
    """A drawn chart, and the curves' names in their colors.

    Attributes:
        canvas: None if nothing can be drawn.
        legend: names, with the values at the cursor.
    """

    canvas: Canvas | None
    legend: str


def draw(request: PlotRequest) -> Plot:
    """Draw a chart."""
    columns = max(1, request.size.width)
    drawn = without_far_guides(
        [
            (each, segments(each, columns, log=request.logarithmic, first_x=request.first_x, last_x=request.last_x))
            for each in _layers(request)
        ]
    )
    legend = _legend(request, [each for each, _ in drawn])
    drawn = [(each, several) for each, several in drawn if several]
    if too_small(request.size) or not drawn:
        return Plot(None, legend)
    # Imported here because it imports NumPy, which the first screen must not wait for.
    from kelly_tui.charts.canvas import Canvas

    frame = _frame(request, drawn)
    xs, ys = (frame.left, frame.right), (frame.low, frame.high)
    canvas = Canvas(request.size, frame.margin, frame.rows, xs, ys, request.colors.muted)
    _draw_axes(request, frame, canvas)
    _draw_curves(request, drawn, frame, canvas)
    _draw_labels(drawn, frame, canvas)
    return Plot(canvas, legend)


def _layers(request: PlotRequest) -> Iterator[Series]:
    """Yield the curves in the order of drawing; the raw values of a smoothed curve come before it."""
    for each in request.series:
        if not request.smooth or each.dashed or len(each.xs) < _MIN_POINTS_TO_SMOOTH:
            yield each
            continue
        faint = Color.parse(each.color).blend(Color.parse(request.colors.background), _FAINT).hex
        yield replace(each, color=faint, faint=True)
        yield smoothed(each)


@dataclass(frozen=True)
class _Frame:
    """Limits of both axes, with ticks and labels; y is log10 of the values if the scale is logarithmic.

    Attributes:
        left, right: x of the first and of the last column.
        last: last x of the curves; columns after it contain names.
        low, high: y of the lowest and of the highest line.
        ticks: y of the ticks, and their labels.
        has_title: there is a line with the title of the x axis.
        names: curves that get a label at their end.
        size: columns and lines of the picture.
    """

    left: float
    right: float
    last: float
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    has_title: bool
    names: tuple[Series, ...]
    size: Size

    @property
    def margin(self) -> int:
        """Columns before the first x: labels and axis."""
        return max((len(label) for _, label in self.ticks), default=0) + 1

    @property
    def columns(self) -> int:
        """Columns from the first x to the last."""
        return max(2, self.size.width - self.margin)

    @property
    def rows(self) -> int:
        """Lines from the lowest y to the highest."""
        return max(2, self.size.height - 2 - self.has_title)


def _frame(request: PlotRequest, drawn: list[tuple[Series, list[Segment]]]) -> _Frame:
    pieces = [piece for _, several in drawn for piece in several]
    xs, ys = ([value for piece in pieces for value in piece[axis]] for axis in (0, 1))
    low, high = min(ys), max(ys)
    # A level without any other curve has a height of 0, and a single epoch a width of 0.
    if high - low < 1e-12:
        low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
    left, right = min(xs), max(max(xs), min(xs) + 1)
    count = max(2, request.size.height // 3)
    values = log_ticks(low, high, count) if request.logarithmic else nice_ticks(low, high, count)
    heights = [math.log10(value) if request.logarithmic else value for value in values]
    ticks = tuple(zip(heights, axis_labels(values), strict=True))
    curves = [each for each, _ in drawn if not each.faint and not each.dashed]
    names = tuple(curves) if len(curves) > 1 and request.size.width >= _MIN_COLUMNS_FOR_NAMES else ()
    frame = _Frame(
        left, right, right, low, high, ticks, request.size.height >= _MIN_LINES_FOR_TITLE, names, request.size
    )
    # Names are right of the last epoch, so the axis is longer than the curves by the columns of the longest name.
    room = max((len(_short(each.name)) + 1 for each in names), default=0)
    stretched = left + (right - left) * (frame.columns - 1) / max(1, frame.columns - 1 - room)
    return replace(frame, right=stretched)


def too_small(size: Size) -> bool:
    """Return True if the size leaves no room for curves."""
    return size.width < MIN_SIZE.width or size.height < MIN_SIZE.height


def _draw_axes(request: PlotRequest, frame: _Frame, canvas: Canvas) -> None:
    """Draw both axes with their ticks, and the cursor."""
    color, bottom = request.colors.muted, frame.rows
    canvas.write(bottom, frame.margin - 1, "└" + "─" * frame.columns, color)
    for row in range(frame.rows):
        canvas.write(row, frame.margin - 1, "│", color)
    for y, label in frame.ticks:
        canvas.write(canvas.row(y), 0, f"{label:>{frame.margin - 1}}┤", color)
    ticks = nice_ticks(frame.left, frame.last, max(1, request.size.width // 12))
    for tick in (tick for tick in ticks if tick == int(tick)):
        column, label = canvas.column(tick), f"{tick:.0f}"
        canvas.write(bottom, column, "┬", color)
        canvas.write(bottom + 1, min(column - len(label) // 2, request.size.width - len(label)), label, color)
    if frame.has_title:
        canvas.write(bottom + 2, frame.margin + (frame.columns - len(_X_TITLE)) // 2, _X_TITLE, color)
    if request.cursor is not None and frame.left <= request.cursor <= frame.right:
        canvas.draw_column(request.cursor, "│", color)
        canvas.write(bottom, canvas.column(request.cursor), "┴", color)


def _draw_curves(
    request: PlotRequest, drawn: list[tuple[Series, list[Segment]]], frame: _Frame, canvas: Canvas
) -> None:
    """Draw all curves, then the marks of their best epochs."""
    below: list[Segment] = []
    # The height of one dot: values that differ by less are drawn at the same dot.
    tolerance = (frame.high - frame.low) / (4 * frame.rows)
    step = _DASH_COLUMNS * (frame.right - frame.left) / frame.columns
    for number, (each, several) in enumerate(drawn):
        if each.dashed:
            canvas.draw_signs(several, request.dash, each.color)
            continue
        pieces = several if each.faint else with_gaps_over(several, below, tolerance, step)
        if request.ascii:
            canvas.draw_signs(pieces, _ASCII_MARKERS[number % len(_ASCII_MARKERS)], each.color)
        else:
            canvas.draw_dots(pieces, each.color)
        below += [] if each.faint else several
    for each, _ in drawn:
        _draw_mark(request, each, canvas)


def _draw_labels(drawn: list[tuple[Series, list[Segment]]], frame: _Frame, canvas: Canvas) -> None:
    """Write the name of each curve at its end, each in a separate line."""
    ends = {id(each): (several[-1][0][-1], several[-1][1][-1]) for each, several in drawn}
    taken: set[int] = set()
    # In ascending order of y, so that names that must move to a free line keep the order of their curves.
    for each in sorted(frame.names, key=lambda each: ends[id(each)][1]):
        x, y = ends[id(each)]
        free = [row for row in reversed(range(frame.rows)) if row not in taken]
        if not free:
            return
        row = min(free, key=lambda each: abs(each - canvas.row(y)))
        taken.add(row)
        canvas.write(row, canvas.column(x) + 2, _short(each.name), each.color)


def _short(name: str) -> str:
    return name if len(name) <= _MAX_NAME_LENGTH else f"{name[: _MAX_NAME_LENGTH - 1]}…"


def _draw_mark(request: PlotRequest, series: Series, canvas: Canvas) -> None:
    if series.mark is None or not 0 <= series.mark < len(series.ys):
        return
    if not request.first_x <= series.xs[series.mark] <= request.last_x:
        return
    y = series.ys[series.mark]
    if math.isfinite(y) and (y > 0 or not request.logarithmic):
        height = math.log10(y) if request.logarithmic else y
        canvas.write(canvas.row(height), canvas.column(series.xs[series.mark]), "◆", request.colors.text)


def _legend(request: PlotRequest, near: list[Series]) -> str:
    shapes = _ASCII_MARKERS if request.ascii else "━━━━━"
    # For a smoothed curve the raw value is shown.
    raw = {each.name: each for each in request.series}
    # A window may begin and end between epochs; the text names only epochs inside it.
    window = "" if request.window is None else f"{math.ceil(request.window[0])}-{math.floor(request.window[1])}"
    tail = f"last {TAIL_EPOCHS}" if request.tail and not window else ""
    notes = [
        "" if request.cursor is None else f"epoch {request.cursor:.0f}",
        "log" if request.logarithmic else "",
        "smooth" if request.smooth else "",
        window or tail,
    ]
    parts = [
        f"[{each.color}]{request.dash if each.dashed else shapes[number % len(shapes)]}[/] "
        f"{_named(raw.get(each.name, each), request.cursor)}"
        for number, each in enumerate(each for each in near if not each.faint)
    ]
    return "  ".join(parts) + (f"  · {', '.join(filter(None, notes))}" if any(notes) and parts else "")


def _named(series: Series, cursor: float | None) -> str:
    """Return a curve's name with its value at the cursor, or with a note that it has no point yet."""
    name = escape(series.name)
    if not series.xs:
        return f"{name} (no epoch yet)"
    if cursor is None:
        return name
    value = series.value_at(cursor)
    return f"{name} {format_loss(value if math.isfinite(value) else None)}"


def axis_labels(values: Sequence[float]) -> list[str]:
    """Format the labels of an axis with the fewest digits whose rounding error is small compared with their step."""
    ordered = sorted(values)
    steps = [after - before for before, after in pairwise(ordered)]
    tolerance = 1e-3 * min(steps, default=abs(ordered[0]))
    return [_label(value, tolerance) for value in values]


def _label(value: float, tolerance: float) -> str:
    if 1e4 <= abs(value) < 1e7:
        return _label(value / 1000, tolerance / 1000) + "k"
    texts = (f"{value:.{digits}g}" for digits in range(1, _MAX_DIGITS))
    text = next((text for text in texts if abs(float(text) - value) <= tolerance), f"{value:.{_MAX_DIGITS}g}")
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e4 else text
