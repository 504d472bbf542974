"""Jump mode: a letter over every part of a screen that can have the focus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.errors import NoWidget
from textual.events import Key
from textual.geometry import Offset
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Label

_LETTERS = "asdfghjklqwertyuiopzxcvbnm"
"""Letters in the order in which widgets get them: the home row first."""


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
        """Return the part whose label is this letter."""
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
