"""Text lines for events, and their way into the console log of a run."""

from __future__ import annotations

import contextlib
import sys
import time

from kelly_core import events
from kelly_core.display_text import printable_lines
from kelly_core.runs import log_records
from kelly_core.runs.log_records import RunEvent

_ENDINGS = {
    "epochs_done": "all epochs done",
    "early_stopping": "stopped early, no more progress",
    "stopped": "stopped as asked",
    "diverged": "stopped, the loss ran away again and again",
}


def describe(event: RunEvent) -> str | None:
    """Describe an event in one line; None for frequent events."""
    match event:
        case events.ModelStarted():
            data = f"{'synthetic ' if event.synthetic else ''}{event.dataset}"
            return (
                f"{event.model}: {event.train_examples:,} training and {event.validation_examples:,} validation "
                f"examples of {data} on {event.device}, baseline loss {event.baseline_loss:.4f}"
            )
        case events.EpochDone():
            losses = f"train {event.train_loss:.4f} val {event.val_loss:.4f} best {event.best_loss:.4f}"
            return f"{event.model}: epoch {event.epoch}/{event.epochs} {losses} ({event.seconds:.1f} s)"
        case events.TrainingWarning():
            return f"{event.model}: {event.message}"
        case events.SettingsChanged():
            values = {"learning rate": event.learning_rate, "patience": event.patience, "epochs": event.epochs}
            changed = ", ".join(f"{name} {value:g}" for name, value in values.items() if value is not None)
            return f"{event.model}: from epoch {event.epoch + 1} on {changed}, as requested"
        case events.ModelEnded():
            return f"{event.model}: {_ENDINGS[event.reason]} after epoch {event.epoch}"
        case events.Exported():
            return f"{event.model}: wrote {event.path}"
        case events.ModelResult():
            text = event.error or event.verdict
            return f"{event.model}: {text}" if text else None
    return _describe_record(event)


def _describe_record(event: RunEvent) -> str | None:
    """Describe the events that the run's process adds."""
    match event:
        case log_records.FeaturesRead():
            return f"features of {event.dataset}: {event.note}" if event.note else None
        case log_records.StateChanged():
            left = event.epochs_left
            later = f" after {left} more epoch{'s' if left > 1 else ''}" if left else ""
            return f"{event.state}{later}"
        case log_records.Revived():
            return f"back after {event.silent_seconds:.0f} s without a sign of life"
        case log_records.RunEnded():
            return f"{event.state}: {event.error}" if event.error else event.state
    return None


def print_line(text: str) -> None:
    """Print a line with the time of day; if the disk is full, the line is lost instead of the training."""
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {printable_lines(text)}\n")
        sys.stdout.flush()
