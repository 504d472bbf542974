"""Panels of text and of character pictures; unchanged content is neither laid out nor drawn again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from rich.text import Text
from textual.app import ComposeResult, RenderResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget
from textual.widgets import Static

from kelly_core.formatting import printable, printable_lines
from kelly_tui.formatting import LabeledRow, LabeledRows, as_text, placeholder
from kelly_tui.themes import ThemeColors


def update_text(widget: Static, text: str | Text) -> None:
    """Show a text unless it is shown already, since Textual would then lay out the whole screen again."""
    shown = as_text(text) if isinstance(text, Text) else printable_lines(text)
    if widget.content != shown:
        widget.update(shown)


def set_border_title(widget: Widget, title: str, subtitle: str = "") -> None:
    """Set the titles in a widget's border unless they are equal, since Textual would then redraw the whole widget.

    Brackets in the titles, for example in the name of a folder, are not markup.
    """
    title, subtitle = (Content(printable(text)).markup for text in (title, subtitle))
    if widget.border_title != title:
        widget.border_title = title
    if (widget.border_subtitle or "") != subtitle:
        widget.border_subtitle = subtitle


class DetailsPanel(VerticalScroll):
    """Scrollable rows of label and value."""

    HELP = "Details of the selected item. Scroll with the arrow keys; the copy key copies all of them."

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._content: Text | LabeledRows = Text()

    def compose(self) -> ComposeResult:
        """Lay out the text."""
        yield Static(id="text", markup=False)

    def show(self, title: str, content: Text | str | Iterable[LabeledRow]) -> None:
        """Show a ``Text``, a string in the muted color, or rows."""
        set_border_title(self, title)
        muted = ThemeColors.of(self.app.theme_variables).muted
        if isinstance(content, str):
            # The color is set on a span, because a comparison of texts ignores the style of the whole text.
            content = Text.assemble((printable(content), muted))
        wanted = as_text(content) if isinstance(content, Text) else LabeledRows(content, muted)
        if wanted != self._content:
            self._content = wanted
            self.query_one("#text", Static).update(wanted)

    def value_to_copy(self) -> str:
        """Return the whole text."""
        return self._content.plain


class Picture(Protocol):
    """Content of a drawing; equal pictures look the same."""

    def draw(self, size: Size, colors: ThemeColors) -> Text:
        """Return at most ``size.height`` lines of ``size.width`` columns; "" if the space is too small."""
        ...


class Drawing(Widget):
    """Panel with a picture that is drawn for the panel's size, and redrawn only if the picture changes."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, classes="panel")
        self._placeholder = ""
        self._picture: Picture | None = None

    def show(self, title: str, picture: Picture | None, placeholder: str = "") -> None:
        """Show a picture, or a text in place of it."""
        set_border_title(self, title)
        if (picture, placeholder) != (self._picture, self._placeholder):
            self._picture, self._placeholder = picture, placeholder
            self.refresh()

    def render(self) -> RenderResult:
        """Return the picture, or the placeholder if there is none."""
        colors = ThemeColors.of(self.app.theme_variables)
        drawn = self._picture.draw(self.size, colors) if self._picture is not None else Text()
        why = "No room for the picture." if self._picture is not None else self._placeholder
        return drawn if drawn.plain else placeholder(why, colors.muted)
