"""A run whose process the system ended reports how, and continues when it is resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kelly_core.events import ModelStarted
from kelly_core.runs import launch
from kelly_core.runs.exit_status import describe_exit, observed
from kelly_core.runs.log_records import AttemptBegun, StateChanged
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from kelly_core.training.checkpoint import load_checkpoint
from tests.helpers import tiny
from tests.runs.conftest import small_settings, until, until_epoch
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
    assert "ended with exit code 3 (see " in describe_exit(folder, 1)
    folder.console.write_bytes(b"started\nOpenBLAS error: no \x1b[31mmemory " + b"x" * 999 + b"\n\n")
    assert "its last words: OpenBLAS error: no \\x1b[31mmemory xxx" in describe_exit(folder, 1)
    assert len(describe_exit(folder, 1)) < 600
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


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits and mapped files differ on other systems")
class TestRealTrainings:
    """Trainings in processes of their own, which the system ends or limits."""

    def test_a_cache_file_cut_off_under_a_training_ends_it_with_words_and_it_is_resumed(self, folder: Path) -> None:
        tiny.maestro(folder / "data" / "maestro")
        places = {"datasets__dir": str(folder / "data"), "datasets__cache_dir": str(folder / "cache")}
        settings = small_settings(epochs=100_000, datasets__use_synthetic=False, **places)
        run = launch.start(settings, ["DynamicsEngine"])
        try:
            until_epoch(run, 1)
            for path in (folder / "cache").rglob("*"):
                if path.is_file():
                    os.truncate(path, 0)
            until(run, "died")
            assert run.snapshot.error.startswith("killed by SIGBUS (bus error): a mapped file became shorter")
            assert f"`kelly-core runs resume {run.id}` continues from the last checkpoint" in run.snapshot.error
            done = load_checkpoint(folder / "out" / "checkpoints" / "dynamicsengine_latest.pt").epoch
            run = launch.resume(run)
            until_epoch(run, done + 1)
            first = [record.event.first_epoch for record in run.records() if isinstance(record.event, ModelStarted)]
            assert first == [1, done + 1]
            run.request_stop()
            until(run, "stopped")
        finally:
            run.kill()

    def test_one_that_needs_more_memory_than_its_limit_says_how_much(self, folder: Path) -> None:
        gibibytes = 24
        program = (
            f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, 2 * ({gibibytes << 30},)); "
            "os.execv(sys.executable, [sys.executable, '-m', 'kelly_core', *sys.argv[1:]])"
        )
        train = ["train", "-m", "DynamicsEngine", "--use-synthetic", "-e", "1", "--no-plots", "-o", str(folder / "out")]
        # The first array, 8 bytes an example, is larger than the limit.
        environment = os.environ | {"KELLY_DATASETS_SYNTHETIC_EXAMPLES": "10000000000"}
        command = [sys.executable, "-c", program, *train]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1
        assert "memory ran out: 74.5 GiB more were needed" in done.stderr
        assert "Traceback" not in done.stderr
