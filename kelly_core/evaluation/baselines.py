"""Predictors fitted to the training examples: constants, means by bins of the input, and regressions on a frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import get_cached_controller

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.data.dataset import Batch, Dataset, Names
from kelly_core.evaluation.metrics.base import (
    CHUNK,
    Labels,
    Predictor,
    Reals,
    TrainingExamples,
    elementwise_loss,
    loss_sums,
    ratio,
)
from kelly_core.music.emotion import AROUSAL_SPREAD, CODE_SIZE, VALENCE_SPREAD, decode_affect

Regression = Callable[[Floats], Floats]
"""Regression: predictions [m, k] for inputs [m, d]."""

CURVE = "cubic curve"
"""Name of the baseline that is a smooth function of valence and arousal."""
NEIGHBORS = 10
MAX_POINTS = 4_096
"""Maximum number of training points for the nearest-neighbor search."""

_PENALTIES: Doubles = np.logspace(-3, 2, 6)
"""Penalties of the squared coefficients relative to the sum of weights; inputs are standardized."""
_FOLDS = 5
_CURVE_POINTS = 8_192
"""Maximum number of training examples for a curve, which has nine coefficients per output."""
_MIN_SHARE = 0.1
"""Minimum probability of a curve, relative to the marginal."""

_QUARTILE = 0.6745
"""Upper quartile of the standard normal distribution."""


@dataclass(frozen=True)
class Bins:
    """Partition of the inputs: ``of`` returns the bin, 0..count - 1, of each example of a batch, [N]."""

    count: int
    of: Callable[[Batch], Indices]


class _BinMeans:
    """Weighted means of targets by bin."""

    def __init__(self, bins: Bins, size: int) -> None:
        self._bins = bins
        self._totals, self._weights = np.zeros((bins.count, size)), np.zeros((bins.count, size))

    def add(self, batch: Batch) -> None:
        number = self._bins.of(batch)
        weights = np.broadcast_to(batch.weights, batch.targets.shape)
        # np.add.at adds repeated indices; indexing with += would keep only the last one.
        np.add.at(self._totals, number, (batch.targets * weights).sum(axis=1, dtype=np.float64))
        np.add.at(self._weights, number, weights.sum(axis=1, dtype=np.float64))

    def means(self, prior: Doubles | float, strength: float) -> Doubles:
        """Return means [bins, out], smoothed towards the overall mean with ``strength`` pseudo-observations of it.

        The overall mean is smoothed towards ``prior`` in the same way.
        """
        total, weight = self._totals.sum(axis=0), self._weights.sum(axis=0)
        overall = ratio(total + strength * np.asarray(prior), weight + strength)
        shrunk = ratio(self._totals + strength * overall, self._weights + strength)
        return np.where(self._weights + strength > 0, shrunk, overall)

    def predictor(self, prior: Doubles | float, strength: float) -> Predictor:
        means = self.means(prior, strength).astype(np.float32)
        return lambda batch: _repeat_over_time(means[self._bins.of(batch)], batch)


def fit_bin_means(
    training: TrainingExamples,
    partitions: Mapping[str, Bins],
    *,
    prior: Doubles | float = 0.0,
    strength: float = 0.0,
) -> dict[str, Predictor]:
    """Fit a predictor per partition, the mean target of the input's bin, in one pass over the examples.

    Args:
        training: examples to fit to.
        partitions: partitions by name.
        prior: targets of ``strength`` pseudo-observations, so that no probability is 0 or 1.
        strength: number of pseudo-observations; 0 fits plain means.
    """
    fitted = {name: _BinMeans(bins, training.dataset.output_size) for name, bins in partitions.items()}
    for batch, _ in training.batches():
        for means in fitted.values():
            means.add(batch)
    return {name: means.predictor(prior, strength) for name, means in fitted.items()}


def constant(values: Floats) -> Predictor:
    """Return a predictor with the constant output ``values`` [out]."""
    return lambda batch: _repeat_over_time(np.broadcast_to(values, (len(batch), len(values))), batch)


def mean_target(dataset: Dataset, most: int = 0) -> Doubles:
    """Return the weighted mean [out] of the training targets, or of ``most`` of them if not 0; 0 if all are masked."""
    means = _BinMeans(EVERYTHING, dataset.output_size)
    for batch, _ in TrainingExamples(dataset).batches(most):
        means.add(batch)
    overall: Doubles = means.means(0.0, 0.0)[0]
    return overall


def best_constant(dataset: Dataset, loss: str, most: int = 0) -> Doubles:
    """Return the constant output [out] with the smallest loss on the training examples, or on ``most`` if not 0.

    This is the weighted median of the targets for the absolute error and their weighted mean for all other losses:
    squared error, binary and soft cross-entropy. For a custom loss, the mean is only an initial value.
    """
    if loss != "masked_l1":
        return mean_target(dataset, most)
    batches = [batch for batch, _ in TrainingExamples(dataset).batches(most)]
    targets = np.concatenate([batch.targets.reshape(-1, dataset.output_size) for batch in batches])
    weights = np.concatenate([np.broadcast_to(each.weights, each.targets.shape) for each in batches])
    return weighted_median(targets, weights.reshape(targets.shape))


def constant_loss(dataset: Dataset, loss: str, constant: Doubles, scored: Indices | None = None) -> float:
    """Return the loss of a constant output [out] on some examples, by default those that select the best epoch."""
    output = constant.astype(np.float32)
    total = weight = 0.0
    scored = dataset.choosing if scored is None else scored
    for start in range(0, len(scored), CHUNK):
        indices = scored[start : start + CHUNK]
        batch = dataset.eval_batch(indices)
        outputs = np.broadcast_to(output, batch.targets.shape)
        losses, weights = loss_sums(loss, outputs, Labels.of(batch, dataset, indices))
        total, weight = total + float(losses.sum()), weight + float(weights.sum())
    return total / weight if weight else 0.0


@dataclass(frozen=True)
class Points:
    """Data for a regression.

    Attributes:
        inputs: [m, d].
        targets: [m, k].
        weights: [m], or of each target [m, k]; 0 where it is masked.
        groups: [m], so that cross-validation holds out entire songs.
    """

    inputs: Floats
    targets: Reals
    weights: Reals
    groups: Names

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, chosen: NDArray[np.bool_]) -> Points:
        """Return copies of the chosen points."""
        return Points(self.inputs[chosen], self.targets[chosen], self.weights[chosen], self.groups[chosen])


def weighted_median(values: Reals, weights: Reals) -> Doubles:
    """Return the median of each column of values [n, ...] with weights of the same shape; 0 if all weights are 0."""
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(np.asarray(values, np.float64), order, axis=0)
    below = np.cumsum(np.take_along_axis(np.asarray(weights, np.float64), order, axis=0), axis=0)
    # argmax of booleans is the index of the first True: the first value that half of the weight does not exceed.
    middle = np.argmax(below >= below[-1:] / 2, axis=0)
    medians: Doubles = np.take_along_axis(ordered, middle[np.newaxis], axis=0)[0]
    return np.where(below[-1] > 0, medians, 0.0)


def affect_points(
    training: TrainingExamples, scale: Callable[[Indices], Doubles] | None = None, most: int = _CURVE_POINTS
) -> Points:
    """Return one point per training example of a model downstream of the recognizer, means over its frames.

    The inputs are valence and arousal that the plugin decodes, [n, 2]; each target has its own weight in
    the measure, [n, out].

    Args:
        training: the examples.
        scale: returns the weight of an error of each output in the measure, [n, out]; None for 1.
        most: maximum number of examples, spread evenly; 0 uses all.
    """
    parts = []
    for batch, indices in training.batches(most):
        weights = np.broadcast_to(batch.weights, batch.targets.shape).astype(np.float64)
        total = weights.sum(axis=1)
        targets = ratio((weights * batch.targets).sum(axis=1), total)
        total = total if scale is None else total * scale(indices)
        parts.append((np.stack(_affect(batch), axis=1), targets, total, training.groups(indices)))
    return Points(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def fit_median(points: Points) -> Predictor:
    """Fit the constant with the smallest absolute error."""
    return constant(weighted_median(points.targets, points.weights).astype(np.float32))


def _best_penalty(points: Points, error: Callable[[Points, Points], Doubles]) -> Doubles:
    """Return the penalty, [1], with the smallest error in five-fold cross-validation over groups.

    Args:
        points: all points.
        error: fits its first argument with each penalty and returns the errors on the held-out second argument.
    """
    # Entire groups are held out: frames of one song are so similar that a fit to some of them predicts the others.
    fold = np.unique(points.groups, return_inverse=True)[1] % _FOLDS
    errors = np.zeros(len(_PENALTIES))
    if fold.any():
        for number in range(fold.max() + 1):
            errors += error(points.take(fold != number), points.take(fold == number))
    # If several penalties have the same error, or there is only one group, the strongest is chosen.
    best = len(errors) - 1 - int(np.argmin(errors[::-1]))
    return _PENALTIES[best : best + 1]


def fit_curve(points: Points, loss: str) -> Predictor:
    """Fit a cubic in valence and arousal with an L2 penalty on its coefficients.

    The penalty is the one with the smallest ``loss`` in five-fold cross-validation over groups. For an absolute error
    the curve is shifted so that the median residual of each output is 0. Probabilities are kept above a tenth of the
    marginal.
    """

    def error(rest: Points, held_out: Points) -> Doubles:
        outputs = _cubic(rest, loss, _PENALTIES)(held_out.inputs)
        each = elementwise_loss(loss, outputs, held_out.targets[:, np.newaxis])
        total: Doubles = (held_out.weights[:, np.newaxis, : each.shape[-1]] * each).sum(axis=(0, 2))
        return total

    predict = _cubic(points, loss, _best_penalty(points, error))
    return lambda batch: _repeat_over_time(predict(np.stack(_affect(batch), axis=1))[:, 0].astype(np.float32), batch)


def _cubic(points: Points, loss: str, penalties: Doubles) -> Callable[[Floats], Doubles]:
    """Fit with each penalty; the result returns outputs [m, penalties, out] for valence and arousal [m, 2]."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    terms = make_pipeline(PolynomialFeatures(3, include_bias=False), StandardScaler())
    inputs = terms.fit_transform(points.inputs)
    # Outputs with the same weights share one regression; a mask makes the weights of outputs differ.
    same = bool((points.weights == points.weights[:, :1]).all())
    columns = [slice(None)] if same else [slice(i, i + 1) for i in range(points.targets.shape[1])]
    known = [column for column in columns if points.weights[:, column].any()]
    fits = []
    for column in known:
        weights = points.weights[:, column][:, 0]
        fits.append((column, _ridge(inputs, points.targets[:, column], weights, penalties)))

    def predict(affect: Floats) -> Doubles:
        outputs = np.zeros((len(affect), len(penalties), points.targets.shape[1]))
        features = terms.transform(affect)
        for column, fitted in fits:
            outputs[..., column] = fitted(features)
        return outputs

    if loss == "masked_l1":
        residuals = points.targets[:, np.newaxis] - predict(points.inputs)
        shift = weighted_median(residuals, np.broadcast_to(points.weights[:, np.newaxis], residuals.shape))
        return lambda affect: predict(affect) + shift
    if loss in ("bce", "soft_cross_entropy"):
        return lambda affect: _as_probabilities(predict(affect), points, loss)
    return predict


