"""Runs in an empty folder, with processes that start fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kelly_core.config.loading import load_settings
from kelly_core.config.schema import Settings
from kelly_core.events import ModelStarted
from kelly_core.io.locks import FileLock
from kelly_core.runs import launch
from kelly_core.runs.event_log import RunEvent
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from tests.cli.conftest import run as kelly_core
from tests.helpers.forked_workers import Forker

__all__ = ["kelly_core"]

Start = Callable[..., Run]


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
