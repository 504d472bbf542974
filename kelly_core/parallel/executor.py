"""Map a function over many items: in processes of this machine, or on the workers of a Dask cluster.

Both are a ``concurrent.futures.Executor``: loky's reusable process pool, or the executor of a Dask client. Each item's
result is yielded once. If a worker is lost, another one computes its items again.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kelly_core.errors import ParallelError

Waiting = Callable[[str], object]
"""Receives a message for the user while no worker can compute anything."""

Item = TypeVar("Item")
Result = TypeVar("Result")

ALLOWED_FAILURES = 3
"""Consecutive losses of workers on the same items before the computation fails; Dask's own default."""

_SECONDS_BETWEEN_CHECKS = 1.0
_CHUNK_SECONDS = 0.1
_MAX_CHUNK = 32
_CHUNKS_PER_WORKER = 16
_CLUSTER_CHUNKS = 256
"""Maximum chunks in flight on a cluster, whose number of workers may grow at any time."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def map_ordered(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int = 0,
    scheduler: str = "",
    required_paths: Sequence[Path] = (),
    waiting: Waiting = lambda _text: None,
) -> Iterator[Result]:
    """Yield the function's result for each item in the order of the items.

    Args:
        function: a picklable function; computing an item twice must be harmless.
        items: its arguments.
        jobs: local processes (0 = one per core). A cluster uses all threads of its workers.
        scheduler: address of a Dask cluster, such as ``tcp://10.0.0.1:8786``; "" computes on this machine.
        required_paths: paths whose type and size on each worker of a cluster must be the same as here.
        waiting: called about once a second while a cluster has no worker, and once when the first one arrives. An
            exception that it raises ends the computation.

    Raises:
        ParallelError: the cluster is unreachable, a worker is unusable, or workers were lost too often.
    """
    if not items:
        # Without items, neither a cluster nor a worker is required.
        return
    # In this process: a pool of one worker would only add startup time and copies of arguments and results.
    if not scheduler and (jobs or _core_count()) == 1:
        yield from map(function, items)
        return
    done = failures = 0
    with _open_pool(jobs, scheduler, required_paths, waiting) as pool:
        while done < len(items):
            done_before = done
            try:
                for result in _map_in_chunks(pool, function, items[done:]):
                    yield result
                    done += 1
            except BrokenExecutor as error:
                # Results since the previous loss show that the next item did not kill the workers.
                failures = failures + 1 if done == done_before else 1
                if failures > ALLOWED_FAILURES:
                    hint = "The machine may have run out of memory; try fewer jobs"
                    raise ParallelError(f"worker processes died {failures} times in a row", hint=hint) from error


def map_unordered(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int = 0,
    scheduler: str = "",
    required_paths: Sequence[Path] = (),
    waiting: Waiting = lambda _text: None,
) -> Iterator[Result]:
    """Yield the function's results as they complete, for a function that only waits for other processes.

    Locally it runs in threads. Arguments and errors are the same as for ``map_ordered``.
    """
    with _open_pool(jobs, scheduler, required_paths, waiting, threads=True) as pool:
        pending = {pool.executor.submit(function, item) for item in items}
        try:
            while pending:
                completed = _wait_for_any(pool, pending)
                pending -= completed
                yield from (future.result() for future in completed)
        finally:
            # Calls that have not started must not start after an error; running calls can finish.
            _cancel(pending)


def _core_count() -> int:
    return os.cpu_count() or 1


@dataclass(frozen=True)
class WorkerPool:
    """An executor, with the limits and the check that the map functions use.

    Attributes:
        executor: where calls are computed.
        max_chunks: chunks submitted and not yet yielded; this bounds memory.
        check: called while nothing completes; it may raise to end the computation.
    """

    executor: Executor
    max_chunks: int
    check: Callable[[], object] = lambda: None


class _TimedResults(NamedTuple):
    seconds: float
    results: list[object]


def _compute_chunk(function: Callable[[Item], Result], chunk: Sequence[Item]) -> _TimedResults:
    start = time.perf_counter()
    results: list[object] = [function(item) for item in chunk]
    return _TimedResults(time.perf_counter() - start, results)


def _map_in_chunks(
    pool: WorkerPool, function: Callable[[Item], Result], items: Sequence[Item]
) -> Generator[Result, None, None]:
    """Yield results in order; a bounded number of chunks is in flight.

    Chunks grow while they take less than ``_CHUNK_SECONDS``. This keeps the cost of passing a chunk to another process
    small compared with the cost of its calls, and spreads long calls over all workers.
    """
    pending: deque[Future[_TimedResults]] = deque()
    start, size = 0, 1
    try:
        while start < len(items) or pending:
            while start < len(items) and len(pending) < pool.max_chunks:
                pending.append(pool.executor.submit(_compute_chunk, function, items[start : start + size]))
                start += size
            # Wait only for the oldest chunk: results are yielded in order, and this bounds the buffered results.
            _wait_for_any(pool, {pending[0]})
            timed = pending.popleft().result()
            # Doubling only below half the limit keeps the next chunk below the limit.
            if timed.seconds < _CHUNK_SECONDS / 2:
                size = min(2 * size, _MAX_CHUNK)
            yield from timed.results  # type: ignore[misc]
    finally:
        # Also if the caller stops early: chunks that have not started must not keep the workers busy.
        _cancel(pending)


def _wait_for_any(pool: WorkerPool, futures: set[Future[Result]]) -> set[Future[Result]]:
    """Wait until at least one future completes, and check the pool while waiting."""
    while not (completed := wait(futures, _SECONDS_BETWEEN_CHECKS, FIRST_COMPLETED).done):
        pool.check()
    return completed


def _cancel(futures: deque[Future[Result]] | set[Future[Result]]) -> None:
    for future in futures:
        future.cancel()


@contextmanager
def _open_pool(
    jobs: int, scheduler: str, required_paths: Sequence[Path], waiting: Waiting, *, threads: bool = False
) -> Iterator[WorkerPool]:
    count = jobs or _core_count()
    if scheduler:
        from kelly_core.parallel.dask import connect_cluster

        with connect_cluster(scheduler, required_paths, waiting) as (cluster, check):
            yield WorkerPool(cluster, _CLUSTER_CHUNKS, check)
    elif threads:
        with ThreadPoolExecutor(count) as executor:
            yield WorkerPool(executor, _CHUNKS_PER_WORKER * count)
    else:
        yield WorkerPool(_LocalProcesses(count), _CHUNKS_PER_WORKER * count)


class _LocalProcesses(Executor):
    """loky's reusable pool of worker processes.

    A pool that lost a worker stays broken, so each submission requests the current one. Between two maps the
    workers stay alive for ten seconds, and keep the modules that they have imported.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        # Without this each worker would start as many BLAS threads as the machine has cores.
        self._environment = dict.fromkeys(_THREAD_VARIABLES, str(max(1, _core_count() // count)))

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        """Start one call in a worker process."""
        from loky import get_reusable_executor

        pool = get_reusable_executor(self._count, env=self._environment)
        future: Future[Result] = pool.submit(function, *arguments, **options)
        return future
