"""From an empty folder to every corpus by ``datasets get --all``, from a local server with archives in real layouts."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from kelly_core.data.download import sources
from tests.cli.conftest import Run
from tests.data.test_chord_layouts import billboard, chordonomicon, pop909
from tests.data.test_download import zip_of
from tests.helpers import tiny
from tests.helpers.archive_server import serve

NAMES = ("deam", "lakh_midi", "maestro", "groove_midi", "emopia", "pop909", "billboard", "chordonomicon")


def packed(folder: Path, prefix: str, *, as_tar: bool = False) -> bytes:
    files = {f"{prefix}{path.relative_to(folder)}": path for path in sorted(folder.rglob("*")) if path.is_file()}
    if not as_tar:
        return zip_of({name: path.read_bytes() for name, path in files.items()})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, path in files.items():
            archive.add(path, name)
    return buffer.getvalue()


def archives(folder: Path) -> dict[str, bytes]:
    """Content of every default archive by file name, in the layouts of the published ones."""
    deam = tiny.deam(folder / "deam", seconds=4)
    for path in (deam / "audio").iterdir():
        path.rename(path.with_suffix(".mp3"))  # what decodes audio goes by content
    lakh = tiny.lakh_midi(folder / "lakh")
    pop, board, table = (layout(folder / layout.__name__) for layout in (pop909, billboard, chordonomicon))
    commit = sources.SOURCES["pop909"].archives[0].file
    static = "annotations averaged per song/song_level/static_annotations_averaged_songs_1_2000.csv"
    return {
        "DEAM_audio.zip": packed(deam / "audio", "MEMD_audio/"),
        "DEAM_Annotations.zip": zip_of({f"annotations/{static}": (deam / "annotations/annotations.csv").read_bytes()}),
        "lmd_matched.tar.gz": packed(lakh, "lmd_matched/", as_tar=True),
        "maestro-v3.0.0-midi.zip": packed(tiny.maestro(folder / "maestro"), "maestro-v3.0.0/"),
        "groove-v1.0.0-midionly.zip": packed(tiny.groove_midi(folder / "groove"), "groove/"),
        "EMOPIA_1.0.zip": packed(tiny.emotion_midi(folder / "emopia"), "EMOPIA_1.0/"),
        commit: packed(pop, ""),
        "billboard-2.0.1-lab.tar.gz": packed(board / "McGill-Billboard", "McGill-Billboard/", as_tar=True),
        "billboard-2.0-index.csv": (board / "billboard-index/billboard-2.0-index.csv").read_bytes(),
        "chordonomicon_v2.csv": (table / "Chordonomicon/chordonomicon_v2.csv").read_bytes(),
    }


@pytest.mark.slow
def test_all_corpora_are_there_after_one_command_and_nothing_is_downloaded_twice(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = archives(tmp_path / "published")
    for name in NAMES:
        source = sources.SOURCES[name]
        small = [
            replace(
                archive,
                checksum=archive.checksum and f"sha256:{hashlib.sha256(contents[archive.file]).hexdigest()}",
                bytes=len(contents[archive.file]),
                unpacked=10**6,
                files=10,
            )
            for archive in source.archives
        ]
        monkeypatch.setitem(sources.SOURCES, name, replace(source, archives=tuple(small)))
    with serve() as server:
        server.files = contents
        # Each download breaks once.
        server.breaks = [half for content in contents.values() for half in (len(content) // 2, None)]
        command = ("datasets", "get", "--all", "--yes", "--mirror", server.address, "--json")
        got = run(*command)
        assert got.code == 0, got.err
        assert {entry["status"] for entry in json.loads(got.out)["datasets"] if entry["archives"]} == {"installed"}
        assert len(server.asked) == 2 * len(contents)
        again = run(*command)
        assert again.code == 0
        assert len(server.asked) == 2 * len(contents)
    assert (tmp_path / "datasets/maestro/maestro-v3.0.0/maestro-v3.0.0.csv").is_file()
    assert run("datasets", "verify").code == 0
    looked = json.loads(run("datasets", "--json").out)
    assert not [entry["problem"] for entry in looked["datasets"] if entry["problem"]]
    assert not looked["unclaimed"]
    found = {entry["name"] for entry in looked["datasets"] if entry["found"]}
    assert found == {"deam", "lakh_midi", "chords", "maestro", "groove_midi", "emotion_midi"}
