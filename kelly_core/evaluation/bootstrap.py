"""Paired bootstrap: confidence intervals of differences between predictors over resampled groups, such as songs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kelly_core.arrays import Doubles

RESAMPLES = 2_000
_SEED = 0
_BLOCK = 2**22
"""Maximum number of drawn groups in memory at once."""
_TAILS = (0.025, 0.975)


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def resample(sums: Doubles, resamples: int = RESAMPLES) -> Doubles:
    """Return totals over groups drawn with replacement, as many as given; the seed is fixed.

    All sums are resampled with the same draws, so that metrics computed from them are paired.

    Args:
        sums: [..., groups], sums over each group's examples.
        resamples: number of resamples.

    Returns:
        [..., resamples].
    """
    groups = sums.shape[-1]
    rng = np.random.default_rng(_SEED)
    block = max(1, _BLOCK // groups)
    totals = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        # With an offset per row, one bincount counts the draws of all rows.
        drawn = rng.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, np.newaxis]
        counts = np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups)
        # Counts times sums equal the sum over drawn groups, without gathering them.
        totals.append(sums @ counts.T.astype(np.float64))
    return np.concatenate(totals, axis=-1)


def interval(values: Doubles) -> Interval:
    """Return the middle 95 % of resampled values [resamples] (percentile bootstrap, Efron 1979)."""
    low, high = np.quantile(values, _TAILS)
    return Interval(float(low), float(high))