def _as_probabilities(outputs: Doubles, points: Points, loss: str) -> Doubles:
    """Keep outputs [..., out] above a tenth of the marginal and, for a distribution, their sum at 1."""
    size = points.targets.shape[1]
    total, weight = (points.weights * points.targets).sum(axis=0), points.weights.sum(axis=0)
    # One pseudo-observation keeps the marginal of an output that never occurs above 0, so that its logarithm is finite.
    least = _MIN_SHARE * (total + 1 / size) / (weight + 1)
    if loss == "bce":
        return np.clip(outputs, least, 1 - least)
    kept: Doubles = np.maximum(outputs, least)
    return ratio(kept, kept.sum(axis=-1, keepdims=True))


def fit_ridge(points: Points) -> Regression:
    """Fit a linear regression with an L2 penalty on everything except the intercept (Hoerl & Kennard 1970).

    The penalty is chosen by five-fold cross-validation over the groups of the same points.
    """

    def error(rest: Points, held_out: Points) -> Doubles:
        predict = _ridge(rest.inputs, rest.targets, rest.weights, _PENALTIES)
        off = predict(held_out.inputs) - held_out.targets[:, np.newaxis]
        total: Doubles = np.einsum("n,npk->p", held_out.weights.astype(np.float64), off**2)
        return total

    chosen = _ridge(points.inputs, points.targets, points.weights, _best_penalty(points, error))
    return lambda inputs: chosen(inputs)[:, 0].astype(np.float32)


