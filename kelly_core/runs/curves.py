"""Losses and pace of a model by epoch, as they arrive in the log of a run."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from copy import deepcopy
from dataclasses import dataclass, field

from kelly_core import events


def _numbers() -> array[float]:
    return array("d")


@dataclass
class Curves:
    """Losses of one model by epoch; ``best`` is the index of the lowest validation loss.

    The values are arrays: the garbage collector would visit every number of a list in each collection.
    """

    epochs: array[float] = field(default_factory=_numbers)
    train_loss: array[float] = field(default_factory=_numbers)
    val_loss: array[float] = field(default_factory=_numbers)
    learning_rate: array[float] = field(default_factory=_numbers)
    frames_per_second: array[float] = field(default_factory=_numbers)
    best: int | None = None

    def add(self, event: events.EpochDone) -> None:
        """Add an epoch; an epoch repeated after a resume replaces the earlier one."""
        if self.epochs and self.epochs[-1] >= event.epoch:
            self._cut(bisect_left(self.epochs, event.epoch))
        self.epochs.append(event.epoch)
        for values, value in zip(self._values(), _figures(event), strict=True):
            values.append(value)
        self.note_best(len(self.epochs) - 1)

    def copy(self) -> Curves:
        """Return an independent copy."""
        return deepcopy(self)

    def _cut(self, length: int) -> None:
        for values in (self.epochs, *self._values()):
            del values[length:]
        self.best = None
        for index in range(length):
            self.note_best(index)

    def note_best(self, index: int) -> None:
        """Record that this epoch may be the best one."""
        loss = self.val_loss[index]
        if not math.isnan(loss) and (self.best is None or loss < self.val_loss[self.best]):
            self.best = index

    def _values(self) -> tuple[array[float], ...]:
        return self.train_loss, self.val_loss, self.learning_rate, self.frames_per_second


def _figures(event: events.EpochDone) -> tuple[float, ...]:
    return event.train_loss, event.val_loss, event.learning_rate, event.frames_per_second
