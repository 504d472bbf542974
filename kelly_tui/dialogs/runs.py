"""Dialogs about runs: stop, roll back, resume, and choose some to overlay; shared by all screens that show runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from kelly_core.runs.run_dir import short_id
from kelly_core.runs.state import RunSnapshot
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.formatting import age_text, models_text, run_state_text
from kelly_tui.themes import ThemeColors
from kelly_tui.widgets.record_table import RecordTable, Row

MAX_MARKED_RUNS = 4
"""Maximum number of marked runs, so that these and the main run have different colors."""


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
                yield Label("epochs to complete first, including this one")
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
        requests = {
            "later": StopRequest(after_epochs=self._epochs),
            "step": StopRequest(),
            "now": StopRequest(at_once=True),
        }
        self.dismiss(requests.get(event.button.id or ""))


def rollback_dialog(model: str, epoch: int) -> ConfirmDialog:
    """Return a dialog that asks whether to roll a model back to its best epoch; its answer is "back"."""
    text = (
        f"{model} goes back to the weights of epoch {epoch}, its best so far, and continues at half the learning rate, "
        "or at the rate of that epoch if it is lower. "
        "Later epochs are discarded. This can be repeated any number of times."
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


class RunPicker(ModalScreen[list[str] | None]):
    """Mark runs with the space bar; return the marked ids, or None to keep the selection.

    Args:
        runs: the runs to choose from, the latest first.
        marked: ids of the runs that are marked already.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("space", "mark", "Mark"),
        Binding("enter", "done", "Done"),
    ]

    def __init__(self, runs: Sequence[RunSnapshot], marked: Sequence[str]) -> None:
        super().__init__()
        self._runs, self._marked = runs, list(marked)

    def compose(self) -> ComposeResult:
        """Lay out the runs and the key hints."""
        with Vertical(classes="dialog"):
            yield Label("Curves of other runs", classes="dialog-title")
            yield RecordTable(("", "run", "state", "models", "when"), extras=("models",), id="others")
            yield Label("space marks · enter shows them · esc cancels", classes="hint")

    def on_mount(self) -> None:
        """Focus the latest run."""
        self._show()

    def _show(self) -> None:
        colors = ThemeColors.of(self.app.theme_variables)

        def row(run: RunSnapshot) -> Row:
            mark = "[x]" if run.id in self._marked else "[ ]"
            state, models = run_state_text(run, colors), models_text(run.model_names)
            return Row(run.id, (mark, short_id(run.id), state, models, age_text(run.created)))

        self.query_one(RecordTable).show(map(row, self._runs))

    @on(RecordTable.MarkClicked)
    def action_mark(self) -> None:
        """Toggle the run under the cursor."""
        current = self.query_one(RecordTable).current
        if current is not None:
            self._marked = toggle_mark(self._marked, current)
            self._show()

    def action_done(self) -> None:
        """Return the marked runs."""
        self.dismiss(self._marked)


def toggle_mark(marked: Sequence[str], run_id: str) -> list[str]:
    """Return the marked runs after toggling one; beyond the limit, the oldest mark is dropped."""
    if run_id in marked:
        return [other for other in marked if other != run_id]
    return [*marked, run_id][-MAX_MARKED_RUNS:]
