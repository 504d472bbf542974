"""Files of a run that are not regular files, or contain numbers out of range: a clear error, and never a wait."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kelly_core.benchmark import history as benchmarks
from kelly_core.cli.console import console
from kelly_core.cli.run_tables import model_table, run_header, run_table
from kelly_core.data.readers.midi import read_notes
from kelly_core.errors import DataError, ExportError, KellyError, RunError
from kelly_core.export.reader import read_strict_json
from kelly_core.io.locks import FileLock, LockOwner
from kelly_core.runs.control import Request, send_request
from kelly_core.runs.event_log import KINDS as KINDS_OF_EVENTS
from kelly_core.runs.event_log import (
    AttemptBegun,
    DamagedLineError,
    LogRecord,
    RunEnded,
    StateChanged,
    decode_record,
    encode_record,
)
from kelly_core.runs.registry import list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, read_labels, read_manifest
from kelly_core.runs.state import write_summary
from kelly_core.training.history import read_history
from tests.runs.conftest import make_run
from tests.runs.test_event_log import EXAMPLES

SAMPLES = {name: next(one for one in EXAMPLES if type(one) is kind) for name, kind in KINDS_OF_EVENTS.items()}


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
        read_strict_json(odd)
    with pytest.raises(KellyError, match="cannot be read"):
        read_history(odd)
    with pytest.raises(KellyError, match="cannot be read"):
        benchmarks.last_run(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_notes(odd)
    assert LockOwner.read(odd) == LockOwner()
    with pytest.raises(KellyError, match="cannot be opened"):
        FileLock.acquire(odd)


@pytest.mark.parametrize("kind", ["fifo", "loop", "folder"])
def test_a_request_is_not_sent_to_an_odd_file(tmp_path: Path, kind: str) -> None:
    odd = RunDirectory(tmp_path).control
    _put(kind, odd)
    with pytest.raises(RunError, match="cannot be written"):
        send_request(odd, Request(1, "stop"))


HUGE = pytest.mark.parametrize("number", [10**400, -(10**400), 1e300, -1, "Infinity", "NaN", None, [], {}])


@HUGE
@pytest.mark.parametrize("kind", SAMPLES)
def test_numbers_out_of_range_in_a_record_never_break_a_listing(tmp_path: Path, kind: str, number: object) -> None:
    line = json.loads(encode_record(LogRecord(1e9, 1.0, 1, SAMPLES[kind])))
    folder = make_run(tmp_path / "run", AttemptBegun(), StateChanged("running"))
    places = [(line, "t"), (line, "busy"), *((line["data"], name) for name in line["data"])]
    with folder.events.open("ab") as log:
        for table, name in places:
            previous, table[name] = table[name], number
            log.write(json.dumps(line).encode() + b"\n")
            table[name] = previous
        log.write(encode_record(LogRecord(1e9, 2.0, 1, SAMPLES[kind])))
    snapshot = Run(folder).snapshot
    screen = console()
    listed = list_runs(tmp_path)
    runs = run_table(listed.runs)
    for table in (runs, model_table(snapshot), run_header(snapshot, read_manifest(folder), read_labels(folder))):
        screen.print(table)
    write_summary(folder, snapshot, 0)


@HUGE
def test_a_history_with_a_number_out_of_range_is_refused(tmp_path: Path, number: object) -> None:
    row = {"epoch": 1, "train_loss": 1.0, "val_loss": 1.0}
    for name in row:
        content = {"epochs": [row | {name: number}], "metrics": {"best_epoch": 1, "val_loss": 1.0}}
        (tmp_path / "history.json").write_text(json.dumps(content))
        if (name, number) != ("val_loss", -1) and (name, number) != ("train_loss", -1):
            with pytest.raises(KellyError, match="is not a history"):
                read_history(tmp_path / "history.json")


@pytest.mark.parametrize("pid", [-1, 2**31, 10**400, 1e300, "x", None, [1]])
def test_a_process_number_out_of_range_belongs_to_no_process(tmp_path: Path, pid: object) -> None:
    (tmp_path / "lock").write_text(json.dumps({"run": "a", "pid": pid, "host": "b"}))
    assert LockOwner.read(tmp_path / "lock") == LockOwner()


@pytest.mark.parametrize("attempt", [-1, 2**40, 10**400, 1.5, "1", True, None])
def test_an_attempt_out_of_range_is_damage(attempt: object) -> None:
    line = json.loads(encode_record(LogRecord(1.0, 1.0, 1, RunEnded("finished"))))
    with pytest.raises(DamagedLineError):
        decode_record(json.dumps(line | {"attempt": attempt}).encode())
