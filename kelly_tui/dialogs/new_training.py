"""The dialog that starts a training."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from kelly_core.errors import ConfigError
from kelly_core.formatting import format_bytes, format_duration
from kelly_core.spec import MODELS
from kelly_tui.jobs import KELLY_CORE, Job, LatestJob, call_from_worker
from kelly_tui.session import Session
from kelly_tui.widgets.record_table import RecordTable, Row
from kelly_tui.widgets.settings_form import parsed

_INPUTS = (
    ("epochs", "--epochs", "training.epochs"),
    ("device", "--device", "training.device"),
    ("output", "--output", "output.dir"),
)


@dataclass(frozen=True)
class TrainingRequest:
    """A requested training: models, settings by dotted key, and the equivalent command line.

    If ``queued`` is True, it waits until its device is free.
    """

    models: tuple[str, ...]
    typed: dict[str, tuple[str, object]]
    command: tuple[str, ...]
    queued: bool = False


class NewTrainingDialog(ModalScreen[TrainingRequest | None]):
    """Choose models and settings for a new training."""

    VERTICAL_BREAKPOINTS = [(0, "-flat"), (22, "-low")]  # noqa: RUF012 - declared by Screen without ClassVar
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("ctrl+s", "start", "Start"),
        Binding("ctrl+t", "queue", "Queue"),
        Binding("ctrl+o", "app.jump", "Jump", show=False),
        Binding("space", "choose", "Choose"),
        *(Binding(str(number), f"choose_by_number({number})", show=False) for number in range(1, len(MODELS) + 1)),
        Binding("ctrl+y", "synthetic", "Synthetic data"),
        # Priority, because an input field has its own binding for this key. The other keys have no priority:
        # a key with priority would be handled before earlier keys that are still in the queue.
        Binding("ctrl+e", "estimate", "Estimate", priority=True),
    ]

    def __init__(self, session: Session, start: Callable[[Sequence[str]], Job]) -> None:
        super().__init__()
        self._session = session
        self._job = LatestJob(start)
        self._chosen = {spec.name for spec in MODELS}
        self._synthetic = session.settings.datasets.use_synthetic

    def compose(self) -> ComposeResult:
        """Lay out models, settings and the command."""
        settings = self._session.settings
        shown = {"epochs": settings.training.epochs, "device": settings.training.device, "output": settings.output.dir}
        with VerticalScroll(classes="dialog", can_focus=False):
            yield Label("Start a training", classes="dialog-title")
            yield RecordTable(("", "model", "learns from"), id="chosen")
            for name, _, _ in _INPUTS:
                with Horizontal(classes="setting"):
                    yield Label(name, classes="setting-name")
                    yield Input(placeholder=str(shown[name]), id=name, compact=True, max_length=200)
            yield Label("1-5 model · ^y synthetic · ^e estimate · ^t queue · ^s start", classes="hint")
            yield Static("", id="request", markup=False)
            yield Static("", id="estimate", markup=False)
            with Horizontal(classes="answers"):
                yield Button("Start", id="start", variant="primary", compact=True)
                yield Button("Queue", id="queue", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        """Focus the list of models."""
        self.query_one(RecordTable).focus()
        self._show_models()

    def on_unmount(self) -> None:
        """Cancel an estimate in progress."""
        self._job.cancel()

    def _show_models(self) -> None:
        """Mark chosen models with a cross, so that the choice is visible without color."""
        synthetic = "synthetic " if self._synthetic else ""
        rows = []
        for number, spec in enumerate(MODELS, 1):
            mark = "x" if spec.name in self._chosen else " "
            rows.append(Row(spec.name, (f"{number} [{mark}]", spec.name, f"{synthetic}{spec.dataset}")))
        self.query_one(RecordTable).show(rows)
        self._show()

    @on(RecordTable.MarkClicked)
    def action_choose(self) -> None:
        """Toggle the model under the cursor."""
        current = self.query_one(RecordTable).current
        if current is not None:
            self._chosen ^= {current}
            self._show_models()

    def action_choose_by_number(self, number: int) -> None:
        """Choose only one model if all are chosen, otherwise toggle it."""
        name = MODELS[number - 1].name
        self._chosen = {name} if len(self._chosen) == len(MODELS) else self._chosen ^ {name}
        self._show_models()

    def action_synthetic(self) -> None:
        """Toggle synthetic data; when it is off, corpora are used unless the settings disable them."""
        self._synthetic = not self._synthetic or self._session.settings.datasets.use_synthetic
        self._show_models()

    def _request(self) -> TrainingRequest:
        typed: dict[str, tuple[str, object]] = {}
        for name, option, key in _INPUTS:
            text = self.query_one(f"#{name}", Input).value.strip()
            if text:
                typed[key] = (option, parsed(text) if name == "epochs" else text)
        if self._synthetic and not self._session.settings.datasets.use_synthetic:
            typed["datasets.use_synthetic"] = ("--use-synthetic", True)
        models = tuple(spec.name for spec in MODELS if spec.name in self._chosen)
        words = ["kelly-core", "train", "--detach"]
        words += [word for model in models for word in ("--model", model)] if len(models) < len(MODELS) else []
        for option, value in typed.values():
            words += [option] if value is True else [option, str(value)]
        demo = () if "output.dir" in typed else self._session.demo_options
        return TrainingRequest(models, typed, (*words, *demo, *self._session.config_options))

    def _problem(self, request: TrainingRequest) -> str:
        if not request.models:
            return "Choose at least one model with the space bar."
        try:
            self._session.load(request.typed)
        except ConfigError as error:
            return str(error)
        return ""

    @on(Input.Changed)
    def _show(self) -> None:
        request = self._request()
        problem = self._problem(request)
        shown = self.query_one("#request", Static)
        shown.update(problem or f"$ {self._session.command_text(request.command[1:])}")
        shown.set_class(bool(problem), "-problem")
        for name in ("#start", "#queue"):
            self.query_one(name, Button).disabled = bool(problem)

    def action_estimate(self) -> None:
        """Train for a few seconds and estimate the total time."""
        request = self._request()
        if not self._problem(request):
            self._show_estimate("trying for a few seconds …")
            self._estimate(request)

    @work(thread=True, exclusive=True)
    def _estimate(self, request: TrainingRequest) -> None:
        words = [word for word in request.command[1:] if word != "--detach"]
        job = self._job.start([*KELLY_CORE, *words, "--estimate", "--json"])
        try:
            rows = json.loads("".join(job.lines()))["models"]
            seconds, memory = sum(row["seconds"] for row in rows), max(row["memory_bytes"] for row in rows)
            text = f"at most {format_duration(seconds)} for all epochs, {format_bytes(memory)} of memory"
        except (ValueError, KeyError):
            text = job.problem or "the trial ended without a result"
        call_from_worker(self, self._show_estimate_of, request, text)

    def _show_estimate_of(self, request: TrainingRequest, text: str) -> None:
        """Show the estimate if the request has not changed."""
        self._show_estimate(text if request == self._request() else "")

    def _show_estimate(self, text: str) -> None:
        shown = self.query_one("#estimate", Static)
        shown.update(text)
        shown.display = bool(text)

    @on(Button.Pressed, "#start")
    def action_start(self) -> None:
        """Start the training if the request is valid."""
        request = self._request()
        if not self._problem(request):
            self.dismiss(request)

    @on(Button.Pressed, "#queue")
    def action_queue(self) -> None:
        """Queue the training until its device is free, if the request is valid."""
        request = self._request()
        if not self._problem(request):
            command = tuple("--queue" if word == "--detach" else word for word in request.command)
            self.dismiss(replace(request, command=command, queued=True))

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(None)
