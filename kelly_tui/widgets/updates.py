"""Widget updates that skip the redraw when nothing changed."""

from __future__ import annotations

from rich.text import Text
from textual.widget import Widget
from textual.widgets import Static


def update_text(widget: Static, text: str | Text) -> None:
    """Show a text; showing the same one again would lay out the whole screen."""
    if widget.content != text:
        widget.update(text)


def set_border_title(widget: Widget, title: str, subtitle: str = "") -> None:
    """Title above and below a widget's border; setting the same one again would draw all of the widget again."""
    if widget.border_title != title:
        widget.border_title = title
    if (widget.border_subtitle or "") != subtitle:
        widget.border_subtitle = subtitle
