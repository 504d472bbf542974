"""The line with the equivalent shell command."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Static


class CommandLine(Static):
    """Shell command that does the same as the screen."""

    def __init__(self) -> None:
        super().__init__(id="command", markup=False)
        self.command = ""

    def show(self, command: str) -> None:
        """Show another command."""
        if command == self.command:
            return
        self.command = command
        self.update(Text.assemble(("$ ", "bold"), command))
