"""Lines above and below every screen: header with tabs and live run, shell command, footer with keys."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Footer, Label, Static
from textual.widgets._footer import FooterKey

from kelly_core.formatting import printable
from kelly_tui.widgets.panels import update_text

SCREENS = ("datasets", "models", "train", "validate", "benchmark", "runs")
"""The screens in the order of their keys 1 to 6."""


class Header(Horizontal):
    """Tabs of the six screens with their keys; the live run on the right."""

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current

    def compose(self) -> ComposeResult:
        """Lay out name, tabs and live run."""
        yield Label("kelly", id="brand")
        for number, name in enumerate(SCREENS, 1):
            classes = "tab -current" if name == self._current else "tab"
            yield Label(f"[@click=app.switch_mode('{name}')][b]{number}[/b] {name.title()}[/]", classes=classes)
        yield Label("", id="live", markup=False)

    def show_live(self, text: str) -> None:
        """Show text about the live run."""
        update_text(self.query_one("#live", Label), text)


class KeyFooter(Footer):
    """Active keys, as many as fit; help and quit are always shown.

    The line is rebuilt only if the keys or the width change.
    """

    _ALWAYS = 2
    _BLANKS = 3

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)
        self._needed = self._room = 0
        self._shown: list[tuple[Binding, bool]] = []

    def compose(self) -> ComposeResult:
        """Yield the keys that fit."""
        keys = [key for key in super().compose() if isinstance(key, FooterKey)]
        widths = [cell_len(key.key_display) + cell_len(key.description) + self._BLANKS for key in keys]
        self._needed, self._room = sum(widths), self.content_size.width
        left = self._room - sum(widths[-self._ALWAYS :])
        for key, width in zip(keys[: -self._ALWAYS], widths, strict=False):
            left -= width
            if left >= 0:
                yield key
        yield from keys[-self._ALWAYS :]

    def on_resize(self) -> None:
        """Rebuild for the new width."""
        # The footer stays unchanged if all keys fit both before and after the resize.
        if self._room != self.content_size.width and self._needed > min(self._room, self.content_size.width):
            self.call_after_refresh(self.recompose)

    def bindings_changed(self, screen: Screen[object]) -> None:
        """Rebuild if the bindings changed. Textual reports every focus change and every screen switch."""
        keys = [(each.binding, each.enabled) for each in screen.active_bindings.values() if each.binding.show]
        if keys != self._shown and self.is_attached and screen.app.app_focus:
            self._shown = keys
            super().bindings_changed(screen)


class CommandLine(Static):
    """Shell command that is equivalent to the screen."""

    def __init__(self) -> None:
        super().__init__(id="command", markup=False)
        self.command = ""

    def show(self, command: str) -> None:
        """Show another command."""
        if command == self.command:
            return
        self.command = command
        self.update(Text.assemble(("$ ", "bold"), printable(command)))
