"""``kill -9`` again and again: what is on disk is always whole, and nothing but the epoch in progress is lost."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from kelly_core import events
from kelly_core.runs.launch import resume
from kelly_core.runs.run import Run
from kelly_core.training.checkpoint import load_checkpoint
from tests.runs.test_run_lifecycle import same_weights

from .conftest import Start, until

MODELS = ("DynamicsEngine", "GroovePredictor")
KILLS = 8
EPOCHS = 40


@pytest.mark.slow
def test_many_kills_change_nothing(start: Start, folder: Path) -> None:
    undisturbed = start(*MODELS, epochs=EPOCHS, examples=256, output="whole")
    until(undisturbed, "finished")
    run = start(*MODELS, epochs=EPOCHS, examples=256)
    chance = random.Random()
    deaths, reached = 0, dict.fromkeys(MODELS, 0)
    for _ in range(KILLS):
        _kill_after(run, chance.uniform(0.0, 0.5))
        deaths += run.snapshot.state == "died"
        for name, epoch in _first_epochs(run).items():
            assert epoch == reached[name] + 1
        reached = _epochs_on_disk(folder / "out")
        run = resume(run)
    until(run, "finished")
    assert deaths >= KILLS // 2, "the training was over before it could be killed often enough"
    for name in MODELS:
        assert same_weights(folder / "out", folder / "whole", name.lower())
        exports = [(folder / place / f"{name.lower()}.json").read_text() for place in ("out", "whole")]
        assert exports[0] == exports[1]


def _kill_after(run: Run, seconds: float) -> None:
    """Kill the process of a run after some seconds, and wait until it is dead."""
    timer = threading.Timer(seconds, run.kill)
    timer.start()
    for _ in run.follow():
        pass
    timer.cancel()


def _epochs_on_disk(output: Path) -> dict[str, int]:
    """Complete epochs of each model by its latest checkpoint; every checkpoint is read, whichever it is."""
    found = {path: load_checkpoint(path) for path in (output / "checkpoints").glob("*.pt")}
    latest = {one.model: one.epoch for path, one in found.items() if path.stem.endswith("_latest")}
    return {name: latest.get(name, 0) for name in MODELS}


def _first_epochs(run: Run) -> dict[str, int]:
    """First epoch of each model that has started in the latest attempt."""
    return {
        record.event.model: record.event.first_epoch
        for record in run.records()
        if isinstance(record.event, events.ModelStarted) and record.attempt == run.snapshot.attempt
    }
