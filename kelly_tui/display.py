"""How the application is drawn: color modes, themes, style rules, and only the cells that have changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.app import App
from textual.binding import Binding
from textual.filter import LineFilter, Monochrome
from textual.screen import Screen

from kelly_tui.color_filters import ANSI16_FILTER, ASCII_FILTER, KEY_NAMES, NO_COLOR_FILTER, PRINTABLE_FILTER
from kelly_tui.frame import ChangesUpdate, ShownFrame
from kelly_tui.screens.base_screen import BaseScreen
from kelly_tui.shutdown import Driver
from kelly_tui.themes import ANSI16_THEME, THEMES


class DisplayApp(App[None]):
    """An application whose drawing suits slow links and any terminal.

    Args:
        ascii_only: draw with ASCII characters only.
        wanted_theme: name of the theme that the user asks for, "" for none.
    """

    def __init__(self, *, ascii_only: bool, wanted_theme: str) -> None:
        super().__init__(driver_class=Driver)
        # Each step of an animated scroll would be sent, which a slow link does not keep up with.
        self.animation_level = "none"
        self._ascii_only = ascii_only
        self._shown_frame = ShownFrame()
        self._theme_in_rules = ""
        self.has_ansi16 = not self.no_color and self.console.color_system == "standard"
        has_ansi16_theme = self.has_ansi16 or wanted_theme == ANSI16_THEME.name
        for theme in (ANSI16_THEME, *THEMES) if has_ansi16_theme else THEMES:
            self.register_theme(theme)
        self.set_class(self.has_ansi16, "-ansi16")
        self.set_class(self.console.color_system == "256", "-of-256")

    def choose_theme(self, name: object) -> None:
        """Use the theme of this name; the first one if there is no such theme."""
        self.theme = name if isinstance(name, str) and name in self.available_themes else THEMES[0].name

    def get_line_filters(self) -> Sequence[LineFilter]:
        """Return the line filters for the color mode (NO_COLOR, 16 colors) and for ASCII-only terminals."""
        filters = [NO_COLOR_FILTER if isinstance(each, Monochrome) else each for each in super().get_line_filters()]
        filters += [ANSI16_FILTER] if self.has_ansi16 else []
        filters = [PRINTABLE_FILTER, *filters]
        return [*filters, ASCII_FILTER] if self._ascii_only else filters

    def get_key_display(self, binding: Binding) -> str:
        """Return a key's display text; ASCII names if the terminal cannot show the symbols."""
        shown = super().get_key_display(binding)
        return KEY_NAMES.get(shown, shown) if self._ascii_only else shown

    @property
    def look(self) -> tuple[object, ...]:
        """Return everything that a screen's style depends on, apart from the screen."""
        return self.theme, frozenset(self.pseudo_classes)

    def refresh_css(self, animate: bool = True) -> None:
        """Reparse the style rules and restyle the screen only if its look has changed.

        Textual calls this for every new screen as well, and would parse all rules each time.
        """
        page = next(reversed(self.screen_stack), None)
        if self.theme != self._theme_in_rules or (isinstance(page, BaseScreen) and page.is_out_of_date):
            self._theme_in_rules = self.theme
            super().refresh_css(animate)

    def delay_update(self, delay: float = 0.05) -> None:
        """Draw at once: screens are switched as a whole, so delaying updates would only add latency."""

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        """Send only the cells that have changed."""
        if isinstance(renderable, LayoutUpdate | ChopsUpdate):
            super()._display(screen, ChangesUpdate(self._shown_frame, renderable, screen.outer_size))  # type: ignore[arg-type] # its stub knows Rich only
        else:
            super()._display(screen, renderable)

    def action_redraw(self) -> None:
        """Draw the whole screen again, after something else has written to the terminal."""
        self._shown_frame.forget()
        self.refresh(layout=True)
