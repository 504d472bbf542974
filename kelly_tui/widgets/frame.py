"""What frames every screen: the line of screens above, the command line below, and the notice in too small a window."""

from __future__ import annotations

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Footer, Label, Log, Static
from textual.widgets._footer import FooterKey

from kelly_tui.wording import Labelled

SCREENS = ("datasets", "models", "train", "validate", "benchmark", "runs")
"""The screens in the order of their keys 1 to 6."""


class Masthead(Horizontal):
    """The six screens with their keys, and on the right what is running."""

    def __init__(self, current: str) -> None:
        super().__init__()
        self._current = current
        self._live = ""

    def compose(self) -> ComposeResult:
        """The name, a tab a screen, the live run."""
        yield Label("kelly", id="brand")
        for number, name in enumerate(SCREENS, 1):
            classes = "tab -current" if name == self._current else "tab"
            yield Label(f"[@click=app.switch_mode('{name}')][b]{number}[/b] {name.title()}[/]", classes=classes)
        yield Label("", id="live", markup=False)

    def show_live(self, text: str) -> None:
        """Say on the right what is running."""
        if text != self._live:
            self._live = text
            self.query_one("#live", Label).update(text)


class CommandLine(Static):
    """The command that does the same as the screen, for a shell."""

    def __init__(self) -> None:
        super().__init__(id="command", markup=False)
        self.command = ""

    def show(self, command: str) -> None:
        """Show another command."""
        if command == self.command:
            return
        self.command = command
        self.update(Text.assemble(("$ ", "bold"), command))


class Keys(Footer):
    """The keys that work now, as many as there is room for; the last ones, help and quit, are always there.

    The line is made anew only for other keys or another width.
    """

    _ALWAYS = 2
    _BLANKS = 3

    def __init__(self) -> None:
        super().__init__(compact=True, show_command_palette=False)
        self._needed = self._room = 0
        self._shown: list[tuple[Binding, bool]] = []

    def compose(self) -> ComposeResult:
        """Those that fit."""
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
        """Another width may have room for others."""
        if self._room != self.content_size.width and self._needed > min(self._room, self.content_size.width):
            self.call_after_refresh(self.recompose)

    def bindings_changed(self, screen: Screen[object]) -> None:
        """Textual tells this at each move of the focus, and each page when it comes to the front."""
        keys = [(each.binding, each.enabled) for each in screen.active_bindings.values() if each.binding.show]
        if keys != self._shown and self.is_attached and screen.app.app_focus:
            self._shown = keys
            super().bindings_changed(screen)


def say(widget: Static, text: str | Text) -> None:
    """Show a text; showing the same one again would lay out the whole screen."""
    if widget.content != text:
        widget.update(text)


def set_title(widget: Widget, title: str, subtitle: str = "") -> None:
    """Title above and below a widget's border; setting the same one again would draw all of the widget again."""
    if widget.border_title != title:
        widget.border_title = title
    if (widget.border_subtitle or "") != subtitle:
        widget.border_subtitle = subtitle


class RunLog(Log):
    """Lines as they come; only new ones are drawn."""

    HELP = "What the training said. Scroll with the arrow keys; the copy key takes all of it."

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, max_lines=500, classes="panel")
        self._told: tuple[str, ...] = ()

    def show(self, lines: tuple[str, ...]) -> None:
        """Show these lines."""
        known = len(self._told)
        if lines[:known] == self._told:
            new = lines[known:]
        elif known and self._told[-1] in lines:
            new = lines[lines.index(self._told[-1]) + 1 :]
        else:
            self.clear()
            new = lines
        self._told = lines
        if new:
            self.write_lines(new)

    def value_to_copy(self) -> str:
        """All lines."""
        return "\n".join(self._told)


class Facts(VerticalScroll):
    """Labelled values, one a line, that may be scrolled."""

    HELP = "Details of what is chosen. Scroll with the arrow keys; the copy key takes all of it."

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._text: Text | Labelled = Text()

    def compose(self) -> ComposeResult:
        """The text."""
        yield Static(id="text", markup=False)

    def show(self, text: Text | Labelled) -> None:
        """Show another text."""
        if text != self._text:
            self._text = text
            self.query_one("#text", Static).update(text)

    def value_to_copy(self) -> str:
        """All of the text."""
        return self._text.plain
