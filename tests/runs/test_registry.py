"""Runs on disk: found, named, filtered, and read in bounded pieces however large or damaged they are."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from kelly_core import events
from kelly_core.config.loading import for_every_model
from kelly_core.errors import RunError
from kelly_core.io.locks import LockOwner
from kelly_core.runs import launch, run_dir
from kelly_core.runs.event_log import AttemptBegun, LogRecord, RunEnded, StateChanged, encode_record
from kelly_core.runs.overview import RunOverview, compare_runs
from kelly_core.runs.registry import RunFilter, find_run, list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, new_run_id, read_manifest, write_manifest
from kelly_core.runs.state import ModelSnapshot, read_summary
from kelly_core.spec import model_spec
from tests.runs.conftest import MODEL, epoch, hold, make_run


def test_ids_are_readable_and_sort_by_time() -> None:
    earlier, later = new_run_id(datetime(2026, 11, 22, 14, 31)), new_run_id(datetime(2026, 11, 22, 14, 32))
    assert re.fullmatch(r"2026-11-22-1431-[a-z]+-[a-z]+", earlier)
    assert earlier < later


def test_a_run_is_found_by_the_words_that_screens_show(tmp_path: Path) -> None:
    for name in ("2026-11-22-1431-brave-cadence", "2026-11-22-1432-brave-melody", "2026-cadence"):
        make_run(tmp_path / name)
    assert find_run(tmp_path, "brave-cadence").id == "2026-11-22-1431-brave-cadence"
    assert find_run(tmp_path, "brave-m").id == "2026-11-22-1432-brave-melody"
    assert find_run(tmp_path, "2026-cadence").id == "2026-cadence"
    with pytest.raises(RunError, match="2 runs have names that begin with this"):
        find_run(tmp_path, "brave")


@pytest.mark.parametrize(
    ("drawn", "taken"),
    [
        pytest.param(
            ["2026-11-22-1431-brave-cadence", "2026-11-22-1432-brave-cadence", "2026-11-22-1432-calm-melody"],
            ["2026-11-22-1431-brave-cadence", "2026-11-22-1432-calm-melody"],
            id="words that no other run has",
        ),
        pytest.param(["same", "same", "other"], ["same", "other"], id="a folder of its own"),
    ],
)
def test_new_runs_have_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[str], taken: list[str]
) -> None:
    names = iter(drawn)
    monkeypatch.setattr(run_dir, "new_run_id", lambda _began: next(names))
    assert [launch._new_folder(tmp_path).id for _ in range(2)] == taken


def test_a_prefix_or_last_names_a_run(tmp_path: Path) -> None:
    for name, created in (("2026-a-brave", 3.0), ("2026-a-calm", 1.0), ("2026-b", 2.0), ("2026-b-more", 0.0)):
        make_run(tmp_path / name, created=created)
    assert find_run(tmp_path, "2026-a-b").id == "2026-a-brave"
    assert find_run(tmp_path, "2026-b").id == "2026-b"
    assert find_run(tmp_path, "last").id == find_run(tmp_path, "last~0").id == "2026-a-brave"
    assert [find_run(tmp_path, f"last~{before}").id for before in (1, 3)] == ["2026-b", "2026-b-more"]
    with pytest.raises(RunError, match="expected more than 4 runs, got 4"):
        find_run(tmp_path, "last~4")
    with pytest.raises(RunError, match="2 runs have names that begin with this: 2026-a-brave, 2026-a-calm"):
        find_run(tmp_path, "2026-a")
    for name in ("2027", "../2026-b", "", "last~", "last~-1", "last~x"):
        with pytest.raises(RunError):
            find_run(tmp_path, name)
    with pytest.raises(RunError, match="there is no run yet"):
        find_run(tmp_path / "nowhere", "last")


def test_nothing_names_no_run_even_where_there_is_only_one(tmp_path: Path) -> None:
    make_run(tmp_path / "2026-a-brave")
    with pytest.raises(RunError, match="no run is named"):
        find_run(tmp_path, "")


def test_a_folder_that_may_not_be_read_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, locked = make_run(tmp_path / "good"), make_run(tmp_path / "locked")

    def refusing(function: Callable[..., object]) -> Callable[..., object]:
        def refuse(path: str | Path, *args: object, **kwargs: object) -> object:
            if Path(path).parent == locked.path:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return function(path, *args, **kwargs)

        return refuse

    # Not by its mode: the superuser may read everything.
    monkeypatch.setattr(os, "stat", refusing(os.stat))
    monkeypatch.setattr(os, "open", refusing(os.open))
    listing = list_runs(tmp_path)
    assert [run.id for run in listing.runs] == [good.id]
    assert "Permission denied" in listing.unreadable["locked"]
    assert find_run(tmp_path, "last") == good


def test_a_folder_of_runs_that_may_not_be_read_is_an_error_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(RunError, match=r"cannot be read \(Permission denied\)"):
        list_runs(tmp_path)


def test_what_cannot_be_read_is_named_and_nothing_is_touched(tmp_path: Path) -> None:
    good = make_run(tmp_path / "good", AttemptBegun(), RunEnded("finished"))
    newer, cut, odd, lost = (make_run(tmp_path / name, AttemptBegun()) for name in ("newer", "cut", "odd", "lost"))
    newer.manifest.write_text(newer.manifest.read_text().replace('"format": 1', '"format": 2'))
    cut.manifest.write_bytes(cut.manifest.read_bytes()[:100])
    odd.manifest.write_text('{"format": 1, "models": 7}')
    lost.manifest.unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "a file").write_text("")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    listing = list_runs(tmp_path)
    assert [run.id for run in listing.runs] == [good.id]
    assert set(listing.unreadable) == {"newer", "cut", "odd", "lost"}
    assert "newer version" in listing.unreadable["newer"]
    assert "damaged" in listing.unreadable["cut"]
    with pytest.raises(RunError, match="newer version"):
        Run(newer)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_a_run_without_a_process_has_died_unless_its_log_shows_an_end(tmp_path: Path) -> None:
    died = make_run(tmp_path / "died", AttemptBegun(), StateChanged("paused"), epoch(1, 0.5))
    assert Run(died).snapshot.state == "died"
    assert Run(died).snapshot.models[0].state == "died"
    ended = make_run(tmp_path / "ended", AttemptBegun(), RunEnded("failed", "why"))
    assert (Run(ended).snapshot.state, Run(ended).snapshot.error) == ("failed", "why")
    assert Run(make_run(tmp_path / "never")).snapshot.state == "died"


def test_killing_a_process_that_has_just_ended_is_not_an_error(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", AttemptBegun())
    life = hold(folder)
    ended = subprocess.Popen(["true"])
    ended.wait()
    life.write_owner("run", ended.pid)
    Run(folder).kill()
    life.release()


def test_a_new_attempt_is_not_taken_for_the_process_of_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "run", AttemptBegun(), RunEnded("stopped"), output=str(tmp_path / "out"))
    previous = hold(folder)
    previous.write_owner("run", os.getpid())
    previous.release()
    seen = []

    def spawn(folder: RunDirectory, _handles: Sequence[int]) -> int:
        seen.append(Run(folder).snapshot.pid)
        return 7

    monkeypatch.setattr(launch, "spawn", spawn)
    launch.resume(Run(folder))
    assert seen == [0]
    assert LockOwner.read(folder.heartbeat).pid == 7


def test_a_running_process_without_heartbeat_counts_as_alive(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", AttemptBegun(), StateChanged("running"))
    lock = hold(folder)
    os.utime(folder.heartbeat, (1e9, 1e9))
    snapshot = Run(folder).snapshot
    assert snapshot.state == "running"
    assert snapshot.silent_seconds > 1e6
    # A clock that was set back makes the sign of life one of the future.
    os.utime(folder.heartbeat, (4e9, 4e9))
    assert (Run(folder).snapshot.state, Run(folder).snapshot.silent_seconds) == ("running", 0.0)
    lock.release()
    assert Run(folder).snapshot.state == "died"


def test_a_process_on_another_machine_is_alive_while_its_heartbeat_is_recent(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", AttemptBegun(), StateChanged("running"))
    folder.heartbeat.write_text(json.dumps({"run": "run", "pid": 1, "host": "elsewhere"}))
    run = Run(folder)
    assert run.snapshot.state == "running"
    with pytest.raises(RunError, match="working on it"):
        run.remove()
    os.utime(folder.heartbeat, (1e9, 1e9))
    run.poll()
    assert run.snapshot.state == "died"
    os.utime(folder.heartbeat)
    run.poll()
    assert run.snapshot.state == "running"


@pytest.mark.slow
def test_a_long_log_opens_by_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "long", AttemptBegun(), StateChanged("running"), epoch(1, 0.5))
    lines = [
        encode_record(LogRecord(1e9, number / 2, 1, events.BatchDone(MODEL, 2, number, 500_000)))
        for number in range(500)
    ]
    with folder.events.open("ab") as file:
        for _ in range(100):
            file.write(b"".join(lines))
        file.write(
            encode_record(LogRecord(2e9, 1.0, 1, epoch(2, 0.25)))
            + encode_record(LogRecord(2e9, 1.0, 1, RunEnded("stopped")))
        )
    read, pread = [], os.pread

    def counting(handle: int, count: int, offset: int) -> bytes:
        read.append(pread(handle, count, offset))
        return read[-1]

    monkeypatch.setattr(os, "pread", counting)
    (run,) = list_runs(tmp_path).runs
    assert (run.state, run.models[0].epoch, run.models[0].best_loss) == ("stopped", 2, 0.25)
    assert sum(map(len, read)) <= 2**20 + 2**18
    assert run.skipped_bytes > 4e6
    Run(folder).summarize()
    read.clear()
    (known,) = list_runs(tmp_path).runs
    assert (known.state, known.models[0].epoch, known.skipped_bytes) == ("stopped", 2, 0)
    assert not any(read)


def test_a_summary_saves_reading_and_is_left_aside_where_it_does_not_fit(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", AttemptBegun(), epoch(1, 0.5))
    with folder.events.open("ab") as file:
        file.write(b"rubbish\n")
    Run(folder).summarize()
    whole = folder.events.read_bytes()
    with folder.events.open("ab") as file:
        file.write(encode_record(LogRecord(2e9, 9.0, 1, epoch(2, 0.25))) + b"more rubbish\n")
    reported = Run(folder).snapshot
    assert (reported.models[0].epoch, reported.damaged_lines) == (2, 2)
    assert read_summary(folder) is not None
    garbled = whole.replace(b"rubbish", b"\x00bbish").replace(b'"epoch":1', b'"epoch":x')
    folder.events.write_bytes(garbled)
    assert read_summary(folder) is None
    assert (Run(folder).snapshot.models[0].epoch, Run(folder).snapshot.damaged_lines) == (0, 2)
    folder.events.write_bytes(whole)
    folder.summary.write_bytes(b"\xff" + folder.summary.read_bytes())
    assert Run(folder).snapshot.models[0].epoch == 1


def test_damage_before_the_summary_is_found_by_reading_the_whole(tmp_path: Path) -> None:
    padding = [StateChanged("running", number) for number in range(1, 20)]
    folder = make_run(tmp_path / "run", AttemptBegun(), epoch(1, 0.5), *padding)
    Run(folder).summarize()
    content = bytearray(folder.events.read_bytes())
    content[100:110] = b"\xff" * 10
    folder.events.write_bytes(content)
    assert Run(folder).snapshot.damaged_lines == 0
    assert Run(folder, reading="whole").snapshot.damaged_lines == 1


def test_a_comparison_names_what_differs_and_what_was_reached(tmp_path: Path) -> None:
    first = make_run(tmp_path / "a", AttemptBegun(), epoch(1, 0.5), epoch(2, 0.25), epochs=9, batch_size=16)
    second = make_run(tmp_path / "b", AttemptBegun(), epochs=9, batch_size=32)
    comparison = compare_runs(Run(first), Run(second))
    assert comparison.settings == {"training.batch_size": (16, 32)}
    one, other = comparison.models[MODEL]
    assert (one.epochs, one.best_epoch, one.best_loss, other.best_loss) == (2, 2, 0.25, None)


def test_a_comparison_shows_the_values_in_force(tmp_path: Path) -> None:
    own = f"models__{MODEL}__"
    first = Run(make_run(tmp_path / "a", epochs=9, batch_size=16))
    second = Run(make_run(tmp_path / "b", epochs=9, batch_size=32, **{f"{own}epochs": 20, f"{own}loss": "masked_mse"}))
    settings = compare_runs(first, second).settings
    assert settings == {
        "training.batch_size": (16, 32),
        f"models.{MODEL}.epochs": (9, 20),
        f"models.{MODEL}.loss": (model_spec(MODEL).loss, "masked_mse"),
    }
    folder = make_run(tmp_path / "c", epochs=9, batch_size=16, **{f"{own}epochs": 9})
    manifest = json.loads(folder.manifest.read_text())
    # As a version wrote it that did not know this setting.
    del manifest["settings"]["notify"]["apprise"]
    folder.manifest.write_text(json.dumps(manifest))
    assert compare_runs(first, Run(folder)).settings == {}


def test_a_comparison_shows_an_option_for_all_models_once_and_no_output_folders(tmp_path: Path) -> None:
    def run(name: str, batch_size: int, **own: int) -> Run:
        options = for_every_model({"training.batch_size": ("--set", batch_size)})
        values = {key.replace(".", "__"): value for key, (_, value) in options.items()} | own
        del values["training__batch_size"]
        folder = make_run(tmp_path / name, batch_size=batch_size, output__dir=tmp_path / f"models-{name}", **values)
        return Run(folder)

    first, second = run("a", 16), run("b", 32)
    assert compare_runs(first, second).settings == {"training.batch_size": (16, 32)}
    assert compare_runs(first, second, only_differences=False).settings["output.dir"][0].endswith("models-a")
    apart = f"models.{MODEL}.batch_size"
    other = run("c", 32, **{apart.replace(".", "__"): 64})
    assert compare_runs(first, other).settings == {"training.batch_size": (16, 32), apart: (16, 64)}


def test_settings_of_another_version_are_refused_and_left_as_they_are(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", AttemptBegun(), RunEnded("stopped"))
    manifest = read_manifest(folder)
    training = manifest.settings["training"] | {"mood": "good"}
    write_manifest(folder, replace(manifest, settings=manifest.settings | {"training": training}))
    before = folder.manifest.read_bytes()
    with pytest.raises(RunError, match=r"training\.mood"):
        launch.resume(Run(folder))
    assert folder.manifest.read_bytes() == before
    assert Run(folder).snapshot.state == "stopped"


RUN = RunOverview(
    id="2026-11-22-1431-brave-cadence",
    state="running",
    attempt=1,
    models=(ModelSnapshot("MelodyTransformer", "running", alarm_kind="plateau"), ModelSnapshot("GroovePredictor")),
    datasets=("lakh_midi",),
    output="/home/ada/models",
    created=time.time() - 7200.0,
    epoch=12,
    epochs=50,
    losses=(0.02, 0.4),
    best_epoch=None,
    gain=0.35,
    verdicts=("trained",),
    learning_rate=0.001,
    seed=3,
    duration=600.0,
    tags=("baseline", "v2"),
    note="first try with more data",
    sweep="lr",
    device="cpu",
)


@pytest.mark.parametrize(
    "text",
    [
        "", "brave", "MELODY", "state:running", "state:plateau", "state:run", "state:failed,running", "model:melody",
        "model:groove loss<0.03", "loss>=0.4", "gain>30%", "gain>0.3", "tag:v2", "tags:baseline", "note:'more data'",
        "verdict:trained", "sweep:lr", "lr:0.001", "learning_rate<=1e-3", "seed=3", "seed:3", "duration<11min",
        "age>1h age<1d", "-state:failed", "-tag:v3", "epoch:12", "data:lakh", "-", "note:'more dat",
    ],
)  # fmt: skip
def test_a_run_that_matches_all_conditions_is_kept(text: str) -> None:
    assert RunFilter.parse(text).keeps(RUN)


@pytest.mark.parametrize(
    "text",
    [
        "calm", "state:finished", "state:unning", "model:emotion", "loss<0.01", "gain>36%", "tag:v", "tag:V3",
        "verdict:rain", "seed!=3", "age<1h", "-brave", "brave state:failed", "duration>1h",
    ],
)  # fmt: skip
def test_a_run_that_misses_one_condition_is_left_out(text: str) -> None:
    assert not RunFilter.parse(text).keeps(RUN)


def test_unknown_values_match_no_condition_on_numbers() -> None:
    unknown = replace(RUN, losses=(), gain=None, seed=None)
    assert not RunFilter.parse("loss<1").keeps(unknown)
    assert not RunFilter.parse("gain>0").keeps(unknown)
    assert RunFilter.parse("-seed:3").keeps(unknown)


@pytest.mark.parametrize(
    ("text", "words"),
    [("stat:running", "Did you mean state"), ("loss<x", "not a number"), ("state<3", "does not apply")],
)
def test_a_condition_that_cannot_be_read_is_an_error(text: str, words: str) -> None:
    with pytest.raises(RunError, match=words):
        RunFilter.parse(text)
