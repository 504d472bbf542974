"""Worker processes: how they end, how they queue, and that all of them can be cancelled."""

from __future__ import annotations

import sys

from kelly_tui.app import KellyApp
from kelly_tui.jobs import Job, JobQueue

LINE_THEN_KILLED = 'import os; print(\'{"done": 1}\\n{"do\', flush=True); os.kill(os.getpid(), 9)'


def test_a_worker_killed_after_its_first_line_has_a_problem() -> None:
    job = Job([sys.executable, "-c", LINE_THEN_KILLED])
    assert list(job.records()) == [{"done": 1}]
    assert job.problem == "killed by signal 9"


def test_a_queue_runs_each_name_once_and_forgets_them_when_cancelled() -> None:
    queue = JobQueue()
    queue.add(["a", "b", "a"])
    assert queue.advance() == "a"
    queue.add(["a", "b", "c"])
    assert queue.waiting == ["b", "c"]
    queue.cancel()
    job = queue.attach(Job([sys.executable, "-c", "import time; time.sleep(60)"]))
    assert job.cancelled
    assert list(job.lines()) == []
    assert queue.advance() == ""


def test_a_job_started_while_the_application_closes_is_cancelled() -> None:
    app = KellyApp()
    first = app.start([sys.executable, "-c", "import time; time.sleep(60)"])
    app.cancel_jobs()
    second = app.start([sys.executable, "-c", "import time; time.sleep(60)"])
    assert [list(job.lines()) for job in (first, second)] == [[], []]
    assert first.cancelled
    assert second.cancelled
