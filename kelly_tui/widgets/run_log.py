"""The log pane of the Train screen."""

from __future__ import annotations

from textual.widgets import Log


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
