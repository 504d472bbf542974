"""The words a training speaks: typed records handed to whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ModelStarted:
    """Training of one model begins, or goes on after ``first_epoch - 1`` epochs."""

    model: str
    dataset: str
    synthetic: bool
    train_examples: int
    validation_examples: int
    first_epoch: int
    epochs: int
    device: str
    baseline_loss: float


@dataclass(frozen=True)
class BatchDone:
    """A step was taken; ``step`` of ``steps`` in this epoch."""

    model: str
    epoch: int
    step: int
    steps: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch was trained and measured; losses are weighted means over examples."""

    model: str
    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    best_loss: float
    best_epoch: int
    patience_left: int
    learning_rate: float
    seconds: float
    frames_per_second: float


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint is complete on disk."""

    model: str
    epoch: int
    kind: Literal["best", "latest", "interval"]
    path: str


@dataclass(frozen=True)
class Alarm:
    """Something a person should know.

    ``synthetic``: generated examples stand in; ``missing``: the main corpus is not here, an additional one takes its
    place; ``leak``: training and validation share what they should not, or a gain is too good to be true;
    ``nothing_to_resume``: it starts at the beginning; ``rollback``: the loss ran away, so back to the best weights at
    half the learning rate; ``diverged``: once too often, so training ends; ``out_of_memory``: batches are computed in
    parts.
    """

    model: str
    kind: Literal["synthetic", "missing", "leak", "nothing_to_resume", "rollback", "diverged", "out_of_memory"]
    message: str


@dataclass(frozen=True)
class ModelEnded:
    """Training of one model is over; ``reason`` says why."""

    model: str
    reason: Literal["epochs_done", "early_stopping", "stopped", "diverged"]
    epoch: int
    best_epoch: int
    best_loss: float


@dataclass(frozen=True)
class Exported:
    """The best weights were written as an RTNeural file."""

    model: str
    path: str


Event = ModelStarted | BatchDone | EpochDone | CheckpointSaved | Alarm | ModelEnded | Exported
Listener = Callable[[Event], None]
