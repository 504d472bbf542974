"""The cache folder: stale caches are recognized, and only caches are ever removed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from kelly_core.errors import DataError
from kelly_core.features.extraction import ExtractionOptions, FeatureExtractor, FeatureTable, load_features
from kelly_core.features.feature_cache import (
    GONE,
    KEY_FILE,
    OLD_FORMAT,
    SUPERSEDED,
    CachedFeatures,
    CacheKey,
    list_caches,
    remove_cache,
)
from kelly_core.io.locks import FileLock

KEY = "0123456789abcdef"


class Corpora:
    """Text files whose letters are features, and their cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = folder / "cache"

    def read(self, root: str = "a", corpus: str = "maestro", version: int = 1) -> FeatureTable:
        path = self.folder / root / "song.txt"
        path.parent.mkdir(exist_ok=True)
        if not path.exists():
            path.write_text("tune")
        extraction = FeatureExtractor(
            corpus, version, {}, lambda path: {"letters": np.frombuffer(path.read_bytes(), "u1")}
        )
        return load_features(path.parent, [path.name], extraction, ExtractionOptions(cache_dir=self.cache, jobs=1))

    def list(self) -> dict[str, str]:
        """Why each cache is stale, by the folder it was computed from, or its own name if that is unknown."""
        return {Path(one.source).name or one.path.name: one.stale for one in list_caches(self.cache)}

    def only(self) -> CachedFeatures:
        (one,) = list_caches(self.cache)
        return one


@pytest.fixture
def corpora(tmp_path: Path) -> Corpora:
    return Corpora(tmp_path)


def test_stale_caches_are_recognized(corpora: Corpora) -> None:
    assert corpora.list() == {}
    corpora.read("here")
    corpora.read("gone")
    shutil.rmtree(corpora.folder / "gone")
    (corpora.cache / f"deam-{KEY}.npz").write_bytes(bytes(1000))
    (corpora.cache / f"deam-{KEY}" / "features-000001").mkdir(parents=True)
    assert corpora.list() == {"here": "", "gone": GONE, f"deam-{KEY}.npz": OLD_FORMAT, f"deam-{KEY}": OLD_FORMAT}
    corpora.read("here", version=2)
    corpora.read("here", corpus="lakh_midi")
    found = [(one.corpus, one.stale) for one in list_caches(corpora.cache) if one.source.endswith("here")]
    assert sorted(found) == [("lakh_midi", ""), ("maestro", ""), ("maestro", SUPERSEDED)]


def test_a_cache_counts_all_its_bytes_and_when_it_was_used(corpora: Corpora) -> None:
    corpora.read()
    one = corpora.only()
    assert one.bytes == sum(path.stat().st_size for path in one.path.rglob("*") if path.is_file()) > 4
    os.utime(one.path / KEY_FILE, (1000, 1000))
    assert corpora.only().last_used == 1000
    corpora.read()
    assert corpora.only().last_used > 1e9


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"corpus": "maestro"})])
def test_an_invalid_key_counts_as_an_older_version(corpora: Corpora, content: str) -> None:
    corpora.read()
    folder = corpora.only().path
    (folder / KEY_FILE).write_text(content)
    assert corpora.only().stale == OLD_FORMAT
    CacheKey("maestro", "elsewhere", {}, 1).write(folder)
    assert corpora.only().stale == OLD_FORMAT


def test_only_caches_are_removed_and_no_link_is_followed(corpora: Corpora) -> None:
    precious = corpora.folder / "precious"
    precious.mkdir()
    (precious / "thesis").write_text("years of work")
    corpora.read()
    folder = corpora.only().path
    (corpora.cache / "notes.txt").write_text("mine")
    (corpora.cache / f"photos-{KEY}").mkdir()
    (corpora.cache / f"deam-{KEY}").symlink_to(precious, target_is_directory=True)
    (corpora.cache / f"deam-{KEY}.npz").symlink_to(precious / "thesis")
    (folder / "features-000009").symlink_to(precious, target_is_directory=True)
    (folder / "features-000001" / "link").symlink_to(precious, target_is_directory=True)
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"contains files that are not part of a cache: features-000009, mine\.txt"):
        remove_cache(corpora.only())
    assert sorted(path.name for path in folder.iterdir()) == ["features-000009", "lock", "mine.txt"]
    (folder / "features-000009").unlink()
    (folder / "mine.txt").unlink()
    remove_cache(corpora.only())
    assert corpora.list() == {}
    left = sorted(path.name for path in corpora.cache.iterdir())
    assert left == [f"deam-{KEY}", f"deam-{KEY}.npz", "notes.txt", f"photos-{KEY}"]
    assert (precious / "thesis").read_text() == "years of work"


def test_a_lock_that_is_a_link_is_not_taken(corpora: Corpora) -> None:
    corpora.read()
    one = corpora.only()
    (one.path / "lock").unlink()
    (one.path / "lock").symlink_to(corpora.folder / "elsewhere")
    with pytest.raises(DataError, match="its lock is a link"):
        remove_cache(one)
    assert not (corpora.folder / "elsewhere").exists()
    assert (one.path / "features-000001" / "manifest").exists()


def test_a_reader_continues_with_a_removed_cache(corpora: Corpora) -> None:
    table = corpora.read()
    remove_cache(corpora.only())
    assert corpora.list() == {}
    assert bytes(table.arrays["letters"]) == b"tune"
    assert bytes(corpora.read().arrays["letters"]) == b"tune"
    assert corpora.list() == {"a": ""}


def test_a_cache_being_computed_stays(corpora: Corpora) -> None:
    corpora.read()
    one = corpora.only()
    lock = FileLock.acquire(one.path / "lock")
    assert lock is not None
    with pytest.raises(DataError, match="being computed"):
        remove_cache(one)
    lock.release()
    assert bytes(corpora.read().arrays["letters"]) == b"tune"


def test_a_cache_removed_while_another_process_waits_for_its_lock_is_created_again(
    corpora: Corpora, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpora.read()
    (corpora.folder / "a" / "song.txt").write_text("another")
    folder, take = corpora.only().path, FileLock.acquire

    def remove_first(path: Path, **options: object) -> FileLock | None:
        monkeypatch.setattr(FileLock, "acquire", take)
        folder.rename(corpora.folder / "removed")
        return take(path, **options)

    monkeypatch.setattr(FileLock, "acquire", remove_first)
    assert bytes(corpora.read().arrays["letters"]) == b"another"
    assert corpora.list() == {"a": ""}


def test_a_folder_that_cannot_be_changed_is_reported(corpora: Corpora, monkeypatch: pytest.MonkeyPatch) -> None:
    corpora.read()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(DataError, match=r"features-000001: cannot be removed \(Permission denied\)"):
        remove_cache(corpora.only())
    (corpora.folder / "file").touch()
    with pytest.raises(DataError, match="cannot be read"):
        list_caches(corpora.folder / "file")
