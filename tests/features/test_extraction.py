"""Features are computed once, and damaged ones are never used."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kelly_core.errors import DataError
from kelly_core.features import extraction, store
from kelly_core.features.extraction import ExtractionOptions, FeatureExtractor, FeatureTable, load_features
from kelly_core.features.feature_cache import verify_folder
from tests.seeds import seeded_rng


class Lengths:
    """Counts the letters of a text file, and its own calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, path: Path) -> dict[str, np.ndarray]:
        self.calls.append(path.name)
        text = path.read_text()
        if "bad" in text:
            raise DataError("bad text", where=path)
        return {"letters": np.array([ord(letter) for letter in text], np.int64), "length": np.array([len(text)])}


def texts(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("*.txt"))


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
        return load_features(
            root, texts(root), FeatureExtractor(**fields), ExtractionOptions(cache_dir=tmp_path / "cache")
        )

    run.root = root
    run.folder = lambda: next((tmp_path / "cache").glob("texts-*"))
    run.store = lambda: next(run.folder().glob("features-*"))
    for name, text in (("a", "one"), ("b", "bad"), ("c", "three")):
        (root / f"{name}.txt").write_text(text)
    return run


def test_a_table_holds_all_files_in_order(read) -> None:
    table = read()
    assert table.files == ["a.txt", "c.txt"]
    assert bytes(table.arrays["letters"].astype(np.uint8)) == b"onethree"
    assert table.counts["letters"].tolist() == [3, 5]
    assert table.file_indices("letters").tolist() == [0] * 3 + [1] * 5
    assert table.skipped == {"bad text": ["b.txt"]}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OverflowError("int too large"), "could not be read (OverflowError)"),
        (
            UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"),
            "could not be read (UnicodeEncodeError)",
        ),
        (RecursionError(), "could not be read (RecursionError)"),
        (AssertionError("\x1b[2J"), "could not be read (AssertionError)"),
        (MemoryError(), "needs more memory than is available (MemoryError)"),
    ],
)
def test_any_error_of_a_file_skips_only_that_file(read, caplog, error: Exception, reason: str) -> None:
    def failing(path: Path) -> dict[str, np.ndarray]:
        if path.name == "b.txt":
            raise error
        return {"length": np.array([1])}

    table = read(extract=failing)
    assert table.files == ["a.txt", "c.txt"]
    assert table.skipped == {reason: ["b.txt"]}
    assert f"b.txt: {type(error).__name__}" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ModuleNotFoundError])
def test_an_interrupt_or_a_missing_package_does_not_skip_a_file(read, error: type[BaseException]) -> None:
    def failing(_path: Path) -> dict[str, np.ndarray]:
        raise error

    with pytest.raises(error):
        read(extract=failing)


@pytest.mark.parametrize("error", [DataError("cannot be read (Permission denied)"), MemoryError()])
def test_a_file_that_could_not_be_read_once_is_tried_again(read, lengths, error: Exception) -> None:
    def failing(path: Path) -> dict[str, np.ndarray]:
        if path.name == "a.txt":
            raise error
        return lengths(path)

    assert read(extract=failing).files == ["c.txt"]
    table = read()
    assert table.files == ["a.txt", "c.txt"]
    assert table.arrays["length"].tolist() == [3, 5]
    assert lengths.calls == ["a.txt"]
    read()
    assert not lengths.calls


def test_a_second_start_reads_no_file(read, lengths, monkeypatch) -> None:
    first = read()
    opened: list[str] = []
    real_open = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or real_open(self, *a, **k))
    second = read()
    assert not lengths.calls
    assert not [name for name in opened if name.endswith(".txt")]
    np.testing.assert_array_equal(first.arrays["letters"], second.arrays["letters"])
    assert second.skipped == first.skipped
    assert second.files == first.files


def test_only_changed_files_are_computed(read, lengths) -> None:
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


@pytest.mark.parametrize("name", ["manifest", "letters", "length"])
@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "foreign", "one bit", "missing"])
def test_a_damaged_cache_is_made_again(read, lengths, name, damage) -> None:
    read()
    path = read.store() / name
    content = path.read_bytes()
    middle = len(content) // 2
    damaged = {
        "cut": content[:-1],
        "longer": content + b"\0",
        "empty": b"",
        "foreign": b"PK\x03\x04 nothing",
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }
    path.unlink() if damage == "missing" else path.write_bytes(damaged[damage])
    table = read()
    assert sorted(lengths.calls) == ["a.txt", "b.txt", "c.txt"]
    assert bytes(table.arrays["letters"].astype(np.uint8)) == b"onethree"
    read()
    assert not lengths.calls
    assert len(list(read.store().parent.iterdir())) == 3


