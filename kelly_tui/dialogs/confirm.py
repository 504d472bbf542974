"""Confirmation dialog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Label, Static


class ConfirmDialog(ModalScreen[str]):
    """Ask a question; return the id of the chosen answer, "" if dismissed.

    Args:
        title: the question.
        text: what follows from the answers.
        answers: id and label of each; the first has the focus, so the harmless one belongs there.
        destructive: id of the answer that cannot be undone, "" for none.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss('')", "Cancel"),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, title: str, text: str, answers: Sequence[tuple[str, str]], destructive: str = "") -> None:
        super().__init__()
        self._title, self._text, self._answers, self._destructive = title, text, answers, destructive

    def compose(self) -> ComposeResult:
        """Lay out the question and one button per answer."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="dialog-title", markup=False)
            yield Static(self._text, markup=False)
            with Horizontal(classes="answers"):
                for answer, label in self._answers:
                    button = Button(label, id=answer or "none", compact=True)
                    button.set_class(bool(answer) and answer == self._destructive, "-error")
                    yield button

    @on(Button.Pressed)
    def _answered(self, event: Button.Pressed) -> None:
        self.dismiss("" if event.button.id == "none" else event.button.id)
