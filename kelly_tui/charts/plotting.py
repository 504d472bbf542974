"""Draw curves as characters. All inputs are plain data, so that plotting can run in a thread."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.markup import escape
from rich.style import Style
from rich.text import Text
from textual.color import Color
from textual.geometry import Size
from textual_plotext.plot import Plot

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
from kelly_tui.themes import ThemeColors, rgb

TAIL_EPOCHS = 20
LEAST_SIZE = Size(16, 4)

_ASCII_MARKERS = "*o+x#"
_LEAST_TO_SMOOTH = 5
_FAINT = 0.7
"""Share of the ground in the color of raw values behind a smoothed curve."""
_DASH_COLUMNS = 3
_LEAST_FOR_NAMES, _LEAST_FOR_TITLE = 48, 14
"""Columns that a chart must have to name curves at their ends, and lines to name its x axis."""
_LONGEST_NAME = 18


@dataclass(frozen=True)
class PlotRequest:
    """Content of a chart.

    Attributes:
        series: the curves.
        size: columns and lines.
        colors: of the theme in force.
        logarithmic: logarithms of the values.
        tail: the last epochs only.
        ascii: with markers that are letters and signs.
        smooth: moving averages, with the raw values faint behind them.
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
class PlotLines:
    """Plotted lines (empty if nothing can be drawn) and the curves' names in their colors.

    Attributes:
        lines: of the chart.
        legend: names, with the values at the cursor.
        left: column of the first x.
        xs: x of the first and of the last column.
    """

    lines: tuple[Text, ...]
    legend: str
    left: int = 0
    xs: tuple[float, float] = (0.0, 1.0)


def draw(wanted: PlotRequest, plot: Plot) -> PlotLines:
    """Draw the plot with the figure ``plot``, which must not be used by others meanwhile."""
    columns = max(1, wanted.size.width)
    drawn = without_far_guides(
        [
            (each, segments(each, columns, log=wanted.logarithmic, first_x=wanted.first_x, last_x=wanted.last_x))
            for each in _layers(wanted)
        ]
    )
    legend = _legend(wanted, [each for each, _ in drawn])
    pieces = [piece for _, several in drawn for piece in several]
    if too_small(wanted.size) or not pieces:
        return PlotLines((), legend)
    frame = _frame(wanted, drawn, pieces)
    _plot(wanted, drawn, frame, plot)
    _set_axes(wanted, frame, plot)
    _plot_labels(drawn, frame, plot)
    lines = Text.from_ansi(plot.build()).split("\n")
    return PlotLines(tuple(map(_merge_colors, lines)), legend, frame.margin, (frame.left, frame.right))


def _layers(wanted: PlotRequest) -> Iterator[Series]:
    """Yield the curves in the order of drawing; of a smoothed one the raw values first."""
    for each in wanted.series:
        if not wanted.smooth or each.dashed or len(each.xs) < _LEAST_TO_SMOOTH:
            yield each
            continue
        faint = Color.parse(each.color).blend(Color.parse(wanted.colors.ground), _FAINT).hex
        yield replace(each, color=faint, faint=True)
        yield smoothed(each)


@dataclass(frozen=True)
class _Frame:
    """Limits of both axes, with ticks and labels; y in the units that are drawn, logarithms on such a scale.

    Attributes:
        left, right: x of the first and of the last column.
        last: last x of the curves; after it there is room for names.
        low, high: y of the lowest and of the highest line.
        ticks: y of the ticks, and their labels.
        has_title: there is a line with the title of the x axis.
        names: curves that get a label at their end.
        size: of the picture.
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


def _frame(wanted: PlotRequest, drawn: list[tuple[Series, list[Segment]]], pieces: list[Segment]) -> _Frame:
    xs, ys = ([value for piece in pieces for value in piece[axis]] for axis in (0, 1))
    low, high = min(ys), max(ys)
    if high - low < 1e-12:
        low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
    left, right = min(xs), max(max(xs), min(xs) + 1)
    count = max(2, wanted.size.height // 3)
    values = log_ticks(low, high, count) if wanted.logarithmic else nice_ticks(low, high, count)
    ticks = tuple((math.log10(value) if wanted.logarithmic else value, _label(value)) for value in values)
    curves = [each for each, several in drawn if several and not each.faint and not each.dashed]
    names = tuple(curves) if len(curves) > 1 and wanted.size.width >= _LEAST_FOR_NAMES else ()
    frame = _Frame(left, right, right, low, high, ticks, wanted.size.height >= _LEAST_FOR_TITLE, names, wanted.size)
    room = max((len(_short(each.name)) + 1 for each in names), default=0)
    stretched = left + (right - left) * (frame.columns - 1) / max(1, frame.columns - 1 - room)
    return replace(frame, right=stretched)


def changed_columns(before: Text, after: Text) -> range:
    """Return the range of columns in which two lines differ; all plot characters are one column wide."""
    old, new = _cells(before), _cells(after)
    if len(old) != len(new):
        return range(len(new))
    changed = [column for column, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    return range(changed[0], changed[-1] + 1) if changed else range(0)


def _cells(line: Text) -> list[tuple[str, str | Style]]:
    """Yield each character with its style; a blank's color is ignored."""
    styles: list[str | Style] = [""] * len(line.plain)
    for start, end, style in line.spans:
        styles[start:end] = [style] * (end - start)
    return [(sign, "" if sign == " " else style) for sign, style in zip(line.plain, styles, strict=True)]


def too_small(size: Size) -> bool:
    """Return True if the size leaves no room for curves."""
    return size.width < LEAST_SIZE.width or size.height < LEAST_SIZE.height


