"""The footer of every screen: the keys that work now."""

from __future__ import annotations

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Footer
from textual.widgets._footer import FooterKey


class KeyFooter(Footer):
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
