"""The regressions that EmotionRecognizer must beat are fitted correctly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kelly_core.evaluation.baselines import (
    MAX_POINTS,
    Points,
    best_constant,
    constant_loss,
    fit_nearest_neighbors,
    fit_ridge,
)
from tests.helpers.example_arrays import ArrayDataset
from tests.seeds import seeded_rng


def points(count: int, noise: float, groups: int = 10, seed: int = 0) -> tuple[Points, np.ndarray]:
    rng = seeded_rng(seed)
    mixing = seeded_rng(99).normal(size=(20, 2)) / 5
    inputs = rng.normal(size=(count, 20)).astype(np.float32)
    targets = (inputs @ mixing + 0.3 + noise * rng.normal(size=(count, 2))).astype(np.float32)
    names = np.array([f"song {index % groups}" for index in range(count)])
    return Points(inputs, targets, np.ones(count, np.float32), names), mixing


def error(predicted: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean((predicted - wanted) ** 2))


def test_ridge_finds_a_line_with_its_intercept() -> None:
    known, _ = points(500, noise=0.0)
    unseen, _ = points(100, noise=0.0, seed=1)
    ridge = fit_ridge(known)
    assert error(ridge(unseen.inputs), unseen.targets) < 1e-4
    np.testing.assert_allclose(ridge(np.zeros((1, 20), np.float32)), [[0.3, 0.3]], atol=0.02)


def test_ridge_of_one_output_is_that_of_several() -> None:
    known, _ = points(100, noise=0.1)
    alone, twice = (
        fit_ridge(replace(known, targets=known.targets[:, columns]))(known.inputs) for columns in ([0], [0, 0])
    )
    np.testing.assert_allclose(twice, np.repeat(alone, 2, axis=1), rtol=1e-5)


def test_ridge_of_noise_is_close_to_the_mean() -> None:
    """On unseen noise it is within 2 % of the mean's error; without a penalty the error triples."""
    rng = seeded_rng(0)
    (inputs, targets), (unseen, wanted) = (
        [rng.normal(size=(count, size)).astype(np.float32) for size in (40, 2)] for count in (60, 400)
    )
    names = np.array([f"song {index // 6}" for index in range(60)])
    ridge = fit_ridge(Points(inputs, targets, np.ones(60, np.float32), names))
    assert error(ridge(unseen), wanted) < 1.1 * error(targets.mean(axis=0), wanted)


def test_ridge_with_one_song_takes_the_strongest_penalty() -> None:
    known, _ = points(50, noise=0.1, groups=1)
    predicted = fit_ridge(known)(known.inputs)
    assert np.ptp(predicted) < 0.1 * np.ptp(known.targets)


def test_points_with_weight_zero_have_no_effect() -> None:
    known, _ = points(200, noise=0.0)
    weights = known.weights.copy()
    targets = known.targets.copy()
    weights[::2], targets[::2] = 0.0, 99.0
    ridge = fit_ridge(Points(known.inputs, targets, weights, known.groups))
    assert error(ridge(known.inputs), known.targets) < 1e-3


def test_neighbors_are_the_nearest_ten() -> None:
    inputs = np.arange(40, dtype=np.float32)[:, np.newaxis]
    known = Points(inputs, inputs, np.ones(40, np.float32), np.full(40, "song"))
    assert fit_nearest_neighbors(known)(np.array([[-5.0]], np.float32)).tolist() == [[4.5]]
    few = Points(inputs[:3], inputs[:3], np.ones(3, np.float32), np.full(3, "song"))
    assert fit_nearest_neighbors(few)(np.array([[7.0]], np.float32)).tolist() == [[1.0]]


def test_many_points_are_sampled_evenly() -> None:
    count = 3 * MAX_POINTS
    inputs = np.arange(count, dtype=np.float32)[:, np.newaxis]
    known = Points(inputs, inputs, np.ones(count, np.float32), np.full(count, "song"))
    wanted = np.array([[100.0], [count / 2], [count - 100.0]], np.float32)
    assert np.abs(fit_nearest_neighbors(known)(wanted) - wanted).max() < 30


def test_the_loss_of_the_best_constant_is_that_of_the_mean_of_the_training_targets() -> None:
    targets = np.repeat([0.0, 1.0, 0.2, 0.4], 600)[:, np.newaxis, np.newaxis] * np.ones((1, 1, 16))
    dataset = ArrayDataset(targets, 1200)
    assert constant_loss(dataset, "mse", best_constant(dataset, "mse")) == pytest.approx(
        (0.3**2 + 0.7**2) / 2, rel=1e-6
    )
