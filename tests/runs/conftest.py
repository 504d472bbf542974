"""Runs in an empty folder, with processes that start fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from kelly_core.config.loading import load_settings
from kelly_core.config.schema import Settings
from kelly_core.events import EpochDone, ModelStarted
from kelly_core.io.locks import FileLock
from kelly_core.runs import launch
from kelly_core.runs.event_log import LogRecord, RunEvent, encode_record
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, RunManifest, write_manifest
from kelly_core.training.checkpoint import load_checkpoint
from tests.cli.conftest import run as kelly_core
from tests.helpers.forked_workers import Forker

__all__ = ["kelly_core"]

Start = Callable[..., Run]
MODEL = "DynamicsEngine"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def start(folder: Path, forked: Forker) -> Start:  # noqa: ARG001 - a fixture cannot use usefixtures
    """Start a run of small synthetic sets; keyword arguments change the settings of ``small_settings``."""

    def begin(*models: str, **options: object) -> Run:
        return launch.start(small_settings(**options), models or ["DynamicsEngine"])

    return begin


def small_settings(
    *, epochs: int = 3, examples: int | None = None, batch_size: int = 16, output: str = "out", **more: object
) -> Settings:
    """Settings that train in an instant: no plots, no early stopping; ``more`` has dotted keys with __ for dots.

    The epochs of a training that is to be interrupted are longer, so that it does not write thousands of them to its
    log meanwhile.
    """
    if examples is None:
        examples = 4096 if epochs >= 1000 else 64
    options = {
        "training.epochs": epochs,
        "training.batch_size": batch_size,
        "training.early_stopping.patience": 0,
        "datasets.synthetic_examples": examples,
        "datasets.use_synthetic": True,
        "output.dir": output,
        "output.plots": False,
    } | {key.replace("__", "."): value for key, value in more.items()}
    return load_settings(None, {key: ("test", value) for key, value in options.items()}, {}).settings


def until(run: Run, *states: str) -> None:
    """Follow a run until it is in one of some states."""
    for _ in _snapshots(run):
        if run.snapshot.state in states:
            return
    assert run.snapshot.state in states, (run.snapshot, run.folder.console.read_text())


def until_epoch(run: Run, epoch: int) -> None:
    """Follow a run until its first model has completed an epoch."""
    for _ in _snapshots(run):
        if run.snapshot.models[0].epoch >= epoch:
            return
    raise AssertionError((run.snapshot, run.folder.console.read_text()))


def next_event(run: Run, kind: type[RunEvent], /, **values: object) -> Any:
    """Follow a run until an event of a type is logged with these values, and return it."""
    return next(
        record.event
        for record in run.follow()
        if isinstance(record.event, kind) and vars(record.event) == vars(record.event) | values
    )


def first_epochs(run: Run) -> list[int]:
    """First epoch of each start of a model in the log."""
    return [record.event.first_epoch for record in run.records() if isinstance(record.event, ModelStarted)]


def stop(run: Run) -> None:
    """Request a stop and follow a run until it has ended so."""
    run.request_stop()
    until(run, "stopped")


def pause(run: Run) -> None:
    """Request a pause and follow a run until it holds."""
    run.request_pause()
    until(run, "paused")


def hold(folder: RunDirectory) -> FileLock:
    """Lock a run as its process does while it works."""
    lock = FileLock.acquire(folder.heartbeat)
    assert lock is not None
    return lock


def _snapshots(run: Run) -> Iterator[None]:
    yield
    for _ in run.follow():
        yield


def make_run(path: Path, *happened: RunEvent, created: float = 1e9, **options: object) -> RunDirectory:
    """A run of one model that ended, with a log of one's own making."""
    path.mkdir(parents=True)
    folder = RunDirectory(path)
    settings = small_settings(**options).model_dump(mode="json")
    write_manifest(
        folder, RunManifest(created, (MODEL,), str(path.parent), False, ("kelly-core", "train"), settings, 1)
    )
    written = [LogRecord(1e9 + number, float(number), 1, event) for number, event in enumerate(happened)]
    folder.events.write_bytes(b"".join(map(encode_record, written)))
    return folder


def epoch(number: int, loss: float) -> EpochDone:
    return EpochDone(MODEL, number, 9, loss, loss, loss, number, 7, 0.001, 0.5, 2000.0)


def same_weights(one: Path, other: Path, stem: str = "dynamicsengine") -> bool:
    """True if two trainings ended with the same networks, to the bit."""
    first, second = (load_checkpoint(path / "checkpoints" / f"{stem}_latest.pt") for path in (one, other))
    pairs = [(first.network, second.network), (first.best_network, second.best_network)]
    losses = [[(row["train_loss"], row["val_loss"]) for row in one.history] for one in (first, second)]
    return losses[0] == losses[1] and all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)
