"""A panel with a picture in characters."""

from __future__ import annotations

from typing import Protocol

from rich.text import Text
from textual.app import RenderResult
from textual.geometry import Size
from textual.widget import Widget

from kelly_tui.formatting import placeholder
from kelly_tui.themes import ThemeColors
from kelly_tui.widgets.updates import set_border_title


class Picture(Protocol):
    """Content of a drawing; equal pictures look the same."""

    def draw(self, size: Size, colors: ThemeColors) -> Text:
        """Return at most ``size.height`` lines of ``size.width`` columns; "" if the room is too small."""
        ...


class Drawing(Widget):
    """Panel with a picture that is drawn for the room there is; drawn again only if it is another one.

    Args:
        placeholder: text until the first ``show``.
        id: of the widget.
    """

    def __init__(self, placeholder: str, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self._placeholder = placeholder
        self._picture: Picture | None = None

    def show(self, title: str, picture: Picture | None, placeholder: str = "") -> None:
        """Show a picture, or a text in place of it."""
        set_border_title(self, title)
        if (picture, placeholder) != (self._picture, self._placeholder):
            self._picture, self._placeholder = picture, placeholder
            self.refresh()

    def render(self) -> RenderResult:
        """Return the picture, or the reason why there is none."""
        colors = ThemeColors.of(self.app.theme_variables)
        drawn = self._picture.draw(self.size, colors) if self._picture is not None else Text()
        why = "No room for the picture." if self._picture is not None else self._placeholder
        return drawn if drawn.plain else placeholder(why, colors.muted)
