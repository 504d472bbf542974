"""The picture of an application, as the terminal gets it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.segment import Segment

from kelly_tui.app import KellyApp
from kelly_tui.charts.curve_chart import CurveChart

SCREENS = "123456"


def segments(app: KellyApp) -> list[list[Segment]]:
    """Lines of the screen in front, of pieces with one style each."""
    update = app.screen._compositor.render_update(full=True)
    return [[segment for strip in row for segment in strip] for row in update.strips]


def in_front(app: KellyApp) -> Iterator[Segment]:
    """Pieces of the dialog in front, or of the whole screen; the background of a dialog is faint on purpose."""
    dialogs = app.screen.query(".dialog")
    region = dialogs.first().region if dialogs else app.screen.region
    for line in segments(app)[region.y : region.bottom]:
        column = 0
        for part in line:
            if region.x <= column < region.right:
                yield part
            column += part.cell_length


def lines(app: KellyApp) -> list[str]:
    """Lines of the screen in front as text."""
    return ["".join(segment.text for segment in line) for line in segments(app)]


def shows(app: KellyApp, *texts: str) -> bool:
    """Return True if a line of the screen in front has all of these texts."""
    return any(all(text in line for text in texts) for line in lines(app))


def has_curves(app: KellyApp) -> bool:
    """True if all visible charts of the screen in front have series and have drawn them."""
    return all(chart.series and chart.up_to_date for chart in app.screen.query(CurveChart) if chart.size.height)
