"""The official test split: read on request only, and then nothing else changes."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kelly_core.data.catalog import create_dataset
from kelly_core.data.official_splits import Selection, select_files
from kelly_core.data.splits import TEST
from kelly_core.errors import DataError
from tests.helpers import tiny


@pytest.mark.parametrize("name", ["maestro", "groove_midi"])
def test_all_else_stays_as_it_is(name: str, tmp_path: Path) -> None:
    root = tiny.WRITERS[name](tmp_path / name)
    usual = create_dataset(name, root, cache_dir=tmp_path / "cache")
    asked = create_dataset(name, root, cache_dir=tmp_path / "cache", include_test=True)
    assert len(usual.test) == 0 < len(asked.test)
    assert set(asked.rows.splits[asked.test]) == {TEST}
    assert len(asked) == len(usual) + len(asked.test)
    assert asked.fingerprint == usual.fingerprint
    assert asked.metadata == usual.metadata
    for split in ("train", "validation"):
        indices = getattr(usual, split)
        np.testing.assert_array_equal(getattr(asked, split), indices)
        one, other = usual.eval_batch(indices), asked.eval_batch(indices)
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_array_equal(one.targets, other.targets)
    held_out = set(asked.rows.groups[asked.test])
    assert held_out
    assert not held_out & set(usual.rows.groups)


def test_a_test_file_that_is_also_a_training_file_is_left_out(tmp_path: Path) -> None:
    root = tiny.maestro(tmp_path / "maestro")
    (train,), (test,) = root.glob("2000/*.midi"), root.glob("2003/*.midi")
    shutil.copy(train, test)
    test.rename(root / "2003" / "performance 3.midi")
    usual = create_dataset("maestro", root, cache_dir=tmp_path / "cache")
    asked = create_dataset("maestro", root, cache_dir=tmp_path / "cache", include_test=True)
    assert asked.fingerprint == usual.fingerprint
    assert len(asked.test) == 0


def test_the_number_of_files_is_limited_on_each_side(tmp_path: Path) -> None:
    root = tiny.maestro(tmp_path / "maestro")
    usual = create_dataset("maestro", root, cache_dir=tmp_path / "cache", max_files=3)
    asked = create_dataset("maestro", root, cache_dir=tmp_path / "cache", max_files=3, include_test=True)
    assert asked.fingerprint == usual.fingerprint
    assert len(asked.test) > 0


_SPLITS = {"2004/a.midi": "train", "2005/b.midi": "validation", "2006/c.midi": "test"}
_TABLE = "midi_filename,split\n" + "".join(f"{file},{split}\n" for file, split in _SPLITS.items())
_ROWS = json.dumps([{"midi_filename": file, "split": split} for file, split in _SPLITS.items()])


def _select(root: Path, table: str, content: bytes) -> Selection:
    for file in _SPLITS:
        (root / "moved" / file).parent.mkdir(parents=True)
        (root / "moved" / file).touch()
    (root / "moved" / table).write_bytes(content)
    return select_files(root, {".midi"}, whole=True)


@pytest.mark.parametrize(
    ("table", "encode"),
    [
        ("table.csv", lambda text: text.encode("utf-16-le")),
        ("table.csv", lambda text: text.encode("utf-16-be")),
        ("table.csv", lambda text: text.encode("utf-32")),
        ("table.CSV.gz", lambda text: gzip.compress(text.encode())),
        ("table.csv", lambda text: gzip.compress(text.encode())),
        ("table.csv.gz", lambda text: gzip.compress(text[:20].encode()) + gzip.compress(text[20:].encode())),
        ("table.txt", lambda text: text.encode()),
        ("table.tab", lambda text: text.replace(",", "\t").encode()),
        ("table.json", lambda _: _ROWS.encode("utf-16")),
        ("table.json.gz", lambda _: gzip.compress(_ROWS.encode())),
    ],
)
def test_a_renamed_table_is_read_in_any_encoding_and_compressed(
    table: str, encode: Callable[[str], bytes], tmp_path: Path
) -> None:
    selection = _select(tmp_path, table, encode(_TABLE))
    assert selection.tables == [f"moved/{table}"]
    assert selection.files == ["moved/2004/a.midi", "moved/2005/b.midi"]
    assert selection.split_source(selection.files) == "official"


@pytest.mark.parametrize("before", ["/home/someone/maestro/", "C:\\music\\maestro\\", "../moved/", "./"])
def test_rows_with_the_paths_of_another_machine_find_their_files(before: str, tmp_path: Path) -> None:
    content = "".join(f"{before}{file},{split}\n" for file, split in _SPLITS.items())
    selection = _select(tmp_path, "table.csv", f"midi_filename,split\n{content}".encode())
    assert selection.files == ["moved/2004/a.midi", "moved/2005/b.midi"]


@pytest.mark.parametrize("content", [b"", b"midi_filename,split\n"])
def test_a_table_without_rows_is_damaged(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        _select(tmp_path, "maestro-v3.0.0.csv", content)


def test_a_compressed_table_without_its_end_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="without its end"):
        _select(tmp_path, "table.csv.gz", gzip.compress(_TABLE.encode(), 0)[:-8])


_BY_SPLIT = {split: [file] for file, split in _SPLITS.items()}


@pytest.mark.parametrize(
    ("table", "text"),
    [
        *(
            ("table.csv", _TABLE.replace("midi_filename", file).replace("split", split))
            for file, split in (
                ("filename", "subset"),
                ("path", "partition"),
                ("file", "Fold"),
                ("midi_filename", "set"),
            )
        ),
        ("table.json", json.dumps(_SPLITS)),
        ("table.json", json.dumps(_BY_SPLIT)),
        ("table.json", json.dumps({"version": "1", "data": json.loads(_ROWS)})),
        ("table.jsonl", "\n".join(map(json.dumps, json.loads(_ROWS)))),
    ],
)
def test_a_table_is_recognized_by_its_values(table: str, text: str, tmp_path: Path) -> None:
    selection = _select(tmp_path, table, text.encode())
    assert selection.tables == [f"moved/{table}"]
    assert selection.files == ["moved/2004/a.midi", "moved/2005/b.midi"]


def test_a_column_with_other_words_is_not_one_of_splits(tmp_path: Path) -> None:
    selection = _select(tmp_path, "notes.csv", b"file,part\n2004/a.midi,train\n2006/c.midi,chorus\n")
    assert selection.tables == []


def test_a_json_file_on_one_song_is_not_a_table(tmp_path: Path) -> None:
    selection = _select(tmp_path, "song.json", b'{"midi": "2006/c.midi", "part": "test"}')
    assert selection.tables == []
