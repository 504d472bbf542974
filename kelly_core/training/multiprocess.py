"""Training of several models in parallel, each in its own process with its share of the machine."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event as Flag

from kelly_core.config.schema import Settings
from kelly_core.errors import TrainingError
from kelly_core.events import Event, Listener, ModelResult
from kelly_core.io.atomic import IsOwned, add_folder_guards, folder_guards
from kelly_core.spec import ModelSpec
from kelly_core.training.pipeline import train_model
from kelly_core.training.trainer import Requests

_POLL_SECONDS = 0.05


def train_in_parallel(
    settings: Settings,
    specs: Sequence[tuple[ModelSpec, bool]],
    jobs: int,
    *,
    renew_patience: bool = False,
    listen: Listener = lambda _event: None,
    requests: Requests = Requests(),  # noqa: B008 - immutable
    is_paused: Callable[[], bool] = lambda: False,
    unsaved_rates: Mapping[str, float | None] | None = None,
) -> Iterator[ModelResult]:
    """Train and export models in up to ``jobs`` processes; yield the results as the models finish.

    Each process gets its share of the CPU threads unless the settings set their number, and one GPU if there are
    several. If this process is killed, the others end at their next step.

    Args:
        settings: all settings.
        specs: models, each with True to resume it.
        jobs: maximum number of processes.
        renew_patience: as for ``train_model``.
        listen: called with every event of every model, in the order of arrival.
        requests: polled and passed on to the processes.
        is_paused: polled; while it is True, all trainings wait.
        unsaved_rates: learning rates by model, see ``Trainer.fit``.

    Raises:
        TrainingError: a process was killed.
    """
    # Not fork: a forked copy of PyTorch's threads or of a CUDA context does not work in a child.
    context = multiprocessing.get_context("spawn")
    channel = _Channel.of(context, [spec.name for spec, _ in specs])
    rates = unsaved_rates or {}
    shared = _with_share_of_threads(settings, jobs)
    with _pool(jobs, context, channel) as pool:
        pending = {
            pool.submit(_train_in_child, shared, spec, resume, renew_patience, rates.get(spec.name))
            for spec, resume in specs
        }
        while pending:
            channel.send(requests, is_paused=is_paused())
            _forward_events(channel, listen)
            ended = {future for future in pending if future.done()}
            pending -= ended
            for future in ended:
                yield _result_of(future)
        # The last child may have sent events between the check above and its end.
        _forward_events(channel, listen)


@dataclass(frozen=True)
class _Channel:
    """Objects that parent and children share: events to the parent, requests to the children."""

    events: Queue[Event]
    stop: Flag
    hold: Flag
    rollbacks: dict[str, Flag]
    changes: dict[str, Queue[Mapping[str, float]]]
    parent: int

    @classmethod
    def of(cls, context: SpawnContext, models: Sequence[str]) -> _Channel:
        """Return a channel of this process for the children that train these models."""
        rollbacks, changes = {name: context.Event() for name in models}, {name: context.Queue() for name in models}
        return cls(context.Queue(), context.Event(), context.Event(), rollbacks, changes, os.getpid())

    def send(self, requests: Requests, *, is_paused: bool) -> None:
        """Forward the observers' requests to the children."""
        if requests.should_stop():
            self.stop.set()
        (self.hold.set if is_paused else self.hold.clear)()
        for model, flag in self.rollbacks.items():
            if requests.should_roll_back(model):
                flag.set()
        for model, waiting in self.changes.items():
            if new := requests.take_changes(model):
                waiting.put(new)

    def should_stop(self) -> bool:
        """Return whether a child must stop; blocks while the training is paused."""
        while self.hold.is_set() and not self.stop.is_set():
            self._end_with_parent()
            time.sleep(_POLL_SECONDS)
        self._end_with_parent()
        return self.stop.is_set()

    def should_roll_back(self, model: str) -> bool:
        """Return True once per request."""
        requested = self.rollbacks[model].is_set()
        if requested:
            # A request that arrives between these two lines is treated as the same request.
            self.rollbacks[model].clear()
        return requested

    def take_changes(self, model: str) -> dict[str, float]:
        """Return the pending changes of a model; later ones override earlier ones."""
        changes: dict[str, float] = {}
        while True:
            try:
                changes |= self.changes[model].get_nowait()
            except queue.Empty:
                return changes

    def _end_with_parent(self) -> None:
        """Exit if the parent has ended: nothing would read the events, and the output folder would not be locked."""
        if os.getppid() != self.parent:
            # Not sys.exit, whose exit handlers would wait for a queue that is no longer read.
            os._exit(1)


def _with_share_of_threads(settings: Settings, jobs: int) -> Settings:
    """Return the settings for each of ``jobs`` processes, with its share of the CPU threads."""
    # Without a share each process would start as many threads as there are cores, and they would wait for each other.
    share = settings.training.threads or max(1, (os.cpu_count() or 1) // jobs)
    return settings.model_copy(update={"training": settings.training.model_copy(update={"threads": share})})


_channel: _Channel | None = None
"""Channel to the parent, in a child process."""


@contextmanager
def _pool(jobs: int, context: SpawnContext, channel: _Channel) -> Iterator[ProcessPoolExecutor]:
    # A queue, because the pool does not number its processes: each process takes one GPU from it at its start.
    gpus: Queue[int | None] = context.Queue()
    for worker in range(jobs):
        gpus.put(_gpu_of(worker))
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_init_worker, initargs=(channel, gpus, folder_guards())
    )
    try:
        yield pool
    finally:
        # Stop the children even after an error of this process; otherwise they would complete their trainings.
        channel.stop.set()
        channel.hold.clear()
        pool.shutdown(cancel_futures=True)


def _gpu_of(worker: int) -> int | None:
    """Return the GPU that a worker uses; None (all GPUs) if there is at most one."""
    import torch

    count = torch.cuda.device_count()
    return worker % count if count > 1 else None


def _forward_events(channel: _Channel, listen: Listener) -> None:
    """Forward the events that have arrived; wait briefly for the first."""
    wait = _POLL_SECONDS
    while True:
        try:
            listen(channel.events.get(timeout=wait))
        except queue.Empty:
            return
        # Wait only for the first event: the calling loop must also check for requests.
        wait = 0.001


def _result_of(future: Future[ModelResult]) -> ModelResult:
    try:
        return future.result()
    except BrokenProcessPool as error:
        hint = "The machine may have run out of memory; try fewer --jobs, and --resume"
        raise TrainingError("a training process was killed", hint=hint) from error


def _init_worker(channel: _Channel, gpus: Queue[int | None], guards: Mapping[str, IsOwned]) -> None:
    """Set up a child process: ignore Ctrl-C, use the parent's channel and folder guards, and select a GPU."""
    global _channel
    # Ctrl-C reaches every process of the terminal; the parent asks the children to stop after their step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    add_folder_guards(guards)
    _channel = channel
    gpu = gpus.get()
    if gpu is not None:
        # PyTorch reads this variable when it first uses CUDA, which happens later.
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)


def _train_in_child(
    settings: Settings, spec: ModelSpec, resume: bool, renew_patience: bool, unsaved_rate: float | None
) -> ModelResult:
    """Train one model in a child."""
    channel = _channel
    assert channel is not None
    return train_model(
        settings,
        spec,
        resume=resume,
        renew_patience=renew_patience,
        unsaved_rate=unsaved_rate,
        listen=channel.events.put,
        requests=Requests(channel.should_stop, channel.should_roll_back, channel.take_changes),
    )
