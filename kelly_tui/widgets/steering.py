"""Asking things of runs: stop, pause, go on, delete; the same on every screen that shows a run."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from kelly_tui.widgets.dialogs import Question


def stop_question(name: str) -> Question:
    """How to stop a run; the answers are "", "epoch", "step" and "now"."""
    text = "Whatever you choose, checkpoints stay and the best so far is exported."
    answers = [("", "Go on"), ("epoch", "After this epoch"), ("step", "Stop"), ("now", "At once")]
    return Question(f"Stop {name}?", text, answers, "now")


class EpochsQuestion(ModalScreen[int | None]):
    """Asks for how many epochs more a run shall train; gives None where nothing shall happen."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name_of_run = name

    def compose(self) -> ComposeResult:
        """The question and the number."""
        with Vertical(classes="dialog"):
            yield Label(f"Go on with {self._name_of_run}", classes="dialog-title", markup=False)
            yield Static("Epochs to add to those first asked for; 0 only goes on to their end. Enter starts it.")
            yield Input("0", type="integer", max_length=6, id="more", compact=True, select_on_focus=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on, unless what was typed is no number."""
        if event.value.isdecimal():
            self.dismiss(int(event.value))
