"""Real processes that train, and what watchers and the system do to them."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from itertools import dropwhile
from pathlib import Path

import pytest

from kelly_core import events
from kelly_core.errors import RunError
from kelly_core.runs.event_log import AttemptBegun, HostLoad, LogRecord, RunEnded, StateChanged
from kelly_core.runs.launch import resume
from kelly_core.runs.registry import list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.state import read_summary
from kelly_core.training.checkpoint import load_checkpoint
from tests.runs.conftest import Start, first_epochs, next_event, pause, same_weights, stop, until, until_epoch

LONG = 100_000
"""Epochs that no test waits for."""
LONG_EPOCHS = {"examples": 200_000, "batch_size": 1}
"""Settings whose first epoch takes a minute."""


def states(run: Run) -> list[str]:
    return [record.event.state for record in run.records() if isinstance(record.event, StateChanged | RunEnded)]


def exported(folder: Path, name: str = "out/dynamicsengine.json") -> bool:
    from kelly_core.validation.checks import validate_file

    return validate_file(folder / name, check_specs=True).passed


def test_a_whole_training(start: Start, folder: Path) -> None:
    run = start("DynamicsEngine", "GroovePredictor", epochs=2)
    assert run.snapshot.state == "queued"
    kinds = {type(record.event) for record in run.follow()}
    snapshot = run.snapshot
    assert snapshot.state == "finished"
    assert snapshot.output == str(folder / "out")
    assert [(model.state, model.epoch, model.export) for model in snapshot.models] == [
        ("finished", 2, "out/dynamicsengine.json"),
        ("finished", 2, "out/groovepredictor.json"),
    ]
    assert snapshot.host_name == socket.gethostname()
    assert snapshot.pid != os.getpid()
    assert {events.ModelStarted, events.EpochDone, events.CheckpointSaved, events.ModelResult, RunEnded} <= kinds
    assert exported(folder)
    assert not (folder / "out" / ".lease").exists()
    assert run.folder.environment.read_text().count('"torch"') == 1
    console = run.folder.console.read_text()
    assert "DynamicsEngine: epoch 2/2" in console
    assert "finished" in console
    run.acquire_lock().release()
    summary = read_summary(run.folder)
    assert summary.offset == run.folder.events.stat().st_size
    assert summary.snapshot.state == "finished"


def since(run: Run, event: object) -> list[LogRecord]:
    """The records from the first of an event on."""
    return list(dropwhile(lambda record: record.event != event, run.records()))


def test_pause_and_continue(start: Start, folder: Path) -> None:
    run = start(epochs=LONG)
    until_epoch(run, 1)
    pause(run)
    epoch = run.snapshot.models[0].epoch
    assert run.snapshot.models[0].state == "paused"
    # While it is paused, nothing but the load of the machine is reported, and no training time passes.
    while len(found := since(run, StateChanged("paused"))) < 2:
        next(run.follow())
    paused, first = found[:2]
    assert isinstance(first.event, HostLoad)
    assert run.snapshot.models[0].epoch == epoch
    assert first.busy - paused.busy < 1.0
    run.request_resume()
    until(run, "running")
    until_epoch(run, epoch + 1)
    stop(run)
    assert states(run) == ["running", "pausing", "paused", "running", "stopping", "stopped"]
    assert exported(folder)


@pytest.mark.slow
def test_models_that_train_at_once_are_steered_alone_and_together(start: Start, folder: Path) -> None:
    run = start("DynamicsEngine", "GroovePredictor", epochs=LONG, training__jobs=2)
    while min(model.epoch for model in run.snapshot.models) < 1:
        next(run.follow())
    with pytest.raises(RunError, match="2 models are in training"):
        run.request_rollback()
    run.request_rollback("GroovePredictor")
    assert next_event(run, events.TrainingWarning, kind="rollback").model == "GroovePredictor"
    pause(run)
    # Each finishes its step, and may save an epoch. Then all hold, and the load of the machine is reported twice.
    before, now = {}, _times_of_checkpoints(folder)
    while before != now:
        next_event(run, HostLoad)
        before, now = now, _times_of_checkpoints(folder)
    assert run.snapshot.state == "paused"
    run.request_stop(at_once=True)
    until(run, "stopped")
    assert exported(folder)
    assert exported(folder, "out/groovepredictor.json")


def _times_of_checkpoints(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "out/checkpoints").glob("*.pt")}


def rates(run: Run) -> list[float]:
    return [record.event.learning_rate for record in run.records() if isinstance(record.event, events.EpochDone)]


def test_a_run_rolls_back_to_its_best_epoch_on_request(start: Start, folder: Path) -> None:
    run = start(epochs=LONG)
    until_epoch(run, 2)
    assert run.request_rollback() == "DynamicsEngine"
    assert "as requested: back to epoch" in next_event(run, events.TrainingWarning, kind="rollback").message
    assert next_event(run, events.EpochDone).learning_rate == rates(run)[0] / 2
    pause(run)
    run.request_rollback("DynamicsEngine")
    run.request_resume()
    next_event(run, events.TrainingWarning, kind="rollback")
    stop(run)
    assert run.folder.console.read_text().count("as requested: back to epoch") == 2
    assert exported(folder)
    resumed = resume(run)
    assert next_event(resumed, events.EpochDone).learning_rate == rates(resumed)[0] / 4


def test_only_a_model_in_training_with_a_best_epoch_can_go_back(start: Start) -> None:
    run = start("DynamicsEngine", "GroovePredictor", epochs=LONG)
    until_epoch(run, 1)
    with pytest.raises(RunError, match="GroovePredictor has no best epoch to go back to"):
        run.request_rollback("GroovePredictor")
    stop(run)
    with pytest.raises(RunError, match="it has ended"):
        run.request_rollback()


def test_a_paused_run_can_be_stopped(start: Start, folder: Path) -> None:
    run = start(epochs=LONG)
    until_epoch(run, 1)
    pause(run)
    stop(run)
    assert exported(folder)


def test_stop_after_some_epochs(start: Start, folder: Path) -> None:
    run = start(epochs=LONG, examples=512)
    until_epoch(run, 1)
    run.request_stop(after_epochs=3)
    until(run, "stopped")
    reported: list[int | None] = []
    counted = 0
    for record in run.records():
        if isinstance(record.event, StateChanged) and record.event.state == "stopping":
            reported.append(record.event.epochs_left)
        elif reported and isinstance(record.event, events.EpochDone):
            counted += 1
    assert reported == [3, 2, 1, None]
    assert counted == 3
    assert load_checkpoint(folder / "out/checkpoints/dynamicsengine_latest.pt").epoch == run.snapshot.models[0].epoch


def test_stop_at_once_leaves_checkpoint_and_export(start: Start, folder: Path) -> None:
    run = start("DynamicsEngine", "GroovePredictor", epochs=LONG, examples=4096)
    until_epoch(run, 2)
    run.request_stop(at_once=True)
    outcomes = [record.event for record in run.follow() if isinstance(record.event, events.ModelResult)]
    assert run.snapshot.state == "stopped"
    assert run.snapshot.models[0].state == "stopped"
    (outcome,) = outcomes
    assert (outcome.model, outcome.reason, outcome.export) == ("DynamicsEngine", "stopped", "out/dynamicsengine.json")
    metadata = json.loads((folder / "out/dynamicsengine.json").read_text())["metadata"]
    assert outcome.epochs >= 2
    assert outcome.metrics["val_loss"] == metadata["metrics"]["val_loss"]
    # The best checkpoint of an epoch is saved before the latest; the end may have come between the two.
    latest = load_checkpoint(folder / "out/checkpoints/dynamicsengine_latest.pt")
    assert latest.epoch in (outcome.epochs, outcome.epochs - 1)
    assert exported(folder)
    assert not (folder / "out/groovepredictor.json").exists()


@pytest.mark.parametrize("last", [[signal.SIGTERM], [signal.SIGINT], 2 * [signal.SIGINT], [signal.SIGKILL]])
@pytest.mark.parametrize("hang_up", [False, True])
def test_after_any_signal_it_is_resumed_behind_its_last_checkpoint(
    start: Start, folder: Path, last: list[signal.Signals], hang_up: bool
) -> None:
    run = start(epochs=LONG)
    until_epoch(run, 2)
    for number in [signal.SIGHUP] * hang_up + last:
        os.kill(run.snapshot.pid, number)
    if last == [signal.SIGKILL]:
        until(run, "died")
    else:
        until(run, "stopped")
        assert "Traceback" not in run.folder.console.read_text()
        assert exported(folder)
    done = load_checkpoint(folder / "out" / "checkpoints" / "dynamicsengine_latest.pt").epoch
    assert done >= 2
    again = resume(run)
    until_epoch(again, done + 2)
    assert first_epochs(again) == [1, done + 1]


def test_a_hang_up_changes_nothing(start: Start) -> None:
    run = start(epochs=LONG)
    until_epoch(run, 1)
    os.kill(run.snapshot.pid, signal.SIGHUP)
    until_epoch(run, run.snapshot.models[0].epoch + 3)
    assert run.snapshot.state == "running"
    assert os.getsid(run.snapshot.pid) == run.snapshot.pid


def test_stopped_in_its_first_epoch_it_still_exports(start: Start, folder: Path) -> None:
    run = start(epochs=LONG, **LONG_EPOCHS)
    until(run, "running")
    next_event(run, events.ModelStarted)
    stop(run)
    assert run.snapshot.models[0].epoch == 0
    assert exported(folder)


def test_two_trainings_into_one_folder(start: Start, folder: Path) -> None:
    run = start(epochs=LONG)
    with pytest.raises(RunError, match=f"run {run.id} .* is training into this folder"):
        start(epochs=1)
    assert [known.id for known in list_runs(folder / "runs").runs] == [run.id]
    os.kill(run.snapshot.pid, signal.SIGKILL)
    until(run, "died")
    second = start(epochs=1)
    until(second, "finished")


def test_a_live_run_is_neither_deleted_nor_started_again(start: Start) -> None:
    run = start(epochs=LONG)
    until_epoch(run, 1)
    for refused in (run.remove, lambda: resume(run)):
        with pytest.raises(RunError, match="working on it"):
            refused()
    assert run.folder.events.exists()
    stop(run)
    with pytest.raises(RunError, match="it has ended"):
        run.request_pause()
    run.remove()
    assert not run.folder.path.exists()


def test_two_watchers_see_the_same_and_both_may_steer(start: Start) -> None:
    run = start(epochs=LONG)
    seen: list[list[object]] = [[], []]
    watchers = [Run(run.folder), Run(run.folder)]

    def watch(number: int) -> None:
        for record in watchers[number].follow():
            if not isinstance(record.event, AttemptBegun):
                seen[number].append(record)

    threads = [threading.Thread(target=watch, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    until_epoch(run, 3)
    Run(run.folder).request_pause()
    until(run, "paused")
    Run(run.folder).request_stop()
    for thread in threads:
        thread.join()
    # One of them began a moment earlier, and may have seen a record more.
    both = min(map(len, seen))
    assert both
    assert seen[0][-both:] == seen[1][-both:]
    assert isinstance(seen[0][-1].event, RunEnded)


def test_extended_it_equals_a_training_of_that_length(start: Start, folder: Path) -> None:
    run = start(epochs=2)
    until(run, "finished")
    again = resume(run, 3)
    until(again, "finished")
    assert (again.id, again.snapshot.attempt, again.snapshot.models[0].epoch) == (run.id, 2, 5)
    assert Run(again.folder).manifest.settings["training"]["epochs"] == 5
    until(start(epochs=5, output="whole"), "finished")
    assert same_weights(folder / "out", folder / "whole")


def test_an_extension_counts_from_the_epochs_done(start: Start) -> None:
    run = start("DynamicsEngine", "GroovePredictor", epochs=LONG)
    run.request_stop(after_epochs=2)
    until(run, "stopped")
    done = run.snapshot.models[0].epoch
    again = resume(run, 3)
    until(again, "finished")
    assert [model.epoch for model in again.snapshot.models] == [done + 3, 3]


def test_an_extension_up_to_the_planned_end_continues_after_early_stopping(start: Start) -> None:
    options = {"training__early_stopping__patience": 1, "training__early_stopping__min_delta": 0.99}
    run = start(epochs=9, **options)
    until(run, "finished")
    done = run.snapshot.models[0].epoch
    assert done < 9
    again = resume(run, 9 - done)
    until(again, "finished")
    assert done < again.snapshot.models[0].epoch <= 9


def test_a_later_attempt_ignores_requests_to_an_earlier_one(start: Start) -> None:
    run = start(epochs=LONG)
    until_epoch(run, 1)
    stop(run)
    again = resume(run)
    until_epoch(again, run.snapshot.models[0].epoch + 2)
    assert again.snapshot.state == "running"
    assert again.snapshot.attempt == 2


def test_what_another_training_left_in_the_folder_is_not_taken_for_ones_own(start: Start, folder: Path) -> None:
    until(start(epochs=2), "finished")
    os.utime(folder / "out/checkpoints/dynamicsengine_latest.pt", (1e9, 1e9))
    run = start(epochs=LONG, **LONG_EPOCHS)
    next_event(run, events.ModelStarted)
    os.kill(run.snapshot.pid, signal.SIGKILL)
    until(run, "died")
    again = resume(run)
    assert next_event(again, events.ModelStarted).first_epoch == 1


def test_a_failure_has_a_reason(start: Start, folder: Path) -> None:
    broken = folder / "data" / "groove_midi"
    broken.mkdir(parents=True)
    (broken / "a.mid").write_bytes(b"MThd")
    run = start("GroovePredictor", "DynamicsEngine", datasets__dir="data", datasets__use_synthetic=False)
    until(run, "failed")
    assert "no usable example" in run.snapshot.error
    assert [(model.state, bool(model.error)) for model in run.snapshot.models] == [
        ("failed", True),
        ("finished", False),
    ]
    assert exported(folder)


def test_invalid_lines_of_a_log_do_not_hide_epochs(start: Start, folder: Path) -> None:
    run = start(epochs=3)
    until(run, "finished")
    run.acquire_lock().release()
    run.folder.events.write_bytes(os.urandom(5000))
    rubbish = run.folder.events.read_bytes()
    known = Run(run.folder).snapshot
    assert known.damaged_lines > 0
    assert known.state == "died"
    again = resume(Run(run.folder), 2)
    until(again, "finished")
    assert again.snapshot.models[0].epoch == 5
    assert run.folder.events.read_bytes().startswith(rubbish)
    until(start(epochs=5, output="whole"), "finished")
    assert same_weights(folder / "out", folder / "whole")


def test_a_checkpoint_of_another_network_is_refused_and_kept(start: Start, folder: Path) -> None:
    run = start("DynamicsEngine", "GroovePredictor", epochs=1)
    until(run, "finished")
    run.acquire_lock().release()
    checkpoints = folder / "out" / "checkpoints"
    foreign = (checkpoints / "groovepredictor_latest.pt").read_bytes()
    (checkpoints / "dynamicsengine_latest.pt").write_bytes(foreign)
    again = resume(run, 1)
    until(again, "failed")
    assert "GroovePredictor" in again.snapshot.error
    assert (checkpoints / "dynamicsengine_latest.pt").read_bytes() == foreign
