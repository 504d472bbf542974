"""Log pane of the Train screen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.strip import Strip
from textual.widgets import Log

from kelly_core.formatting import printable
from kelly_tui.widgets.panels import set_border_title

_MAX_LINES = 500
_REVERSED = Style(reverse=True)
_TIME = re.compile(r"\d{1,2}:\d\d(:\d\d)?")


class RunLog(Log):
    """Log lines; only new ones are drawn. The pane follows the last line until the user scrolls up."""

    HELP = (
        "Log of the training. It follows the last line until you scroll up; f follows again. / searches, n and N go "
        "to the next and the previous match, escape ends the search; # shows line numbers. A time such as 14:05 goes "
        "to that time."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("G", "scroll_end", show=False),
        Binding("ctrl+d", "page_down", show=False),
        Binding("ctrl+u", "page_up", show=False),
        Binding("h", "scroll_left", show=False),
        Binding("l", "scroll_right", show=False),
        Binding("slash", "search", "Search", tooltip="Search the log for a text, or go to a time"),
        Binding("n", "match(1)", "Next match", tooltip="Go to the next match"),
        Binding("N", "match(-1)", "Previous match", show=False, tooltip="Go to the previous match"),
        Binding("escape", "end_search", "End search", tooltip="End the search; n has its other meaning again"),
        Binding("f", "follow", "Follow", show=False, tooltip="Follow the last line, or stay here"),
        Binding("number_sign", "numbers", "Line numbers", show=False, tooltip="Show or hide line numbers"),
    ]

    @dataclass
    class SearchWanted(Message):
        """Request to ask the user for a search text; ``text`` is the previous one."""

        text: str

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, max_lines=_MAX_LINES, classes="panel")
        self.border_title = "log"
        self._shown: tuple[str, ...] = ()
        self._follows = True
        self._numbered = False
        self._wanted = ""
        self._pending = ""
        self._pointed: int | None = None

    def show(self, lines: tuple[str, ...]) -> None:
        """Show these lines."""
        known = len(self._shown)
        if lines[:known] == self._shown:
            new = lines[known:]
        elif known and self._shown[-1] in lines:
            # Only the last lines of a run are kept, so the first of the shown lines may be missing in ``lines``.
            new = lines[lines.index(self._shown[-1]) + 1 :]
        else:
            # These are lines of another run.
            self.clear()
            self._follows, self._pointed = True, None
            new = lines
        self._shown = lines
        if new:
            self.write_lines(map(printable, new), scroll_end=False)
            self._scroll_to_new()
            self._show_state()
        if lines and self._pending:
            self.search(self._pending)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow new lines while the last line is in view."""
        super().watch_scroll_y(old_value, new_value)
        self._follows = self.is_vertical_scroll_end
        self._show_state()

    def on_resize(self) -> None:
        """Keep the last line in view; Log itself stops following when the pane becomes lower or was hidden."""
        self.call_after_refresh(self._scroll_to_new)

    def _scroll_to_new(self) -> None:
        if self._follows:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def _show_state(self) -> None:
        """Show the search text in the lower border, and a note if the log does not follow the last line."""
        parts = [
            f"/{self._wanted} {len(self._matches)} lines" if self._wanted else "",
            "" if self._follows else "f follows",
        ]
        set_border_title(self, "log", " · ".join(filter(None, parts)))

    @property
    def _matches(self) -> list[int]:
        wanted = self._wanted.casefold()
        return [number for number, line in enumerate(self.lines) if wanted in line.casefold()] if wanted else []

    def render_line(self, y: int) -> Strip:
        """Draw a line, with its number if enabled, and reversed if the current match or the charts' cursor is on it."""
        number = y + self.scroll_offset.y
        strip = super().render_line(y)
        if number >= self.line_count:
            return strip
        # Not when scrolled to the right: the number would then cut off the end of the line.
        if self._numbered and not self.scroll_offset.x:
            prefix = Segment(f"{number + 1:>4} ", self.rich_style)
            strip = Strip([prefix, *strip.crop(0, max(0, self.size.width - 5))], self.size.width)
        if number == self._pointed:
            strip = Strip([Segment(text, style and style + _REVERSED, control) for text, style, control in strip])
        return strip

    def action_follow(self) -> None:
        """Follow the last line, or stop following."""
        self._follows = not self._follows
        self._scroll_to_new()
        self._show_state()

    def action_numbers(self) -> None:
        """Show or hide line numbers."""
        self._numbered = not self._numbered
        self.refresh()

    def action_search(self) -> None:
        """Request a search text from the screen."""
        self.post_message(self.SearchWanted(self._wanted))

    def search(self, text: str) -> None:
        """Go to the next match of a text from the current position, or to a time of day if the text is one.

        A search before the log is read is delayed until then; otherwise the search would find nothing.
        """
        self._pending = "" if self._shown else text
        if self._pending:
            return
        if _TIME.fullmatch(text):
            self._go_to_time(text.zfill(len("00:00") if text.count(":") == 1 else len("00:00:00")))
            return
        self._wanted = text
        self.refresh_bindings()
        self.action_match(1)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leave the keys of a search to the screen while there is no search text."""
        return bool(self._wanted) if action in ("match", "end_search") else super().check_action(action, parameters)

    def action_end_search(self) -> None:
        """Clear the search text."""
        self.search("")

    def action_match(self, step: int) -> None:
        """Go to the next match in a direction; the first match follows the last one."""
        here = self._pointed if self._pointed is not None else self.scroll_offset.y - (step > 0)
        matches = self._matches
        ahead = [number for number in matches if (number > here if step > 0 else number < here)]
        ends = (ahead or matches) if step > 0 else (ahead or matches)[::-1]
        self._go_to(next(iter(ends), None))
        if self._wanted and not matches:
            self.app.notify(f"The log does not contain {self._wanted}.", severity="warning", timeout=4)

    def _go_to_time(self, text: str) -> None:
        """Go to the first line that is not older than a time of day; lines without a time are skipped."""
        found = (n for n, line in enumerate(self.lines) if _TIME.match(line) and line[: len(text)] >= text)
        number = next(found, None)
        if number is None:
            self.app.notify(f"The log has no line from {text} on.", severity="warning", timeout=4)
            return
        self._go_to(number)

    def show_epoch(self, epoch: float | None) -> None:
        """Point at the line about an epoch; None clears it."""
        if epoch is None:
            self._pointed = None
            self.refresh()
            return
        wanted = f"epoch {epoch:.0f}/"
        found = [number for number, line in enumerate(self.lines) if wanted in line]
        if found:
            self._go_to(found[-1])

    def _go_to(self, number: int | None) -> None:
        self._pointed = number
        if number is not None:
            self._follows = False
            self.scroll_to(y=max(0, number - self.size.height // 2), animate=False, immediate=True)
        self._show_state()
        self.refresh()

    def value_to_copy(self) -> str:
        """Return all lines."""
        return "\n".join(self._shown)
