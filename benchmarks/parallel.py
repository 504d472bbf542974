"""Parallel trainings: slowdown of each, and speedup over trainings in sequence.

One process per core is started. In each round, one process trains alone with one thread, all processes train at the
same time with one thread each, and one process trains with all cores. The best round of each case is used. Cores share
memory, caches and clock, so even plain matrix products on one thread each slow each other down. The slowdown of
trainings is compared with the slowdown of these products in the same rounds.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from statistics import fmean
from typing import Literal

from benchmarks.measurements import Measurement, main, measured
from kelly_core.spec import MODELS, ModelSpec

Way = Literal["alone", "together", "all cores"]

ROUNDS = 3
EPOCHS = 3
BATCHES = {True: 4, False: 300}
"""Steps of an epoch for networks with an LSTM and for dense networks; an epoch takes less than a second."""


class Processes:
    """Processes, one per core, that compute on request."""

    def __init__(self, pipes: Sequence[Connection]) -> None:
        self._pipes = pipes

    def turn(self, work: str, way: Way) -> float:
        """Return the mean speed of the processes that compute, in frames or operations per second."""
        pipes = self._pipes if way == "together" else self._pipes[:1]
        for pipe in pipes:
            pipe.send((work, len(self._pipes) if way == "all cores" else 1))
        return fmean(pipe.recv() for pipe in pipes)

    def best(self, work: str, ways: Sequence[Way]) -> dict[Way, float]:
        """Return the best speed of each way over several rounds in which the ways alternate."""
        found: dict[Way, float] = dict.fromkeys(ways, 0.0)
        for _ in range(ROUNDS):
            for way in ways:
                found[way] = max(found[way], self.turn(work, way))
        return found


@contextmanager
def processes() -> Iterator[Processes]:
    """Start one process per core, and end them afterwards."""
    context = multiprocessing.get_context("spawn")
    pairs = [context.Pipe() for _ in range(os.cpu_count() or 1)]
    children = [context.Process(target=serve, args=(theirs,), daemon=True) for _, theirs in pairs]
    for child in children:
        child.start()
    for _, theirs in pairs:
        # If it stayed open here, the end of a failed child process would not be detected.
        theirs.close()
    try:
        yield Processes([ours for ours, _ in pairs])
    finally:
        for child in children:
            child.terminate()
            child.join()


def serve(pipe: Connection) -> None:
    """Compute on request and report the speed, in a separate process."""
    from benchmarks.training import torch_product_flops, torch_threads

    works: dict[str, Callable[[], float]] = {"product": torch_product_flops} | {
        spec.name: trainer_of(spec) for spec in MODELS
    }
    while True:
        work, threads = pipe.recv()
        with torch_threads(threads):
            pipe.send(works[work]())


def trainer_of(spec: ModelSpec) -> Callable[[], float]:
    """Return a function that trains some epochs and returns the frames per second of the middle one."""
    from benchmarks.training import BATCH, RandomDataset, our_epochs

    dataset = RandomDataset(spec, BATCH * BATCHES[spec.recurrent])
    return lambda: sorted(speed for speed, _ in our_epochs(spec, dataset, EPOCHS))[EPOCHS // 2]


def measure() -> list[Measurement]:
    """Measure all five models."""
    with processes() as all_of_them:
        product = all_of_them.best("product", ("alone", "together"))
        forced = product["together"] / product["alone"]
        measurements = [Measurement("Parallel matrix products: speed kept by each", 100 * forced, "%")]
        for spec in MODELS:
            measurements += measurements_of(
                spec, all_of_them.best(spec.name, ("alone", "together", "all cores")), forced
            )
    return measurements


def measurements_of(spec: ModelSpec, speeds: dict[Way, float], forced: float) -> list[Measurement]:
    """Return the measurements of one model; ``forced`` is the share of its speed that a matrix product keeps."""
    kept = speeds["together"] / speeds["alone"]
    one_by_one = max(speeds["alone"], speeds["all cores"])
    cores = os.cpu_count() or 1
    return [
        Measurement.at_least(
            f"{spec.name}: speed kept in parallel, relative to the products",
            100 * kept / forced,
            "%",
            90,
            f"{speeds['together']:,.0f} of {speeds['alone']:,.0f} frames/s",
        ),
        Measurement.at_least(
            f"{spec.name}: {cores} in parallel, relative to in sequence",
            cores * speeds["together"] / one_by_one,
            "×",
            1.0,
            f"one alone: {speeds['alone']:,.0f} frames/s with a thread, {speeds['all cores']:,.0f} with all cores",
        ),
    ]


if __name__ == "__main__":
    main(partial(measured, measure), __doc__)