def _plot(wanted: PlotRequest, drawn: list[tuple[Series, list[Segment]]], frame: _Frame, plot: Plot) -> None:
    colors = wanted.colors
    plot.clear_figure()
    # plotsize() would hold the picture to the size that the terminal had when the program began.
    plot._set_size(*wanted.size)
    plot.canvas_color(rgb(colors.ground))
    plot.axes_color(rgb(colors.ground))
    plot.ticks_color(rgb(colors.muted))
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    if wanted.cursor is not None and frame.left <= wanted.cursor <= frame.right:
        plot.vline(wanted.cursor, rgb(colors.muted))
    below: list[Segment] = []
    tolerance = (frame.high - frame.low) / (4 * frame.rows)
    step = _DASH_COLUMNS * (frame.right - frame.left) / frame.columns
    for number, (each, several) in enumerate(drawn):
        marker = _ASCII_MARKERS[number % len(_ASCII_MARKERS)] if wanted.ascii else "braille"
        plain = each.dashed or each.faint
        for xs, ys in several if plain else with_gaps_over(several, below, tolerance, step):
            if each.dashed:
                plot.scatter(*_dashes(xs, ys, wanted.size.width), color=rgb(each.color), marker=wanted.dash)
            else:
                plot.plot(xs, ys, color=rgb(each.color), marker=marker)
        below += [] if plain else several
    for each, _ in drawn:
        _plot_mark(wanted, each, plot)


def _plot_labels(drawn: list[tuple[Series, list[Segment]]], frame: _Frame, plot: Plot) -> None:
    """Write the name of each curve at its end, each in a line of its own."""
    ends = {id(each): (several[-1][0][-1], several[-1][1][-1]) for each, several in drawn if several}
    height = (frame.high - frame.low) / (frame.rows - 1)
    column = (frame.right - frame.left) / (frame.columns - 1)
    taken: set[int] = set()
    for each in sorted(frame.names, key=lambda each: ends[id(each)][1]):
        x, y = ends[id(each)]
        line = round((y - frame.low) / height)
        free = [row for row in range(frame.rows) if row not in taken]
        if not free:
            return
        line = min(free, key=lambda row: abs(row - line))
        taken.add(line)
        plot.text(_short(each.name), x + 2 * column, frame.low + line * height, color=rgb(each.color), alignment="left")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _plot_mark(wanted: PlotRequest, series: Series, plot: Plot) -> None:
    if series.mark is None or not 0 <= series.mark < len(series.ys):
        return
    if not wanted.first_x <= series.xs[series.mark] <= wanted.last_x:
        return
    y = series.ys[series.mark]
    if math.isfinite(y) and (y > 0 or not wanted.logarithmic):
        height = math.log10(y) if wanted.logarithmic else y
        plot.scatter([series.xs[series.mark]], [height], color=rgb(wanted.colors.text), marker="◆")


def _set_axes(wanted: PlotRequest, frame: _Frame, plot: Plot) -> None:
    plot.xlim(frame.left, frame.right)
    plot.ylim(frame.low, frame.high)
    ticks = nice_ticks(frame.left, frame.last, max(1, wanted.size.width // 12))
    columns = [tick for tick in ticks if tick == int(tick)]
    plot.xticks(columns, [f"{tick:.0f}" for tick in columns])
    plot.yticks([value for value, _ in frame.ticks], [label for _, label in frame.ticks])
    if frame.has_title:
        plot.xlabel("epoch")


def _legend(wanted: PlotRequest, near: list[Series]) -> str:
    shapes = _ASCII_MARKERS if wanted.ascii else "━━━━━"
    # Of a smoothed curve the value itself is shown.
    raw = {each.name: each for each in wanted.series}
    window = "" if wanted.window is None else f"{wanted.window[0]:.0f}-{wanted.window[1]:.0f}"
    tail = f"last {TAIL_EPOCHS}" if wanted.tail and not window else ""
    notes = [
        "" if wanted.cursor is None else f"epoch {wanted.cursor:.0f}",
        "log" if wanted.logarithmic else "",
        "smooth" if wanted.smooth else "",
        window or tail,
    ]
    parts = [
        f"[{each.color}]{wanted.dash if each.dashed else shapes[number % len(shapes)]}[/] "
        f"{_named(raw.get(each.name, each), wanted.cursor)}"
        for number, each in enumerate(each for each in near if not each.faint)
    ]
    return "  ".join(parts) + (f"  · {', '.join(filter(None, notes))}" if any(notes) and parts else "")


def _named(series: Series, cursor: float | None) -> str:
    """Return a curve's name with its value at the cursor, or that it has no point yet."""
    name = escape(series.name)
    if not series.xs:
        return f"{name} (no epoch yet)"
    if cursor is None:
        return name
    value = series.value_at(cursor)
    return f"{name} {format_loss(value if math.isfinite(value) else None)}"


def _dashes(xs: list[float], ys: list[float], columns: int) -> Segment:
    """Yield a level as one point per column."""
    return [xs[0] + (xs[-1] - xs[0]) * number / columns for number in range(columns + 1)], [ys[0]] * (columns + 1)


def _label(value: float) -> str:
    """Format an axis label: short, with the same precision along the axis."""
    if value and (abs(value) < 1e-4 or abs(value) >= 1e7):
        return f"{value:.0e}"
    return f"{value / 1000:.3g}k" if abs(value) >= 1e4 else f"{value:.3g}"


def _merge_colors(line: Text) -> Text:
    """Let blanks continue the previous color: each color change costs bytes over a slow link."""
    calm = Text()
    pending = ""
    current: str | Style = ""
    for sign, style in _cells(line):
        if sign != " " and style != current:
            calm.append(pending, current)
            pending, current = "", style
        pending += sign
    return calm.append(pending, current)