def _ridge(inputs: Reals, targets: Reals, weights: Reals, penalties: Doubles) -> Callable[[Reals], Doubles]:
    """Fit inputs [m, d], targets [m, k] and weights [m] with each penalty; predictions are [m, penalties, k]."""
    # scikit-learn loads SciPy, which no other part of the package needs.
    from sklearn.linear_model import Ridge

    inputs, targets, weights = (array.astype(np.float64) for array in (inputs, targets, weights))
    columns = targets.shape[1]
    # Given several penalties, scikit-learn multiplies the inputs once, and solves separately for each column of targets
    # and penalty; given one, it multiplies them for each penalty, and solves for all columns at once.
    parts = [penalties] if columns <= len(penalties) else list(penalties[:, np.newaxis])
    models = [Ridge(alpha=np.repeat(part, columns) * weights.sum(), solver="cholesky") for part in parts]
    # NumPy and SciPy have separate pools of BLAS threads; on a busy machine the pools mostly wait for each other.
    with get_cached_controller().limit(limits=1, user_api="blas"):
        for part, model in zip(parts, models, strict=True):
            model.fit(inputs, np.tile(targets, len(part)), sample_weight=weights)

    def predict(features: Reals) -> Doubles:
        outputs = [model.predict(features.astype(np.float64)) for model in models]
        return np.concatenate(outputs, axis=-1).reshape(len(features), len(penalties), columns)

    return predict


