"""Locks, against other real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kelly_core.errors import RunError
from kelly_core.io.locks import FileLock, LockOwner, is_held
from kelly_core.runs.launch import acquire_output_lock, release_output_lock

KEEPER = """
import sys
from pathlib import Path
from kelly_core.runs.launch import acquire_output_lock
lock = acquire_output_lock(Path(sys.argv[1]))
lock.write_owner("2026-11-22-1431-brave-cadence", __import__("os").getpid())
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owner(tmp_path: Path):
    """Another process that holds the lock of ``out``."""
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(tmp_path / "out")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_folder_in_use_is_refused_with_who_holds_it(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        acquire_output_lock(tmp_path / "out")
    text = str(caught.value)
    assert "run 2026-11-22-1431-brave-cadence" in text
    assert f"process {owner.pid}" in text
    assert "kelly-core runs stop 2026-11-22-1431-brave-cadence" in text
    acquire_output_lock(tmp_path / "other").release()


def test_the_lease_of_a_killed_process_is_free(owner: subprocess.Popen[str], tmp_path: Path) -> None:
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert LockOwner.read(tmp_path / "out" / ".lease").pid == owner.pid
    lock = acquire_output_lock(tmp_path / "out")
    lock.write_owner("next", os.getpid())
    assert LockOwner.read(lock.path).run == "next"
    lock.release()


def test_a_released_lock_is_free_while_its_process_runs(tmp_path: Path) -> None:
    first = acquire_output_lock(tmp_path)
    release_output_lock(first)
    second = acquire_output_lock(tmp_path)
    assert is_held(second.path)
    first.release()
    assert is_held(second.path)
    second.release()
    assert not is_held(second.path)


def test_a_lock_is_held_by_the_process_that_inherited_it(tmp_path: Path) -> None:
    lock = FileLock.acquire(tmp_path / "lock")
    assert lock is not None
    heir = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[lock.handle]
    )
    lock.release()
    assert is_held(tmp_path / "lock")
    assert FileLock.acquire(tmp_path / "lock", timeout=0) is None
    heir.kill()
    heir.communicate()
    assert not is_held(tmp_path / "lock")


def test_asking_does_not_take(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    lock = FileLock.acquire(tmp_path / "lock")
    assert lock is not None
    assert is_held(lock.path)
    assert is_held(lock.path)
    lock.release()


def test_many_at_once_and_only_one_gets_it(tmp_path: Path) -> None:
    code = KEEPER.replace("lock = acquire", "sys.stdin.readline()\nlock = acquire")
    assert code != KEEPER
    contenders = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "out")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    for one in contenders:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    said = [one.stdout.readline() for one in contenders if one.stdout]
    for one in contenders:
        one.communicate()
    assert sorted(said) == ["", "", "", "", "held\n"]


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(RunError, match="cannot be created as a folder"):
        acquire_output_lock(tmp_path / "out")


@pytest.mark.parametrize(
    "content", [b"", pytest.param(b"[" * 100_000, id="deep"), b'{"run": "a", "pid": 1e999, "host": "b"}', b"\xff"]
)
def test_a_damaged_signature_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert LockOwner.read(tmp_path / "lock") == LockOwner()


def test_an_unsigned_lease_still_refuses(tmp_path: Path) -> None:
    lock = FileLock.acquire(tmp_path / ".lease")
    assert lock is not None
    with pytest.raises(RunError, match="another run is training into this folder"):
        acquire_output_lock(tmp_path)
    lock.release()
