"""Timing single calls: which calls count, and what quantiles and histogram say of them."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest

from kelly_core.benchmark import suite
from kelly_core.engines.layers import Array
from tests.seeds import seeded_rng


def test_only_the_calls_after_the_warm_up_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves on by 1 µs in each call, and by 50 µs in each call of the warm-up."""
    frames = np.arange(6, dtype=np.float32).reshape(3, 2)
    clock, seen = [0], list[float]()

    def call(frame: Array) -> None:
        seen.append(float(frame[0]))
        clock[0] += 1_000 if len(seen) > suite.WARM_UP_CALLS else 50_000

    monkeypatch.setattr(suite, "perf_counter_ns", lambda: clock[0])
    result = suite.measure(call, frames, 2000)
    assert (result.p50_us, result.max_us, result.n) == (1.0, 1.0, 2000)
    turns = cycle([0.0, 2.0, 4.0])
    assert seen[suite.WARM_UP_CALLS :] == [next(turns) for _ in range(2000)]


def test_quantiles_by_hand() -> None:
    times = seeded_rng(0).permutation(np.arange(1.0, 101.0))
    result = suite.summarize(times)
    assert (result.p50_us, result.p95_us, result.p99_us, result.max_us) == (50.5, 95.05, 99.01, 100.0)


def test_the_histogram_counts_every_call_once_between_its_edges() -> None:
    times = np.exp(seeded_rng(1).normal(3, 1.5, 5000))
    histogram = suite.summarize(times).histogram
    assert histogram is not None
    assert len(histogram.edges_us) == len(histogram.counts) + 1
    assert np.allclose(np.divide(histogram.edges_us[1:], histogram.edges_us[:-1]), np.sqrt(2), rtol=1e-2)
    for low, high, count in zip(histogram.edges_us, histogram.edges_us[1:], histogram.counts, strict=False):
        assert count == pytest.approx(np.count_nonzero((times >= low) & (times < high)), abs=5)
    assert sum(histogram.counts) == 5000
    assert histogram.counts[0]
    assert histogram.counts[-1]


def test_calls_that_all_take_alike_have_one_bin() -> None:
    histogram = suite.summarize(np.full(10, 3.0)).histogram
    assert histogram is not None
    assert histogram.counts == (10,)
    low, high = histogram.edges_us
    assert low <= 3.0 <= high
    assert suite.summarize(np.zeros(3)).max_us == 0
