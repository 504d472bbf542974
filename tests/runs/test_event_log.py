"""The log: each record is read once, at any moment of reading, between any other content of the file."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelly_core import events
from kelly_core.io.json import CHUNK, LineTail
from kelly_core.runs import event_log
from kelly_core.runs.event_log import LogReader, LogRecord, LogWriter, decode_record, encode_record

MODEL = "DynamicsEngine"
EXAMPLES = [
    event_log.AttemptBegun(),
    event_log.StateChanged("stopping", 3),
    event_log.FeaturesRead("deam", 3, 1802),
    events.ModelStarted(MODEL, "deam", False, 1500, 300, 1, 50, "cuda", 0.0512, 0.01),
    events.BatchDone(MODEL, 2, 7, 24),
    events.EpochDone(MODEL, 2, 50, 0.06, 0.05, 0.05, 2, 10, 1e-3, 1.25, 43000.0, 24, "plateau"),
    events.CheckpointSaved(MODEL, 2, "best", "out/ä b.pt"),
    events.TrainingWarning(MODEL, "synthetic", 'a "quoted"\nmessage ♫'),
    events.SettingsChanged(MODEL, 2, 0.0005, None, 80),
    events.ModelEnded(MODEL, "stopped", 0, 0, 0.05),
    events.Exported(MODEL, "out/emotionrecognizer.json"),
    events.ModelResult(MODEL, "deam", True, None, None, 0, {"best_epoch": 3, "val_loss": 0.04}, 2.5),
    event_log.HostLoad(12.5, 1, 2, 3, (event_log.GpuLoad("H200", 99.0, 1, 2),)),
    event_log.Revived(61.5),
    event_log.RunEnded("failed", "the disk is full"),
]


def record(number: int) -> LogRecord:
    return LogRecord(1e9 + number, number / 8, 1, EXAMPLES[number % len(EXAMPLES)])


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(example) for example in EXAMPLES} == set(event_log.KINDS.values())


def test_an_epoch_of_a_former_version_is_read() -> None:
    line = (
        b'{"t":1,"busy":1,"attempt":1,"kind":"epoch","data":{"model":"EmotionRecognizer","epoch":2,"epochs":50,'
        b'"train_loss":0.06,"val_loss":0.05,"best_loss":0.05,"best_epoch":2,"patience_left":10,'
        b'"learning_rate":0.001,"seconds":1.25,"frames_per_second":43000.0}}'
    )
    event = decode_record(line).event
    assert isinstance(event, events.EpochDone)
    assert (event.steps, event.concern) == (None, "")


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_a_record_survives_a_round_trip_through_a_line_of_strict_json(event: event_log.RunEvent) -> None:
    import json

    line = encode_record(LogRecord(1e9, 2.5, 3, event))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert decode_record(line) == LogRecord(1e9, 2.5, 3, event)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_in_a_record_and_read_as_nan(loss: float) -> None:
    line = encode_record(LogRecord(1.0, 0.0, 1, events.ModelEnded("GroovePredictor", "diverged", 1, 1, loss)))
    assert b'"best_loss":null' in line
    ended = decode_record(line).event
    assert math.isnan(ended.best_loss)
    previous = decode_record(line.replace(b"null", b'"Infinity"')).event
    assert previous.best_loss == math.inf
    result = events.ModelResult("GroovePredictor", "groove_midi", True, None, None, 1, {"val_loss": loss}, 2.5)
    again = decode_record(encode_record(LogRecord(1.0, 0.0, 1, result))).event
    assert math.isnan(again.metrics["val_loss"])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 13), max_size=6), st.data())
def test_a_reader_gets_each_record_when_its_line_is_complete(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    written = [record(number) for number in numbers]
    content = b"".join(map(encode_record, written))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(content)), max_size=12)) | {len(content)})
    reader, seen, before = LogReader(path), [], 0
    with path.open("ab", buffering=0) as file:
        for cut in cuts:
            file.write(content[before:cut])
            before = cut
            seen += reader.read()
            assert seen == written[: content[:cut].count(b"\n")]
    assert seen == written
    assert reader.damaged == 0


def test_a_reader_beside_a_writer_of_single_bytes(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    reader, seen, content = LogReader(path), [], encode_record(record(5)) + encode_record(record(7))
    with path.open("ab", buffering=0) as file:
        for byte in content:
            file.write(bytes([byte]))
            seen += reader.read()
    assert seen == [record(5), record(7)]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_between_records_are_counted_and_passed_over(
    tmp_path_factory: pytest.TempPathFactory, rubbish: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    content = b"".join(part + b"\n" + encode_record(record(5)) for part in rubbish)
    path.write_bytes(content)
    reader = LogReader(path)
    seen = reader.read()
    assert seen == [record(5)] * len(rubbish)
    assert reader.damaged == sum(1 for part in rubbish for line in part.split(b"\n") if line)


@pytest.mark.parametrize(
    "line",
    [
        b"\x00" * 100,
        b"[" * 100_000,
        b'{"t":1,"busy":0,"attempt":1,"kind":"epoch","data":{"model":"X"}}',
        b'{"t":1,"busy":0,"attempt":1,"kind":["epoch"],"data":{}}',
        b'{"t":"x","busy":0,"attempt":1,"kind":"attempt","data":{}}',
        b'{"t":NaN,"busy":0,"attempt":1,"kind":"attempt","data":{}}',
        b'{"t":1,"busy":0,"attempt":1e999,"kind":"attempt","data":{}}',
        b'{"t":1,"busy":0,"attempt":"first","kind":"attempt","data":{}}',
        b'{"t":1,"busy":0,"attempt":NaN,"kind":"attempt","data":{}}',
        pytest.param(b'{"t":1,"busy":0,"attempt":' + b"1" * 5000 + b',"kind":"attempt","data":{}}', id="digits"),
        b'{"kind":"attempt"}',
        b"7",
        b"null",
        b"\xff\xfe",
    ],
)
def test_damage_of_every_sort_is_damage(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line + b"\n" + encode_record(record(1)))
    reader = LogReader(path)
    assert reader.read() == [record(1)]
    assert reader.damaged == 1


def test_records_of_a_newer_version_do_not_count_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    newer = b'{"t":1,"busy":0,"attempt":1,"kind":"gradient","data":{}}\n'
    more = encode_record(record(2)).replace(b'"done":', b'"mood":"good","done":')
    path.write_bytes(newer + more)
    reader = LogReader(path)
    assert reader.read() == [record(2)]
    assert (reader.damaged, reader.unknown) == (0, 1)


def test_an_endless_line_is_passed_over_in_bounded_pieces(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode_record(record(1)) + b"x" * (3 * CHUNK + 17))
    reader = LogReader(path)
    assert reader.read() == [record(1)]
    assert reader.read() == []
    with path.open("ab") as file:
        file.write(b"still the same line\n" + encode_record(record(2)))
    assert reader.read() == [record(2)]
    assert reader.damaged == 1


def test_one_read_takes_a_bounded_part_and_all_reads_take_everything(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    lines = [b"%06d" % number for number in range(400_000)]
    path.write_bytes(b"\n".join(lines) + b"\n")
    tail, seen = LineTail(path), []
    while part := tail.read():
        assert sum(map(len, part)) <= CHUNK
        seen += part
    assert seen == lines


def test_a_log_that_became_shorter_is_damaged_and_continues(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode_record(record(1)) + encode_record(record(2)))
    reader = LogReader(path)
    assert len(reader.read()) == 2
    path.write_bytes(b"")
    assert reader.read() == []
    assert reader.damaged == 1
    path.write_bytes(encode_record(record(3)))
    assert reader.read() == [record(3)]


def test_a_writer_does_not_continue_the_half_line_of_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(encode_record(record(1)) + encode_record(record(2))[:-20])
    writer = LogWriter(path)
    writer.append(record(3))
    writer.close()
    reader = LogReader(path)
    assert reader.read() == [record(1), record(3)]
    assert reader.damaged == 1


def test_what_a_full_disk_refuses_is_written_later_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    writer = LogWriter(path)
    room, write = 0, os.write

    def limited(handle: int, content: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = write(handle, bytes(content[:room]))
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", limited)
    for number in range(4):
        writer.append(record(number))
    room = 100
    writer.append(record(4))
    assert path.stat().st_size == 100
    room = 10**6
    writer.append(record(5))
    reader = LogReader(path)
    assert reader.read() == [record(number) for number in range(6)]
    assert reader.damaged == 0


def test_the_ending_gets_the_space_that_was_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    writer = LogWriter(path)
    write = os.write

    def full_except_reserve(handle: int, content: bytes) -> int:
        if any(file.stat().st_size >= 2**16 for file in tmp_path.iterdir()):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, content)

    monkeypatch.setattr(os, "write", full_except_reserve)
    writer.append(record(13))
    assert path.stat().st_size == 0
    writer.close()
    assert LogReader(path).read() == [record(13)]
