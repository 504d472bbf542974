"""``kelly-core cache``: output, removal of caches, and what stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kelly_core.io.locks import FileLock
from tests.cli.conftest import CommandRunner
from tests.helpers import tiny


@pytest.fixture
def caches(run: CommandRunner, tmp_path: Path) -> Path:
    """The cache of two corpora, one of them not used since 1970, and 1 MB of a previous format."""
    for name in ("groove_midi", "maestro"):
        tiny.WRITERS[name](tmp_path / "data" / name)
    run.ok("datasets", "--datasets-dir", "data")
    folder = tmp_path / "cache"
    (folder / "deam-0123456789abcdef.npz").write_bytes(bytes(10**6))
    (recipe,) = folder.glob("maestro-*/recipe.json")
    os.utime(recipe, (0, 0))
    return folder


def corpora(run: CommandRunner, *options: object) -> list[str]:
    return [cached["corpus"] for cached in run.json("cache", *options)["caches"]]


def test_the_size_of_the_cache_and_of_its_needed_part_are_reported(
    run: CommandRunner, caches: Path, tmp_path: Path
) -> None:
    size = sum(path.stat().st_size for path in caches.rglob("*") if path.is_file())
    reported = run.json("cache")
    assert reported["bytes"] == size
    assert reported["folder"] == str(caches)
    assert reported["removed"] == reported["problems"] == []
    shown = run.ok("cache")
    assert str(tmp_path / "data" / "maestro") in shown.out
    assert "1970-01-01" in shown.out
    advice = f"features are kept in {caches}: 1.0 MB, 1.0 MB stale; `kelly-core cache --prune` deletes it"
    assert advice in shown.out
    assert advice in run("datasets", "--datasets-dir", "data").out
    assert run.json("datasets", "--datasets-dir", "data")["cache"]["bytes"] == size


@pytest.mark.usefixtures("caches")
@pytest.mark.parametrize(
    ("options", "left"),
    [
        ([], ["deam", "groove_midi", "maestro"]),
        (["--prune"], ["groove_midi", "maestro"]),
        (["--unused-for", 7], ["deam", "groove_midi"]),
        (["--prune", "--unused-for", 7], ["groove_midi"]),
        (["--clear"], []),
    ],
)
def test_only_requested_caches_are_removed(run: CommandRunner, options: list[object], left: list[str]) -> None:
    assert corpora(run, *options) == left == corpora(run)


def test_corrupted_features_are_named_and_removed_when_asked(run: CommandRunner, caches: Path) -> None:
    assert "all checksums match" in run("cache", "--verify").out
    array = max(caches.glob("groove_midi-*/features-*/[!m]*"), key=lambda path: path.stat().st_size)
    status = array.stat()
    array.write_bytes(bytes([array.read_bytes()[0] ^ 1]) + array.read_bytes()[1:])
    os.utime(array, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = run.refused("cache", "--verify", code=1)
    assert f"{array}: 1 of 1 blocks" in found
    assert "--verify --prune" in found
    assert list(run.json("cache", "--verify", code=1)["corrupted"]) == [str(array.parents[1])]
    run.ok("cache", "--verify", "--prune")
    assert not array.exists()
    assert "all checksums match" in run("cache", "--verify").out


def test_a_cache_in_use_stays_and_the_others_are_removed(run: CommandRunner, caches: Path) -> None:
    (folder,) = caches.glob("groove_midi-*")
    lock = FileLock.acquire(folder / "lock")
    assert lock is not None
    reported = run.json("cache", "--clear", code=1)
    assert [cached["corpus"] for cached in reported["caches"]] == ["groove_midi"]
    assert len(reported["removed"]) == 2
    assert f"{folder}: features are being computed" in run.refused("cache", "--clear", code=1)
    lock.release()
    assert "removed 1, " in run("cache", "--clear").out
    assert list(caches.iterdir()) == []
