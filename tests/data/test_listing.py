"""Finding a corpus's files: all of them, in a fixed order, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from kelly_core.data.files import find_files, has_files
from kelly_core.errors import DataError


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    for name in ("a/z.mid", "a-b/c.mid", "a.mid", "a/b/C.MID", "B.midi", ".hidden/d.mid", "a/._z.mid", "a/notes.txt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "folder.mid").mkdir()
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "link.mid").symlink_to(root / "a.mid")
    return root


def test_files_come_in_the_order_of_their_paths(corpus: Path) -> None:
    found = find_files(corpus, {".mid", ".midi"})
    assert [Path(name) for name in found] == sorted(map(Path, found))
    assert found == ["B.midi", "a/b/C.MID", "a/z.mid", "a-b/c.mid", "a.mid", "link.mid"]


def test_names_are_relative_to_the_working_folder_too(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    assert find_files(Path(), {".midi"}) == ["B.midi"]


def test_hidden_files_make_no_corpus(corpus: Path) -> None:
    (corpus / ".hidden" / "e.wav").touch()
    assert not has_files(corpus, {".wav"}) and not has_files(corpus / "nowhere", {".wav"})
    (corpus / "a" / "e.WAV").touch()
    assert has_files(corpus, {".wav"})


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_files(tmp_path / "nowhere", {".mid"})
