"""Widget that shows curves over epochs."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.style import Style
from rich.text import Text
from textual import on, work
from textual.app import RenderResult
from textual.content import Content
from textual.events import Click, MouseMove, MouseScrollDown, MouseScrollUp
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from kelly_core.formatting import format_loss
from kelly_tui.charts.chart_data import Series
from kelly_tui.charts.plotting import Plot, PlotRequest, draw, too_small
from kelly_tui.formatting import placeholder
from kelly_tui.jobs import call_from_worker
from kelly_tui.themes import ThemeColors

if TYPE_CHECKING:
    from kelly_tui.charts.canvas import Canvas

_MIN_EPOCHS = 4.0
"""Minimum number of epochs in view."""


class CurveChart(Widget, can_focus=True):
    """Chart that is drawn again only if the visible series changed; a message replaces it if there is nothing to draw.

    A thread draws one picture at a time, including the segments that Textual composes; then the screen replaces the
    previous picture.

    Attributes:
        series: the curves that it shows, or will show as soon as they are drawn.
        logarithmic, tail, ascii, smooth, window, cursor: how to draw them; see ``PlotRequest``.
    """

    ALLOW_SELECT = False
    HELP = (
        "Losses by epoch. ◆ marks the best one, ╌ a level to compare with. A gap is a loss that was not a number. "
        "Arrow keys or a click set a cursor that shows the values; the wheel zooms."
    )

    @dataclass
    class Changed(Message):
        """The user changed the cursor or the window of one chart; the other charts of the screen follow."""

        cursor: float | None
        window: tuple[float, float] | None

    def __init__(self, placeholder: str, *, id: str | None = None) -> None:
        super().__init__(id=id, classes="panel")
        self._placeholder = placeholder
        self._plot = Plot(None, "")
        self._strips: list[Strip] = []
        self._pictured: PlotRequest | None = None
        self._drawing = False
        self.series: tuple[Series, ...] = ()
        self.logarithmic = False
        self.tail = False
        self.ascii = False
        self.smooth = False
        self.window: tuple[float, float] | None = None
        self.cursor: float | None = None

    @property
    def request(self) -> PlotRequest:
        """Return the plot to draw now."""
        colors = ThemeColors.of(self.app.theme_variables)
        how = (self.logarithmic, self.tail, self.ascii, self.smooth, self.window, self.cursor)
        return PlotRequest(self.series, self.size, colors, *how)

    @property
    def up_to_date(self) -> bool:
        """Return True if the latest plot is drawn."""
        return self._pictured == self.request

    def show(self, title: str, series: Sequence[Series], placeholder: str | None = None) -> None:
        """Draw these series soon, or the placeholder if they have no points; None keeps the previous placeholder."""
        if placeholder is not None and placeholder != self._placeholder:
            self._placeholder = placeholder
            self.refresh()
        # Brackets in the name of a file are not markup.
        if self.border_title != (title := Content(title).markup):
            self.border_title = title
        self.series = tuple(series)
        self._draw_soon()

    def toggle(self, name: str) -> None:
        """Toggle ``logarithmic``, ``smooth`` or ``tail``."""
        setattr(self, name, not getattr(self, name))
        self._draw_soon()

    def set_view(self, cursor: float | None, window: tuple[float, float] | None) -> None:
        """Set the cursor and the window."""
        self.cursor, self.window = cursor, window
        self._draw_soon()

    def move_cursor(self, step: int) -> None:
        """Move the cursor by epochs; the first move puts it at the last epoch."""
        start = self._limits[1] if self.cursor is None else self.cursor
        xs = self._epochs_around(start, abs(step))
        if not xs:
            return
        place = bisect_left(xs, start) + (0 if self.cursor is None else step)
        self.post_message(self.Changed(xs[min(len(xs) - 1, max(0, place))], self.window))

    def zoom(self, factor: float) -> None:
        """Show ``factor`` times as many epochs, around the cursor if there is one, at the end otherwise."""
        first, last = self._limits
        center = last if self.cursor is None else min(last, max(first, self.cursor))
        self._zoom(factor, center)

    @property
    def _limits(self) -> tuple[float, float]:
        """First and last epoch of all curves."""
        ends = [(each.xs[0], each.xs[-1]) for each in self.series if each.xs]
        return min((first for first, _ in ends), default=0.0), max((last for _, last in ends), default=1.0)

    def _zoom(self, factor: float, center: float) -> None:
        first, last = self._limits
        left, right = self.window or (first, last)
        width = max(_MIN_EPOCHS, (right - left) * factor)
        if width >= last - first:
            self.post_message(self.Changed(self.cursor, None))
            return
        # The epoch at the center keeps its place on the screen.
        left = center - (min(right, max(left, center)) - left) / max(right - left, 1e-9) * width
        left = min(last - width, max(first, left))
        self.post_message(self.Changed(self.cursor, (left, left + width)))

    def _epoch_at(self, column: int) -> float | None:
        """Return the epoch at a column of the widget, None outside the plot area."""
        canvas = self._plot.canvas
        if canvas is None or not 0 <= (column := column - canvas.margin - self.gutter.left) < canvas.columns:
            return None
        left, right = canvas.xs
        epoch = left + (right - left) * column / (canvas.columns - 1)
        return min(self._epochs_around(epoch, 1), key=lambda x: abs(x - epoch), default=None)

    def _epochs_around(self, center: float, count: int) -> list[float]:
        """Return the epochs of all curves around a center, at least ``count`` on each side if there are as many.

        A run may have a hundred thousand epochs; collecting all of them would take too long for each key.
        """
        found: set[float] = set()
        for each in self.series:
            if not each.dashed:
                place = bisect_left(each.xs, center)
                found.update(each.xs[max(0, place - count) : place + count + 1])
        return sorted(found)

    def on_click(self, event: Click) -> None:
        """Put the cursor at the epoch that was clicked."""
        self.post_message(self.Changed(self._epoch_at(event.x), self.window))

    def on_mouse_move(self, event: MouseMove) -> None:
        """Show the values at the epoch under the mouse."""
        epoch = self._epoch_at(event.x)
        values = [] if epoch is None else [(each.name, each.value_at(epoch)) for each in self.series if each.xs]
        lines = [f"{name} {format_loss(value)}" for name, value in values if math.isfinite(value)]
        self.tooltip = None if not lines else Text("\n".join([f"epoch {epoch:.0f}", *lines]))

    @on(MouseScrollUp)
    @on(MouseScrollDown)
    def _turn_wheel(self, event: MouseScrollUp | MouseScrollDown) -> None:
        """Zoom at the mouse."""
        event.stop()
        self._zoom(0.5 if isinstance(event, MouseScrollUp) else 2.0, self._epoch_at(event.x) or self._limits[1])

    def on_resize(self) -> None:
        """Redraw at the new size."""
        self._draw_soon()

    def _draw_soon(self) -> None:
        request = self.request
        if not self._drawing and request != self._pictured:
            self._drawing = True
            self._draw_aside(request, self._plot.canvas, self.visual_style.rich_style)

    # Without a description, Textual would build one from the arguments, with all their numbers.
    @work(thread=True, group="draw", description="curves")
    def _draw_aside(self, request: PlotRequest, previous: Canvas | None, background: Style) -> None:
        plot = draw(request)
        strips = [] if plot.canvas is None else plot.canvas.strips(background)
        changed = [] if plot.canvas is None or previous is None else plot.canvas.changes_since(previous)
        call_from_worker(self, self._show_drawn, request, plot, strips, changed)

    def _show_drawn(self, request: PlotRequest, plot: Plot, strips: list[Strip], changed: list[range]) -> None:
        """Show the plot, and send only the changed parts of lines to the terminal.

        ``changed``: the columns of each line that differ from the previous plot.
        """
        self._plot, self._pictured = plot, request
        previous, self._strips = self._strips, strips
        self._drawing = False
        if (self.border_subtitle or "") != self._plot.legend:
            self.border_subtitle = self._plot.legend
        # If the number of lines has changed, all lines have moved.
        if len(previous) != len(self._strips) or not previous:
            self.refresh()
        for row, columns in enumerate(changed):
            if columns:
                self.refresh(Region(columns.start, row, len(columns), 1))
        # The request may have changed while the plot was drawn.
        self._draw_soon()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return the lines to show, and draw the plot again if the theme has changed."""
        self._draw_soon()
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Return a line of the last plot, or of the placeholder if there is none."""
        if self._strips:
            background = self.visual_style.rich_style
            return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width, background)
        return super().render_line(y)

    def render(self) -> RenderResult:
        """Return the placeholder for a missing plot."""
        small = too_small(self.size)
        why = "No room for the curves." if small and any(each.xs for each in self.series) else self._placeholder
        return placeholder(why, ThemeColors.of(self.app.theme_variables).muted)
