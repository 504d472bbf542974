"""The same function over many items: in processes of this machine, or on the workers of a Dask cluster.

joblib's backends do the work. Whatever the backend, each item's result arrives once, and what a lost process was
computing is computed again by another.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import socket
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

Item = TypeVar("Item")
Result = TypeVar("Result")

ALLOWED_LOSSES = 3
"""How often in a row processes may be lost over the same work before it is given up; as Dask's own default."""

_SECONDS_TO_ANSWER = 10
_SECONDS_FOR_WORKERS = 10
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
) -> Iterator[Result]:
    """The function's result for each item, in the items' order, each as soon as it and all before it are there.

    Args:
        function: what to compute; it must be possible to pickle it, and computing an item twice must do no harm.
        items: what to compute it for.
        jobs: local processes at once; 0 takes one a core. A cluster computes as many as its workers have threads.
        scheduler: address of a Dask cluster, such as ``tcp://10.0.0.1:8786``; "" computes on this machine.
        sees: paths that every worker of a cluster must see as this process does; the first, the middle and the last
            are looked at.

    Raises:
        ParallelError: the cluster cannot be reached, or a worker cannot be used; processes were lost again and again.
    """
    done = losses = 0
    with _workers(jobs, scheduler, sees) as workers:
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
) -> Iterator[Result]:
    """The function's results in the order in which they come, for a function that only waits for other processes.

    Locally it is called in threads. Arguments and errors are those of ``in_order``.
    """
    with _workers(jobs, scheduler, sees) as workers:
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
        return joblib.Parallel(n_jobs=-1, backend=_dask_backend()(client=self._client), **options)

    def tasks(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Any]:
        """Calls that refuse to compute on a worker that cannot give the same result."""
        return super().tasks(_Guarded(function, self._demands), items)


@contextmanager
def _workers(jobs: int, scheduler: str, sees: Sequence[Path]) -> Iterator[_Workers]:
    if not scheduler:
        yield _Workers(jobs)
        return
    with _connected(scheduler) as client, _in_words(scheduler):
        yield _Cluster(client, sees)


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        hint = 'Install the extra dask: pip install "kelly-trainer[dask]"'
        raise ParallelError("Dask is not installed", hint=hint) from error
    # What goes wrong is said by the errors below, not by Dask's log.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        client = Client(scheduler, timeout=_SECONDS_TO_ANSWER, set_as_default=False)
    except OSError as error:
        hint = f"Start one with `dask scheduler`, and name its address as it prints it ({error})"
        raise ParallelError("no Dask scheduler answers here", where=scheduler, hint=hint) from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_SECONDS_FOR_WORKERS)
        except TimeoutError as error:
            hint = f"Start some, on any machine that sees the same files: dask worker {scheduler} --nthreads 1"
            raise ParallelError("the scheduler has no workers", where=scheduler, hint=hint) from error
        yield client


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
        hint = "Start it again, and then this command"
        raise ParallelError("the scheduler is gone", where=scheduler, hint=hint) from error


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
        few = {paths[index] for index in (0, len(paths) // 2, -1)} if paths else ()
        return cls(_versions(), tuple((str(path.absolute()), _size(path)) for path in sorted(few)))


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
            raise ParallelError(f"has {name} {here or 'not installed'}, not {wanted}", where=worker, hint=hint)
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
