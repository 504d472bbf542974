"""Losses and pace of a model by epoch, as they arrive in the log of a run, and their decimation for drawing."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
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


def thinned(
    xs: Sequence[float], ys: Sequence[float], columns: int, first: int = 0, end: int | None = None, *, log: bool = False
) -> Iterator[tuple[float, float]]:
    """Yield the points of a curve, at most two for each column of a picture: its minimum and its maximum, in order.

    Columns hold the same number of points: one more epoch leaves all but the last column as they are. A column without
    a value that can be drawn yields NaN or another such value.

    Args:
        xs, ys: of the points.
        columns: width of the picture.
        first, end: range of the points; ``end`` None is all of them.
        log: values that are not positive cannot be drawn, either.
    """
    end = len(xs) if end is None else end
    if end - first <= 2 * columns:
        yield from zip(xs[first:end], ys[first:end], strict=True)
        return
    # Here for the first screen's sake; a hundred thousand points are looked through at each redraw.
    import numpy as np

    values = np.asarray(ys, dtype=np.float64)[first:end]
    drawable = np.isfinite(values) & (values > 0) if log else np.isfinite(values)
    size = -(-len(values) // columns)
    # The last value again fills the last column: the first of two equal ones is taken, which has an x.
    free = -len(values) % size
    starts = np.arange(first, end, size)
    filled = [values] if drawable.all() else [np.where(drawable, values, filler) for filler in (np.inf, -np.inf)]
    by_column = [np.pad(each, (0, free), "edge").reshape(-1, size) for each in filled]
    indices = np.sort([starts + by_column[0].argmin(axis=1), starts + by_column[-1].argmax(axis=1)], axis=0)
    for index, other in indices.T.tolist():
        yield xs[index], ys[index]
        if other != index:
            yield xs[other], ys[other]
