"""Two plain regressions from a frame's numbers: ridge and nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kelly_core.data.dataset import Floats, Names
from kelly_core.evaluation.model_metrics import Doubles

NEIGHBOURS = 10
MOST_POINTS = 4_096
"""Training points that the nearest are looked for among."""

_PENALTIES = 10.0 ** np.arange(-3, 3)
"""Share of the sum of weights that is added to the diagonal; inputs are standardised."""
_FOLDS = 5
_BLOCK = 2_048


@dataclass(frozen=True)
class Points:
    """What a regression is fitted to.

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


class Ridge:
    """Linear regression with an L2 penalty on all but the intercept.

    The penalty is chosen by cross-validation over groups of the very points it is fitted to (Hoerl & Kennard 1970).
    """

    def __init__(self, points: Points) -> None:
        fold = np.unique(points.groups, return_inverse=True)[1] % _FOLDS
        moments = [_Moments.of(points, fold == number) for number in range(_FOLDS) if (fold == number).any()]
        whole = _Moments.total(moments)
        errors = [0.0 if len(moments) < 2 else _error(moments, whole, penalty) for penalty in _PENALTIES]
        # Of equals, as where there is but one group and nothing to choose by, the strongest is the safest.
        best = len(errors) - 1 - int(np.argmin(errors[::-1]))
        self._coefficients = whole.solve(float(_PENALTIES[best]))

    def __call__(self, inputs: Floats) -> Floats:
        """Predictions [m, k] for inputs [m, d]."""
        predicted: Floats = (inputs @ self._coefficients[:-1] + self._coefficients[-1]).astype(np.float32)
        return predicted


@dataclass(frozen=True)
class _Moments:
    """Weighted sums of products: inputs with themselves [d + 1, d + 1], with targets [d + 1, k], targets squared."""

    gram: Doubles
    cross: Doubles
    square: float
    weight: float

    @classmethod
    def of(cls, points: Points, chosen: NDArray[np.bool_]) -> _Moments:
        inputs, targets = points.inputs[chosen].astype(np.float64), points.targets[chosen].astype(np.float64)
        weights = points.weights[chosen].astype(np.float64)
        extended = np.column_stack([inputs, np.ones(len(inputs))])
        weighted = (extended * weights[:, np.newaxis]).T
        return cls(weighted @ extended, weighted @ targets, float(weights @ (targets**2).sum(axis=1)), weights.sum())

    @classmethod
    def total(cls, parts: list[_Moments]) -> _Moments:
        return cls(
            np.sum([part.gram for part in parts], axis=0),
            np.sum([part.cross for part in parts], axis=0),
            sum(part.square for part in parts),
            sum(part.weight for part in parts),
        )

    def without(self, part: _Moments) -> _Moments:
        return _Moments(
            self.gram - part.gram, self.cross - part.cross, self.square - part.square, self.weight - part.weight
        )

    def solve(self, penalty: float) -> Doubles:
        diagonal = np.full(len(self.gram), penalty * self.weight)
        diagonal[-1] = 0.0
        return np.linalg.solve(self.gram + np.diag(diagonal), self.cross).astype(np.float64)

    def error(self, coefficients: Doubles) -> float:
        """Weighted sum of squared errors."""
        explained = coefficients * (self.gram @ coefficients - 2 * self.cross)
        return float(explained.sum() + self.square)


def _error(folds: list[_Moments], whole: _Moments, penalty: float) -> float:
    return sum(fold.error(whole.without(fold).solve(penalty)) for fold in folds)


class NearestNeighbours:
    """Mean of the targets of the ten nearest among at most 4,096 points, evenly spread over those given."""

    def __init__(self, points: Points) -> None:
        chosen = np.arange(len(points)) if len(points) <= MOST_POINTS else _evenly(len(points))
        self._inputs, self._targets = points.inputs[chosen], points.targets[chosen]
        self._squares = np.square(self._inputs).sum(axis=1)
        self._count = min(NEIGHBOURS, len(chosen))

    def __call__(self, inputs: Floats) -> Floats:
        """Predictions [m, k] for inputs [m, d]."""
        predicted = np.empty((len(inputs), self._targets.shape[1]), np.float32)
        for start in range(0, len(inputs), _BLOCK):
            # The square of the input itself is the same for all points, so it is left out.
            distance = self._squares - 2 * (inputs[start : start + _BLOCK] @ self._inputs.T)
            nearest = np.argpartition(distance, self._count - 1, axis=1)[:, : self._count]
            predicted[start : start + _BLOCK] = self._targets[nearest].mean(axis=1)
        return predicted


def _evenly(count: int) -> NDArray[np.intp]:
    return np.arange(MOST_POINTS) * count // MOST_POINTS
