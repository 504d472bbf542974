"""Dialogs to stop, roll back and resume a run, shared by all screens that show runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from kelly_tui.dialogs.prompts import ConfirmDialog


@dataclass(frozen=True)
class StopRequest:
    """Way to stop a run, as in ``Run.request_stop``."""

    at_once: bool = False
    after_epochs: int = 0


class StopDialog(ModalScreen[StopRequest | None]):
    """Ask how to stop a run; return None to let it continue."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+o", "app.jump", "Jump", show=False),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name_of_run = name

    def compose(self) -> ComposeResult:
        """Lay out the question, the number of epochs and one button per answer; the harmless answer has the focus."""
        with Vertical(classes="dialog"):
            yield Label(f"Stop {self._name_of_run}?", classes="dialog-title", markup=False)
            yield Static("Checkpoints are kept and the best weights so far are exported in any case.")
            with Horizontal(classes="answers"):
                yield Button("Continue", id="none", compact=True)
                yield Button("After this epoch", id="later", compact=True)
                yield Button("Stop", id="step", compact=True)
                yield Button("At once", id="now", variant="error", compact=True)
            with Horizontal(id="after"):
                yield Label("epochs to complete first, this one included")
                yield Input("1", type="integer", max_length=6, id="epochs", compact=True, select_on_focus=True)

    @on(Input.Changed)
    def _name_the_number(self) -> None:
        button, epochs = self.query_one("#later", Button), self._epochs
        button.label = "After this epoch" if epochs == 1 else f"After {epochs or '…'} epochs"
        button.disabled = not epochs

    @property
    def _epochs(self) -> int:
        """Return the typed number of epochs; 0 if invalid."""
        text = self.query_one("#epochs", Input).value
        return int(text) if text.isdecimal() else 0

    @on(Input.Submitted)
    def _number_given(self) -> None:
        if self._epochs:
            self.dismiss(StopRequest(after_epochs=self._epochs))

    @on(Button.Pressed)
    def _answered(self, event: Button.Pressed) -> None:
        orders = {
            "later": StopRequest(after_epochs=self._epochs),
            "step": StopRequest(),
            "now": StopRequest(at_once=True),
        }
        self.dismiss(orders.get(event.button.id or ""))


def rollback_dialog(model: str, epoch: int) -> ConfirmDialog:
    """Return a dialog that asks whether to roll a model back to its best epoch; its answers are "" and "back"."""
    text = (
        f"{model} goes back to the weights of epoch {epoch}, its best so far, and learns on at half the learning rate, "
        "at most at that of the epoch. "
        "What came after is dropped. It may be done any number of times."
    )
    return ConfirmDialog(f"Back to epoch {epoch}?", text, [("", "Continue"), ("back", "Roll back")], "back")


class ResumeDialog(ModalScreen[int | None]):
    """Ask how many epochs to train beyond those done; return None to cancel."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name_of_run = name

    def compose(self) -> ComposeResult:
        """Lay out the question and the number."""
        with Vertical(classes="dialog"):
            yield Label(f"Resume {self._name_of_run}", classes="dialog-title", markup=False)
            yield Static("Epochs to train beyond those done; 0 trains to the planned end.")
            yield Input("0", type="integer", max_length=6, id="more", compact=True, select_on_focus=True)
            yield Label("enter starts it · esc cancels", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Resume, unless the input is invalid."""
        if event.value.isdecimal():
            self.dismiss(int(event.value))
