"""Features are computed once and never trusted when damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kelly_core.data.cache import Extraction, FeatureTable, load_features
from kelly_core.errors import DataError


class Lengths:
    """Counts the letters of a text file, and how often it was asked to."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, path: Path) -> dict[str, np.ndarray]:
        self.calls.append(path.name)
        text = path.read_text()
        if "bad" in text:
            raise DataError("bad text", where=path)
        return {"letters": np.array([ord(letter) for letter in text]), "length": np.array([len(text)])}


@pytest.fixture
def lengths() -> Lengths:
    return Lengths()


@pytest.fixture
def read(tmp_path: Path, lengths: Lengths):
    root = tmp_path / "corpus"
    root.mkdir()

    def run(**changes: object) -> FeatureTable:
        fields = {"corpus": "texts", "version": 1, "settings": {}, "extract": lengths} | changes
        lengths.calls.clear()
        return load_features(root, sorted(root.glob("*.txt")), Extraction(**fields), cache_dir=tmp_path / "cache")

    run.root = root
    run.store = lambda: next((tmp_path / "cache").glob("texts-*/features-*"))
    for name, text in (("a", "one"), ("b", "bad"), ("c", "three")):
        (root / f"{name}.txt").write_text(text)
    return run


def test_a_table_holds_all_files_in_order(read) -> None:
    table = read()
    assert table.files == ["a.txt", "c.txt"]
    assert bytes(table.arrays["letters"].astype(np.uint8)) == b"onethree"
    assert table.counts["letters"].tolist() == [3, 5]
    assert table.owner("letters").tolist() == [0] * 3 + [1] * 5
    assert table.skipped == {"bad text": ["b.txt"]}


def test_a_second_start_touches_no_file(read, lengths, monkeypatch) -> None:
    first = read()
    opened: list[str] = []
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or real_open(self, *a, **k))
    second = read()
    assert not lengths.calls and not [name for name in opened if name.endswith(".txt")]
    np.testing.assert_array_equal(first.arrays["letters"], second.arrays["letters"])
    assert second.skipped == first.skipped and second.files == first.files


def test_only_what_changed_is_computed(read, lengths) -> None:
    read()
    (read.root / "c.txt").write_text("four!")
    (read.root / "d.txt").write_text("new")
    table = read()
    assert sorted(lengths.calls) == ["c.txt", "d.txt"]
    assert bytes(table.arrays["letters"].astype(np.uint8)) == b"onefour!new"


def test_a_file_with_a_new_time_but_the_same_content_is_not_computed_again(read, lengths) -> None:
    read()
    os.utime(read.root / "a.txt", (1, 1))
    read()
    assert not lengths.calls


def test_a_removed_file_leaves_the_table(read) -> None:
    read()
    (read.root / "a.txt").unlink()
    assert read().files == ["c.txt"]


@pytest.mark.parametrize("change", [{"version": 2}, {"settings": {"duration": 3}}])
def test_other_settings_are_another_cache(read, lengths, change) -> None:
    read()
    read(**change)
    assert sorted(lengths.calls) == ["a.txt", "b.txt", "c.txt"]


def test_a_damaged_cache_is_made_anew(read, lengths) -> None:
    whole = read()
    content = read.store().read_bytes()
    damages = [content[: len(content) // 2], b"", b"PK\x03\x04 nothing", content[:-30]]
    middle = content.index(b"NUMPY") + 130
    damages.append(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    for damage in damages:
        read.store().write_bytes(damage)
        table = read()
        assert lengths.calls, f"trusted {damage[:20]!r}…"
        np.testing.assert_array_equal(table.arrays["letters"], whole.arrays["letters"])
        read()
        assert not lengths.calls


def test_the_same_content_twice_counts_once(read) -> None:
    (read.root / "z.txt").write_text("one")
    assert read().skipped == {"bad text": ["b.txt"], "same content as another file": ["z.txt"]}


def test_worker_processes_compute_the_same(read, tmp_path) -> None:
    alone = read()
    files = sorted(read.root.glob("*.txt"))
    extraction = Extraction("texts", 1, {}, Lengths())
    seen: list[tuple[int, int]] = []
    table = load_features(
        read.root, files, extraction, cache_dir=tmp_path / "other", jobs=2, progress=lambda *at: seen.append(at)
    )
    np.testing.assert_array_equal(table.arrays["letters"], alone.arrays["letters"])
    assert seen == [(1, 3), (2, 3), (3, 3)]
