"""``datasets get`` and ``datasets verify`` as typed, against a local server."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kelly_core.data.download import sources
from kelly_core.data.download.sources import Archive, Source
from tests.cli.conftest import Run
from tests.data.test_download import CONTENT, NAME, zip_of
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
    run: Run, server: ArchiveServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
    assert run("datasets", "verify", "maestro", "--datasets-dir", "new").code == 0
    (tmp_path / "new/maestro/tiny-v1/2004/1.midi").unlink()
    verified = run("datasets", "verify", "maestro", "--datasets-dir", "new", "--json")
    assert (verified.code, json.loads(verified.out)["datasets"][0]["missing"]) == (1, ["tiny-v1/2004/1.midi"])
    assert run(*command).code == 1


def test_get_refuses_a_published_name_with_other_content(run: Run, server: ArchiveServer) -> None:
    server.files["groove-v1.0.0-midionly.zip"] = content = zip_of({"groove/info.csv": b"x"})
    got = run("datasets", "get", "groove_midi", "--yes", "--mirror", server.address, "--json")
    assert got.code == 1
    assert json.loads(got.out)["datasets"][0]["status"] == "failed"
    assert "651cbc524ffb891be1a3e46d89dc82a1cecb09a57c748c7b45b844c4841dcc1e" in got.err
    assert hashlib.sha256(content).hexdigest() in got.err
    assert not Path("datasets/groove_midi").exists()


def test_get_without_a_terminal_needs_agreement_to_the_license(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115 - pytest replaces it
    got = run("datasets", "get", "maestro")
    assert got.code == 2
    assert "CC BY-NC-SA 4.0" in got.err
    assert "--yes" in got.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("maestro", "--all"),
        ("maestor", "--yes"),
        ("maestro", "--yes", "--mirror", "ftp://host"),
    ],
)
def test_get_refuses_what_it_cannot_understand(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("datasets", "get", *arguments).code == 2


def test_get_says_what_to_do_for_a_source_behind_a_form(run: Run) -> None:
    got = run("datasets", "get", "emomusic", "--yes")
    assert got.code == 1
    assert "cvml.unige.ch/databases/emoMusic" in got.err


def test_options_before_a_subcommand_are_not_ignored(run: Run) -> None:
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
    """Run ``datasets get`` in a process of its own."""
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
    outputs = [process.communicate(timeout=60) for process in processes]
    statuses = sorted(json.loads(out)["datasets"][0]["status"] for out, _ in outputs)
    assert statuses == ["installed", "present"], [err for _, err in outputs]
    assert len(server.asked) == 1


@pytest.mark.slow
def test_a_killed_download_is_continued(server: ArchiveServer, tmp_path: Path) -> None:
    server.files[NAME], server.stalls = CONTENT, [1234]
    process = started(tmp_path, server.address)
    part = tmp_path / f"datasets/.downloads/{NAME}.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size == 1234):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.release.set()
    out, err = started(tmp_path, server.address).communicate(timeout=60)
    assert json.loads(out)["datasets"][0]["archives"][0]["received"] == len(CONTENT) - 1234, err
