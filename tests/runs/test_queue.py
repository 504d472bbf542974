"""Trainings that wait start one after the other, one for each device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kelly_core.errors import RunError
from kelly_core.io.locks import FileLock
from kelly_core.runs import queue, run_dir
from kelly_core.runs.event_log import StateChanged
from kelly_core.runs.queue import drop, enqueue, move, start_waiting, waiting_runs
from kelly_core.runs.run_dir import RunManifest
from tests.runs.conftest import MODEL, hold, make_run, small_settings


class Started:
    """Runs that were started, each of which is live until it is ended; they have no process."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._locks: dict[str, FileLock] = {}

    def start(self, runs: Path, manifest: RunManifest, name: str) -> None:
        if manifest.settings["output"]["dir"] == "busy":
            raise RunError("another run is training into this folder", where="busy")
        device = manifest.settings["training"]["device"]
        folder = make_run(runs / name, StateChanged("running"), **{"training.device": device})
        lock = hold(folder)
        self._locks[name] = lock
        self.names.append(name)

    def end(self, name: str) -> None:
        self._locks[name].release()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    one = Started()
    monkeypatch.setattr(queue, "start_run", one.start)
    monkeypatch.setattr(queue, "ensure_dispatcher", lambda _runs: None)
    monkeypatch.setattr("kelly_core.cli.runs.ensure_dispatcher", lambda _runs: None)
    monkeypatch.setattr(queue, "count_gpus", lambda: 0)
    return one


def add(runs: Path, **options: Any) -> str:
    return enqueue(small_settings(**{"runs.dir": runs, **options}), [MODEL]).id


def test_one_run_for_each_device_is_started_in_order(tmp_path: Path, started: Started) -> None:
    first, second, gpu = (add(tmp_path, **{"training.device": device}) for device in ("cpu", "auto", "cuda"))
    assert start_waiting(tmp_path, lambda _text: None)
    assert started.names == [first, gpu]
    assert start_waiting(tmp_path, lambda _text: None)
    assert [each.id for each in waiting_runs(tmp_path)] == [second]
    started.end(first)
    assert not start_waiting(tmp_path, lambda _text: None)
    assert started.names == [first, gpu, second]


def test_a_run_that_was_started_by_a_dispatcher_that_died_waits_no_more(tmp_path: Path, started: Started) -> None:
    """A process that is killed after the start has not removed the run from those that wait."""
    add(tmp_path)
    (waiting,) = waiting_runs(tmp_path)
    started.start(tmp_path, waiting.manifest, waiting.id)
    assert not start_waiting(tmp_path, lambda _text: None)
    assert started.names == [waiting.id]


@pytest.mark.usefixtures("started")
def test_a_run_waits_even_if_other_runs_have_every_pair_of_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path / "2026-11-22-1431-brave-cadence")
    monkeypatch.setattr(run_dir, "new_run_id", lambda _began: "2026-11-22-1432-brave-cadence")
    assert add(tmp_path) == "2026-11-22-1432-brave-cadence"


def test_a_run_that_cannot_start_waits_and_gives_the_reason(tmp_path: Path, started: Started) -> None:
    blocked = add(tmp_path, **{"output.dir": "busy"})
    other = add(tmp_path)
    said: list[str] = []
    assert start_waiting(tmp_path, said.append)
    assert started.names == [other]
    assert "another run is training" in said[0]
    assert [each.id for each in waiting_runs(tmp_path)] == [blocked]


def test_waiting_runs_are_moved_and_dropped(tmp_path: Path, started: Started, kelly_core) -> None:
    runs = tmp_path / "runs"
    first, second, third = (add(runs) for _ in range(3))
    assert len({name[16:] for name in (first, second, third)}) == 3
    move(runs, third[16:], 1)
    assert [each.id for each in waiting_runs(runs)] == [third, first, second]
    assert drop(runs, first).id == first
    for text in ("", "no-such", "2"):
        with pytest.raises(RunError, match="waiting trainings have names"):
            drop(runs, text)
    listed = json.loads(kelly_core("runs", "queue", "--json").out)["waiting"]
    assert [each["run"] for each in listed] == [third, second]
    assert kelly_core("runs", "queue", "move", second, "1").out.splitlines()[0].startswith(f"1  {second}")
    assert kelly_core("runs", "queue", "drop", third).code == 0
    assert kelly_core("runs", "queue", "other").code == 2
    assert started.names == []
    (runs / ".queue" / "queue.json").write_text("{")
    assert "is damaged" in kelly_core("runs", "queue").err
