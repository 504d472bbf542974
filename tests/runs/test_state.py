"""Snapshots: figures worked out by hand from short logs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelly_core import events
from kelly_core.runs import event_log
from kelly_core.runs.event_log import LogRecord, RunEvent, describe
from kelly_core.runs.state import ModelSnapshot, RunSnapshot, reduce_events

MODEL = "DynamicsEngine"
FRESH = RunSnapshot("run", "queued", 0, 1e9, "/out", (ModelSnapshot(MODEL), ModelSnapshot("GroovePredictor")))
STARTED = events.ModelStarted(MODEL, "maestro", True, 100, 10, 1, 5, "cpu", 0.4)


def log(*steps: tuple[float, RunEvent], attempt: int = 1, clock: float = 1e9) -> list[LogRecord]:
    return [LogRecord(clock + busy, busy, attempt, event) for busy, event in steps]


def epoch(number: int, loss: float = 0.25, best: int = 1) -> events.EpochDone:
    return events.EpochDone(MODEL, number, 5, loss + 0.01, loss, loss, best, 7, 0.001, 0.5, 2000.0)


def batch(number: int, step: int) -> events.BatchDone:
    return events.BatchDone(MODEL, number, step, 40)


def test_a_training_from_its_start_to_its_end() -> None:
    begun = log((0.0, event_log.AttemptBegun()), (0.5, event_log.StateChanged("running")), (2.0, STARTED))
    run = reduce_events(FRESH, begun)
    model = run.models[0]
    assert (run.state, run.attempt, run.updated) == ("running", 1, 1e9 + 2.0)
    assert (model.state, model.epoch, model.epochs, model.baseline_loss) == ("running", 0, 5, 0.4)
    run = reduce_events(run, log((3.0, batch(1, 10))))
    model = run.models[0]
    # Ten of 40 steps in a second: an epoch takes 4 s, so five take 20 s, of which one is over.
    assert (model.step, model.steps_per_second, model.eta_seconds) == (10, 10.0, 19.0)
    run = reduce_events(run, log((4.0, batch(1, 30))))
    assert run.models[0].steps_per_second == 20.0
    run = reduce_events(run, log((7.0, epoch(1))))
    model = run.models[0]
    # The epoch took 5 s in all, of which training took half a second for 40 steps.
    assert (model.epoch, model.step, model.epoch_seconds, model.eta_seconds) == (1, 0, 5.0, 20.0)
    assert (model.steps_per_second, model.frames_per_second) == (80.0, 2000.0)
    assert (model.val_loss, model.best_loss, model.best_epoch, model.patience_left) == (0.25, 0.25, 1, 7)
    run = reduce_events(run, log((22.0, epoch(2))))
    # One epoch of 15 s moves the expected 5 s by three tenths of the difference.
    assert run.models[0].epoch_seconds == pytest.approx(8.0)
    assert run.models[0].eta_seconds == pytest.approx(24.0)
    run = reduce_events(
        run,
        log(
            (30.0, events.ModelEnded(MODEL, "early_stopping", 2, 1, 0.25)),
            (31.0, events.Exported(MODEL, "out/x.json")),
            (32.0, event_log.RunEnded("finished")),
        ),
    )
    model = run.models[0]
    assert (run.state, run.live) == ("finished", False)
    assert (model.state, model.reason, model.export, model.eta_seconds) == (
        "finished",
        "early_stopping",
        "out/x.json",
        None,
    )
    assert run.models[1].state == "queued"


def test_the_speed_of_an_epoch_without_batches_is_that_of_its_steps() -> None:
    run = reduce_events(FRESH, log((1.0, STARTED), (2.0, replace(epoch(1), steps=40))))
    assert (run.models[0].steps, run.models[0].steps_per_second) == (40, 80.0)
    assert reduce_events(FRESH, log((1.0, STARTED), (2.0, epoch(1)))).models[0].steps_per_second is None


def test_an_alarm_about_the_losses_ends_when_they_do_better() -> None:
    alarm = events.TrainingWarning(MODEL, "plateau", "on a plateau")
    run = reduce_events(
        FRESH, log((1.0, STARTED), (2.0, epoch(1)), (2.0, alarm), (3.0, replace(epoch(2), concern="plateau")))
    )
    assert (run.models[0].alarm, run.models[0].alarm_kind) == ("on a plateau", "plateau")
    assert replace(run, state="running").concerns == ("plateau",)
    assert reduce_events(run, log((4.0, epoch(3, best=3)))).models[0].alarm == ""
    ended = reduce_events(run, log((4.0, events.ModelEnded(MODEL, "early_stopping", 2, 1, 0.25))))
    assert (ended.models[0].alarm, ended.concerns) == ("", ())


def test_a_rollback_is_reported_until_something_better_is_reached() -> None:
    alarm = events.TrainingWarning(MODEL, "rollback", "as asked")
    run = reduce_events(FRESH, log((1.0, STARTED), (2.0, epoch(1)), (2.0, alarm), (3.0, epoch(2, best=1))))
    assert run.models[0].alarm == "as asked"
    assert reduce_events(run, log((4.0, epoch(3, best=3)))).models[0].alarm == ""


def test_a_clock_that_is_set_changes_no_pace() -> None:
    steps = [(2.0, STARTED), (3.0, batch(1, 10)), (7.0, epoch(1)), (12.0, epoch(2))]
    straight = reduce_events(FRESH, log(*steps))
    jumping = reduce_events(FRESH, [replace(one, time=1e9 - 3600 * number) for number, one in enumerate(log(*steps))])
    assert jumping.models == straight.models


def test_a_later_attempt_knows_what_was_reached_and_nothing_of_the_ending() -> None:
    first = log((1.0, STARTED), (2.0, epoch(1)), (3.0, events.CheckpointSaved(MODEL, 1, "latest", "p")))
    failed = log(
        (4.0, events.ModelResult(MODEL, "maestro", True, None, None, 1, {}, 4.0, "the disk is full")),
        (5.0, event_log.RunEnded("failed", "the disk is full")),
    )
    run = reduce_events(FRESH, first + failed)
    assert (run.state, run.error, run.models[0].state) == ("failed", "the disk is full", "failed")
    run = reduce_events(run, log((0.0, event_log.AttemptBegun()), attempt=2))
    assert (run.state, run.error, run.attempt) == ("queued", "", 2)
    model = run.models[0]
    assert (model.state, model.error, model.epoch, model.best_loss, model.checkpoint) == ("queued", "", 1, 0.25, True)
    late = reduce_events(run, log((6.0, event_log.RunEnded("stopped")), attempt=1))
    assert late == run


def test_the_verdict_is_set_by_the_result_and_cleared_by_another_attempt() -> None:
    outcome = events.ModelResult(
        MODEL, "maestro", False, "a.json", "epochs_done", 1, {}, 4.0, verdict="trained: 1 of 2"
    )
    run = reduce_events(FRESH, log((1.0, STARTED), (2.0, epoch(1)), (4.0, outcome)))
    assert run.models[0].verdict == "trained: 1 of 2"
    assert run.models[0].state != "failed"
    assert describe(outcome) == f"{MODEL}: trained: 1 of 2"
    assert reduce_events(run, log((0.0, event_log.AttemptBegun()), attempt=2)).models[0].verdict == ""


def test_a_log_whose_beginning_is_missing_still_shows_the_state() -> None:
    run = reduce_events(FRESH, log((100.0, batch(3, 10)), (104.0, epoch(3)), attempt=4))
    assert (run.state, run.attempt, run.models[0].epoch, run.models[0].val_loss) == ("running", 4, 3, 0.25)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), max_size=30), st.integers(0, 30))
def test_the_last_of_many_batches_determines_the_state(steps: list[tuple[int, int]], cut: int) -> None:
    """Reducing all events at once may leave batches out; the state is the same as record by record."""
    written = log((0.0, STARTED), *[(1.0 + number, batch(*step)) for number, step in enumerate(steps)])
    at_once = reduce_events(FRESH, written)
    one_by_one = FRESH
    for one in written:
        one_by_one = reduce_events(one_by_one, [one])
    for run in (at_once, one_by_one, reduce_events(reduce_events(FRESH, written[:cut]), written[cut:])):
        assert (run.updated, run.models[0].step) == (one_by_one.updated, one_by_one.models[0].step)
        assert run.models[0].measured_at == one_by_one.models[0].measured_at