def fit_nearest_neighbors(points: Points) -> Regression:
    """Fit the mean of the ten nearest neighbors in at most 4,096 of the points, spread evenly."""
    from sklearn.neighbors import KNeighborsRegressor

    # Neighbors in a corpus come from the same songs, so the first points would come from few songs.
    chosen = np.arange(min(len(points), MAX_POINTS)) * len(points) // min(len(points), MAX_POINTS)
    model = KNeighborsRegressor(n_neighbors=min(NEIGHBORS, len(chosen)), algorithm="brute")
    model.fit(points.inputs[chosen], points.targets[chosen])
    return lambda inputs: model.predict(inputs).astype(np.float32)


def _repeat_over_time(values: Floats, batch: Batch) -> Floats:
    """Return values [N, out] repeated at every frame, [N, T, out]."""
    n, frames = batch.inputs.shape[:2]
    return np.broadcast_to(values[:, np.newaxis], (n, frames, values.shape[-1]))


def _affect(batch: Batch) -> tuple[Floats, Floats]:
    """Return valence and arousal [N] that the plugin decodes from the code in the inputs, means over time."""
    code = batch.inputs[..., :CODE_SIZE].mean(axis=1)
    read = decode_affect(np.pad(code, ((0, 0), (0, CODE_SIZE - code.shape[1]))))
    return read.valence, read.arousal


def _quartile(values: Floats, spread: tuple[float, float]) -> Indices:
    mean, sd = spread
    edges = (mean - _QUARTILE * sd, mean, mean + _QUARTILE * sd)
    return np.searchsorted(edges, values)


def _quadrant(batch: Batch) -> Indices:
    valence, arousal = _affect(batch)
    return 2 * (valence > 0).astype(np.intp) + (arousal > 0)


EVERYTHING = Bins(1, lambda batch: np.zeros(len(batch), np.intp))
QUADRANTS = Bins(4, _quadrant)
VALENCE_QUARTILES = Bins(4, lambda batch: _quartile(_affect(batch)[0], VALENCE_SPREAD))
AROUSAL_QUARTILES = Bins(4, lambda batch: _quartile(_affect(batch)[1], AROUSAL_SPREAD))
"""Quartiles of DEAM's songs; estimated labels are mapped to DEAM's distribution by rank."""
