"""What frames every screen: the line of screens above, the command line below, and the notice in too small a window."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Label, Static

from kelly_tui.wording import Labelled

SCREENS = ("datasets", "models", "train", "validate", "benchmark", "runs")
"""The screens in the order of their keys 1 to 6."""


class Masthead(Horizontal):
    """The six screens with their keys, and on the right what is running."""

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current

    def compose(self) -> ComposeResult:
        """The name, a tab a screen, the live run."""
        yield Label("kelly", id="brand")
        for number, name in enumerate(SCREENS, 1):
            classes = "tab -current" if name == self._current else "tab"
            yield Label(f"[@click=app.switch_mode('{name}')][b]{number}[/b] {name.title()}[/]", classes=classes)
        yield Label("", id="live", markup=False)

    def show_live(self, text: str) -> None:
        """Say on the right what is running."""
        self.query_one("#live", Label).update(text)


class CommandLine(Static):
    """The command that does the same as the screen, for a shell."""

    def __init__(self) -> None:
        super().__init__(id="command", markup=False)
        self.command = ""

    def show(self, command: str) -> None:
        """Show another command."""
        self.command = command
        self.update(Text.assemble(("$ ", "bold"), command, no_wrap=True, overflow="ellipsis"))


class Facts(VerticalScroll):
    """Labelled values, one a line, that may be scrolled."""

    HELP = "Details of what is chosen. Scroll with the arrow keys; the copy key takes all of it."

    def compose(self) -> ComposeResult:
        """The text."""
        yield Static(id="text", markup=False)

    def show(self, text: Text | Labelled) -> None:
        """Show another text."""
        self._plain = text.plain
        self.query_one("#text", Static).update(text)

    def value_to_copy(self) -> str:
        """All of the text."""
        return getattr(self, "_plain", "")
