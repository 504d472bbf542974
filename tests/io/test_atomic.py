"""A file is replaced whole or not at all, and a failure is reported in words."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from kelly_core.errors import ExportError, KellyError
from kelly_core.io.atomic import atomic_write, atomic_write_all


def test_makes_parent_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file.bin"
    atomic_write(target, b"content")
    assert target.read_bytes() == b"content"
    assert list(target.parent.iterdir()) == [target]


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        atomic_write(tmp_path / "file", b"")
    finally:
        os.umask(previous)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), ValueError("x"), OSError(errno.ENOSPC, "No space left")])
def test_an_interrupted_write_leaves_the_former_file(tmp_path: Path, interruption: BaseException) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"former")

    def half(stream: BinaryIO) -> None:
        stream.write(b"half of the n")
        raise interruption

    expected = KellyError if isinstance(interruption, OSError) else type(interruption)
    with pytest.raises(expected):
        atomic_write(target, half)
    assert target.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [target]


def test_a_killed_writer_leaves_the_former_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"former")
    program = (
        "import os, signal, sys; from pathlib import Path; from kelly_core.io.atomic import atomic_write\n"
        "atomic_write(Path(sys.argv[1]), lambda s: (s.write(b'new'), s.flush(), os.kill(os.getpid(), signal.SIGKILL)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target)], check=False, timeout=600)
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"former"


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    def fail(_stream: BinaryIO) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ExportError, match=r"file: cannot be written: the disk is full\. Free some space"):
        atomic_write(tmp_path / "file", fail, error_type=ExportError)


def test_a_limit_of_the_system_is_reported_in_its_own_words(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(KellyError, match="File too large"):
            atomic_write(tmp_path / "file", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_cannot_sync_folders_still_takes_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", sync)
    atomic_write(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


@pytest.mark.parametrize("refused", [False, True])
def test_a_file_is_forced_out_of_the_drives_cache_where_the_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """As macOS can, except on network file systems."""
    asked: list[str] = []

    def control(_handle: int, request: int) -> None:
        asked.append(f"fcntl {request}")
        if refused:
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", lambda _handle: asked.append("fsync"))
    atomic_write(tmp_path / "file", b"new")
    assert asked == ["fcntl 51", *(["fsync"] if refused else []), "fsync"], "the last one is of the folder"


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(KellyError, match="it is a folder"):
        atomic_write(tmp_path / "taken", b"")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / "file" / "x", tmp_path / "file" / "deeper" / "x"):
        with pytest.raises(KellyError, match="a part of its path is a file"):
            atomic_write(target, b"")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_forbidden_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(KellyError, match="permission was denied"):
        atomic_write(tmp_path / "file", b"")


def test_several_files_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"former")
    (tmp_path / "blocked").touch()
    with pytest.raises(ExportError, match="blocked/b: cannot be written: a part of its path is a file"):
        atomic_write_all({tmp_path / "a": b"new", tmp_path / "blocked" / "b": b"new"}, error_type=ExportError)
    assert (tmp_path / "a").read_bytes() == b"former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "blocked"]
    atomic_write_all({tmp_path / "a": b"new", tmp_path / "c" / "b": b"more"})
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "c" / "b").read_bytes() == b"more"