def rot(path: Path, place: int) -> None:
    """Change one byte of a file whose size and time stay."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x10]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("place", [0, 7 * 8, 8 * 8 - 1])
def test_corruption_without_a_change_of_size_or_time_is_detected(read, lengths, place: int) -> None:
    read()
    rot(read.store() / "letters", place)
    (problem,) = verify_folder(read.folder())
    assert problem == "features-000001/letters: 1 of 1 blocks differ from what was written (a.txt, c.txt)"
    assert bytes(read().arrays["letters"].astype(np.uint8)) == b"onethree"
    assert sorted(lengths.calls) == ["a.txt", "b.txt", "c.txt"]
    assert not verify_folder(read.folder())


def test_each_start_checks_other_blocks_of_a_large_cache(read, lengths, monkeypatch) -> None:
    monkeypatch.setattr(store, "_BLOCK_BYTES", 16)
    monkeypatch.setattr(store, "SAMPLED_BLOCKS", 1)
    read()
    rot(read.store() / "letters", 40)
    (problem,) = verify_folder(read.folder())
    assert problem == "features-000001/letters: 1 of 4 blocks differ from what was written (c.txt)"
    # Five blocks in all: one is found with a chance of 1 - .8^200 in 200 starts.
    assert any(read() and lengths.calls for _ in range(200))
    assert not verify_folder(read.folder())


@pytest.mark.parametrize("block", [1, 3, 8, 24, 63, 64, 65])
def test_checksums_cover_every_byte_whatever_the_blocks(tmp_path: Path, monkeypatch, block: int) -> None:
    monkeypatch.setattr(store, "_BLOCK_BYTES", block)
    rows = [bytes(range(5)), b"", bytes(range(5, 40)), bytes(range(40, 64))]
    manifest = store.Manifest(["a"], np.ones(1, int), np.ones(1, int), ["00" * 16], [""], {"x": np.array([8])})
    content = store.StoreContent(manifest, {"x": store.ArrayLayout("<i8", ())}, {"x": rows})
    store.write_store(tmp_path / "store", content)
    assert store.verify_store(tmp_path / "store") == []
    assert store.open_store(tmp_path / "store") is not None
    for place in range(64):
        rot(tmp_path / "store" / "x", place)
        assert "(a)" in store.verify_store(tmp_path / "store")[0]
        rot(tmp_path / "store" / "x", place)


def test_a_cut_or_missing_array_is_named(read) -> None:
    read()
    (read.store() / "length").write_bytes(b"")
    (read.store() / "letters").unlink()
    assert verify_folder(read.folder()) == [
        "features-000001/length: has 0 bytes, expected 16",
        "features-000001/letters: cannot be read (No such file or directory)",
    ]


def test_a_copied_cache_is_verified_and_used(read, lengths) -> None:
    read()
    for path in read.store().iterdir():
        os.utime(path, (1, 1))
    assert read().files == ["a.txt", "c.txt"]
    assert not lengths.calls


def test_a_reader_keeps_what_it_has_mapped(read) -> None:
    before = read()
    (read.root / "a.txt").write_text("changed")
    after = read()
    assert bytes(before.arrays["letters"].astype(np.uint8)) == b"onethree"
    assert bytes(after.arrays["letters"].astype(np.uint8)) == b"changedthree"


def test_arrays_are_mapped_not_read(read) -> None:
    letters = base = read().arrays["letters"]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base.base, mmap.mmap)
    assert not letters.flags.writeable


def test_memory_does_not_grow_with_the_number_of_features(read, monkeypatch) -> None:
    monkeypatch.setattr(extraction, "_SEGMENT_BYTES", 2**21)
    for number in range(64):
        (read.root / f"{number:02}.txt").write_text(str(number))
    read(extract=lambda _path: {"letters": np.zeros(1, np.uint8)}, version=2)
    tracemalloc.start()
    table = read(extract=lambda path: {"letters": np.full(2**20, len(path.name), np.uint8)}, version=3)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.arrays["letters"].nbytes == 67 * 2**20
    # 4 MiB alone; threads that other tests have left in this process count, too.
    assert peak < 24 * 2**20


def test_a_duplicate_stays_if_the_other_file_is_removed(read, lengths) -> None:
    (read.root / "z.txt").write_text("one")
    read()
    (read.root / "a.txt").unlink()
    assert read().files == ["c.txt", "z.txt"]
    assert not lengths.calls


def test_files_at_the_end_may_be_added_and_removed(read, lengths) -> None:
    both = read()
    last = read.root / "c.txt"
    last.rename(read.root / "c")
    table = read()
    assert table.files == ["a.txt"]
    assert table.skipped == {"bad text": ["b.txt"]}
    assert bytes(table.arrays["letters"].astype(np.uint8)) == b"one"
    assert table.counts["letters"].tolist() == [3]
    (read.root / "c").rename(last)
    np.testing.assert_array_equal(read().arrays["letters"], both.arrays["letters"])
    assert not lengths.calls


def test_a_cache_that_cannot_be_written_is_reported_in_words(read, tmp_path) -> None:
    (tmp_path / "cache").write_text("in the way")
    with pytest.raises(DataError, match="cannot be written: a part of its path is a file"):
        read()


def test_features_computed_by_a_killed_process_are_kept(read, lengths, monkeypatch) -> None:
    monkeypatch.setattr(extraction, "_SEGMENT_SECONDS", 0.0)

    def killed(path: Path) -> dict[str, np.ndarray]:
        if path.name == "c.txt":
            raise KeyboardInterrupt
        return lengths(path)

    with pytest.raises(KeyboardInterrupt):
        read(extract=killed)
    leftover = read.folder() / ".features-000001.00.tmp"
    leftover.mkdir()
    table = read()
    assert lengths.calls == ["c.txt"]
    assert bytes(table.arrays["letters"].astype(np.uint8)) == b"onethree"
    assert table.skipped == {"bad text": ["b.txt"]}
    assert sorted(path.name for path in read.folder().iterdir()) == ["features-000001", "lock", "recipe.json"]


class Noted(Lengths):
    """Record each extracted file in a file that two processes share, and wait."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self.log = log

    def __call__(self, path: Path) -> dict[str, np.ndarray]:
        with self.log.open("a") as log:
            log.write(path.name + "\n")
        threading.Event().wait(0.1)
        return super().__call__(path)


