"""The line that shows the equivalent shell command."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static


class CommandLine(Static):
    """The command that does the same as the screen, for a shell."""

    def __init__(self) -> None:
        super().__init__(id="command", markup=False)
        self.command = ""

    def show(self, command: str) -> None:
        """Show another command."""
        if command == self.command:
            return
        self.command = command
        self.update(Text.assemble(("$ ", "bold"), command))
