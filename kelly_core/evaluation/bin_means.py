"""Predictors that answer with a mean of the training targets: of all, or of those whose input falls into a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kelly_core.data.dataset import Batch, Dataset, Floats, Indices
from kelly_core.evaluation.model_metrics import Doubles, Predictor, TrainingExamples, ratio
from kelly_core.music.emotion import AROUSAL_SPREAD, CODE_SIZE, VALENCE_SPREAD, decode

_QUARTILE = 0.6745
"""Upper quartile of the standard normal distribution."""


@dataclass(frozen=True)
class BinMeans:
    """A partition of the inputs: ``of`` gives the cell, 0..count - 1, of each example of a batch, [N]."""

    count: int
    of: Callable[[Batch], Indices]


class _CellMeans:
    """Weighted means of targets by cell."""

    def __init__(self, cells: BinMeans, size: int) -> None:
        self._cells = cells
        self._totals, self._weights = np.zeros((cells.count, size)), np.zeros((cells.count, size))

    def add(self, batch: Batch) -> None:
        cell = self._cells.of(batch)
        weights = np.broadcast_to(batch.weights, batch.targets.shape)
        np.add.at(self._totals, cell, (batch.targets * weights).sum(axis=1, dtype=np.float64))
        np.add.at(self._weights, cell, weights.sum(axis=1, dtype=np.float64))

    def means(self, prior: Doubles | float, strength: float) -> Doubles:
        """Means [cells, out] with the overall mean seen ``strength`` times more, and with that one ``prior``."""
        total, weight = self._totals.sum(axis=0), self._weights.sum(axis=0)
        overall = ratio(total + strength * np.asarray(prior), weight + strength)
        shrunk = ratio(self._totals + strength * overall, self._weights + strength)
        return np.where(self._weights + strength > 0, shrunk, overall)

    def predictor(self, prior: Doubles | float, strength: float) -> Predictor:
        means = self.means(prior, strength).astype(np.float32)
        return lambda batch: _spread(means[self._cells.of(batch)], batch)


def fit_bin_means(
    training: TrainingExamples,
    partitions: Mapping[str, BinMeans],
    *,
    prior: Doubles | float = 0.0,
    strength: float = 0.0,
) -> dict[str, Predictor]:
    """Predictors that answer with the mean target of the input's cell, one a partition, in one pass over the examples.

    Args:
        training: what to fit to.
        partitions: by name.
        prior: targets that are assumed as if seen ``strength`` times, so that no probability is 0 or 1.
        strength: 0 fits plain means.
    """
    fitted = {name: _CellMeans(cells, training.dataset.output_size) for name, cells in partitions.items()}
    for batch, _ in training.batches():
        for means in fitted.values():
            means.add(batch)
    return {name: means.predictor(prior, strength) for name, means in fitted.items()}


def constant(values: Floats) -> Predictor:
    """Always answers ``values`` [out]."""
    return lambda batch: _spread(np.broadcast_to(values, (len(batch), len(values))), batch)


def mean_target(dataset: Dataset) -> Doubles:
    """Weighted mean [out] of the training targets; 0 where all of them are masked."""
    means = _CellMeans(EVERYTHING, dataset.output_size)
    for batch, _ in TrainingExamples(dataset).batches():
        means.add(batch)
    overall: Doubles = means.means(0.0, 0.0)[0]
    return overall


def _spread(values: Floats, batch: Batch) -> Floats:
    """Values [N, out] at every frame, [N, T, out]."""
    n, frames = batch.inputs.shape[:2]
    return np.broadcast_to(values[:, np.newaxis], (n, frames, values.shape[-1]))


def _affect(batch: Batch) -> tuple[Floats, Floats]:
    """Valence and arousal [N] that the plugin reads from the code at the front of the inputs, means over time."""
    code = batch.inputs[..., :CODE_SIZE].mean(axis=1)
    read = decode(np.pad(code, ((0, 0), (0, CODE_SIZE - code.shape[1]))))
    return read.valence, read.arousal


def _quartile(values: Floats, spread: tuple[float, float]) -> Indices:
    mean, sd = spread
    edges = (mean - _QUARTILE * sd, mean, mean + _QUARTILE * sd)
    return np.searchsorted(edges, values)


def _quadrant(batch: Batch) -> NDArray[np.intp]:
    valence, arousal = _affect(batch)
    return 2 * (valence > 0).astype(np.intp) + (arousal > 0)


EVERYTHING = BinMeans(1, lambda batch: np.zeros(len(batch), np.intp))
QUADRANTS = BinMeans(4, _quadrant)
VALENCE_QUARTILES = BinMeans(4, lambda batch: _quartile(_affect(batch)[0], VALENCE_SPREAD))
AROUSAL_QUARTILES = BinMeans(4, lambda batch: _quartile(_affect(batch)[1], AROUSAL_SPREAD))
"""Quartiles of DEAM's songs, to whose distribution estimated labels are ranked."""
