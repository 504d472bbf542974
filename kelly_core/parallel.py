"""The same function over many items: in processes of this machine, or on the workers of a Dask cluster.

joblib's backends do the work. Whatever the backend, each item's result arrives once, and what a lost process was
computing is computed again by another.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import socket
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from kelly_core.errors import ParallelError

if TYPE_CHECKING:
    import joblib

Waiting = Callable[[str], object]
"""Takes what a person should know while there is no worker to compute anything."""

Item = TypeVar("Item")
Result = TypeVar("Result")

ALLOWED_LOSSES = 3
"""How often in a row processes may be lost over the same work before it is given up; as Dask's own default."""

_SECONDS_TO_ANSWER = 10
_SECONDS_BETWEEN_LOOKS = 1.0
_SECONDS_UNTIL_TOLD = 3.0
_WINDOW = 4096
"""Items whose results may wait for one before them: this bounds memory. Two windows are in work at a time."""
_EXAMPLES = 3
_PACKAGES = ("numpy", "symusic", "av", "soundfile", "torch", "joblib", "dask")
"""Those whose version may change a result, or keep it from arriving."""


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int = 0,
    scheduler: str = "",
    sees: Sequence[Path] = (),
    waiting: Waiting = lambda text: None,
) -> Iterator[Result]:
    """The function's result for each item, in the items' order, each as soon as it and all before it are there.

    Args:
        function: what to compute; it must be possible to pickle it, and computing an item twice must do no harm.
        items: what to compute it for.
        jobs: local processes at once; 0 takes one a core. A cluster computes as many as its workers have threads.
        scheduler: address of a Dask cluster, such as ``tcp://10.0.0.1:8786``; "" computes on this machine.
        sees: paths that every worker of a cluster must see as this process does.
        waiting: told so, every second, while a cluster has no worker, and once when there is one again. It may be
            called from another thread; what it raises ends the waiting, and is raised here.

    Raises:
        ParallelError: the cluster cannot be reached, or a worker cannot be used; processes were lost again and again.
    """
    done = losses = 0
    with _workers(jobs, scheduler, sees, waiting) as workers:
        while done < len(items):
            before = done
            try:
                for result in _windows(workers, function, items[done:]):
                    yield result
                    done += 1
            except BrokenExecutor as error:
                losses = losses + 1 if done == before else 1
                if losses > ALLOWED_LOSSES:
                    hint = "Out of memory, perhaps; try fewer jobs"
                    raise ParallelError("worker processes died again and again", hint=hint) from error


def as_done(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int = 0,
    scheduler: str = "",
    sees: Sequence[Path] = (),
    waiting: Waiting = lambda text: None,
) -> Iterator[Result]:
    """The function's results in the order in which they come, for a function that only waits for other processes.

    Locally it is called in threads. Arguments and errors are those of ``in_order``.
    """
    with _workers(jobs, scheduler, sees, waiting) as workers:
        parallel = workers.parallel(return_as="generator_unordered", prefer="threads", batch_size=1)
        yield from parallel(workers.tasks(function, items))


def _windows(
    workers: _Workers, function: Callable[[Item], Result], items: Sequence[Item]
) -> Generator[Result, None, None]:
    """Results in order, window after window; the next one is begun early, so that no worker idles at the seam."""
    running: deque[Generator[Result, None, None]] = deque()
    try:
        for start in range(0, len(items), _WINDOW):
            parallel = workers.parallel(return_as="generator", prefer="processes", batch_size="auto")
            running.append(parallel(workers.tasks(function, items[start : start + _WINDOW])))
            while len(running) > 1 or (running and start + _WINDOW >= len(items)):
                yield from running[0]
                running.popleft()
    finally:
        with warnings.catch_warnings():
            # Who stops early knows that work is lost.
            warnings.simplefilter("ignore")
            for window in running:
                window.close()


class _Workers:
    """Processes of this machine."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs or -1

    def parallel(self, **options: Any) -> joblib.Parallel:
        """A call of joblib's on these workers."""
        import joblib

        return joblib.Parallel(n_jobs=self._jobs, **options)

    def tasks(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Any]:
        """What joblib wants: function and arguments of each call."""
        return ((function, (item,), {}) for item in items)


class _Cluster(_Workers):
    """Workers of a Dask cluster, each of which is looked at before it computes anything."""

    def __init__(self, client: Any, sees: Sequence[Path]) -> None:
        self._client = client
        self._demands = _Demands.here(sees)

    def parallel(self, **options: Any) -> joblib.Parallel:
        """A call of joblib's on the cluster."""
        import joblib

        del options["prefer"]
        # Whoever waits for workers is told so by the watch; joblib would give up.
        backend = _dask_backend()(client=self._client, wait_for_workers_timeout=None)
        return joblib.Parallel(n_jobs=-1, backend=backend, **options)

    def tasks(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Any]:
        """Calls that refuse to compute on a worker that cannot give the same result."""
        return super().tasks(_Guarded(function, self._demands), items)


@contextmanager
def _workers(jobs: int, scheduler: str, sees: Sequence[Path], waiting: Waiting) -> Iterator[_Workers]:
    if not scheduler:
        yield _Workers(jobs)
        return
    client = _connect(scheduler)
    with _in_words(scheduler), client, _Watch(client, scheduler, waiting):
        yield _Cluster(client, sees)


