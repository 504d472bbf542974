"""Latency of single calls, in sequence on one thread."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from kelly_core.benchmark.results import Histogram, Latency
from kelly_core.engines.layers import Array

WARM_UP_CALLS = 200
_BINS_AN_OCTAVE = 2


def measure(call: Callable[[Array], object], frames: Array, calls: int) -> Latency:
    """Time ``calls`` single calls, cycling through the frames [T, in], after an untimed warm-up."""
    for index in range(WARM_UP_CALLS):
        call(frames[index % len(frames)])
    nanoseconds = np.empty(calls)
    for index in range(calls):
        frame = frames[index % len(frames)]
        start = perf_counter_ns()
        call(frame)
        nanoseconds[index] = perf_counter_ns() - start
    return summarize(nanoseconds / 1000)


def summarize(times_us: NDArray[np.float64]) -> Latency:
    """Return quantiles and histogram of times [n] in µs, n ≥ 1."""
    p50, p95, p99 = (round(float(quantile), 3) for quantile in np.quantile(times_us, [0.5, 0.95, 0.99]))
    return Latency(p50, p95, p99, round(float(times_us.max()), 3), len(times_us), _histogram(times_us))


def _histogram(times_us: NDArray[np.float64]) -> Histogram:
    """Return a histogram with half-octave bins; the bin edges are the same in every run."""
    octave = np.log2(np.maximum(times_us, 1e-3))
    bins = np.floor(_BINS_AN_OCTAVE * octave).astype(int)
    lowest, highest = int(bins.min()), int(bins.max())
    edges = 2.0 ** (np.arange(lowest, highest + 2) / _BINS_AN_OCTAVE)
    return Histogram(tuple(np.round(edges, 3).tolist()), tuple(np.bincount(bins - lowest).tolist()))
