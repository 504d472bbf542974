"""A run whose process the system ended reports how, and continues when it is resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kelly_core.runs.exit_status import describe_exit, observed
from kelly_core.runs.log_records import AttemptBegun, StateChanged
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from tests.runs.test_registry import make_run


def end(folder: RunDirectory, code: str, attempt: int = 1) -> int:
    """Run Python code as the process of an attempt and return its process id."""
    command = observed([sys.executable, "-S", "-c", f"import os; {code}"], folder, attempt)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(done.stdout)


@pytest.mark.parametrize(
    ("number", "reported"),
    [
        (signal.SIGBUS, "killed by SIGBUS (bus error): a mapped file became shorter"),
        (signal.SIGKILL, "killed by SIGKILL (killed): by `kill -9`, or by the system because memory ran out"),
        (signal.SIGSEGV, "killed by SIGSEGV (segmentation fault): a fault in native code"),
        (signal.SIGALRM, "killed by SIGALRM (alarm clock). "),
    ],
)
def test_a_process_that_a_signal_ended_says_which(tmp_path: Path, number: signal.Signals, reported: str) -> None:
    folder = make_run(tmp_path / "run", AttemptBegun(), StateChanged("running"))
    end(folder, f"os.kill(os.getpid(), {int(number)})")
    snapshot = Run(folder).snapshot
    assert snapshot.state == "died"
    assert snapshot.error.startswith(reported)
    assert "`kelly-core runs resume run` continues from the last checkpoint" in snapshot.error


def test_an_exit_code_is_reported_and_that_of_another_attempt_is_not(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", AttemptBegun(), StateChanged("running"))
    assert end(folder, "os._exit(3)") != os.getpid()
    assert "ended with exit code 3" in describe_exit(folder, 1)
    assert describe_exit(folder, 2).startswith("its process is gone. ")


@pytest.mark.parametrize("content", [b"", b"1", b"1 x", b"1 999", b"1 -9", b"9" * 5000, b"\xff \xff", None])
def test_a_status_that_makes_no_sense_is_none(tmp_path: Path, content: bytes | None) -> None:
    folder = RunDirectory(tmp_path)
    os.mkfifo(folder.exit_status) if content is None else folder.exit_status.write_bytes(content)
    assert describe_exit(folder, 1).startswith("its process is gone. ")


def test_the_status_file_is_the_owners_and_the_observer_outlives_signals(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path)
    former = os.umask(0)
    try:
        end(folder, "os.kill(os.getppid(), 15); os.kill(os.getppid(), 1); os.kill(os.getpid(), 9)")
    finally:
        os.umask(former)
    assert "SIGKILL" in describe_exit(folder, 1)
    assert not folder.exit_status.stat().st_mode & 0o022
