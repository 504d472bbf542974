"""The bootstrap: paired, repeatable, and with its nominal coverage."""

from __future__ import annotations

import numpy as np
import pytest

from kelly_core.evaluation import bootstrap
from kelly_core.evaluation.bootstrap import interval, resample
from tests.seeds import seeded_rng


def test_a_resample_has_as_many_groups_as_the_data() -> None:
    assert (resample(np.ones((3, 7))) == 7).all()
    (only,) = np.unique(resample(np.array([5.0])))
    assert only == 5.0


def test_two_groups_give_every_combination() -> None:
    values, counts = np.unique(resample(np.array([1.0, 10.0])), return_counts=True)
    assert values.tolist() == [2.0, 11.0, 20.0]
    np.testing.assert_allclose(counts / counts.sum(), [0.25, 0.5, 0.25], atol=0.04)


def test_all_rows_use_the_same_draws_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sums = seeded_rng(0).normal(size=(2, 3, 11))
    drawn = resample(sums)
    np.testing.assert_allclose(resample(np.concatenate([sums, 2 * sums]))[2:], 2 * drawn)
    np.testing.assert_array_equal(resample(sums), drawn)
    monkeypatch.setattr(bootstrap, "_BLOCK", 40)
    assert resample(sums).shape == drawn.shape == (2, 3, 2000)


def test_the_interval_has_about_its_nominal_coverage() -> None:
    """With 40 groups the percentile bootstrap covers .935; the bounds are 6 standard errors of 2,000 trials away."""
    trials = resample(seeded_rng(1).normal(0.3, 1.0, size=(2000, 40)), 400) / 40
    intervals = [interval(means) for means in trials]
    covered = np.mean([low <= 0.3 <= high for low, high in intervals])
    assert 0.90 <= covered <= 0.97
