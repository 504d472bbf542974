"""Execution on a Dask cluster, whose workers must have the same code, packages and files."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import platform
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, Generic, TypeVar

from kelly_core.errors import ParallelError

Result = TypeVar("Result")

_PACKAGES = ("numpy", "av", "soundfile", "torch", "dask")
"""Packages whose version may change a result or its serialized format."""


@dataclass(frozen=True)
class Requirements:
    """Properties that a worker must share with the process that submits work to it.

    Attributes:
        versions: (name, version) of each package that may change results.
        files: (path, size in bytes; -1 for a folder).
    """

    versions: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, int | None], ...]

    @classmethod
    def of_this_process(cls, paths: Sequence[Path]) -> Requirements:
        """Return the package versions of this process, and the sizes of some paths on its file system."""
        # Sorted, because each worker checks equal requirements only once.
        return cls(_versions(), tuple((str(path.absolute()), _size(path)) for path in sorted(set(paths))))


@dataclass(frozen=True)
class CheckedFunction(Generic[Result]):
    """A function that only runs on a worker that meets the requirements."""

    function: Callable[..., Result]
    requirements: Requirements

    def __call__(self, *arguments: Any, **options: Any) -> Result:
        """Check this worker, then call the function."""
        _check_this_worker(self.requirements)
        return self.function(*arguments, **options)


@cache
def _check_this_worker(requirements: Requirements) -> None:
    """Check the requirements, once in each worker process.

    Raises:
        ParallelError: its versions or files differ.
    """
    worker = f"worker on {socket.gethostname()}"
    for (name, here), (_, wanted) in zip(_versions(), requirements.versions, strict=True):
        if here != wanted:
            hint = "All machines need the same versions, or the results would differ"
            raise ParallelError(
                f"has {name} {here or 'not installed'}, not {wanted or 'none'}", where=worker, hint=hint
            )
    for path, size in requirements.files:
        seen = _size(Path(path))
        if seen != size:
            problem = f"has no {path}" if seen is None else f"has a different {path}"
            hint = "All machines need the same files at the same paths: a shared folder, or copies"
            raise ParallelError(problem, where=worker, hint=hint)


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("Python", platform.python_version()), ("code of kelly_core", _code_hash())]
    for package in _PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            found.append((package, ""))
    return tuple(found)


def _code_hash() -> str:
    # The source itself, not only the version: a checkout on a worker may have local changes.
    digest = hashlib.blake2b(digest_size=6)
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _size(path: Path) -> int | None:
    """Return the bytes of a file, -1 for a folder, None for anything else."""
    try:
        return path.stat().st_size if path.is_file() else -1 if path.is_dir() else None
    except OSError:
        return None


_ANSWER_TIMEOUT_SECONDS = 10
_SECONDS_BETWEEN_CHECKS = 1.0
_SECONDS_UNTIL_REPORTED = 3.0


@contextmanager
def connect_cluster(
    scheduler: str, required_paths: Sequence[Path], waiting: Callable[[str], object]
) -> Iterator[tuple[Executor, Callable[[], bool]]]:
    """Connect to a cluster that has at least one worker.

    Args:
        scheduler: address, such as ``tcp://10.0.0.1:8786``.
        required_paths: paths whose type and size on each worker must be the same as here.
        waiting: called about once a second while there is no worker, and once when the first one arrives.

    Yields:
        An executor that computes calls on the workers after each worker's environment was checked, and a function that
        returns True if the cluster has a worker, and reports it if there has been none for a while.

    Raises:
        ParallelError: Dask is not installed, the scheduler does not answer, or the connection to it is lost.
    """
    client = _connect(scheduler)
    executor = _CheckedExecutor(client, Requirements.of_this_process(required_paths))
    watch = _WorkerWatch(client, scheduler, waiting)
    with _translated_errors(scheduler), client:
        # A cluster may start its workers after this command; waiting is reported, and Ctrl-C ends it.
        while not watch.check():
            time.sleep(_SECONDS_BETWEEN_CHECKS)
        yield executor, watch.check


class _WorkerWatch:
    """Monitor that reports when a cluster has no workers and when workers return."""

    def __init__(self, client: Any, scheduler: str, waiting: Callable[[str], object]) -> None:
        self._client, self._scheduler, self._waiting = client, scheduler, waiting
        self._no_worker_since: float | None = None
        self._reported = False

    def check(self) -> bool:
        """Return True if the cluster has a worker; report it if there has been none for a while.

        Raises:
            ParallelError: the connection to the scheduler is lost.
        """
        try:
            workers = len(self._client.scheduler_info()["workers"])
        except (OSError, KeyError) as error:
            raise _scheduler_gone(self._scheduler) from error
        if workers:
            if self._reported:
                self._waiting(f"{workers} worker{'s' * (workers > 1)} of {self._scheduler} available")
            self._no_worker_since, self._reported = None, False
            return True
        now = time.monotonic()
        if self._no_worker_since is None:
            self._no_worker_since = now
        if now - self._no_worker_since >= _SECONDS_UNTIL_REPORTED:
            self._reported = True
            start = f"dask worker {self._scheduler} --nthreads 1"
            self._waiting(f"{self._scheduler} has no workers; waiting for one with the same files: {start}")
        return False


class _CheckedExecutor(Executor):
    """The workers of a Dask client; a call fails on a worker whose environment could give a different result.

    Dask's own executor reports an error if the worker with a result is lost while the result is transferred.
    """

    def __init__(self, client: Any, requirements: Requirements) -> None:
        self._client = client
        self._requirements = requirements

    def submit(self, function: Callable[..., Result], /, *arguments: Any, **options: Any) -> Future[Result]:
        """Start one call on a worker."""
        # pure=False: Dask must not reuse a stored result of equal arguments.
        task = self._client.submit(CheckedFunction(function, self._requirements), *arguments, pure=False, **options)
        future: Future[Result] = Future()
        future.add_done_callback(lambda done: task.cancel() if done.cancelled() and not task.cancelled() else None)
        # Results arrive in the event loop of the client, which runs in its own thread.
        self._client.loop.add_callback(_deliver, task, future)
        return future


async def _deliver(task: Any, future: Future[Any]) -> None:
    """Set the result or error of a Dask task in a future; a result that was lost with its worker is computed again."""
    result = problem = None
    try:
        result = await task
    except (CancelledError, asyncio.CancelledError):
        future.cancel()
    # The function may raise any exception, and the future passes it on.
    except BaseException as error:  # noqa: BLE001
        problem = error
    # Cancelled while the task was running: its result is no longer needed.
    if not future.set_running_or_notify_cancel():
        return
    if problem is None:
        future.set_result(result)
    else:
        future.set_exception(problem)


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
        # As the default client it would also compute Dask collections of other code in this process.
        return Client(scheduler, timeout=_ANSWER_TIMEOUT_SECONDS, set_as_default=False)
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
        problem = f"a task failed: every worker that ran it was lost ({error.allowed_failures + 1} in all)"
        raise ParallelError(problem, where=error.last_worker.address, hint=hint) from error
    except (CancelledError, CommClosedError) as error:
        raise _scheduler_gone(scheduler) from error


def _scheduler_gone(scheduler: str) -> ParallelError:
    return ParallelError("the scheduler is gone", where=scheduler, hint="Start it again, then repeat this command")
