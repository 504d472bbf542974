"""Log pane of the Train screen."""

from __future__ import annotations

from textual.widgets import Log


class RunLog(Log):
    """Log lines; only new ones are drawn."""

    HELP = "What the training said. Scroll with the arrow keys; the copy key takes all of it."

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, max_lines=500, classes="panel")
        self._told: tuple[str, ...] = ()
        self._follows = True

    def show(self, lines: tuple[str, ...]) -> None:
        """Show these lines."""
        known = len(self._told)
        if lines[:known] == self._told:
            new = lines[known:]
        elif known and self._told[-1] in lines:
            new = lines[lines.index(self._told[-1]) + 1 :]
        else:
            self.clear()
            self._follows = True
            new = lines
        self._told = lines
        if new:
            self.write_lines(new, scroll_end=False)
            self._scroll_to_new()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Follow new lines while the last line is in view."""
        super().watch_scroll_y(old_value, new_value)
        self._follows = self.is_vertical_scroll_end

    def on_resize(self) -> None:
        """Keep the last line in view; Log itself stops following when the pane becomes lower or was hidden."""
        self.call_after_refresh(self._scroll_to_new)

    def _scroll_to_new(self) -> None:
        if self._follows:
            self.scroll_end(animate=False, immediate=True, x_axis=False)

    def value_to_copy(self) -> str:
        """Return all lines."""
        return "\n".join(self._told)
