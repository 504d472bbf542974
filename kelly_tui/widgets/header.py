"""Header with the six screens as tabs, and the live run."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal
from textual.widgets import Label

SCREENS = ("datasets", "models", "train", "validate", "benchmark", "runs")
"""The screens in the order of their keys 1 to 6."""


class Header(Horizontal):
    """Tabs of the six screens with their keys; the live run on the right."""

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current
        self._live = ""

    def compose(self) -> ComposeResult:
        """Lay out name, tabs and live run."""
        yield Label("kelly", id="brand")
        for number, name in enumerate(SCREENS, 1):
            classes = "tab -current" if name == self._current else "tab"
            yield Label(f"[@click=app.switch_mode('{name}')][b]{number}[/b] {name.title()}[/]", classes=classes)
        yield Label("", id="live", markup=False)

    def show_live(self, text: str) -> None:
        """Show text about the live run."""
        if text != self._live:
            self._live = text
            self.query_one("#live", Label).update(text)
