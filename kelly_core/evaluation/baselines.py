"""Predictors fitted to the training examples: constants, means by bins of the input, and regressions on a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kelly_core.data.dataset import Batch, Dataset, Floats, Indices, Names
from kelly_core.evaluation.metrics.base import (
    CHUNK,
    Doubles,
    Labels,
    Predictor,
    TrainingExamples,
    loss_sums,
    ratio,
)
from kelly_core.music.emotion import AROUSAL_SPREAD, CODE_SIZE, VALENCE_SPREAD, decode
from kelly_core.spec import Loss

Regression = Callable[[Floats], Floats]
"""Predictions [m, k] for inputs [m, d]."""

NEIGHBOURS = 10
MOST_POINTS = 4_096
"""Training points among which the nearest are searched."""

_PENALTIES: Doubles = np.logspace(-3, 2, 6)
"""Penalty of the squared coefficients as a share of the sum of weights; inputs are standardised."""
_FOLDS = 5

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


def best_constant_loss(dataset: Dataset, loss: Loss) -> float:
    """Return the validation loss of the best constant output: the weighted mean of the training targets.

    The mean minimizes each of the losses: squared error, binary and soft cross-entropy.
    """
    mean = mean_target(dataset).astype(np.float32)
    total = weight = 0.0
    for start in range(0, len(dataset.validation), CHUNK):
        indices = dataset.validation[start : start + CHUNK]
        batch = dataset.eval_batch(indices)
        outputs = np.broadcast_to(mean, batch.targets.shape)
        losses, weights = loss_sums(loss, outputs, Labels.of(batch, dataset, indices))
        total, weight = total + float(losses.sum()), weight + float(weights.sum())
    return total / weight if weight else 0.0


@dataclass(frozen=True)
class Points:
    """Data for a regression.

    Attributes:
        inputs: [m, d].
        targets: [m, k].
        weights: [m].
        groups: [m], so that cross-validation holds out whole songs.
    """

    inputs: Floats
    targets: Floats
    weights: Floats
    groups: Names

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, chosen: NDArray[np.bool_]) -> Points:
        """The chosen points, copied."""
        return Points(self.inputs[chosen], self.targets[chosen], self.weights[chosen], self.groups[chosen])


def fit_ridge(points: Points) -> Regression:
    """Fit a linear regression with an L2 penalty on everything except the intercept (Hoerl & Kennard 1970).

    The penalty is chosen by five-fold cross-validation over the groups of the same points.
    """
    fold = np.unique(points.groups, return_inverse=True)[1] % _FOLDS
    errors = np.zeros(len(_PENALTIES))
    if fold.any():
        for number in range(fold.max() + 1):
            held_out = points.take(fold == number)
            off = _ridge(points.take(fold != number), _PENALTIES)(held_out.inputs) - held_out.targets[:, np.newaxis]
            errors += np.einsum("n,npk->p", held_out.weights.astype(np.float64), off**2)
    # If several penalties do equally well, or there is only one group, the strongest is the safest.
    best = len(errors) - 1 - int(np.argmin(errors[::-1]))
    predict = _ridge(points, _PENALTIES[best : best + 1])
    return lambda inputs: predict(inputs)[:, 0].astype(np.float32)


def _ridge(points: Points, penalties: Doubles) -> Callable[[Floats], Doubles]:
    """Fit with each penalty; the result gives predictions [m, penalties, k]."""
    # scikit-learn loads SciPy, which no other part of the package needs.
    from sklearn.linear_model import Ridge

    size = points.targets.shape[1]
    weights = points.weights.astype(np.float64)
    # One penalty for each column of targets, so that all of them share the products of the inputs.
    model = Ridge(alpha=np.repeat(penalties * weights.sum(), size), solver="cholesky")
    targets = np.tile(points.targets.astype(np.float64), (1, len(penalties)))
    model.fit(points.inputs.astype(np.float64), targets, sample_weight=weights)
    return lambda inputs: model.predict(inputs.astype(np.float64)).reshape(len(inputs), len(penalties), size)


def fit_nearest_neighbors(points: Points) -> Regression:
    """Fit the mean of the ten nearest among at most 4,096 points, which are spread evenly over those given."""
    from sklearn.neighbors import KNeighborsRegressor

    chosen = np.arange(min(len(points), MOST_POINTS)) * len(points) // min(len(points), MOST_POINTS)
    model = KNeighborsRegressor(n_neighbors=min(NEIGHBOURS, len(chosen)), algorithm="brute")
    model.fit(points.inputs[chosen], points.targets[chosen])
    return lambda inputs: model.predict(inputs).astype(np.float32)


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
