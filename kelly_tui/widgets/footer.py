"""Footer with the active keys."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Footer
from textual.widgets._footer import FooterKey


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
        if self._room != self.content_size.width and self._needed > min(self._room, self.content_size.width):
            self.call_after_refresh(self.recompose)

    def bindings_changed(self, screen: Screen[object]) -> None:
        """Rebuild if the bindings changed. Textual reports every focus change and every screen switch."""
        keys = [(each.binding, each.enabled) for each in screen.active_bindings.values() if each.binding.show]
        if keys != self._shown and self.is_attached and screen.app.app_focus:
            self._shown = keys
            super().bindings_changed(screen)
