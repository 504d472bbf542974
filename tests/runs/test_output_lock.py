"""Only the owner of a run can write its files, and only one training owns an output folder."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kelly_core.errors import KellyError, RunError
from kelly_core.features.extraction import FeatureExtractor, load_features
from kelly_core.io.atomic import atomic_write, guard_folder
from kelly_core.io.locks import FileLock, is_held
from kelly_core.runs.event_log import LogWriter
from kelly_core.runs.output_lock import acquire_output_lock, release_output_lock
from kelly_core.runs.run_dir import RunDirectory

from .conftest import Start, until, until_epoch


@pytest.fixture
def permissive() -> Iterator[None]:
    former = os.umask(0)
    yield
    os.umask(former)


def _writable_by_others(root: Path) -> list[str]:
    paths = [path for path in root.rglob("*") if not path.is_symlink()]
    assert paths
    return [f"{path} {stat.filemode(path.stat().st_mode)}" for path in paths if path.stat().st_mode & 0o022]


@pytest.mark.usefixtures("permissive")
def test_nothing_of_a_run_is_writable_by_others_whatever_the_umask(start: Start, folder: Path) -> None:
    run = start(epochs=500, runs__dir="state/runs", output__plots=True, output__tensorboard=True)
    until_epoch(run, 1)
    run.request_pause()
    until(run, "paused")
    # The summary is written by another thread, at the latest with the next measurement of the machine's load.
    next(None for _ in run.follow() if run.folder.summary.exists())
    assert not _writable_by_others(folder)
    names = {path.name for path in folder.rglob("*")}
    made = {"control.jsonl", "heartbeat", "events.jsonl", "console.log", "summary.json", ".reserve", ".lease"}
    assert made <= names
    assert "dynamicsengine_latest.pt" in names
    run.request_stop()
    until(run, "stopped")
    assert (folder / "out" / "dynamicsengine.json").exists()
    assert not _writable_by_others(folder)


@pytest.mark.usefixtures("permissive")
def test_cached_features_are_not_writable_by_others(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir(0o755)
    (tmp_path / "corpus" / "a").write_text("a")
    (tmp_path / "corpus" / "a").chmod(0o644)
    extractor = FeatureExtractor("deam", 1, {}, lambda _path: {"x": np.ones((2, 3))})
    load_features(tmp_path / "corpus", ["a"], extractor, cache_dir=tmp_path / "cache" / "deep")
    assert not _writable_by_others(tmp_path)


def test_files_that_others_may_write_are_closed_to_them(tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path)
    for path in (folder.events, folder.heartbeat):
        path.touch()
        path.chmod(0o666)
    LogWriter(folder.events).close()
    lock = FileLock.acquire(folder.heartbeat)
    assert lock is not None
    lock.release()
    assert not _writable_by_others(tmp_path)


@pytest.mark.parametrize("umask", [0, 0o022, 0o027, 0o077])
def test_reading_stays_as_the_umask_says(tmp_path: Path, umask: int) -> None:
    former = os.umask(umask)
    try:
        atomic_write(tmp_path / "folder" / "file", lambda stream: stream.write(b""))
    finally:
        os.umask(former)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o755 & ~umask
    assert stat.S_IMODE((tmp_path / "folder" / "file").stat().st_mode) == 0o644 & ~umask


@pytest.mark.parametrize("gone", ["removed", "moved"])
def test_a_run_whose_output_folder_is_gone_ends_and_leaves_the_next_owner_alone(
    start: Start, folder: Path, gone: str
) -> None:
    first = start(epochs=100_000)
    until_epoch(first, 1)
    first.request_pause()
    until(first, "paused")
    (shutil.rmtree if gone == "removed" else lambda path: path.rename("elsewhere"))(folder / "out")
    second = start(epochs=100_000)
    until(first, "failed")
    assert "was removed or replaced while the run trained" in first.snapshot.error
    assert f"runs resume {first.id}" in first.snapshot.error
    assert is_held(folder / "out" / ".lease")
    with pytest.raises(RunError, match=f"run {second.id}"):
        start()
    until_epoch(second, 1)
    second.request_stop()
    until(second, "stopped")


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
        atomic_write(tmp_path / "out" / "a" / "file", lambda stream: stream.write(b"x"))
        shutil.rmtree(tmp_path / "out")
        with pytest.raises(KellyError, match=r"cannot be written: the folder .*out was removed or replaced"):
            atomic_write(tmp_path / "out" / "a" / "file", lambda stream: stream.write(b"x"))
        atomic_write(tmp_path / "other", lambda stream: stream.write(b"x"))
    assert not (tmp_path / "out").exists()
    lock.release()
