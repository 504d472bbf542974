"""Dialogs with a single input: an answer to a question, or a line of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from kelly_core.formatting import printable_lines


class ConfirmDialog(ModalScreen[str | None]):
    """Ask a question; return the id of the chosen answer, None for the one without an id and for escape.

    With two answers, y selects the one with an id, and n the other.

    Args:
        title: the question.
        text: consequences of the answers.
        answers: id and label of each; the first has the focus, so it should be the harmless one.
        destructive: id of the answer that cannot be undone, "" for none.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("y", "answer(True)", show=False),
        Binding("n", "answer(False)", show=False),
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
            yield Static(printable_lines(self._text), markup=False)
            with Horizontal(classes="answers"):
                for answer, label in self._answers:
                    button = Button(label, id=answer or "none", compact=True)
                    button.set_class(bool(answer) and answer == self._destructive, "-error")
                    yield button
            if len(self._answers) == 2:
                yield Label(
                    " · ".join(f"{'y' if each else 'n'} {label}" for each, label in self._answers), classes="hint"
                )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002 - Textual's signature
        """Disable y and n if there are more than two answers."""
        return action != "answer" or len(self._answers) == 2

    def action_answer(self, yes: bool) -> None:
        """Return the answer with an id if ``yes``, or else the other one."""
        self.dismiss(next(answer for answer, _ in self._answers if bool(answer) == yes) or None)

    @on(Button.Pressed)
    def _answered(self, event: Button.Pressed) -> None:
        self.dismiss(None if event.button.id == "none" else event.button.id)


class TextPrompt(ModalScreen[str | None]):
    """Ask for one line of text; return None if canceled.

    Args:
        title: name of the text.
        about: purpose of the text, and the meaning of an empty line.
        value: initial text.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, title: str, about: str, value: str) -> None:
        super().__init__()
        self._title, self._about, self._value = title, about, value

    def compose(self) -> ComposeResult:
        """Lay out the field with the initial text."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="dialog-title", markup=False)
            yield Static(self._about, markup=False, classes="about")
            yield Input(self._value, max_length=400, compact=True)
            yield Label("enter accepts · esc cancels", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Return the text."""
        self.dismiss(event.value.strip())