def test_two_processes_at_once_compute_each_file_once(read, tmp_path) -> None:
    log = tmp_path / "log"
    start = multiprocessing.get_context("spawn").Process
    others = [start(target=_load, args=(read.root, Noted(log), tmp_path / "cache")) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]
    assert sorted(log.read_text().split()) == ["a.txt", "b.txt", "c.txt"]
    assert read().files == ["a.txt", "c.txt"]


def _load(root: Path, extract: Lengths, folder: Path) -> None:
    table = load_features(
        root, texts(root), FeatureExtractor("texts", 1, {}, extract), ExtractionOptions(cache_dir=folder)
    )
    assert bytes(table.arrays["letters"].astype(np.uint8)) == b"onethree"


def test_rows_follow_the_files_whatever_the_stores_they_come_from(read, monkeypatch) -> None:
    monkeypatch.setattr(extraction, "_SEGMENT_BYTES", 8)
    rng = seeded_rng(0)
    for _ in range(12):
        for name in rng.choice(list("abcdefghij"), 3):
            path = read.root / f"{name}.txt"
            path.unlink(missing_ok=True) if rng.random() < 0.3 else path.write_text(str(name) * int(rng.integers(5)))
        (read.root / "k.txt").write_text("k" * int(rng.integers(1, 9)))
        table = read()
        texts = [(read.root / file).read_text() for file in table.files]
        assert bytes(table.arrays["letters"].astype(np.uint8)).decode() == "".join(texts)
        assert table.arrays["length"].tolist() == [len(text) for text in texts]
        assert table.counts["letters"].tolist() == [len(text) for text in texts]


def test_duplicate_files_count_once(read) -> None:
    (read.root / "z.txt").write_text("one")
    assert read().skipped == {"bad text": ["b.txt"], "same content as another file": ["z.txt"]}


def test_worker_processes_compute_the_same(read, tmp_path) -> None:
    alone = read()
    files = texts(read.root)
    extraction = FeatureExtractor("texts", 1, {}, Lengths())
    seen: list[tuple[int, int]] = []
    options = ExtractionOptions(cache_dir=tmp_path / "other", jobs=2, progress=lambda *at: seen.append(at))
    table = load_features(read.root, files, extraction, options)
    np.testing.assert_array_equal(table.arrays["letters"], alone.arrays["letters"])
    assert seen == [(1, 3), (2, 3), (3, 3)]
