"""The dialog that starts a training."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from kelly_core.errors import ConfigError
from kelly_core.spec import MODELS
from kelly_tui.widgets.form import parsed
from kelly_tui.widgets.listing import Listing, Row
from kelly_tui.workspace import Workspace

_INPUTS = (
    ("epochs", "--epochs", "training.epochs"),
    ("device", "--device", "training.device"),
    ("output", "--output", "output.dir"),
)


@dataclass(frozen=True)
class Order:
    """What shall be trained: models, what was typed by dotted key, and the command line that asks for the same."""

    models: tuple[str, ...]
    typed: dict[str, tuple[str, object]]
    command: tuple[str, ...]


class NewTraining(ModalScreen[Order | None]):
    """Choose models and what differs from the settings."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+s", "start", "Start"),
        Binding("space", "choose", "Choose"),
        Binding("ctrl+y", "synthetic", "Synthetic data"),
    ]

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._chosen = {spec.name for spec in MODELS}
        self._synthetic = workspace.settings.datasets.use_synthetic

    def compose(self) -> ComposeResult:
        """Models, then what differs, then the command."""
        settings = self._workspace.settings
        shown = {"epochs": settings.training.epochs, "device": settings.training.device, "output": settings.output.dir}
        with VerticalScroll(classes="dialog", can_focus=False):
            yield Label("Start a training", classes="dialog-title")
            yield Listing(("", "model", "learns from"), id="chosen")
            for name, _, _ in _INPUTS:
                with Horizontal(classes="setting"):
                    yield Label(name, classes="setting-name")
                    yield Input(placeholder=str(shown[name]), id=name, compact=True, max_length=200)
            yield Label("space chooses a model, ctrl+y switches synthetic data, ctrl+s starts", classes="hint")
            yield Static("", id="order", markup=False)
            with Horizontal(classes="answers"):
                yield Button("Start", id="start", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        """Begin with the models."""
        self.query_one("#chosen").focus()
        self._show_models()
        self._show()

    def _show_models(self) -> None:
        """A cross for each chosen model; it says the same without colours."""
        synthetic = "synthetic " if self._synthetic else ""
        rows = [
            Row(spec.name, ("[x]" if spec.name in self._chosen else "[ ]", spec.name, f"{synthetic}{spec.dataset}"))
            for spec in MODELS
        ]
        self.query_one("#chosen", Listing).show(rows)
        self._show()

    def action_choose(self) -> None:
        """Choose the model under the cursor, or leave it out."""
        current = self.query_one("#chosen", Listing).current
        if current is not None:
            self._chosen ^= {current}
            self._show_models()

    def action_synthetic(self) -> None:
        """Train on synthetic data, or on the corpora where the settings do not forbid them."""
        self._synthetic = not self._synthetic or self._workspace.settings.datasets.use_synthetic
        self._show_models()

    def _typed(self) -> dict[str, tuple[str, object]]:
        typed: dict[str, tuple[str, object]] = {}
        for name, option, key in _INPUTS:
            text = self.query_one(f"#{name}", Input).value.strip()
            if text:
                typed[key] = (option, parsed(text) if name == "epochs" else text)
        if self._synthetic and not self._workspace.settings.datasets.use_synthetic:
            typed["datasets.use_synthetic"] = ("--use-synthetic", True)
        return typed

    def _order(self) -> Order:
        models = tuple(spec.name for spec in MODELS if spec.name in self._chosen)
        typed = self._typed()
        words = ["train", "--detach"]
        words += [word for model in models for word in ("--model", model)] if len(models) < len(MODELS) else []
        for option, value in typed.values():
            words += [option] if value is True else [option, str(value)]
        return Order(models, typed, ("kelly-core", *words, *self._workspace.config_words))

    def _problem(self, order: Order) -> str:
        if not order.models:
            return "Choose at least one model with the space bar."
        try:
            self._workspace.load(order.typed)
        except ConfigError as error:
            return str(error)
        return ""

    @on(Input.Changed)
    def _show(self) -> None:
        order = self._order()
        problem = self._problem(order)
        shown = self.query_one("#order", Static)
        shown.update(problem or f"$ {shlex.join(order.command)}")
        shown.set_class(bool(problem), "-problem")
        self.query_one("#start", Button).disabled = bool(problem)

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        """Start it, unless something is wrong."""
        order = self._order()
        if not self._problem(order):
            self.dismiss(order)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)
