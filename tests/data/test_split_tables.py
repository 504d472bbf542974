"""Official tables of splits are recognized in every form, and the test split is read on request only."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from kelly_core.data.files import TEST_REASON, Selection, select_files
from kelly_core.data.splits import TEST, split_source
from kelly_core.errors import DataError
from tests.helpers import tiny


@pytest.mark.parametrize("name", ["maestro", "groove_midi"])
def test_reading_the_test_split_changes_nothing_else(name: str, load, tmp_path: Path) -> None:
    root = tiny.WRITERS[name](tmp_path / name)
    usual = load(name, root)
    asked = load(name, root, include_test=True)
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


def test_a_test_file_that_is_also_a_training_file_is_left_out(load, tmp_path: Path) -> None:
    root = tiny.maestro(tmp_path / "maestro")
    (train,), (test,) = root.glob("2000/*.midi"), root.glob("2003/*.midi")
    shutil.copy(train, test)
    test.rename(root / "2003" / "performance 3.midi")
    usual = load("maestro", root)
    asked = load("maestro", root, include_test=True)
    assert asked.fingerprint == usual.fingerprint
    assert len(asked.test) == 0


def test_the_number_of_files_is_limited_on_each_side(load, tmp_path: Path) -> None:
    root = tiny.maestro(tmp_path / "maestro")
    usual = load("maestro", root, max_files=3)
    asked = load("maestro", root, max_files=3, include_test=True)
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
    return select_files(root, advice="Copy the table")


@pytest.mark.parametrize("before", ["/home/someone/maestro/", "C:\\music\\maestro\\", "../moved/", "./"])
def test_rows_with_the_paths_of_another_machine_find_their_files(before: str, tmp_path: Path) -> None:
    content = "".join(f"{before}{file},{split}\n" for file, split in _SPLITS.items())
    selection = _select(tmp_path, "table.csv", f"midi_filename,split\n{content}".encode())
    assert selection.files == ["moved/2004/a.midi", "moved/2005/b.midi"]


@pytest.mark.parametrize("content", [b"", b"midi_filename,split\n"])
def test_a_table_without_rows_is_damaged(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no rows"):
        _select(tmp_path, "maestro-v3.0.0.csv", content)


def test_a_truncated_compressed_table_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is truncated gzip data"):
        _select(tmp_path, "table.csv.gz", gzip.compress(_TABLE.encode(), 0)[:-8])


def _json(rows: list[dict[str, str]]) -> list[object]:
    file, split = rows[0]
    pairs = [[row[file], row[split]] for row in rows]
    return [
        rows,
        {str(number): row for number, row in enumerate(rows)},
        {name: [row[name] for row in rows] for name in (file, split)},
        {name: {str(number): row[name] for number, row in enumerate(rows)} for name in (file, split)},
        {row[file]: {split: row[split], "year": 2004} for row in rows},
        {"about": {"version": 3}, "splits": {"files": {row[file]: {split: row[split]} for row in rows}}},
        {row[split]: {row[file]: {"year": 2004}} for row in rows},
        {row[split]: {"files": [row[file]]} for row in rows},
        pairs,
        [[file, split], *pairs],
    ]


_COLUMNS = ["filename,subset", "path,partition", "file,Fold", "midi_filename,set"]
_COPIES = (
    "table.csv.bak",
    "table(1).csv",
    "table.csv(1)",
    "table.csv.1",
    "table.csv~",
    "table",
    "table.backup",
    "Kopie a",
)
_FORMS = [
    *(("table.csv", _TABLE.encode(encoding)) for encoding in ("utf-16-le", "utf-16-be", "utf-32")),
    ("table.CSV.gz", gzip.compress(_TABLE.encode())),
    ("table.csv", gzip.compress(_TABLE.encode())),
    ("table.csv.gz", gzip.compress(_TABLE[:20].encode()) + gzip.compress(_TABLE[20:].encode())),
    ("table.txt", _TABLE.encode()),
    ("table.tab", _TABLE.replace(",", "\t").encode()),
    ("table.json", _ROWS.encode("utf-16")),
    ("table.json.gz", gzip.compress(_ROWS.encode())),
    *(("table.csv", _TABLE.replace("midi_filename,split", columns).encode()) for columns in _COLUMNS),
    ("table.json", json.dumps(_SPLITS).encode()),
    ("table.json", json.dumps({split: [file] for file, split in _SPLITS.items()}).encode()),
    ("table.json", json.dumps({"version": "1", "data": json.loads(_ROWS)}).encode()),
    ("table.jsonl", "\n".join(map(json.dumps, json.loads(_ROWS))).encode()),
    *((name, content.encode()) for name in _COPIES for content in (_TABLE, _ROWS)),
    *(
        ("table.json", json.dumps(form).encode())
        for file, split in (("midi_filename", "split"), ("File", "Subset"), ("path", "fold"))
        for form in _json([{file: name, split: part} for name, part in _SPLITS.items()])
    ),
]


@pytest.mark.parametrize(("table", "content"), _FORMS)
def test_a_table_is_recognized_by_its_contents_in_every_form_and_by_any_name(
    table: str, content: bytes, tmp_path: Path
) -> None:
    selection = _select(tmp_path, table, content)
    assert selection.tables == [f"moved/{table}"]
    assert selection.files == ["moved/2004/a.midi", "moved/2005/b.midi"]
    assert selection.warnings == []
    assert split_source(selection.official(selection.files), selection.tables) == "official"


_NAMES = {
    "other ending": ("2004/a b.mid", "2004/a b.wav"),
    "audio": ("2004/a b.mid", "2004/a b.MP3"),
    "no ending": ("2004/a b.mid", "2004/a b"),
    "encoded": ("2004/a b é.mid", "2004/a%20b%20%C3%A9.mid"),
    "encoded on disk": ("2004/a%20b.mid", "2004/a b.mid"),
    "backslashes": ("2004/a b.mid", ".\\2004\\a b.mid"),
    "case": ("2004/A B.MID", "2004/a b.mid"),
    "composed": ("2004/\N{LATIN SMALL LETTER E WITH ACUTE}.mid", "2004/e\N{COMBINING ACUTE ACCENT}.mid"),
    "decomposed": ("2004/e\N{COMBINING ACUTE ACCENT}.mid", "2004/\N{LATIN SMALL LETTER E WITH ACUTE}.mid"),
    "address": ("2004/a b.mid", "https://example.org/corpus/2004/a%20b.mid"),
}


@pytest.mark.parametrize("columns", ["midi_filename,split", "name,subset"])
@pytest.mark.parametrize("kind", _NAMES)
def test_files_are_found_by_names_in_other_spellings(kind: str, columns: str, tmp_path: Path) -> None:
    file, written = _NAMES[kind]
    others = {written.replace("2004", year): split for year, split in (("2005", "train"), ("2006", "validation"))}
    rows = "".join(f"{name},{split}\n" for name, split in {written: "test", **others}.items())
    for year in ("2004", "2005", "2006"):
        path = tmp_path / file.replace("2004", year)
        path.parent.mkdir()
        path.touch()
    (tmp_path / "table.csv").write_text(f"{columns}\n{rows}", encoding="utf-8")
    selection = select_files(tmp_path, advice="Copy the table")
    assert selection.files == [file.replace("2004", "2005"), file.replace("2004", "2006")]
    assert selection.skipped == {TEST_REASON: [file]}
    assert selection.warnings == []


def test_a_table_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    selection = _select(
        tmp_path, "table.csv", "".join(f"{file},{_SPLITS[file]}\n" for file in reversed(_SPLITS)).encode()
    )
    assert selection.skipped == {TEST_REASON: ["moved/2006/c.midi"]}


@pytest.mark.parametrize(
    ("content", "files", "warning"),
    [
        ("file,fold,other\n2004/a.midi,train,train\n2005/b.midi,train,test\n2006/c.midi,test,train\n", ["2004/a.midi"],
         "columns fold, other give different splits"),
        (f"{_TABLE}2004/A.mid,test\n", ["2005/b.midi"], "1 rows give a file another split"),
        (_TABLE.replace(".midi", "x.midi"), [], "none of its 3 rows names a file"),
    ],
    ids=["columns", "rows", "no file"],
)  # fmt: skip
def test_of_splits_that_disagree_the_most_held_out_counts_with_a_warning(
    content: str, files: list[str], warning: str, tmp_path: Path
) -> None:
    selection = _select(tmp_path, "table.csv", content.encode())
    assert selection.files == [f"moved/{file}" for file in files]
    assert warning in selection.warnings[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes", b"\x89PNG\0test train"),
        ("notes", b"Read this: train, test\n"),
        ("notes", b"test\ntrain\n"),
        ("notes", b"\x1f\x8b\x08"),
        ("notes.csv", b"file,part\n2004/a.midi,train\n2006/c.midi,chorus\n"),
        ("song.json", b'{"midi": "2006/c.midi", "part": "test"}'),
        ("wide", b"c," * 2000 + b"split\n" + b"train," * 2000),
        ("deep", json.dumps({str(number): {"train": "test"} for number in range(20_000)}).encode()),
        ("long", b"name,part\n" + b"2004/a,train\n" * 1_300_000),
    ],
    ids=["picture", "text", "words", "gzip", "other words", "one song", "wide", "deep", "long"],
)
def test_a_file_of_another_kind_is_not_a_table(name: str, content: bytes, tmp_path: Path) -> None:
    selection = _select(tmp_path, name, content)
    assert selection.tables == []
    assert [warning.partition(":")[0] for warning in selection.warnings] == ["no table of official splits"]


@pytest.mark.parametrize("column", ["clip_name", "name"])
@pytest.mark.parametrize("folder", ["split/", "", "tables/"])
@pytest.mark.parametrize("name", ["{}_clip.csv", "{}_clip(1).csv", "{}_clip.csv.bak"])
def test_the_clips_of_emopia_are_found_in_copies_of_its_tables(
    name: str, folder: str, column: str, tmp_path: Path
) -> None:
    for number, split in enumerate(("train", "val", "test")):
        (tmp_path / f"Q1_song_{number}.mid").touch()
        table = tmp_path / folder / name.format(split)
        table.parent.mkdir(exist_ok=True)
        table.write_text(f",{column}\n0,Q1_song_{number}.mp3\n")
    selection = select_files(tmp_path)
    assert selection.skipped == {TEST_REASON: ["Q1_song_2.mid"]}
    assert selection.official(selection.files) == ["train", "validation"]


def test_one_table_of_all_clips_is_found_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "midis").mkdir()
    for number in range(3):
        (tmp_path / "midis" / f"Q1_song_{number}.mid").touch()
    (tmp_path / "clips").write_text("clip,part\nQ1_song_0,train\nQ1_song_1,val\nQ1_song_2,test\n")
    assert select_files(tmp_path).skipped == {TEST_REASON: ["midis/Q1_song_2.mid"]}
