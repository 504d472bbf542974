"""Getting corpora from a local server: interruptions, sums, hostile archives, and the inventory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from kelly_core.data.download import install as installing
from kelly_core.data.download import transfer
from kelly_core.data.download.install import DOWNLOADS, Receipt, install, installed
from kelly_core.data.download.sources import SOURCES, Archive, Source, default_sources, select_sources
from kelly_core.errors import ConfigError, DataError
from kelly_core.io.locks import FileLock
from tests.data.test_archives import CONTENT, zip_of
from tests.helpers.archive_server import ArchiveServer, serve

NAME = "tiny-v1.zip"


class RecordedNotes:
    """Keeps what an installation reports."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[str] = []

    def progress(self, file: str, stage: str, done: int, total: int) -> None:  # noqa: ARG002 - part of the interface
        if not self.stages or self.stages[-1] != stage:
            self.stages.append(stage)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    """A server with the archive of ``CONTENT``."""
    with serve() as script:
        script.files[NAME] = CONTENT
        yield script


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_BASE_PAUSE", 0.0)


def source_of(content: bytes, *urls: str, file: str = NAME, checksum: str | None = None, **fields: Any) -> Source:
    sha256 = f"sha256:{hashlib.sha256(content).hexdigest()}" if checksum is None else checksum
    archive = Archive(file, urls, sha256, len(content), 4 * len(content), 40)
    return Source("tiny", "maestro", "Tiny", "CC0", (archive,), kinds=(".midi",), count=40, **fields)


def published(server: ArchiveServer, **fields: Any) -> Source:
    """Return the source of ``CONTENT`` at its address on the server."""
    return source_of(CONTENT, f"{server.address}/{NAME}", **fields)


def write_part(folder: Path, content: bytes) -> Path:
    """Write the partial download that an earlier process left."""
    part = folder / DOWNLOADS / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    return part


def get(source: Source, folder: Path, listener: RecordedNotes | None = None, **options: Any) -> list[Receipt]:
    return install(source, folder / "maestro", folder, listener or RecordedNotes(), **options)


def test_an_archive_is_unpacked_into_the_corpus_folder_and_not_downloaded_again(
    server: ArchiveServer, tmp_path: Path
) -> None:
    source = published(server)
    first = get(source, tmp_path)
    assert (first[0].status, first[0].files, first[0].bytes) == ("installed", 40, len(CONTENT))
    assert first[0].sum == source.archives[0].checksum
    assert len(list((tmp_path / "maestro/tiny-v1").rglob("*.midi"))) == 40
    assert not (tmp_path / DOWNLOADS / NAME).exists()
    again = get(source, tmp_path)
    assert (again[0].status, again[0].received) == ("present", 0)
    assert len(server.asked) == 1


def test_a_download_that_breaks_twice_continues_where_it_broke(server: ArchiveServer, tmp_path: Path) -> None:
    server.breaks = [1000, 700]
    receipt = get(published(server), tmp_path)[0]
    assert [wanted for _, wanted in server.asked] == ["", "bytes=1000-", "bytes=1700-"]
    assert receipt.received == len(CONTENT) == server.sent


def test_a_part_of_a_killed_process_is_continued_by_the_next(server: ArchiveServer, tmp_path: Path) -> None:
    server.breaks = [1500] + [0] * 20
    source = published(server)
    with pytest.raises(DataError, match="are kept; repeat the command to continue"):
        get(source, tmp_path)
    server.breaks, server.asked = [], []
    get(source, tmp_path)
    assert server.asked == [(NAME, "bytes=1500-")]


def test_a_file_that_changed_at_the_server_is_downloaded_from_its_beginning(
    server: ArchiveServer, tmp_path: Path
) -> None:
    state = {"url": f"{server.address}/{NAME}", "validator": '"old"'}
    write_part(tmp_path, b"x" * 2000).with_name(f"{NAME}.part.json").write_text(json.dumps(state))
    server.etags[NAME] = '"new"'
    assert get(published(server), tmp_path)[0].received == len(CONTENT)
    assert server.asked == [(NAME, "bytes=2000-")]


def test_a_continued_download_with_a_wrong_sum_is_repeated_as_a_whole(server: ArchiveServer, tmp_path: Path) -> None:
    write_part(tmp_path, b"x" * 2000)
    assert get(published(server), tmp_path)[0].status == "installed"
    assert [wanted for _, wanted in server.asked] == ["bytes=2000-", ""]


def test_a_part_longer_than_the_file_and_a_complete_part_end_well(server: ArchiveServer, tmp_path: Path) -> None:
    for number, start in enumerate((CONTENT, CONTENT + b"more")):
        write_part(tmp_path / str(number), start)
        get(published(server), tmp_path / str(number))
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_an_entry_with_the_name_of_a_partial_download_is_replaced(
    server: ArchiveServer, tmp_path: Path, kind: str
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"keep")
    part = tmp_path / DOWNLOADS / f"{NAME}.part"
    part.parent.mkdir()
    for path in (part, part.with_name(f"{part.name}.json")):
        os.mkfifo(path) if kind == "fifo" else path.symlink_to(other)
    assert get(published(server), tmp_path)[0].status == "installed"
    assert other.read_bytes() == b"keep"