def _connect(scheduler: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        hint = 'Install the extra dask: pip install "kelly-trainer[dask]"'
        raise ParallelError("Dask is not installed", hint=hint) from error
    # What goes wrong is said by the errors below, not by Dask's log.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(scheduler, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except OSError as error:
        hint = f"Start one with `dask scheduler`, and name its address as it prints it ({error})"
        raise ParallelError("no Dask scheduler answers here", where=scheduler, hint=hint) from error


class _Watch:
    """Waits for the first worker, and then looks in a thread of its own whether there still is one.

    What ``waiting`` raises there closes the client, which wakes whoever waits for a result.
    """

    def __init__(self, client: Any, scheduler: str, waiting: Waiting) -> None:
        self._client = client
        self._scheduler = scheduler
        self._waiting = waiting
        self._none_since: float | None = None
        self._told = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="workers", daemon=True)
        self._raised: BaseException | None = None

    def __enter__(self) -> None:
        while not self._look():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        # A look that is under way ends with the client.
        self._client.close()
        self._thread.join()
        if self._raised is not None:
            raise self._raised from None

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                self._look()
            except BaseException as error:
                if not self._over.is_set():
                    self._raised = error
                    self._client.close()
                return

    def _look(self) -> bool:
        """Whether there is a worker; says so where there has been none for a while."""
        workers, now = self._count(), time.monotonic()
        if workers:
            if self._told:
                self._waiting(f"{workers} worker{'s' * (workers > 1)} of {self._scheduler} at work")
            self._none_since, self._told = None, False
            return True
        if self._none_since is None:
            self._none_since = now
        if now - self._none_since >= _SECONDS_UNTIL_TOLD:
            self._told = True
            start = f"dask worker {self._scheduler} --nthreads 1"
            self._waiting(f"{self._scheduler} has no workers; waiting for one that sees the same files: {start}")
        return False

    def _count(self) -> int:
        try:
            return len(self._client.scheduler_info()["workers"])
        except (OSError, KeyError) as error:
            raise _gone(self._scheduler) from error


@contextmanager
def _in_words(scheduler: str) -> Iterator[None]:
    """Say in words what Dask says by errors."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    try:
        yield
    except KilledWorker as error:
        hint = "Out of memory, perhaps; the worker's own output tells"
        problem = f"a task was given up, for every worker that tried it died ({error.allowed_failures + 1} in all)"
        raise ParallelError(problem, where=error.last_worker.address, hint=hint) from error
    except (CancelledError, CommClosedError) as error:
        raise _gone(scheduler) from error


def _gone(scheduler: str) -> ParallelError:
    return ParallelError("the scheduler is gone", where=scheduler, hint="Start it again, and then this command")


@cache
def _dask_backend() -> type[Any]:
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):  # type: ignore[misc]
        """joblib's backend, which waits for ever for a task that Dask has given up, made to raise Dask's error."""

        def submit(self, func: Any, callback: Any = None) -> Any:
            future = super().submit(func, callback)
            future.add_done_callback(lambda done: callback(done.exception()) if done.exception() else None)
            return future

        def retrieve_result_callback(self, out: Any) -> Any:
            if isinstance(out, BaseException):
                raise out
            return super().retrieve_result_callback(out)

        def effective_n_jobs(self, n_jobs: int) -> int:
            # With 1 joblib would compute in this process, not on the cluster.
            return max(2, int(super().effective_n_jobs(n_jobs)))

    return Backend


@dataclass(frozen=True)
class _Demands:
    """What a worker must have in common with the process that asks.

    Attributes:
        versions: (name, version) of what may change results.
        files: (path, size in bytes; -1 for a folder).
    """

    versions: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, int | None], ...]

    @classmethod
    def here(cls, paths: Sequence[Path]) -> _Demands:
        """Versions of this process, and how it sees some of the paths."""
        return cls(_versions(), tuple((str(path.absolute()), _size(path)) for path in sorted(set(paths))))


@dataclass(frozen=True)
class _Guarded(Generic[Item, Result]):
    """A function that is computed only where the result is that of the process that asks for it."""

    function: Callable[[Item], Result]
    demands: _Demands

    def __call__(self, item: Item) -> Result:
        _check_this_worker(self.demands)
        return self.function(item)


@cache
def _check_this_worker(demands: _Demands) -> None:
    """Look once in each process of a worker.

    Raises:
        ParallelError: it has other versions, or does not see the same files.
    """
    worker = f"worker on {socket.gethostname()}"
    for (name, here), (_, wanted) in zip(_versions(), demands.versions, strict=True):
        if here != wanted:
            hint = "All machines need the same versions, or the results would differ"
            raise ParallelError(
                f"has {name} {here or 'not installed'}, not {wanted or 'none'}", where=worker, hint=hint
            )
    for path, size in demands.files:
        seen = _size(Path(path))
        if seen != size:
            problem = f"does not see {path}" if seen is None else f"sees another {path}"
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
    digest = hashlib.blake2b(digest_size=6)
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _size(path: Path) -> int | None:
    """Bytes of a file, -1 for a folder, None where nothing can be seen."""
    try:
        return path.stat().st_size if path.is_file() else -1 if path.is_dir() else None
    except OSError:
        return None
