"""``datasets get`` and ``datasets verify`` as typed, from one archive to every corpus, against a local server."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kelly_core.data.download import sources
from kelly_core.data.download.sources import Archive, Source
from tests.cli.conftest import CommandRunner
from tests.data.test_archives import CONTENT, zip_of
from tests.data.test_chord_layouts import billboard, chordonomicon, pop909
from tests.data.test_download import NAME
from tests.helpers import tiny
from tests.helpers.archive_server import ArchiveServer, serve


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with serve() as script:
        yield script


def replaced(monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> None:
    """Give a source of the registry a small archive."""
    archive = Archive(NAME, ("http://127.0.0.1:9/",), f"sha256:{hashlib.sha256(content).hexdigest()}", 0, 100_000, 40)
    source = Source(name, "maestro", "Tiny", "CC0", (archive,), kinds=(".midi",), count=40)
    monkeypatch.setitem(sources.SOURCES, name, source)


def test_get_reports_archive_bytes_sum_and_files_and_downloads_once(
    run: CommandRunner, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replaced(monkeypatch, "maestro", CONTENT)
    server.files[NAME] = CONTENT
    command = ("datasets", "get", "maestro", "--yes", "--mirror", server.address, "--datasets-dir", "new", "--json")
    first = run(*command)
    archive = json.loads(first.out)["datasets"][0]["archives"][0]
    assert (first.code, archive["archive"], archive["bytes"], archive["files"]) == (0, NAME, len(CONTENT), 40)
    assert archive["sum"] == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert "licence: CC0" in first.err
    again = run(*command)
    assert (again.code, json.loads(again.out)["datasets"][0]["status"]) == (0, "present")
    assert len(server.asked) == 1
    run.ok("datasets", "verify", "maestro", "--datasets-dir", "new")
    (tmp_path / "new/maestro/tiny-v1/2004/1.midi").unlink()
    verified = run("datasets", "verify", "maestro", "--datasets-dir", "new", "--json")
    assert (verified.code, json.loads(verified.out)["datasets"][0]["missing"]) == (1, ["tiny-v1/2004/1.midi"])
    assert run(*command).code == 1


def test_get_refuses_a_published_name_with_other_content(run: CommandRunner, server: ArchiveServer) -> None:
    server.files["groove-v1.0.0-midionly.zip"] = content = zip_of({"groove/info.csv": b"x"})
    got = run("datasets", "get", "groove_midi", "--yes", "--mirror", server.address, "--json")
    assert (got.code, json.loads(got.out)["datasets"][0]["status"]) == (1, "failed")
    assert "651cbc524ffb891be1a3e46d89dc82a1cecb09a57c748c7b45b844c4841dcc1e" in got.err
    assert hashlib.sha256(content).hexdigest() in got.err
    assert not Path("datasets/groove_midi").exists()


def test_get_without_a_terminal_needs_agreement_to_the_license(
    run: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115 - pytest replaces it
    got = run.refused("datasets", "get", "maestro", code=2)
    assert "CC BY-NC-SA 4.0" in got
    assert "--yes" in got


@pytest.mark.parametrize("words", ["", "maestro --all", "maestor --yes", "maestro --yes --mirror ftp://host"])
def test_get_refuses_invalid_arguments(run: CommandRunner, words: str) -> None:
    run.refused("datasets", "get", *words.split(), code=2)


def test_get_explains_a_source_that_requires_a_form(run: CommandRunner) -> None:
    assert "cvml.unige.ch/databases/emoMusic" in run.refused("datasets", "get", "emomusic", "--yes", code=1)


def test_options_before_a_subcommand_are_not_ignored(run: CommandRunner) -> None:
    assert run("datasets", "--datasets-dir", "other", "verify").code == 2


_SCRIPT = """
import sys
from tests.cli.test_datasets_get import replaced
from kelly_core.cli.app import main

class Registry:
    setitem = staticmethod(dict.__setitem__)

replaced(Registry, "maestro", open(sys.argv.pop(1), "rb").read())
main()
"""


def started(folder: Path, address: str) -> subprocess.Popen[str]:
    """Run ``datasets get`` in a separate process."""
    content = folder / "content"
    content.write_bytes(CONTENT)
    words = ["datasets", "get", "maestro", "--yes", "--json", "--mirror", address]
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(content), *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_at_once_download_once(server: ArchiveServer, tmp_path: Path) -> None:
    server.files[NAME], server.delay = CONTENT, 0.3
    processes = [started(tmp_path, server.address) for _ in range(2)]
    outputs = [process.communicate(timeout=600) for process in processes]
    statuses = sorted(json.loads(out)["datasets"][0]["status"] for out, _ in outputs)
    assert statuses == ["installed", "present"], [err for _, err in outputs]
    assert len(server.asked) == 1


@pytest.mark.slow
def test_a_killed_download_is_continued(server: ArchiveServer, tmp_path: Path) -> None:
    server.files[NAME], server.stalls = CONTENT, [1234]
    process = started(tmp_path, server.address)
    part = tmp_path / f"datasets/.downloads/{NAME}.part"
    deadline = time.monotonic() + 600
    while not (part.exists() and part.stat().st_size == 1234):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.release.set()
    out, err = started(tmp_path, server.address).communicate(timeout=600)
    assert json.loads(out)["datasets"][0]["archives"][0]["received"] == len(CONTENT) - 1234, err


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
    run: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
        got = run.ok(*command)
        assert {entry["status"] for entry in json.loads(got.out)["datasets"] if entry["archives"]} == {"installed"}
        assert len(server.asked) == 2 * len(contents)
        run.ok(*command)
        assert len(server.asked) == 2 * len(contents)
    assert (tmp_path / "datasets/maestro/maestro-v3.0.0/maestro-v3.0.0.csv").is_file()
    run.ok("datasets", "verify")
    looked = run.json("datasets")
    assert not [entry["problem"] for entry in looked["datasets"] if entry["problem"]]
    assert not looked["unclaimed"]
    found = {entry["name"] for entry in looked["datasets"] if entry["found"]}
    assert found == {"deam", "lakh_midi", "chords", "maestro", "groove_midi", "emotion_midi"}