def test_a_server_without_ranges_sends_the_file_again(server: ArchiveServer, tmp_path: Path) -> None:
    server.ranges, server.breaks = False, [1000]
    assert get(published(server), tmp_path)[0].status == "installed"


def test_a_wrong_sum_is_refused_with_both_sums(server: ArchiveServer, tmp_path: Path) -> None:
    wrong = zip_of({"tiny-v1/1.midi": b"other"})
    server.files[NAME] = wrong
    with pytest.raises(DataError) as refusal:
        get(published(server), tmp_path)
    assert hashlib.sha256(CONTENT).hexdigest() in str(refusal.value)
    assert hashlib.sha256(wrong).hexdigest() in str(refusal.value)
    assert not (tmp_path / "maestro").exists()
    assert not list((tmp_path / DOWNLOADS).glob("*.part"))


def test_addresses_are_tried_in_turn_after_a_wrong_sum_and_a_missing_file(
    server: ArchiveServer, tmp_path: Path
) -> None:
    server.files = {f"wrong/{NAME}": b"wrong", f"right/{NAME}": CONTENT}
    source = source_of(CONTENT, "http://127.0.0.1:9/never")
    mirrors = [f"{server.address}/{folder}" for folder in ("gone", "wrong", "right/")]
    assert get(source, tmp_path, mirrors=mirrors)[0].url == f"{server.address}/right/{NAME}"


def test_every_address_is_named_when_none_has_the_file(server: ArchiveServer, tmp_path: Path) -> None:
    server.files["b"] = b"wrong"
    source = source_of(CONTENT, f"{server.address}/a", f"{server.address}/b")
    with pytest.raises(DataError, match=r"/a: HTTP 404 .*; .*/b: wrong checksum"):
        get(source, tmp_path)


def test_a_server_that_refuses_connections_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="refused"):
        get(source_of(CONTENT, "http://127.0.0.1:9/never"), tmp_path)


def test_a_busy_server_is_asked_again_and_a_redirection_followed(server: ArchiveServer, tmp_path: Path) -> None:
    server.redirects["old"], server.statuses = NAME, [503, 200, 429]
    assert get(source_of(CONTENT, f"{server.address}/old"), tmp_path)[0].status == "installed"


@pytest.mark.parametrize("ranges", [True, False])
def test_an_answer_that_ends_early_without_a_length_is_continued(
    server: ArchiveServer, tmp_path: Path, ranges: bool
) -> None:
    server.lengths, server.ranges, server.breaks = False, ranges, [1000, 1700]
    assert get(published(server), tmp_path)[0].status == "installed"
    assert [wanted for _, wanted in server.asked] == ["", "bytes=1000-", "bytes=2700-" if ranges else "bytes=1700-"]


@pytest.mark.parametrize("target", ["http://[::bad", "file:///etc/passwd", NAME])
def test_a_redirection_to_what_is_no_other_web_address_is_an_error_in_words(
    server: ArchiveServer, tmp_path: Path, target: str
) -> None:
    server.redirects[NAME] = target
    with pytest.raises(DataError, match=r"[^.]\. Nothing was unpacked"):
        get(published(server), tmp_path)


