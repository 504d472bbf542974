"""Inventory of the datasets folder: files that a source lacks, and folders and archives that no corpus reads."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from kelly_core.config.schema import DatasetSettings, DataSettings
from kelly_core.data.download.inventory import find_unclaimed, is_complete, take_inventory
from kelly_core.data.download.sources import SOURCES
from tests.data.test_archives import CONTENT, zip_of
from tests.data.test_download import NAME, get, source_of
from tests.helpers import tiny


def write(path: Path, count: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path.with_name(f"{number if count > 1 else ''}{path.name}").write_bytes(b"x")


@pytest.mark.parametrize(
    ("files", "guess", "reported"),
    [
        (["groove/drummer1/a.mid"], "groove_midi", "groove contains 1 .mid files: is this groove_midi?"),
        (["beats/info.csv", "beats/d/1.mid", "beats/d/2.mid"], "groove_midi", "2 .mid files"),
        (["piano/maestro-v3.0.0.csv", "piano/2004/a.midi"], "maestro", "is this maestro?"),
        (["DEAM_audio/MEMD_audio/2.mp3"], "deam", "[datasets.deam] path"),
        (["x/lmd_matched/A/1.mid"], "lakh_midi", "is this lakh_midi?"),
        (["EMOPIA_1.0/midis/Q1_a_0.mid"], "emotion_midi", "is this emotion_midi?"),
        (
            ["POP909-Dataset/POP909/001/chord_midi.txt", "POP909-Dataset/POP909/001/001.mid"],
            "chords",
            "is this chords?",
        ),
        (["PMEmo2019/chorus/1.mp3"], "emotion_audio", "is this emotion_audio?"),
        (["songs/a.mid"], "lakh_midi", "is this lakh_midi?"),
        (["Maestro 2/a.mid"], "maestro", "is this maestro?"),
    ],
)
def test_a_folder_of_another_name_is_named_with_a_guess(
    tmp_path: Path, files: list[str], guess: str, reported: str
) -> None:
    for file in files:
        write(tmp_path / file)
    (found,) = find_unclaimed(DataSettings(dir=tmp_path))
    assert found.corpus == guess
    assert reported in found.text


@pytest.mark.parametrize(
    ("names", "guess", "reported"),
    [
        (["x.mid", "y.MID"], "lakh_midi", "x.mid and 1 more are not in the folder of a corpus"),
        (["info.csv"], "groove_midi", "info.csv is not in the folder of a corpus"),
        (["progressions.json"], "chords", "To use it for chords, move it into"),
        (["song.lab"], "chords", "song.lab is"),
        (["a\nb\x1b[2J.mid"], "lakh_midi", "a\\nb\\x1b[2J.mid is"),
        (["labels.csv"], "", "labels.csv is not in the folder of a corpus and will not be read"),
    ],
)
def test_files_beside_the_folders_of_corpora_are_named(
    tmp_path: Path, names: list[str], guess: str, reported: str
) -> None:
    for name in names:
        write(tmp_path / name)
    (found,) = find_unclaimed(DataSettings(dir=tmp_path))
    assert found.corpus == guess
    assert reported in found.text


def test_files_of_a_corpus_and_files_without_data_are_not_listed(tmp_path: Path) -> None:
    tiny.groove_midi(tmp_path / "Groove_MIDI")
    tiny.maestro(tmp_path / "elsewhere/piano")
    write(tmp_path / "README.md")
    write(tmp_path / ".downloads/a.mid")
    write(tmp_path / "notes/a.txt")
    write(tmp_path / "song.json")
    datasets = DataSettings(
        dir=tmp_path,
        maestro=DatasetSettings(path=str(tmp_path / "elsewhere/piano")),
        chords=DatasetSettings(path=str(tmp_path / "song.json")),
    )
    assert not find_unclaimed(datasets)
    assert find_unclaimed(DataSettings(dir=tmp_path / "missing")) == []


def test_links_to_themselves_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "maestro").mkdir()
    for link in (tmp_path / "x.zip", tmp_path / "folder", tmp_path / "maestro" / "y.zip", tmp_path / "z.mid"):
        link.symlink_to(link)
    assert find_unclaimed(DataSettings(dir=tmp_path)) == []


def test_packed_archives_are_named_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "groove-v1.0.0-midionly.zip").write_bytes(zip_of({"a": b"x"}))
    (tmp_path / "lakh_midi").mkdir()
    with tarfile.open(tmp_path / "lakh_midi/my-own.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    (tmp_path / "lakh_midi/other.RAR").touch()
    known, own, other = find_unclaimed(DataSettings(dir=tmp_path))
    assert "other.RAR is packed" in other.text
    assert known.corpus == "groove_midi"
    assert known.text.endswith("or run kelly-core datasets get groove_midi")
    assert "my-own.tar.gz is packed: unpack it" in own.text


def test_verification_names_missing_and_changed_members(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    source = source_of(CONTENT)
    get(source, tmp_path)
    assert is_complete(source, tmp_path / "maestro")
    (tmp_path / "maestro/tiny-v1/2004/3.midi").unlink()
    (tmp_path / "maestro/tiny-v1/2006/4.midi").write_bytes(b"short")
    inventory = take_inventory(source, tmp_path / "maestro")
    assert (inventory.expected, inventory.found, inventory.complete) == (40, 39, False)
    assert inventory.missing == ["tiny-v1/2004/3.midi"]
    assert inventory.other_size == ["tiny-v1/2006/4.midi: expected 900 bytes, got 5"]


def test_verification_uses_the_corpus_table_of_files_unpacked_by_hand(tmp_path: Path) -> None:
    folder = tmp_path / "somewhere/maestro-v3.0.0"
    (folder / "2004").mkdir(parents=True)
    (folder / "2004/a.midi").write_bytes(b"x")
    (folder / "maestro-v3.0.0.csv").write_text("midi_filename,split\n2004/a.midi,train\n2006/b.midi,test\n")
    inventory = take_inventory(SOURCES["maestro"], tmp_path)
    assert (inventory.expected, inventory.found, inventory.missing) == (2, 1, ["2006/b.midi"])
    assert inventory.basis == "somewhere/maestro-v3.0.0/maestro-v3.0.0.csv"


def test_verification_matches_ids_and_counts_otherwise(tmp_path: Path) -> None:
    tables = tmp_path / "deam/annotations/song_level"
    tables.mkdir(parents=True)
    (tables / "static_annotations_averaged_songs_1_2000.csv").write_text("song_id, valence_mean\n2,3\n3,4\n")
    (tmp_path / "deam/MEMD_audio").mkdir()
    (tmp_path / "deam/MEMD_audio/2.mp3").write_bytes(b"x")
    assert take_inventory(SOURCES["deam"], tmp_path / "deam").missing == ["3"]
    (tmp_path / "lakh/lmd_matched/A").mkdir(parents=True)
    (tmp_path / "lakh/lmd_matched/A/1.mid").write_bytes(b"x")
    counted = take_inventory(SOURCES["lakh_midi"], tmp_path / "lakh")
    assert (counted.expected, counted.found, counted.complete) == (116_189, 1, False)
