"""A chart of curves over epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.text import Text
from textual.app import RenderResult
from textual.geometry import Region
from textual_plotext import PlotextPlot

from kelly_tui.palette import Palette, rgb
from kelly_tui.series import Segment, Series, log_ticks, nice_ticks, segments, without_far_guides

TAIL_EPOCHS = 20

_ASCII_MARKERS = "*o+x#"
_LEAST_WIDTH, _LEAST_HEIGHT = 16, 4


class CurveChart(PlotextPlot):
    """Draws series again only when what is to be seen has changed; where nothing can be drawn, it says so."""

    HELP = "Losses by epoch. ◆ marks the best one, ╌ a level to hold it against. A gap is a loss that was not a number."

    def __init__(self, placeholder: str, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self._placeholder = placeholder
        self._series: tuple[Series, ...] = ()
        self._near: list[Series] = []
        self._picture: list[Text] = []
        self._pictured: object = None
        self._legend = ""
        self.logarithmic = False
        self.tail = False
        self.ascii = False

    def show(self, title: str, series: Sequence[Series]) -> None:
        """Draw these series soon, each chart in a turn of the loop of its own."""
        if self.border_title != title:
            self.border_title = title
        if tuple(series) != self._series:
            self._series = tuple(series)
            self._choose()
            self.call_later(self._draw_again)

    def toggle(self, name: str) -> None:
        """Switch ``logarithmic`` or ``tail`` on or off."""
        setattr(self, name, not getattr(self, name))
        self._choose()
        self.refresh()

    def _draw_again(self) -> None:
        """Of the former picture, send only those lines again that differ."""
        former = self._picture
        self._keep_picture()
        if len(former) != len(self._picture):
            self.refresh()
        for row, (line, before) in enumerate(zip(self._picture, former, strict=False)):
            if line != before:
                self.refresh(Region(0, row, self.size.width, 1))

    def _keep_picture(self) -> None:
        """Draw, unless the last picture is of the same."""
        what = (self._series, self.size, self.logarithmic, self.tail, self.ascii, self.app.theme)
        if what != self._pictured:
            self._picture, self._pictured = self._drawn(), what

    def render(self) -> RenderResult:
        """The picture, or why there is none."""
        self._keep_picture()
        if not self._picture:
            small = self.size.width < _LEAST_WIDTH or self.size.height < _LEAST_HEIGHT
            why = "No room for the curves." if small and self._near else self._placeholder
            return Text(why if small else f"\n{why}", justify="center", style="dim")
        return Text("\n").join(self._picture)

    def _drawn(self) -> list[Text]:
        """The lines of the picture; none where nothing can be drawn."""
        width, height = self.size
        first_x = self._first_x()
        drawn = [(each, segments(each, max(1, width), log=self.logarithmic, first_x=first_x)) for each in self._near]
        pieces = [piece for _, several in drawn for piece in several]
        if width < _LEAST_WIDTH or height < _LEAST_HEIGHT or not pieces:
            return []
        self._draw(drawn, pieces, width, height)
        picture: str = self.plt.build()
        return [_with_fewer_colours(line) for line in Text.from_ansi(picture).split("\n")]

    @property
    def _dash(self) -> str:
        return "." if self.ascii else "╌"

    def _first_x(self) -> float:
        last = max((each.xs[-1] for each in self._series if each.xs), default=0.0)
        return last - TAIL_EPOCHS if self.tail else -math.inf

    def _draw(self, drawn: list[tuple[Series, list[Segment]]], pieces: list[Segment], width: int, height: int) -> None:
        colours, plot = Palette.of(self.app.theme_variables), self.plt
        plot.clear_figure()
        # plotsize() would hold the picture to the size that the terminal had when the program began.
        plot._set_size(width, height)
        plot.canvas_color(rgb(colours.ground))
        plot.axes_color(rgb(colours.ground))
        plot.ticks_color(rgb(colours.muted))
        plot.xaxes(True, False)
        plot.yaxes(True, False)
        for number, (each, several) in enumerate(drawn):
            marker = _ASCII_MARKERS[number % len(_ASCII_MARKERS)] if self.ascii else "braille"
            for xs, ys in several:
                if each.dashed:
                    plot.scatter(*_dashes(xs, ys, width), color=rgb(each.colour), marker=self._dash)
                else:
                    plot.plot(xs, ys, color=rgb(each.colour), marker=marker)
        for each, _ in drawn:
            self._draw_mark(each, rgb(colours.text))
        self._set_axes(pieces, height, width)

    def _draw_mark(self, series: Series, colour: tuple[int, int, int]) -> None:
        if series.mark is None or not 0 <= series.mark < len(series.ys) or series.xs[series.mark] < self._first_x():
            return
        y = series.ys[series.mark]
        if math.isfinite(y) and (y > 0 or not self.logarithmic):
            self.plt.scatter(
                [series.xs[series.mark]], [math.log10(y) if self.logarithmic else y], color=colour, marker="◆"
            )

    def _set_axes(self, pieces: list[Segment], height: int, width: int) -> None:
        xs, ys = ([value for piece in pieces for value in piece[axis]] for axis in (0, 1))
        low, high = min(ys), max(ys)
        if high - low < 1e-12:
            low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
        left, right = min(xs), max(max(xs), min(xs) + 1)
        self.plt.xlim(left, right)
        self.plt.ylim(low, high)
        columns = [tick for tick in nice_ticks(left, right, max(1, width // 12)) if tick == int(tick)]
        self.plt.xticks(columns, [f"{tick:.0f}" for tick in columns])
        count = max(2, height // 3)
        rows = log_ticks(low, high, count) if self.logarithmic else nice_ticks(low, high, count)
        self.plt.yticks([math.log10(row) for row in rows] if self.logarithmic else rows, list(map(_label, rows)))

    def _choose(self) -> None:
        """Find out which series come near the others, and name those."""
        self._near = without_far_guides(self._series, self._first_x())
        series = [each for each in self._near if each.xs]
        shapes = _ASCII_MARKERS if self.ascii else "━━━━━"
        notes = [name for name, on in (("log", self.logarithmic), (f"last {TAIL_EPOCHS}", self.tail)) if on]
        parts = [
            f"[{each.colour}]{self._dash if each.dashed else shapes[number % len(shapes)]}[/] {each.name}"
            for number, each in enumerate(series)
        ]
        legend = "  ".join(parts) + (f"  · {', '.join(notes)}" if notes else "")
        if legend != self._legend:
            self._legend = self.border_subtitle = legend


def _dashes(xs: list[float], ys: list[float], columns: int) -> Segment:
    """A level as a point in every column."""
    return [xs[0] + (xs[-1] - xs[0]) * number / columns for number in range(columns + 1)], [ys[0]] * (columns + 1)


def _label(value: float) -> str:
    """A number as an axis shows it: short, and of the same kind all along."""
    if value and (abs(value) < 1e-4 or abs(value) >= 1e7):
        return f"{value:.0e}"
    return f"{value / 1000:.3g}k" if abs(value) >= 1e4 else f"{value:.3g}"


def _with_fewer_colours(line: Text) -> Text:
    """The same line, where a blank goes on in the colour before it: over a slow link each change of colour counts."""
    calm = Text(line.plain)
    for start, end, style in line.spans:
        if not line.plain[start:end].isspace():
            blanks = len(line.plain[end:]) - len(line.plain[end:].lstrip(" "))
            calm.stylize(style, start, end + blanks)
    return calm
