"""The help dialog: the focused widget and every key that works now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Label, Static

from kelly_tui.themes import ThemeColors


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
