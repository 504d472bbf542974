"""The workers of a Dask cluster as an executor, and what goes wrong there in words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from kelly_core.errors import ParallelError
from kelly_core.parallel.environment import Guarded, Requirements

Result = TypeVar("Result")

_SECONDS_TO_ANSWER = 10
_SECONDS_BETWEEN_CHECKS = 1.0
_SECONDS_UNTIL_REPORTED = 3.0


class DaskCluster:
    """A connection to a cluster that has at least one worker; a context manager.

    Args:
        scheduler: address, such as ``tcp://10.0.0.1:8786``.
        required_paths: paths that each worker must see exactly as this process does.
        waiting: called about once a second while there is no worker, and once when the first one arrives.

    Attributes:
        executor: computes calls on the workers, after each worker's environment was checked.

    Raises:
        ParallelError: Dask is not installed, or the scheduler does not answer.
    """

    def __init__(self, scheduler: str, required_paths: Sequence[Path], waiting: Callable[[str], object]) -> None:
        self._scheduler = scheduler
        self._waiting = waiting
        self._no_worker_since: float | None = None
        self._reported = False
        self._client = _connect(scheduler)
        # pure=False: equal arguments must not be answered from results that Dask still holds.
        self.executor: Executor = _GuardedExecutor(
            self._client.get_executor(pure=False), Requirements.of_this_process(required_paths)
        )
        self._cleanup = ExitStack()

    def __enter__(self) -> DaskCluster:
        with ExitStack() as stack:
            stack.enter_context(_translated_errors(self._scheduler))
            stack.enter_context(self._client)
            # A cluster may start its workers after this command; the wait is reported, and Ctrl-C ends it.
            while not self.check():
                time.sleep(_SECONDS_BETWEEN_CHECKS)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._cleanup.__exit__(*error)

    def check(self) -> bool:
        """Return True if the cluster has a worker; report it if there has been none for a while.

        Raises:
            ParallelError: the scheduler is gone.
        """
        workers, now = self._count_workers(), time.monotonic()
        if workers:
            if self._reported:
                self._waiting(f"{workers} worker{'s' * (workers > 1)} of {self._scheduler} available")
            self._no_worker_since, self._reported = None, False
            return True
        if self._no_worker_since is None:
            self._no_worker_since = now
        if now - self._no_worker_since >= _SECONDS_UNTIL_REPORTED:
            self._reported = True
            start = f"dask worker {self._scheduler} --nthreads 1"
            self._waiting(f"{self._scheduler} has no workers; waiting for one that sees the same files: {start}")
        return False

    def _count_workers(self) -> int:
        try:
            return len(self._client.scheduler_info()["workers"])
        except (OSError, KeyError) as error:
            raise _scheduler_gone(self._scheduler) from error


class _GuardedExecutor(Executor):
    """Another executor, whose functions refuse to run on a worker that could give another result."""

    def __init__(self, executor: Executor, requirements: Requirements) -> None:
        self._executor = executor
        self._requirements = requirements

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        """Start one call on a worker."""
        return self._executor.submit(Guarded(function, self._requirements), *arguments, **options)


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        hint = 'Install the extra dask: pip install "kelly-trainer[dask]"'
        raise ParallelError("Dask is not installed", hint=hint) from error
    # The errors below report every problem; Dask's own log would repeat it with a traceback.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(scheduler, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except OSError as error:
        hint = f"Start one with `dask scheduler`, and use the address that it prints ({error})"
        raise ParallelError("no Dask scheduler answers here", where=scheduler, hint=hint) from error


@contextmanager
def _translated_errors(scheduler: str) -> Iterator[None]:
    """Raise a ParallelError in place of Dask's own errors."""
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        hint = "The workers may have run out of memory; read their own output"
        problem = f"a task was given up: every worker that tried it died ({error.allowed_failures + 1} in all)"
        raise ParallelError(problem, where=error.last_worker.address, hint=hint) from error
    except (CancelledError, CommClosedError) as error:
        raise _scheduler_gone(scheduler) from error


def _scheduler_gone(scheduler: str) -> ParallelError:
    return ParallelError("the scheduler is gone", where=scheduler, hint="Start it again, then repeat this command")
