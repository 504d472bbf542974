"""Files of a run that are no regular files, or hold numbers out of range: an error in words, never a wait."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kelly_core.benchmark import history as benchmarks
from kelly_core.errors import ExportError, KellyError, RunError
from kelly_core.export.reader import read_document
from kelly_core.io.locks import LockOwner
from kelly_core.runs.control import Request, send
from kelly_core.runs.log_records import AttemptBegun, DamagedLineError, LogRecord, RunEnded, decode, encode
from kelly_core.runs.registry import list_runs
from kelly_core.runs.run_dir import RunDirectory
from kelly_core.training.history import read_history

from .test_listing import make_run


def _put(kind: str, path: Path) -> None:
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()


KINDS = pytest.mark.parametrize("kind", ["fifo", "loop", "device", "folder"])


@KINDS
@pytest.mark.parametrize("name", ["events.jsonl", "heartbeat", "run.json"])
def test_a_run_with_an_odd_file_is_listed_as_unreadable_beside_the_others(tmp_path: Path, kind: str, name: str) -> None:
    make_run(tmp_path / "good", AttemptBegun(), RunEnded("finished"))
    odd = make_run(tmp_path / "odd", AttemptBegun(), RunEnded("finished"))
    _put(kind, odd.path / name)
    found = list_runs(tmp_path)
    assert [run.id for run in found.runs] == ["good"]
    assert "cannot be" in found.unreadable["odd"]


@KINDS
def test_an_odd_summary_is_not_used(tmp_path: Path, kind: str) -> None:
    run = make_run(tmp_path / "run", AttemptBegun(), RunEnded("finished"))
    _put(kind, run.summary)
    assert [each.state for each in list_runs(tmp_path).runs] == ["finished"]


@KINDS
def test_other_readers_refuse_odd_files(tmp_path: Path, kind: str) -> None:
    odd = tmp_path / benchmarks.FILE
    _put(kind, odd)
    with pytest.raises(ExportError):
        read_document(odd)
    with pytest.raises(KellyError, match="cannot be read"):
        read_history(odd)
    with pytest.raises(KellyError, match="cannot be read"):
        benchmarks.last_run(tmp_path)
    assert LockOwner.read(odd) == LockOwner()


@pytest.mark.parametrize("kind", ["fifo", "loop", "folder"])
def test_a_request_is_not_sent_to_an_odd_file(tmp_path: Path, kind: str) -> None:
    odd = RunDirectory(tmp_path).control
    _put(kind, odd)
    with pytest.raises(RunError, match="cannot be written"):
        send(odd, Request(1, "stop"))


@pytest.mark.parametrize("attempt", [-1, 2**40, 10**400, 1.5, "1", True, None])
def test_an_attempt_out_of_range_is_damage(attempt: object) -> None:
    line = json.loads(encode(LogRecord(1.0, 1.0, 1, RunEnded("finished"))))
    with pytest.raises(DamagedLineError):
        decode(json.dumps(line | {"attempt": attempt}).encode())
