"""Base class of the six screens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.events import Resize, ScreenResume, ScreenSuspend
from textual.geometry import Size
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Label, Static

from kelly_tui.jobs import JobQueue
from kelly_tui.keys import name_bindings
from kelly_tui.themes import ThemeColors
from kelly_tui.widgets.bars import CommandLine, Header, KeyFooter
from kelly_tui.widgets.panels import update_text
from kelly_tui.widgets.record_table import RecordTable

if TYPE_CHECKING:
    from kelly_tui.app import KellyApp


class BaseScreen(Screen[None]):
    """A screen with header, body, equivalent command and footer.

    Subclasses define ``NAME``, ``ABOUT``, ``body``, ``command`` and ``draw``; ``MUTATING_ACTIONS`` names the actions
    that are disabled in a read-only session.

    Attributes:
        queues: queues of the screen's worker processes, which the action ``cancel`` cancels.
    """

    NAME: ClassVar[str]
    ABOUT: ClassVar[str]
    MUTATING_ACTIONS: ClassVar[frozenset[str]] = frozenset()
    OPEN_ACTION: ClassVar[str] = ""
    """Action of a double click on a row of a table, "" for none."""
    AUTO_FOCUS = "RecordTable"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "copy_command", "Copy command", show=False, tooltip="Copy the command line shown below"),
        Binding("escape", "back", "Back", show=False, tooltip="Back to the screen that led here"),
        Binding("c", "copy_value", "Copy value", show=False, tooltip="Copy what is under the cursor"),
    ]

    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - declared by Screen without ClassVar
        (0, "-tiny"),
        (60, "-narrow"),
        (90, "-normal"),
        (150, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (18, "-low"), (32, "-tall")]  # noqa: RUF012 - as above

    def __init__(self) -> None:
        super().__init__()
        name_bindings(self._bindings, self.NAME)
        self.queues: Sequence[JobQueue] = ()
        self._in_front = self._offers_cancel = False
        self._waits_to_draw = False
        self._styled_as, self._fitted = self.kelly.style_key, self.app.size
        # Textual would set these classes only after mounting, and would then style all widgets again.
        widths = _fitting(self._fitted.width, self.HORIZONTAL_BREAKPOINTS)
        self.set_classes([*widths, *_fitting(self._fitted.height, self.VERTICAL_BREAKPOINTS)])

    @property
    def kelly(self) -> KellyApp:
        """The application."""
        return cast("KellyApp", self.app)

    @property
    def theme_colors(self) -> ThemeColors:
        """Colors of the active theme."""
        return ThemeColors.of(self.app.theme_variables)

    @property
    def table(self) -> RecordTable:
        """The table; keys act on its row under the cursor."""
        return self.query_one(RecordTable)

    def compose(self) -> ComposeResult:
        """Lay out the frame and the body."""
        yield Header(self.NAME)
        yield Static("", id="problem", markup=False)
        with Container(id="body"):
            yield from self.body()
        yield CommandLine()
        yield KeyFooter()
        yield Label("This window is too small.\nMake it at least 60 × 18.", id="too-small")

    def body(self) -> Iterator[Widget]:
        """Yield the parts between the line of screens and the command line."""
        raise NotImplementedError

    def command(self) -> tuple[str, ...]:
        """Return the words of the equivalent command line, after ``kelly-core``."""
        raise NotImplementedError

    def draw(self) -> None:
        """Show the current content, in the colors of the theme."""
        raise NotImplementedError

    @property
    def unsaved_text(self) -> str:
        """Description of the edits that quitting would discard, "" for none."""
        return ""

    @property
    def is_busy(self) -> bool:
        """True while a worker process is running that the action ``cancel`` of the screen can stop."""
        return any(queue.current for queue in self.queues)

    def offer_cancel(self) -> None:
        """Show the key of ``cancel`` in the footer if ``is_busy``, otherwise hide it."""
        if self._offers_cancel != self.is_busy:
            self._offers_cancel = self.is_busy
            self.refresh_bindings()

    def action_cancel(self) -> None:
        """Cancel the worker processes, and clear their queues."""
        for queue in self.queues:
            queue.cancel()

    def runs_changed(self) -> None:
        """Redraw after the list of runs has changed; for screens that show runs."""

    def refresh_frame(self) -> None:
        """Show the current command, the current problem with the settings, and the live run."""
        self.query_one(CommandLine).show(self.kelly.session.command_text(self.command()))
        problem = self.query_one("#problem", Static)
        update_text(problem, self.kelly.session.problem)
        problem.display = bool(self.kelly.session.problem)
        badge = "read-only" if self.kelly.session.options.read_only else ""
        self.query_one(Header).show_live(" · ".join(filter(None, (badge, self.kelly.live_text))))

    def on_mount(self) -> None:
        """Draw again whenever the theme changes."""
        self.app.theme_changed_signal.subscribe(self, lambda _theme: self.draw())
        self.kelly.add_screen(self)

    def on_activate(self) -> None:
        """Update data that may have changed while another screen was active."""

    @on(ScreenResume)
    def _come_back(self, event: ScreenResume) -> None:
        """Show the current state; restyle only if the style key has changed."""
        event.refresh_styles, self._styled_as = self.is_out_of_date, self.kelly.style_key
        # A new screen is notified twice.
        if not self._in_front:
            self._in_front = True
            self.kelly.session.reload()
            self.refresh_frame()
            self.refresh_bindings()
            self.on_activate()

    @on(ScreenSuspend)
    def _go_back(self) -> None:
        self._in_front = False

    def _refresh_layout(self, size: Size | None = None, scroll: bool = False) -> None:
        """Lay out now, and draw in a later iteration of the event loop: both together may delay a key for too long.

        Widgets that adapt to a new size do so in between, and are drawn once.
        """
        if not self._waits_to_draw:
            self._waits_to_draw = True
            self.call_later(self._draw_layout)
        super()._refresh_layout(size, scroll)

    def _on_timer_update(self) -> None:
        """Lay out and draw changes after the last of several keys, since this takes longer than handling most keys."""
        if not self.kelly.keys_pending:
            super()._on_timer_update()

    async def _draw_layout(self) -> None:
        """Render each widget in a separate iteration of the event loop to cache its lines, then draw all at once."""
        await asyncio.sleep(0)
        for widget, (region, clip) in list(self._compositor.visible_widgets.items()):
            if self.is_current and widget.is_attached:
                widget.render_lines(clip.intersection(region).translate(-region.offset))
                await asyncio.sleep(0)
        self._waits_to_draw = False
        # The refresh clears the set of changed widgets, so those that have changed since the layout are drawn with it.
        self._compositor.update_widgets(self._dirty_widgets)
        self._compositor_refresh()

    def _compositor_refresh(self) -> None:
        if not self._waits_to_draw:
            super()._compositor_refresh()

    @property
    def is_out_of_date(self) -> bool:
        """True if the screen is styled for a theme other than the current one."""
        return self._styled_as != self.kelly.style_key

    @on(Resize)
    def _fit(self, event: Resize) -> None:
        """Compute the layout once per size; Textual would compute it again when notified of the size it set."""
        if event.size == self._fitted:
            event.prevent_default()
        self._fitted = event.size

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's signature
        """Hide actions that a read-only session must not run; ignore keys that arrive before the screen is mounted."""
        if action == "back" and not self.kelly.drilled_from:
            return False
        if action == "cancel" and self.is_mounted and not self.is_busy:
            return False
        return self.is_mounted and not (self.kelly.session.options.read_only and action in self.MUTATING_ACTIONS)

    @on(RecordTable.Opened)
    async def _open_row(self) -> None:
        """Run ``OPEN_ACTION`` for the row that was double-clicked."""
        if self.OPEN_ACTION and self.check_action(self.OPEN_ACTION, ()):
            await self.run_action(self.OPEN_ACTION)

    def action_back(self) -> None:
        """Return to the previous screen."""
        self.kelly.switch_mode(self.kelly.drilled_from)

    def action_copy_command(self) -> None:
        """Copy the command line."""
        self.kelly.copy(self.query_one(CommandLine).command)

    def action_copy_value(self) -> None:
        """Copy the value under the cursor."""
        copy = getattr(self.focused, "value_to_copy", None)
        if copy is not None:
            self.kelly.copy(copy())


def _fitting(length: int, breakpoints: list[tuple[int, str]]) -> list[str]:
    """Return the class of the largest breakpoint that is not above the length."""
    return [name for least, name in breakpoints if length >= least][-1:]
