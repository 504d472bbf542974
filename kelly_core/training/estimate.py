"""Estimate of the time and memory of a training, from a few seconds of it."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kelly_core.data.dataset import Dataset
from kelly_core.events import EpochDone, Event
from kelly_core.spec import ModelSpec
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.trainer import Requests, Trainer

_TRIAL_SECONDS = 3.0
_WARM_UP_STEPS = 3


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a training on this machine, if early stopping does not shorten it.

    Attributes:
        model: name of the model.
        epochs: number of epochs.
        steps: optimizer steps per epoch.
        seconds_per_epoch: seconds of training and validation per epoch.
        seconds: seconds of all epochs.
        memory_bytes: peak memory of the process in the trial, including its data.
        device_memory_bytes: peak memory on the GPU; 0 without a GPU.
    """

    model: str
    epochs: int
    steps: int
    seconds_per_epoch: float
    seconds: float
    memory_bytes: int
    device_memory_bytes: int


def estimate(
    spec: ModelSpec, dataset: Dataset, settings: Hyperparameters, trial_seconds: float = _TRIAL_SECONDS
) -> Estimate:
    """Train for a few seconds in a scratch folder and extrapolate.

    Raises:
        TrainingError, ConfigError: as ``Trainer``.
    """
    clock = _Clock(trial_seconds)
    trial = replace(settings, patience=0, save_history=False, save_plots=False)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(spec, dataset, trial, Path(folder), listen=clock.listen, requests=Requests(clock.step))
        trainer.fit()
    steps = trainer.batches.steps_per_epoch
    seconds = clock.seconds_per_epoch(steps)
    return Estimate(
        model=spec.name,
        epochs=settings.epochs,
        steps=steps,
        seconds_per_epoch=seconds,
        seconds=seconds * settings.epochs,
        memory_bytes=_peak_memory(),
        device_memory_bytes=torch.cuda.max_memory_allocated() if trainer.device.type == "cuda" else 0,
    )


class _Clock:
    """Listener that records the ends of steps and epochs, and requests a stop when the trial's time is up."""

    def __init__(self, trial_seconds: float) -> None:
        self._started = time.perf_counter()
        self._limit = self._started + trial_seconds
        self._over = False
        self._steps: list[float] = []
        self._epochs: list[float] = []

    def step(self) -> bool:
        # The trainer calls this again after a requested stop; that call is not a further step.
        if not self._over:
            self._steps.append(time.perf_counter())
            self._over = self._steps[-1] > self._limit and len(self._steps) > _WARM_UP_STEPS
        return self._over

    def listen(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            self._epochs.append(time.perf_counter())

    def seconds_per_epoch(self, steps: int) -> float:
        """Seconds between complete epochs if there are two, else computed from the speed of steps and validation."""
        if len(self._epochs) > 1:
            return (self._epochs[-1] - self._epochs[0]) / (len(self._epochs) - 1)
        if self._epochs:
            return self._epochs[0] - self._started
        # The first steps also fill caches and memory pools, and are slower than later steps.
        timed = self._steps[min(_WARM_UP_STEPS, len(self._steps) - 1) - 1 :]
        pace = (timed[-1] - timed[0]) / max(1, len(timed) - 1)
        validation = time.perf_counter() - self._steps[-1]
        return pace * steps + validation


def _peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux reports kibibytes.
    return peak if sys.platform == "darwin" else peak * 1024
