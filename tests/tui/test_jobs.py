"""Worker processes: how they end, how they queue, and that all of them can be cancelled."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from threading import Event

import pytest

from kelly_core.runs.registry import RunList, list_runs
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui.app import KellyApp
from kelly_tui.jobs import Job, JobQueue
from tests.tui.conftest import TIMEOUT_SECONDS, Shown, until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]
LINE_THEN_KILLED = 'import os; print(\'{"done": 1}\\n{"do\', flush=True); os.kill(os.getpid(), 9)'


def test_a_worker_killed_after_its_first_line_has_a_problem() -> None:
    job = Job([sys.executable, "-c", LINE_THEN_KILLED])
    assert list(job.records()) == [{"done": 1}]
    assert job.problem == "killed by signal 9"


def test_a_queue_runs_each_name_once_and_forgets_them_when_cancelled() -> None:
    started: list[str] = []
    queue = JobQueue(started.append)
    queue.add(["a", "b", "a"])
    assert started == ["a"]
    queue.add(["a", "b", "c"])
    assert queue.waiting == ["b", "c"]
    queue.advance()
    assert started == ["a", "b"]
    queue.cancel()
    job = queue.attach(Job(SLEEPER))
    assert job.cancelled
    assert list(job.lines()) == []
    queue.advance()
    assert (queue.current, started) == ("", ["a", "b"])


def test_a_job_started_while_the_application_closes_is_cancelled() -> None:
    app = KellyApp()
    first = app.start(SLEEPER)
    app.cancel_jobs()
    second = app.start(SLEEPER)
    assert [list(job.lines()) for job in (first, second)] == [[], []]
    assert first.cancelled
    assert second.cancelled


async def test_a_slow_listing_of_runs_does_not_replace_a_later_one(
    shown: Shown, finished_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits, ends, listings = Event(), Event(), []

    def list_slowly_once(folder: Path) -> RunList:
        listings.append(folder)
        if len(listings) > 1:
            return list_runs(folder)
        waits.wait(TIMEOUT_SECONDS)
        ends.set()
        return RunList((), {})

    monkeypatch.setattr("kelly_tui.app._LIST_TIMEOUT", 0.0)
    monkeypatch.setattr("kelly_tui.app.list_runs", list_slowly_once)
    async with shown() as (app, pilot):
        await until(pilot, lambda: len(listings) > 1 and app.run_list.runs)
        waits.set()
        await until(pilot, ends.is_set)
        await pilot.pause(0.2)
        assert [run.id for run in app.run_list.runs] == [finished_run.id]


async def test_a_listing_that_takes_longer_than_the_interval_is_shown(
    shown: Shown, finished_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def list_slowly(folder: Path) -> RunList:
        time.sleep(0.5)
        return list_runs(folder)

    monkeypatch.setattr("kelly_tui.app._LIST_SECONDS", 0.1)
    monkeypatch.setattr("kelly_tui.app.list_runs", list_slowly)
    async with shown() as (app, pilot):
        await until(pilot, lambda: app.run_list.runs)
        assert [run.id for run in app.run_list.runs] == [finished_run.id]
