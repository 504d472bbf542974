"""How a run's process ended is reported; only its owner can write its files, and one training owns an output folder."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kelly_core.errors import KellyError, RunError
from kelly_core.features.extraction import ExtractionOptions, FeatureExtractor, load_features
from kelly_core.io.atomic import atomic_write, guard_folder
from kelly_core.io.locks import is_held
from kelly_core.runs import launch
from kelly_core.runs.event_log import AttemptBegun, LogWriter, StateChanged
from kelly_core.runs.launch import acquire_output_lock, release_output_lock, supervised
from kelly_core.runs.run import Run, describe_exit
from kelly_core.runs.run_dir import RunDirectory
from kelly_core.training.checkpoint import load_checkpoint
from tests.helpers import tiny
from tests.runs.conftest import Start, first_epochs, hold, make_run, pause, small_settings, stop, until, until_epoch


def end(folder: RunDirectory, code: str, attempt: int = 1) -> int:
    """Run Python code as the process of an attempt and return its process id."""
    command = supervised([sys.executable, "-S", "-c", f"import os; {code}"], folder, attempt)
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
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
def test_the_signal_that_ended_a_process_is_named(tmp_path: Path, number: signal.Signals, reported: str) -> None:
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
    assert "its last output: OpenBLAS error: no \\x1b[31mmemory xxx" in describe_exit(folder, 1)
    assert len(describe_exit(folder, 1)) < 500 + len(str(folder.console))
    assert describe_exit(folder, 2).startswith("its process is gone. ")


@pytest.mark.parametrize("content", [b"", b"1", b"1 x", b"1 999", b"1 -9", b"9" * 5000, b"\xff \xff", None])
def test_an_invalid_status_is_none(tmp_path: Path, content: bytes | None) -> None:
    folder = RunDirectory(tmp_path)
    os.mkfifo(folder.exit_status) if content is None else folder.exit_status.write_bytes(content)
    assert describe_exit(folder, 1).startswith("its process is gone. ")


def test_the_status_file_is_the_owners_and_the_observer_outlives_signals(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path)
    previous = os.umask(0)
    try:
        end(folder, "os.kill(os.getppid(), 15); os.kill(os.getppid(), 1); os.kill(os.getpid(), 9)")
    finally:
        os.umask(previous)
    assert "SIGKILL" in describe_exit(folder, 1)
    assert not folder.exit_status.stat().st_mode & 0o022


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits and mapped files differ on other systems")
class TestRealTrainings:
    """Trainings in separate processes, which the system ends or limits."""

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
            assert first_epochs(run) == [1, done + 1]
            stop(run)
        finally:
            run.kill()

    def test_the_error_of_too_little_memory_names_the_limit(self, folder: Path) -> None:
        gibibytes = 16
        program = (
            f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_AS, 2 * ({gibibytes << 30},)); "
            "os.execv(sys.executable, [sys.executable, '-m', 'kelly_core', *sys.argv[1:]])"
        )
        train = ["train", "-m", "DynamicsEngine", "--use-synthetic", "-e", "1", "--no-plots", "-o", str(folder / "out")]
        # The first array, 8 bytes an example, takes all of the limit, and the program has a part of it already.
        # So do the threads of NumPy and PyTorch, more of them on a machine of more cores.
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        environment = os.environ | one_thread | {"KELLY_DATASETS_SYNTHETIC_EXAMPLES": str(2**31 - 1)}
        command = [sys.executable, "-c", program, *train]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 1
        assert "memory ran out: 16.0 GiB more were needed" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture
def permissive() -> Iterator[None]:
    previous = os.umask(0)
    yield
    os.umask(previous)


def _writable_by_others(root: Path) -> list[str]:
    paths = [path for path in root.rglob("*") if not path.is_symlink()]
    assert paths
    return [f"{path} {stat.filemode(path.stat().st_mode)}" for path in paths if path.stat().st_mode & 0o022]


@pytest.mark.usefixtures("permissive")
def test_nothing_of_a_run_is_writable_by_others_whatever_the_umask(start: Start, folder: Path) -> None:
    run = start(epochs=100_000, runs__dir="state/runs", output__plots=True, output__tensorboard=True)
    until_epoch(run, 1)
    pause(run)
    # The summary is written by another thread, at the latest with the next measurement of the machine's load.
    next(None for _ in run.follow() if run.folder.summary.exists())
    assert not _writable_by_others(folder)
    names = {path.name for path in folder.rglob("*")}
    made = {"control.jsonl", "heartbeat", "events.jsonl", "console.log", "summary.json", ".reserve", ".lease"}
    assert made <= names
    assert "dynamicsengine_latest.pt" in names
    stop(run)
    assert (folder / "out" / "dynamicsengine.json").exists()
    assert not _writable_by_others(folder)


@pytest.mark.usefixtures("permissive")
def test_cached_features_are_not_writable_by_others(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir(0o755)
    (tmp_path / "corpus" / "a").write_text("a")
    (tmp_path / "corpus" / "a").chmod(0o644)
    extractor = FeatureExtractor("deam", 1, {}, lambda _path: {"x": np.ones((2, 3))})
    load_features(tmp_path / "corpus", ["a"], extractor, ExtractionOptions(cache_dir=tmp_path / "cache" / "deep"))
    assert not _writable_by_others(tmp_path)


def test_files_that_others_may_write_are_closed_to_them(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path)
    for path in (folder.events, folder.heartbeat):
        path.touch()
        path.chmod(0o666)
    LogWriter(folder.events).close()
    lock = hold(folder)
    lock.release()
    assert not _writable_by_others(tmp_path)


@pytest.mark.parametrize("umask", [0, 0o022, 0o027, 0o077])
def test_read_permission_follows_the_umask(tmp_path: Path, umask: int) -> None:
    previous = os.umask(umask)
    try:
        atomic_write(tmp_path / "folder" / "file", b"")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755 & ~umask
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == 0o644 & ~umask


@pytest.mark.parametrize("gone", ["removed", "moved"])
def test_a_run_whose_output_folder_was_removed_ends_without_writing_to_a_new_one(
    start: Start, folder: Path, gone: str
) -> None:
    first = start(epochs=100_000)
    until_epoch(first, 1)
    pause(first)
    (shutil.rmtree if gone == "removed" else lambda path: path.rename("elsewhere"))(folder / "out")
    second = start(epochs=100_000)
    until(first, "failed")
    assert "was removed or replaced while the run trained" in first.snapshot.error
    assert f"runs resume {first.id}" in first.snapshot.error
    assert is_held(folder / "out" / ".lease")
    with pytest.raises(RunError, match=f"run {second.id}"):
        start()
    until_epoch(second, 1)
    stop(second)


def test_a_run_that_trains_on_never_writes_into_the_next_owners_folder(start: Start, folder: Path) -> None:
    first = start(epochs=100_000, examples=512)
    until_epoch(first, 1)
    (folder / "out").rename(folder / "elsewhere")
    lock = acquire_output_lock(folder / "out")
    until(first, "failed")
    assert [path.name for path in (folder / "out").iterdir()] == [".lease"]
    assert is_held(lock.path)
    lock.release()


def test_a_lock_whose_file_was_replaced_is_noticed_and_its_successor_stays(tmp_path: Path) -> None:
    first = acquire_output_lock(tmp_path / "out")
    assert first.identity.is_current()
    shutil.rmtree(tmp_path / "out")
    assert not first.identity.is_current()
    second = acquire_output_lock(tmp_path / "out")
    assert second.identity.is_current()
    assert not first.identity.is_current()
    release_output_lock(first)
    first.release()
    assert second.path.exists()
    assert second.identity.is_current()
    assert is_held(second.path)
    second.release()


def test_writing_below_a_lost_folder_is_refused(tmp_path: Path) -> None:
    lock = acquire_output_lock(tmp_path / "out")
    is_owned = pickle.loads(pickle.dumps(lock.identity.is_current))
    with guard_folder(tmp_path / "out", is_owned):
        atomic_write(tmp_path / "out" / "a" / "file", b"x")
        shutil.rmtree(tmp_path / "out")
        with pytest.raises(KellyError, match=r"cannot be written: the folder .*out was removed or replaced"):
            atomic_write(tmp_path / "out" / "a" / "file", b"x")
        atomic_write(tmp_path / "other", b"x")
    assert not (tmp_path / "out").exists()
    lock.release()