def test_a_silent_server_is_left_after_its_time(
    server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    request = requests.Session.get
    left: list[float] = []

    def hasten(session: requests.Session, url: str, *, timeout: tuple[float, float], **options: Any) -> object:
        """Leave only the silent server early: the other one may be slow on a busy machine."""
        if url.startswith(slow):
            left.append(timeout[1])
            timeout = (timeout[0], 0.05)
        return request(session, url, timeout=timeout, **options)

    monkeypatch.setattr(requests.Session, "get", hasten)
    monkeypatch.setattr(transfer, "_TRIES", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert get(source_of(CONTENT), tmp_path, mirrors=[slow, server.address])[0].status == "installed"
    assert left == [transfer._READ_SECONDS] * 2


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_larger_than_it_can_be_is_not_downloaded(
    server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lengths: bool
) -> None:
    monkeypatch.setattr(installing, "_SIZE_SLACK", 0)
    server.files[NAME], server.lengths = CONTENT * 3, lengths
    with pytest.raises(DataError, match="more than the"):
        get(published(server), tmp_path)
    assert not (tmp_path / DOWNLOADS / f"{NAME}.part").exists()


def test_space_is_checked_before_anything_is_downloaded(
    server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = installing.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(installing.shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    with pytest.raises(DataError, match=r"needs about \d+ kB, and 1\.0 kB are free"):
        get(published(server), tmp_path)
    assert not server.asked


def test_an_archive_that_a_person_downloaded_is_used_and_kept(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    receipt = get(source_of(CONTENT), tmp_path)[0]
    assert (receipt.received, receipt.kept) == (0, str(tmp_path / NAME))
    assert (tmp_path / NAME).exists()


def test_archives_are_kept_on_request_and_serve_the_next_time(server: ArchiveServer, tmp_path: Path) -> None:
    source = published(server)
    kept = Path(get(source, tmp_path, keep_archives=True)[0].kept)
    assert kept.read_bytes() == CONTENT
    (tmp_path / "maestro/tiny-v1").rename(tmp_path / "gone")
    assert get(source, tmp_path)[0].received == 0


def test_a_folder_of_the_same_name_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    own = tmp_path / "maestro/tiny-v1/own.midi"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"own")
    with pytest.raises(DataError, match="was not unpacked by this command"):
        get(source_of(CONTENT), tmp_path)
    assert [path.name for path in own.parent.iterdir()] == ["own.midi"]


def test_an_unpacking_that_was_killed_is_repeated(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    half = tmp_path / DOWNLOADS / f"{NAME}.unpacked/tiny-v1/half.midi"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"half")
    assert get(source_of(CONTENT), tmp_path)[0].files == 40
    assert not list((tmp_path).rglob("half.midi"))


def test_a_second_process_waits_and_downloads_nothing(
    server: ArchiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = published(server)
    (tmp_path / DOWNLOADS).mkdir()
    first = FileLock.acquire(tmp_path / DOWNLOADS / "tiny.lock")
    assert first is not None
    monkeypatch.setattr(installing, "_WAIT_SECONDS", 0.01)

    class Finishes(RecordedNotes):
        def note(self, text: str) -> None:
            super().note(text)
            first.release()

    listener = Finishes()
    get(source, tmp_path, listener)
    assert listener.notes == ["another process is downloading it; waiting until it ends"]
    assert len(server.asked) == 1


def test_a_rebuilt_archive_is_used_from_its_publisher_and_refused_from_a_mirror(
    server: ArchiveServer, tmp_path: Path
) -> None:
    source = published(server, checksum=f"sha256:{'0' * 64}")
    source = replace(source, archives=(replace(source.archives[0], rebuilt=True),))
    with pytest.raises(DataError, match="wrong checksum"):
        get(source, tmp_path, mirrors=[server.address])
    listener = RecordedNotes()
    assert get(source, tmp_path, listener)[0].files == 40
    assert "packs it on demand" in listener.notes[0]


def test_a_file_without_a_published_sum_must_have_its_size(server: ArchiveServer, tmp_path: Path) -> None:
    name = "table_v2.csv"
    server.files[name] = b"id,chords\n1,C G\n"
    url = f"{server.address}/{name}"
    short = source_of(b"other size", url, file=name, checksum="")
    with pytest.raises(DataError, match="wrong size: expected 10 bytes, got 16"):
        get(short, tmp_path)
    listener = RecordedNotes()
    receipt = get(source_of(server.files[name], url, file=name, checksum=""), tmp_path, listener)[0]
    assert (tmp_path / "maestro/table_v2/table_v2.csv").read_bytes() == server.files[name]
    assert receipt.sum == f"sha256:{hashlib.sha256(server.files[name]).hexdigest()}"
    assert "no published checksum" in listener.notes[0]


def test_names_of_sources_are_found_in_several_spellings() -> None:
    names = [source.name for source in select_sources(["LAKH-midi:full", "groove", "chords", "EMOPIA"], SOURCES)]
    assert names == ["lakh_midi_full", "groove_midi", "pop909", "billboard", "chordonomicon", "emopia"]
    with pytest.raises(ConfigError, match="Did you mean maestro"):
        select_sources(["maestor"], SOURCES)


def test_every_source_has_archives_with_checksums_or_steps() -> None:
    for source in SOURCES.values():
        assert bool(source.archives) != bool(source.steps)
        for archive in source.archives:
            algorithm, _, digest = archive.checksum.partition(":")
            assert len(digest) == {"sha256": 64, "md5": 32, "": 0}[algorithm]
            assert archive.checksum or archive.bytes
    assert "lakh_midi_full" not in [source.name for source in default_sources(SOURCES)]


def test_a_receipt_that_is_damaged_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    source = source_of(CONTENT)
    get(source, tmp_path)
    (tmp_path / "maestro/tiny-v1/.kelly-archive.json").write_text("{")
    assert installed(tmp_path / "maestro", source.archives[0]) is None


def test_a_link_to_itself_does_not_hide_what_is_installed(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    source = source_of(CONTENT)
    get(source, tmp_path)
    (tmp_path / "maestro/loop").symlink_to(tmp_path / "maestro/loop")
    assert installed(tmp_path / "maestro", source.archives[0]) is not None
