"""``datasets import-chords`` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kelly_core.data import tables
from kelly_core.data.catalog import create_dataset
from kelly_core.errors import DataError
from tests.cli.conftest import Run
from tests.data.test_chord_layouts import billboard, chordonomicon, pop909, sheets, write


@pytest.mark.parametrize(("layout", "songs"), [(pop909, 3), (billboard, 3), (chordonomicon, 4), (sheets, 2)])
def test_every_layout_is_imported_as_it_is_read_directly(run: Run, tmp_path: Path, layout, songs: int) -> None:
    layout(tmp_path / "source")
    done = run("datasets", "import-chords", "source", "-o", "chords", "--json")
    assert (done.code, json.loads(done.out)["songs"]) == (0, songs)
    direct, imported = create_dataset("chords", tmp_path / "source"), create_dataset("chords", tmp_path / "chords")
    assert direct.rows.groups.tolist() == imported.rows.groups.tolist()
    assert direct.eval_batch(direct.train).targets.tolist() == imported.eval_batch(imported.train).targets.tolist()


def test_one_file_is_imported_and_an_import_is_not_replaced(run: Run, tmp_path: Path) -> None:
    chordonomicon(tmp_path)
    command = ("datasets", "import-chords", "Chordonomicon/chordonomicon_v2.csv", "-o", "chords")
    assert run(*command, "--max-songs", 2).code == 0
    assert len(json.loads(Path("chords/chord_progressions.json").read_text())) == 2
    assert run(*command).code == 2
    assert run(*command, "--force").code == 0
    assert len(json.loads(Path("chords/chord_progressions.json").read_text())) == 4


@pytest.mark.parametrize(("source", "code"), [("missing", 2), ("empty", 1)])
def test_a_source_without_chords_is_an_error(run: Run, tmp_path: Path, source: str, code: int) -> None:
    write(tmp_path / "empty/README.txt", "nothing")
    assert run("datasets", "import-chords", source, "-o", "chords").code == code
    assert not Path("chords").exists()


def test_a_large_import_is_read_as_a_stream(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chordonomicon(tmp_path / "source")
    assert run("datasets", "import-chords", "source", "-o", "chords").code == 0
    whole = create_dataset("chords", tmp_path / "chords")
    monkeypatch.setattr(tables, "_MAX_ELEMENT", 200)
    monkeypatch.setattr(tables, "_WINDOW_CHARACTERS", 7)
    streamed = create_dataset("chords", tmp_path / "chords")
    assert streamed.fingerprint == whole.fingerprint
    with Path("chords/chord_progressions.json").open("a") as file:
        file.write("{")
    with pytest.raises(DataError, match="text behind the list"):
        create_dataset("chords", tmp_path / "chords")
