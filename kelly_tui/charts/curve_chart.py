"""Widget that shows curves over epochs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text
from textual import on, work
from textual.app import RenderResult
from textual.geometry import Region
from textual.message import Message
from textual_plotext import PlotextPlot

from kelly_tui.charts.chart_data import Series
from kelly_tui.charts.plotting import PlotLines, PlotRequest, changed_columns, draw, too_small
from kelly_tui.themes import ThemeColors


class CurveChart(PlotextPlot):
    """Chart that is drawn again only if the visible series changed; a message replaces it if there is nothing to draw.

    The picture is made in a thread beside the screens, one at a time, and put in the place of the former one.

    Attributes:
        series: what it shows, or will show as soon as that is drawn.
        logarithmic, tail, ascii: how; see ``PlotRequest``.
    """

    HELP = "Losses by epoch. ◆ marks the best one, ╌ a level to compare with. A gap is a loss that was not a number."

    @dataclass
    class Drawn(Message, bubble=False):
        """A chart was drawn; ``changed`` holds the columns of each line that differ from the previous one."""

        wanted: PlotRequest
        picture: PlotLines
        changed: list[range]

    def __init__(self, placeholder: str, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self._placeholder = placeholder
        self._picture = PlotLines((), "")
        self._pictured: PlotRequest | None = None
        self._drawing = False
        self.series: tuple[Series, ...] = ()
        self.logarithmic = False
        self.tail = False
        self.ascii = False

    @property
    def wanted(self) -> PlotRequest:
        """Return the plot to draw now."""
        colors = ThemeColors.of(self.app.theme_variables)
        return PlotRequest(self.series, self.size, colors, self.logarithmic, self.tail, self.ascii)

    @property
    def up_to_date(self) -> bool:
        """Return True if the latest plot is drawn."""
        return self._pictured == self.wanted

    def show(self, title: str, series: Sequence[Series]) -> None:
        """Draw these series soon."""
        if self.border_title != title:
            self.border_title = title
        self.series = tuple(series)
        self._draw_soon()

    def toggle(self, name: str) -> None:
        """Toggle ``logarithmic`` or ``tail``."""
        setattr(self, name, not getattr(self, name))
        self._draw_soon()

    def on_resize(self) -> None:
        """Redraw at the new size."""
        self._draw_soon()

    def _draw_soon(self) -> None:
        wanted = self.wanted
        if not self._drawing and wanted != self._pictured:
            self._drawing = True
            self._draw_aside(wanted, self._picture)

    # Without a description, Textual would make one of all the numbers.
    @work(thread=True, group="draw", description="curves")
    def _draw_aside(self, wanted: PlotRequest, former: PlotLines) -> None:
        picture = draw(wanted, self.plt)
        changed = list(itertools.starmap(changed_columns, zip(former.lines, picture.lines, strict=False)))
        self.post_message(self.Drawn(wanted, picture, changed))

    @on(Drawn)
    def _on_drawn(self, message: Drawn) -> None:
        """Show the plot, and send only the changed parts of lines to the terminal."""
        former, self._picture, self._pictured = self._picture, message.picture, message.wanted
        self._drawing = False
        if former.legend != self._picture.legend:
            self.border_subtitle = self._picture.legend
        if len(former.lines) != len(self._picture.lines) or not former.lines:
            self.refresh()
        for row, columns in enumerate(message.changed):
            if columns:
                self.refresh(Region(columns.start, row, len(columns), 1))
        self._draw_soon()

    def render(self) -> RenderResult:
        """Return the last plot, or the reason why there is none."""
        self._draw_soon()
        if self._picture.lines:
            return Text("\n").join(self._picture.lines)
        small = too_small(self.size)
        why = "No room for the curves." if small and any(each.xs for each in self.series) else self._placeholder
        return Text(f" {why}", style=ThemeColors.of(self.app.theme_variables).muted)
