"""Questions and help that lie over a screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static


class Question(ModalScreen[str]):
    """Asks one thing; gives the id of the answer, "" for none.

    Args:
        title: the question.
        text: what follows from the answers.
        answers: id and label of each; the first has the focus, so the harmless one belongs there.
        destructive: id of the answer that cannot be undone.
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
        """The question and a button an answer."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="dialog-title", markup=False)
            yield Static(self._text, markup=False)
            with Horizontal(classes="answers"):
                for answer, label in self._answers:
                    button = Button(label, id=answer or "none", compact=True)
                    button.set_class(answer == self._destructive, "-error")
                    yield button

    @on(Button.Pressed)
    def _answered(self, event: Button.Pressed) -> None:
        self.dismiss("" if event.button.id == "none" else event.button.id)


class Entry(ModalScreen[str | None]):
    """Asks for one line of text; gives None where nothing shall change.

    Args:
        title: what it is.
        about: what it is for, and what an empty line means.
        value: the text to begin with.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Cancel")]

    def __init__(self, title: str, about: str, value: str) -> None:
        super().__init__()
        self._title, self._about, self._value = title, about, value

    def compose(self) -> ComposeResult:
        """The text in a field."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="dialog-title", markup=False)
            yield Static(self._about, markup=False, classes="about")
            yield Input(self._value, max_length=400, compact=True)
            yield Label("enter takes it · esc leaves it as it was", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take it."""
        self.dismiss(event.value.strip())


class Help(ModalScreen[None]):
    """What the focused part is for, and every key that works now."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,question_mark,q", "dismiss", "Close")]

    def __init__(self, about: str, keys: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._about, self._keys = about, keys

    def compose(self) -> ComposeResult:
        """The text, then the keys."""
        width = max((len(key) for key, _ in self._keys), default=0)
        keys = Text("\n").join(Text.assemble((f"{key:>{width}}", "bold"), f"  {what}") for key, what in self._keys)
        with VerticalScroll(classes="dialog"):
            yield Label("Help", classes="dialog-title")
            yield Static(self._about, markup=False, classes="about")
            yield Static(keys, markup=False)
