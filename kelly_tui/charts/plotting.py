"""Draw curves as characters. All inputs are plain data, so that plotting can run in a thread."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text
from textual.geometry import Size
from textual_plotext.plot import Plot

from kelly_tui.charts.chart_data import Segment, Series, log_ticks, nice_ticks, segments, without_far_guides
from kelly_tui.themes import ThemeColors, rgb

TAIL_EPOCHS = 20
LEAST_SIZE = Size(16, 4)

_ASCII_MARKERS = "*o+x#"


@dataclass(frozen=True)
class PlotRequest:
    """Content of a chart.

    Attributes:
        series: the curves.
        size: columns and lines.
        colours: of the theme in force.
        logarithmic: logarithms of the values.
        tail: the last epochs only.
        ascii: with markers that are letters and signs.
    """

    series: tuple[Series, ...]
    size: Size
    colors: ThemeColors
    logarithmic: bool
    tail: bool
    ascii: bool

    @property
    def first_x(self) -> float:
        """First x to draw."""
        last = max((each.xs[-1] for each in self.series if each.xs), default=0.0)
        return last - TAIL_EPOCHS if self.tail else -math.inf

    @property
    def dash(self) -> str:
        """Character of a dashed level."""
        return "." if self.ascii else "╌"


@dataclass(frozen=True)
class PlotLines:
    """Plotted lines (empty if nothing can be drawn) and the curves' names in their colors."""

    lines: tuple[Text, ...]
    legend: str


def draw(wanted: PlotRequest, plot: Plot) -> PlotLines:
    """Draw the plot with the figure ``plot``, which must not be used by others meanwhile."""
    columns = max(1, wanted.size.width)
    drawn = without_far_guides(
        [(each, segments(each, columns, log=wanted.logarithmic, first_x=wanted.first_x)) for each in wanted.series]
    )
    legend = _legend(wanted, [each for each, _ in drawn])
    pieces = [piece for _, several in drawn for piece in several]
    if too_small(wanted.size) or not pieces:
        return PlotLines((), legend)
    _plot(wanted, drawn, plot)
    _set_axes(wanted, pieces, plot)
    lines = Text.from_ansi(plot.build()).split("\n")
    return PlotLines(tuple(map(_merge_colors, lines)), legend)


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


def _plot(wanted: PlotRequest, drawn: list[tuple[Series, list[Segment]]], plot: Plot) -> None:
    colors = wanted.colors
    plot.clear_figure()
    # plotsize() would hold the picture to the size that the terminal had when the program began.
    plot._set_size(*wanted.size)
    plot.canvas_color(rgb(colors.ground))
    plot.axes_color(rgb(colors.ground))
    plot.ticks_color(rgb(colors.muted))
    plot.xaxes(True, False)
    plot.yaxes(True, False)
    for number, (each, several) in enumerate(drawn):
        marker = _ASCII_MARKERS[number % len(_ASCII_MARKERS)] if wanted.ascii else "braille"
        for xs, ys in several:
            if each.dashed:
                plot.scatter(*_dashes(xs, ys, wanted.size.width), color=rgb(each.color), marker=wanted.dash)
            else:
                plot.plot(xs, ys, color=rgb(each.color), marker=marker)
    for each, _ in drawn:
        _plot_mark(wanted, each, plot)


def _plot_mark(wanted: PlotRequest, series: Series, plot: Plot) -> None:
    if series.mark is None or not 0 <= series.mark < len(series.ys) or series.xs[series.mark] < wanted.first_x:
        return
    y = series.ys[series.mark]
    if math.isfinite(y) and (y > 0 or not wanted.logarithmic):
        height = math.log10(y) if wanted.logarithmic else y
        plot.scatter([series.xs[series.mark]], [height], color=rgb(wanted.colors.text), marker="◆")


def _set_axes(wanted: PlotRequest, pieces: list[Segment], plot: Plot) -> None:
    xs, ys = ([value for piece in pieces for value in piece[axis]] for axis in (0, 1))
    low, high = min(ys), max(ys)
    if high - low < 1e-12:
        low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
    left, right = min(xs), max(max(xs), min(xs) + 1)
    plot.xlim(left, right)
    plot.ylim(low, high)
    columns = [tick for tick in nice_ticks(left, right, max(1, wanted.size.width // 12)) if tick == int(tick)]
    plot.xticks(columns, [f"{tick:.0f}" for tick in columns])
    count = max(2, wanted.size.height // 3)
    rows = log_ticks(low, high, count) if wanted.logarithmic else nice_ticks(low, high, count)
    plot.yticks([math.log10(row) for row in rows] if wanted.logarithmic else rows, list(map(_label, rows)))


def _legend(wanted: PlotRequest, near: list[Series]) -> str:
    shapes = _ASCII_MARKERS if wanted.ascii else "━━━━━"
    notes = [name for name, on in (("log", wanted.logarithmic), (f"last {TAIL_EPOCHS}", wanted.tail)) if on]
    parts = [
        f"[{each.color}]{wanted.dash if each.dashed else shapes[number % len(shapes)]}[/] {each.name}"
        for number, each in enumerate(each for each in near if each.xs)
    ]
    return "  ".join(parts) + (f"  · {', '.join(notes)}" if notes and parts else "")


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
