"""``kill -9``, a full disk and missing permission: files stay whole, and what was complete is not lost."""

from __future__ import annotations

import os
import random
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kelly_core import events
from kelly_core.runs.event_log import RunEnded, StateChanged
from kelly_core.runs.launch import resume
from kelly_core.runs.run import Run
from kelly_core.training.checkpoint import load_checkpoint
from tests.helpers.forked_workers import Forker
from tests.runs.conftest import Start, pause, same_weights, stop, until, until_epoch


def checkpoints(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").glob("*.pt")}


def test_files_that_may_not_grow(start: Start, forked: Forker, folder: Path) -> None:
    run = start(epochs=2)
    until(run, "finished")
    run.acquire_lock().release()
    before = checkpoints(folder / "out")
    smallest = min(map(len, before.values()))
    forked.largest_file = smallest // 2
    failed = resume(run, 2)
    until(failed, "failed")
    assert "dynamicsengine_" in failed.snapshot.error
    assert "cannot be written" in failed.snapshot.error
    assert failed.snapshot.models[0].state == "failed"
    assert checkpoints(folder / "out") == before
    assert not list((folder / "out").rglob("*.tmp"))
    forked.largest_file = None
    failed.acquire_lock().release()
    resumed = resume(failed)
    until(resumed, "finished")
    assert resumed.snapshot.models[0].epoch == 4
    until(start(epochs=4, output="whole"), "finished")
    assert same_weights(folder / "out", folder / "whole")


def test_a_folder_that_cannot_be_written(start: Start, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "checkpoints").write_text("in the way")
    run = start(epochs=2)
    until(run, "failed")
    assert "out/checkpoints" in run.snapshot.error
    assert "not a folder" in run.snapshot.error
    run.acquire_lock().release()
    (folder / "out" / "checkpoints").unlink()
    again = resume(run)
    until(again, "finished")
    assert again.snapshot.models[0].epoch == 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill_disk(path: Path) -> None:
    """Write to a file until the disk refuses."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_disk_that_runs_full_under_log_and_output(small_disk: Path, start: Start) -> None:
    run = start(epochs=100_000, output=str(small_disk / "out"), runs__dir=str(small_disk / "runs"))
    until_epoch(run, 1)
    pause(run)
    before = checkpoints(small_disk / "out")
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        fill_disk(ballast)
    # Even the request to continue is refused; a signal needs no space.
    os.kill(run.snapshot.pid, __import__("signal").SIGTERM)
    until(run, "failed", "stopped")
    run.acquire_lock().release()
    assert checkpoints(small_disk / "out") == before
    ballast.unlink()
    again = resume(Run(run.folder))
    until_epoch(again, 1)
    stop(again)


MODELS = ("DynamicsEngine", "GroovePredictor")
KILLS = 8
EPOCHS = 40


@pytest.mark.slow
def test_many_kills_change_nothing(start: Start, folder: Path) -> None:
    undisturbed = start(*MODELS, epochs=EPOCHS, examples=256, output="whole")
    until(undisturbed, "finished")
    starting, training = _seconds(undisturbed)
    run = start(*MODELS, epochs=EPOCHS, examples=256)
    chance = random.Random()
    deaths, reached = 0, dict.fromkeys(MODELS, 0)
    for _ in range(KILLS):
        # Not so late that the training is over before the last of them, however fast it is.
        _kill_after(run, chance.uniform(0.0, starting + training / KILLS))
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


def _seconds(run: Run) -> tuple[float, float]:
    """Seconds from the first record of a run's process until it trains its first model, and from then on to its end."""
    first = {type(record.event): record.time for record in reversed(list(run.records()))}
    began = first[events.ModelStarted]
    return began - first[StateChanged], first[RunEnded] - began


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
