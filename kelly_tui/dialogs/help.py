"""Dialogs that help to find a way on any screen: help about keys, and letters that jump to a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.errors import NoWidget
from textual.events import Key
from textual.geometry import Offset
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Label, Static

from kelly_tui.themes import ThemeColors

_LETTERS = "asdfghjklqwertyuiopzxcvbnm"
"""Keys in the order in which they are given to the parts: first those under the fingers at rest."""


class HelpDialog(ModalScreen[None]):
    """Purpose of the focused widget and every active key, with the name of its action for ``[tui] keys``."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss", "Close")]

    def __init__(self, about: str, keys: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self._about, self._keys = about, keys

    def compose(self) -> ComposeResult:
        """Lay out the text and the keys."""
        width = max((len(key) for key, *_ in self._keys), default=0)
        muted = ThemeColors.of(self.app.theme_variables).muted
        keys = Text("\n").join(
            Text.assemble((f"{key:>{width}}", "bold"), f"  {what}", (f"  {name}", muted))
            for key, what, name in self._keys
        )
        with VerticalScroll(classes="dialog"):
            yield Label("Help · arrow keys scroll, esc closes", classes="dialog-title")
            yield Static(self._about, markup=False, classes="about")
            yield Static(keys, markup=False)


class JumpDialog(ModalScreen[Widget | None]):
    """Labels over the parts of a screen; return the part whose letter is pressed, None for any other key.

    Args:
        targets: each part with the place of its label.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, targets: Sequence[tuple[Widget, Offset]]) -> None:
        super().__init__()
        self._targets = dict(zip(_LETTERS, targets, strict=False))

    def compose(self) -> ComposeResult:
        """Place a label over each part."""
        for letter, (_, place) in self._targets.items():
            label = Label(f" {letter} ", classes="jump")
            label.styles.offset = place
            yield label

    def on_key(self, event: Key) -> None:
        """Return the part of this letter."""
        event.stop()
        widget, _ = self._targets.get(event.key, (None, None))
        self.dismiss(widget)


def jump_targets(screen: Screen[object]) -> list[tuple[Widget, Offset]]:
    """Return the parts of a screen that can have the focus and are in view, with the places of their labels."""
    found = []
    for widget in screen.focus_chain:
        try:
            region = screen.find_widget(widget).visible_region
        except NoWidget:
            continue
        if region:
            found.append((widget, region.offset))
    return found
