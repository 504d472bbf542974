"""Base class of the screens with charts: all charts of a screen share one cursor and one window."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widgets import Input

from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.screens.base_screen import BaseScreen
from kelly_tui.widgets.run_log import RunLog

_CHART_ACTIONS = frozenset({"cursor", "no_cursor", "zoom", "whole", "scale"})


class ChartScreen(BaseScreen):
    """Moves the cursor and the window of all charts of a screen; the first chart that has curves is the main one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # The arrow keys would otherwise scroll the table that has the focus.
        Binding("left", "cursor(-1)", "Cursor left", show=False, priority=True, tooltip="Cursor to the previous epoch"),
        Binding("right", "cursor(1)", "Cursor right", show=False, priority=True, tooltip="Cursor to the next epoch"),
        Binding("shift+left", "cursor(-10)", "Ten left", show=False, priority=True, tooltip="Cursor ten epochs back"),
        Binding("shift+right", "cursor(10)", "Ten right", show=False, priority=True, tooltip="Cursor ten epochs ahead"),
        Binding("plus", "zoom(0.5)", "Zoom in", show=False, tooltip="Half as many epochs, around the cursor"),
        Binding("minus", "zoom(2.0)", "Zoom out", show=False, tooltip="Twice as many epochs"),
        Binding("0", "whole", "All epochs", show=False, tooltip="All epochs, without a cursor"),
        Binding("t", "scale('smooth')", "Smooth", show=False, tooltip="Moving averages, with the raw curves faint"),
        Binding("l", "scale('logarithmic')", "Log scale", show=False, tooltip="Logarithmic or linear scale"),
        Binding("z", "scale('tail')", "Last epochs", show=False, tooltip="The last epochs only, or all"),
    ]

    def on_mount(self) -> None:
        """Limit the charts to characters that the terminal can show."""
        for chart in self.query(CurveChart):
            chart.ascii = self.kelly.session.options.ascii

    @property
    def main_chart(self) -> CurveChart | None:
        """The chart that keys act on; None if no chart has curves."""
        charts = [chart for chart in self.query(CurveChart) if chart.series and chart.display]
        return next((chart for chart in charts if chart.has_focus), next(iter(charts), None))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave the arrow keys to a text field or to the log if it has the focus."""
        if action in _CHART_ACTIONS and (not self.is_mounted or isinstance(self.focused, Input | RunLog)):
            return False
        return super().check_action(action, parameters)

    def action_cursor(self, step: int) -> None:
        """Move the cursor by epochs."""
        if self.main_chart is not None:
            self.main_chart.move_cursor(step)

    def action_zoom(self, factor: float) -> None:
        """Show ``factor`` times as many epochs."""
        if self.main_chart is not None:
            self.main_chart.zoom(factor)

    def action_whole(self) -> None:
        """Show all epochs, without a cursor."""
        self._sync_view(CurveChart.Changed(None, None))

    def action_scale(self, name: str) -> None:
        """Toggle logarithmic, smooth or the last epochs only."""
        if self.main_chart is not None:
            self.main_chart.toggle(name)

    @on(CurveChart.Changed)
    def _sync_view(self, message: CurveChart.Changed) -> None:
        """Show the same epochs in all charts, with the cursor at the same one."""
        for chart in self.query(CurveChart):
            chart.set_view(message.cursor, message.window)
        self.cursor_moved(message.cursor)

    def cursor_moved(self, epoch: float | None) -> None:
        """Point at the epoch of the cursor in other parts of the screen."""
