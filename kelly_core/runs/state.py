"""Reduce log records to a snapshot of the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kelly_core import events
from kelly_core.runs import log_records
from kelly_core.runs.log_records import LogRecord
from kelly_core.runs.snapshot import CONCERNS, ModelSnapshot, ModelState, RunSnapshot

_SHARE_OF_LAST_EPOCH = 0.3
"""Weight of one epoch's duration in the moving average."""


def reduce_events(run: RunSnapshot, log: Iterable[LogRecord]) -> RunSnapshot:
    """Return a snapshot updated by records.

    Of records of batches that follow each other only the last is taken in: a log may hold hundreds of thousands.
    """
    waiting: LogRecord | None = None
    for record in log:
        if waiting is not None and not _follows_batch(waiting, record):
            run = _advance(run, waiting)
        waiting = record
    return run if waiting is None else _advance(run, waiting)


def _follows_batch(earlier: LogRecord, later: LogRecord) -> bool:
    first, second = earlier.event, later.event
    return (
        isinstance(first, events.BatchDone)
        and isinstance(second, events.BatchDone)
        and (first.model, first.epoch, earlier.attempt) == (second.model, second.epoch, later.attempt)
    )


def _advance(run: RunSnapshot, record: LogRecord) -> RunSnapshot:
    if record.attempt < run.attempt:
        return run
    if record.attempt > run.attempt:
        run = _new_attempt(run, record)
    run = replace(run, updated=record.time)
    match record.event:
        case log_records.AttemptBegun():
            return run
        case log_records.StateChanged() as event:
            return replace(run, state=event.state, epochs_left=event.epochs_left)
        case log_records.FeaturesRead() as event:
            return replace(run, features=event)
        case log_records.HostLoad() as event:
            return replace(run, host=event)
        case log_records.Revived():
            return replace(run, revivals=run.revivals + 1)
        case log_records.RunEnded() as event:
            return replace(run, state=event.state, error=event.error, epochs_left=None, features=None)
        case event:
            models = tuple(
                _advance_model(model, event, record.busy) if model.model == event.model else model
                for model in run.models
            )
            return replace(run, models=models, features=None)


def _new_attempt(run: RunSnapshot, record: LogRecord) -> RunSnapshot:
    """Return the snapshot for a new attempt: earlier endings are cleared, results are kept."""
    return replace(
        run,
        attempt=record.attempt,
        state="queued" if isinstance(record.event, log_records.AttemptBegun) else "running",
        began=record.time,
        error="",
        epochs_left=None,
        features=None,
        revivals=0,
        models=tuple(
            replace(
                model,
                state="queued",
                reason="",
                export="",
                alarm="",
                alarm_kind="",
                error="",
                verdict="",
                eta_seconds=None,
                step=0,
            )
            for model in run.models
        ),
    )


def _advance_model(model: ModelSnapshot, event: events.Event, busy: float) -> ModelSnapshot:
    match event:
        case events.ModelStarted():
            return _model_started(model, event, busy)
        case events.BatchDone():
            return _batch_done(model, event, busy)
        case events.EpochDone():
            return _epoch_done(model, event, busy)
        case events.CheckpointSaved():
            return replace(model, checkpoint=model.checkpoint or event.kind == "latest")
        case events.TrainingWarning():
            return replace(model, alarm=event.message, alarm_kind=event.kind)
        case events.SettingsChanged():
            model = replace(
                model,
                learning_rate=event.learning_rate or model.learning_rate,
                epochs=event.epochs or model.epochs,
            )
            return replace(model, eta_seconds=_eta(model, busy))
        case events.ModelEnded():
            return _model_ended(model, event)
        case events.Exported():
            return replace(model, export=event.path)
        case events.ModelResult():
            model = replace(model, verdict=event.verdict)
            return replace(model, state="failed", error=event.error, eta_seconds=None) if event.error else model


def _model_started(model: ModelSnapshot, event: events.ModelStarted, busy: float) -> ModelSnapshot:
    known = (
        model if event.first_epoch > 1 else ModelSnapshot(model.model, alarm=model.alarm, alarm_kind=model.alarm_kind)
    )
    return replace(
        known,
        state="running",
        dataset=event.dataset,
        synthetic=event.synthetic,
        device=event.device,
        epoch=event.first_epoch - 1,
        epochs=event.epochs,
        step=0,
        baseline_loss=event.baseline_loss,
        bayes_loss=event.bayes_loss,
        epoch_began=busy,
        measured_at=busy,
    )


def _model_ended(model: ModelSnapshot, event: events.ModelEnded) -> ModelSnapshot:
    state: ModelState = "finished" if event.reason in ("epochs_done", "early_stopping") else "stopped"
    if model.alarm_kind in CONCERNS:
        model = replace(model, alarm="", alarm_kind="")
    return replace(model, state=state, reason=event.reason, eta_seconds=None, step=0)


def _batch_done(model: ModelSnapshot, event: events.BatchDone, busy: float) -> ModelSnapshot:
    taken = event.step - (model.step if event.epoch == model.epoch + 1 else 0)
    since = busy - model.measured_at
    pace = taken / since if taken > 0 and since > 0 else model.steps_per_second
    model = replace(model, state="running", step=event.step, steps=event.steps, steps_per_second=pace, measured_at=busy)
    if model.epoch_seconds is None and pace:
        model = replace(model, epoch_seconds=event.steps / pace)
    return replace(model, eta_seconds=_eta(model, busy))


def _epoch_done(model: ModelSnapshot, event: events.EpochDone, busy: float) -> ModelSnapshot:
    took = max(0.0, busy - model.epoch_began)
    first = model.train_loss is None or model.epoch_seconds is None
    expected = model.epoch_seconds or took
    steps = event.steps or model.steps
    pace = steps / event.seconds if steps and event.seconds > 0 else None
    over = _is_over(model.alarm_kind, event)
    model = replace(
        model,
        state="running",
        steps=steps,
        alarm="" if over else model.alarm,
        alarm_kind="" if over else model.alarm_kind,
        epoch=event.epoch,
        epochs=event.epochs,
        step=0,
        train_loss=event.train_loss,
        val_loss=event.val_loss,
        best_loss=event.best_loss,
        best_epoch=event.best_epoch,
        patience_left=event.patience_left,
        learning_rate=event.learning_rate,
        steps_per_second=pace,
        frames_per_second=event.frames_per_second,
        epoch_seconds=took if first else expected + _SHARE_OF_LAST_EPOCH * (took - expected),
        epoch_began=busy,
        measured_at=busy,
    )
    return replace(model, eta_seconds=_eta(model, busy))


def _is_over(alarm: str, event: events.EpochDone) -> bool:
    """Return True if an epoch ends the reason for a warning."""
    if alarm in CONCERNS:
        return not event.concern
    return alarm == "rollback" and event.best_epoch == event.epoch


def _eta(model: ModelSnapshot, busy: float) -> float | None:
    """Return the expected time until all epochs are done, without the time already spent in the current one."""
    if model.epochs is None or model.epoch_seconds is None:
        return None
    left = (model.epochs - model.epoch) * model.epoch_seconds - max(0.0, busy - model.epoch_began)
    return max(0.0, left)
