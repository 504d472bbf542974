"""Show a training in the foreground, as live bars or plain lines, and convert Ctrl-C and SIGTERM to requests."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from kelly_core.cli.console import console, print_status
from kelly_core.config.schema import NotifySettings
from kelly_core.events import EpochDone, ModelResult, TrainingWarning
from kelly_core.formatting import format_duration
from kelly_core.interrupts import INTERRUPTED
from kelly_core.runs import event_log
from kelly_core.runs.event_log import describe
from kelly_core.runs.notify import ENDED, message, terminal_sequence
from kelly_core.runs.run import Run
from kelly_core.runs.state import ModelSnapshot, RunSnapshot

if TYPE_CHECKING:
    from kelly_core.sweeps.sweep import Sweep

_TERMINATED = 143
"""Exit code of shells for SIGTERM: 128 + the number of the signal."""


class TrainingDisplay(Progress):
    """Display of a run on standard error: one bar per model on a terminal, one line per epoch elsewhere."""

    def __init__(self) -> None:
        shown = console(stderr=True)
        super().__init__(
            TextColumn("[bold]{task.description:<18}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]:>9}"),
            TextColumn("{task.fields[note]}"),
            console=shown,
            disable=not shown.is_terminal,
        )
        self._task_ids: dict[str, TaskID] = {}

    def print_event(self, event: event_log.RunEvent) -> None:
        """Print an event as a line unless the bars or the final table show it."""
        text = describe(event)
        if text is None or isinstance(event, ModelResult | event_log.RunEnded):
            return
        if isinstance(event, EpochDone | event_log.StateChanged) and (self.console.is_terminal or text == "running"):
            return
        style = "bold yellow" if isinstance(event, TrainingWarning) else None
        self.console.print(text, style=style, soft_wrap=True)

    def show(self, run: RunSnapshot) -> None:
        """Update the bars to the progress of the run."""
        if run.features:
            features = run.features
            count = f"{features.done:,}/{features.total:,}"
            self._bar(f"features of {features.dataset}", features.done, features.total, count=count, note="")
        for model in run.models:
            if model.epochs is not None:
                # Fractions of an epoch show progress within long epochs.
                done = model.epoch + (model.step / model.steps if model.steps else 0.0)
                count = f"{model.epoch}/{model.epochs}"
                self._bar(model.model, done, model.epochs, count=count, note=_note(model, run.state))

    def _bar(self, name: str, completed: float, total: int, *, count: str, note: str) -> None:
        if name not in self._task_ids:
            self._task_ids[name] = self.add_task(name, total=total, count=count, note=note)
        self.update(self._task_ids[name], completed=completed, total=total, count=count, note=note)


def watch(run: Run) -> list[ModelResult]:
    """Show a run until its process ends; return the results of models that ended while it was shown."""
    results = []
    with TrainingDisplay() as display:
        display.show(run.snapshot)
        for record in run.follow():
            display.print_event(record.event)
            display.show(run.snapshot)
            if isinstance(record.event, ModelResult):
                results.append(record.event)
    # This process writes the sequence, because the process of the run has no terminal.
    if sys.stderr.isatty():
        notify = NotifySettings.model_validate(run.manifest.settings.get("notify", {}))
        sys.stderr.write(terminal_sequence(notify, message(run, ENDED)["text"]))
        sys.stderr.flush()
    return results


def print_resume_command(run: Run, config: Path | None) -> None:
    """Print the command that continues a run if the run was stopped or crashed."""
    if run.snapshot.state not in ("stopping", "stopped", "died"):
        return
    options = [] if config is None else ["--config", str(config)]
    print_status(f"to continue: {shlex.join(['kelly-core', 'runs', *options, 'resume', run.id])}")


def _note(model: ModelSnapshot, state: str) -> str:
    parts = []
    if model.train_loss is not None and model.val_loss is not None and model.best_loss is not None:
        parts.append(f"train {model.train_loss:.4f} val {model.val_loss:.4f} best {model.best_loss:.4f}")
    if model.state in ("running", "paused") and state != "running":
        parts.append(state)
    elif model.eta_seconds is not None:
        parts.append(f"{format_duration(model.eta_seconds)} left")
    return "  ".join(parts)


class Signals:
    """Context manager that converts signals to requests.

    The first Ctrl-C or SIGTERM stops a training after the current step, the second Ctrl-C stops it immediately, and the
    third kills its process. Closing the terminal (SIGHUP) ends only this command.
    """

    def __init__(self) -> None:
        self._work: Run | Sweep | None = None
        self._interrupts = 0
        self._terminated = False

    @property
    def exit_code(self) -> int | None:
        """Exit code if a signal arrived, else None."""
        return _TERMINATED if self._terminated else INTERRUPTED if self._interrupts else None

    @property
    def killed(self) -> bool:
        """True if the third Ctrl-C killed the process."""
        return self._interrupts > 2

    def __enter__(self) -> Signals:
        # SIGHUP is not handled: the training has its own session and continues without this terminal.
        self._former = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def send_to(self, work: Run | Sweep) -> None:
        """Send requests to this run or sweep from now on, including a request of earlier signals."""
        self._work = work
        if self._interrupts or self._terminated:
            self._send()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        self._terminated = self._terminated or number == signal.SIGTERM
        self._send()

    def _send(self) -> None:
        # Before the process has started, requests cannot be sent; ``send_to`` sends earlier ones.
        if self._work is None or not self._work.live:
            return
        if self.killed:
            self._work.kill()
        else:
            self._work.request_stop(at_once=self._interrupts > 1)
