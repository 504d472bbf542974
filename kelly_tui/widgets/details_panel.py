"""A scrollable panel of labeled values."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from kelly_tui.formatting import LabeledRows


class DetailsPanel(VerticalScroll):
    """Scrollable rows of label and value."""

    HELP = "Details of what is chosen. Scroll with the arrow keys; the copy key takes all of it."

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._text: Text | LabeledRows = Text()

    def compose(self) -> ComposeResult:
        """Lay out the text."""
        yield Static(id="text", markup=False)

    def show(self, text: Text | LabeledRows) -> None:
        """Replace the text."""
        if text != self._text:
            self._text = text
            self.query_one("#text", Static).update(text)

    def value_to_copy(self) -> str:
        """Return the whole text."""
        return self._text.plain
