"""Events of a training, as typed records for its listeners."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from kelly_core.bounds import MAX_COUNT, Count, Rate, Real, Seconds

Concern = Literal["", "plateau", "overfitting"]
"""Problem that the loss curves show, "" for none."""

EndReason = Literal["epochs_done", "early_stopping", "stopped", "diverged"]
"""Why a training ended."""

WarningKind = Literal[
    "synthetic",
    "made_by_rules",
    "missing",
    "leak",
    "split",
    "nothing_to_resume",
    "rollback",
    "diverged",
    "out_of_memory",
    "plateau",
    "overfitting",
    "replaced",
]
"""Kinds of warnings; see ``TrainingWarning``."""


@dataclass(frozen=True)
class ModelStarted:
    """Training of one model begins, or continues after ``first_epoch - 1`` epochs.

    ``baseline_loss`` is the loss of the best constant output; ``bayes_loss`` is the lowest loss that any model could
    reach, known for generated data only.
    """

    model: str
    dataset: str
    synthetic: bool
    train_examples: Count
    validation_examples: Count
    first_epoch: Count
    epochs: Count
    device: str
    baseline_loss: Real
    bayes_loss: float | None = None


@dataclass(frozen=True)
class BatchDone:
    """A step was taken; ``step`` of ``steps`` in this epoch."""

    model: str
    epoch: Count
    step: Count
    steps: Count


@dataclass(frozen=True)
class EpochDone:
    """An epoch was trained and measured; losses are weighted means over examples.

    ``steps`` is the number of steps taken in ``seconds``; None in logs of earlier versions. ``concern`` is the problem
    that the loss curves show up to this epoch.
    """

    model: str
    epoch: Count
    epochs: Count
    train_loss: Real
    val_loss: Real
    best_loss: Real
    best_epoch: Count
    patience_left: Count
    learning_rate: Real
    seconds: Seconds
    frames_per_second: Rate
    steps: Count | None = None
    concern: Concern = ""


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint is complete on disk."""

    model: str
    epoch: Count
    kind: Literal["best", "latest", "interval"]
    path: str


@dataclass(frozen=True)
class TrainingWarning:
    """Warning for the user.

    ``synthetic``: generated examples replace the corpus; ``made_by_rules``: the corpus is marked as made by rules;
    ``missing``: the main corpus is missing, and an additional one replaces it; ``leak``: training and validation data
    overlap, or a gain is implausibly large; ``split``: official splits are unknown or incomplete;
    ``nothing_to_resume``: there is no checkpoint, so training starts at the beginning; ``rollback``: the loss diverged
    or a user requested it, so training returns to the best weights at half the learning rate; ``diverged``: the loss
    diverged too often and training ends; ``out_of_memory``: batches are split into micro-batches; ``plateau`` and
    ``overfitting``: the losses do not improve as they should (see ``training.loss_monitor``), reported once when it
    begins; ``replaced``: an export of another training was replaced, or kept as the better one.
    """

    model: str
    kind: WarningKind
    message: str


@dataclass(frozen=True)
class SettingsChanged:
    """Settings of a model in training were changed on request after ``epoch`` complete epochs; None means unchanged."""

    model: str
    epoch: Count
    learning_rate: float | None = None
    patience: Count | None = None
    epochs: Count | None = None


@dataclass(frozen=True)
class ModelEnded:
    """Training of one model is over; ``reason`` is the cause."""

    model: str
    reason: EndReason
    epoch: Count
    best_epoch: Count
    best_loss: Real


@dataclass(frozen=True)
class Exported:
    """The best weights were written as an RTNeural file."""

    model: str
    path: str


@dataclass(frozen=True)
class ModelResult:
    """Result of one model, from reading its data to its export.

    Attributes:
        model: its name.
        dataset: corpus that it was trained on.
        synthetic: True if generated examples replaced the corpus.
        export: path of the file for the plugin; None if nothing could be exported.
        reason: why its training ended; None if it could not start.
        epochs: complete epochs.
        metrics: of the best epoch, {} if no epoch was completed: ``best_epoch``, ``val_loss``, ``baseline_loss``; on
            generated data also ``bayes_loss`` and ``epsilon``.
        seconds: total time.
        error: why it failed, "" if it did not.
        verdict: one line that states whether it counts as trained, "" if its quality was not measured.
    """

    model: str
    dataset: str
    synthetic: bool
    export: str | None
    reason: str | None
    epochs: Count
    metrics: dict[str, Annotated[int, Field(ge=-MAX_COUNT, le=MAX_COUNT)] | Real]
    seconds: Seconds
    error: str = ""
    verdict: str = ""


Event = (
    ModelStarted
    | BatchDone
    | EpochDone
    | CheckpointSaved
    | TrainingWarning
    | SettingsChanged
    | ModelEnded
    | Exported
    | ModelResult
)
Listener = Callable[[Event], None]
