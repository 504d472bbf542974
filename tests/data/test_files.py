"""Finding a corpus's files: all of them, in a fixed order, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kelly_core.data.files import BROKEN_LINK, UNREADABLE_FOLDER, SkippedFiles, find_files, has_files
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
    assert not has_files(corpus, {".wav"})
    assert not has_files(corpus / "nowhere", {".wav"})
    (corpus / "a" / "e.WAV").touch()
    assert has_files(corpus, {".wav"})


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_files(tmp_path / "nowhere", {".mid"})


class TestLinksAndOddEntries:
    def test_a_linked_folder_is_read_in_the_order_of_its_name(self, tmp_path: Path) -> None:
        root, elsewhere = tmp_path / "corpus", tmp_path / "disk"
        for name in (root / "a" / "1.mid", root / "z" / "3.mid", elsewhere / "deep" / "2.mid"):
            name.parent.mkdir(parents=True, exist_ok=True)
            name.touch()
        (root / "m").symlink_to(elsewhere)
        assert find_files(root, {".mid"}) == ["a/1.mid", "m/deep/2.mid", "z/3.mid"]
        assert has_files(root / "m", {".mid"})

    def test_a_corpus_that_is_a_link_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "disk" / "1.mid").touch()
        (tmp_path / "corpus").symlink_to(tmp_path / "disk")
        assert find_files(tmp_path / "corpus", {".mid"}) == ["1.mid"]

    def test_links_in_a_circle_and_second_names_of_a_folder_give_each_file_once(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            (tmp_path / name / f"{name}.mid").touch()
        (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
        (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")
        (tmp_path / "b" / "up").symlink_to(tmp_path)
        (tmp_path / "self").symlink_to(tmp_path / "self")
        assert find_files(tmp_path, {".mid"}) == ["a/a.mid", "b/b.mid"]

    def test_broken_links_are_named(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "1.mid").symlink_to(tmp_path / "gone")
        (tmp_path / "2.mid").symlink_to(tmp_path / "2.mid")
        (tmp_path / "3.mid").touch()
        (tmp_path / "audio").symlink_to(tmp_path / "gone")
        (tmp_path / "notes.txt").symlink_to(tmp_path / "gone")
        skipped: SkippedFiles = {}
        assert find_files(tmp_path, {".mid"}, skipped=skipped) == ["3.mid"]
        assert skipped == {BROKEN_LINK: ["1.mid", "2.mid", "audio"]}
        assert "3 left out: broken link: 1.mid, 2.mid, audio" in caplog.text

    def test_folders_that_may_not_be_read_are_named(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "closed").mkdir()
        (tmp_path / "1.mid").touch()
        scandir = os.scandir

        def refuse(folder: str | Path) -> object:
            if str(folder).endswith("closed"):
                raise PermissionError(13, "Permission denied")
            return scandir(folder)

        # The test may run as root, who may read every folder.
        monkeypatch.setattr(os, "scandir", refuse)
        skipped: SkippedFiles = {}
        assert find_files(tmp_path, {".mid"}, skipped=skipped) == ["1.mid"]
        assert skipped == {UNREADABLE_FOLDER: ["closed/"]}
        assert "1 left out: folder that cannot be read: closed/" in caplog.text

    def test_pipes_and_files_of_operating_systems_are_ignored(self, tmp_path: Path) -> None:
        for name in ("__MACOSX/a.mid", "a/__MACOSX/._b.mid", "._c.mid", ".DS_Store", "a/d.mid"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        os.mkfifo(tmp_path / "e.mid")
        assert find_files(tmp_path, {".mid", ".ds_store"}) == ["a/d.mid"]
