"""State of a run for observers, reduced from the records of its log, and a copy on disk for quick reads."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from kelly_core import events
from kelly_core.bounds import Count, Finite, Pid, Rate, Seconds, UnixTime
from kelly_core.io.atomic import open_for_writing, open_regular
from kelly_core.io.json import dumps
from kelly_core.runs import event_log
from kelly_core.runs.event_log import EndState, FeaturesRead, HostLoad, LiveState, LogRecord
from kelly_core.runs.run_dir import RunDirectory

_FORMAT = 1
_CHECKED_BYTES = 256
_MAX_BYTES = 2**20

RunState = LiveState | EndState | Literal["died"]
ModelState = Literal["queued", "running", "paused"] | EndState | Literal["died"]

LIVE: tuple[str, ...] = get_args(LiveState)
"""States in which a process is working."""

ENDED: tuple[str, ...] = (*get_args(EndState), "died")
"""States of a run or of a model that has ended."""

CONCERNS: tuple[str, ...] = tuple(filter(None, get_args(events.Concern)))
"""Kinds of warnings that end when the losses improve."""


@dataclass(frozen=True)
class ModelSnapshot:
    """State of one model of a run; None means that a value is not known yet.

    Attributes:
        model: name of the model.
        state: state of the model; "failed" with ``error``.
        dataset, synthetic, device, baseline_loss: as in ``events.ModelStarted``.
        epoch, epochs: complete epochs, and their planned total.
        step, steps: steps taken in the epoch in progress, and steps per epoch.
        train_loss, val_loss: losses of the last complete epoch.
        best_loss, best_epoch: the lowest validation loss.
        patience_left: epochs without progress that are still allowed; 0 if the number is not limited.
        learning_rate: rate of the last complete epoch, or a rate set since.
        steps_per_second, frames_per_second: training speed.
        epoch_seconds: duration of an epoch, including validation and saving.
        eta_seconds: time until all epochs are done; early stopping may end it sooner.
        reason: why the training ended, "" before its end.
        export: file for the plugin, "" before it is written.
        checkpoint: True if this run has saved a checkpoint from which the model can continue.
        bayes_loss: as in ``events.ModelStarted``.
        alarm, alarm_kind: the last warning that is still valid, "" if there is none.
        error: reason of a failure, else "".
        verdict: one line that says if the model counts as trained, "" before this is known.
        epoch_began: when the epoch in progress began, as ``LogRecord.busy``.
        measured_at: when ``step`` was last known, as ``LogRecord.busy``.
    """

    model: str
    state: ModelState = "queued"
    dataset: str = ""
    synthetic: bool = False
    device: str = ""
    epoch: Count = 0
    epochs: Count | None = None
    step: Count = 0
    steps: Count | None = None
    train_loss: float | None = None
    val_loss: float | None = None
    best_loss: float | None = None
    best_epoch: Count | None = None
    baseline_loss: float | None = None
    patience_left: Count | None = None
    learning_rate: float | None = None
    steps_per_second: Rate | None = None
    frames_per_second: Rate | None = None
    epoch_seconds: Seconds | None = None
    eta_seconds: Finite | None = None
    reason: str = ""
    export: str = ""
    checkpoint: bool = False
    alarm: str = ""
    alarm_kind: str = ""
    error: str = ""
    verdict: str = ""
    bayes_loss: float | None = None
    epoch_began: Seconds = 0.0
    measured_at: Seconds = 0.0

    @property
    def can_roll_back(self) -> bool:
        """True if the model is in training and has best weights."""
        return self.state in ("running", "paused") and bool(self.best_epoch)


@dataclass(frozen=True)
class RunSnapshot:
    """State of a run.

    Attributes:
        id: name of its folder.
        state: queued, running, pausing, paused, stopping, finished, stopped, failed or died.
        attempt: number of the latest attempt; 0 before the first.
        created, began, updated: Unix times of creation, start of the attempt and last record.
        output: absolute folder of the exports.
        models: models in the order of training.
        error: reason of a failure, else "".
        epochs_left: number of further epochs before a requested stop; None if no such stop was requested.
        features: progress while the features of a corpus are computed.
        host: last measured load of the machine.
        host_name, pid: machine and PID of the process, also after its end; "" and 0 before its start.
        silent_seconds: seconds since the last heartbeat of a live process; 0 if its heartbeat is regular.
        revivals: number of times in this attempt that the heartbeat returned after a silence.
        damaged_lines: number of damaged lines of the log.
        unknown_records: number of records of kinds unknown to this version.
        skipped_bytes: number of bytes of a long log that were skipped to limit the reading time.
    """

    id: str
    state: RunState
    attempt: Count
    created: UnixTime
    output: str
    models: tuple[ModelSnapshot, ...]
    began: UnixTime = 0.0
    updated: UnixTime = 0.0
    error: str = ""
    epochs_left: Count | None = None
    features: FeaturesRead | None = None
    host: HostLoad | None = None
    host_name: str = ""
    pid: Pid = 0
    silent_seconds: Seconds = 0.0
    revivals: Count = 0
    damaged_lines: Count = 0
    unknown_records: Count = 0
    skipped_bytes: Count = 0

    @property
    def model_names(self) -> tuple[str, ...]:
        """Names of the models in the order of training."""
        return tuple(model.model for model in self.models)

    @property
    def concerns(self) -> tuple[str, ...]:
        """Return warnings about the losses of models in training: plateau, overfitting."""
        if not self.live:
            return ()
        kinds = (model.alarm_kind for model in self.models if model.state in ("running", "paused"))
        return tuple(dict.fromkeys(kind for kind in kinds if kind in CONCERNS))

    @property
    def live(self) -> bool:
        """True if a process is working on the run."""
        return self.state in LIVE


@dataclass(frozen=True)
class SnapshotCache:
    """State of a log up to ``offset``; ``check`` identifies the log.

    The cache only saves time: the state can be computed again from the log, and a damaged or outdated cache is ignored.
    """

    format: int
    offset: Count
    check: str
    snapshot: RunSnapshot


def write_summary(folder: RunDirectory, snapshot: RunSnapshot, offset: int) -> None:
    """Replace the summary; on failure, keep the previous one."""
    text = dumps(SnapshotCache(_FORMAT, offset, _check(folder.events, offset), snapshot))
    temporary = folder.summary.with_name(".summary.json.tmp")
    # Without a summary all of the log is read, which is slower but not an error.
    with contextlib.suppress(OSError):
        with os.fdopen(open_for_writing(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(text.encode())
        temporary.replace(folder.summary)


def read_summary(folder: RunDirectory) -> SnapshotCache | None:
    """Return the summary if it exists and matches the log."""
    try:
        with open_regular(folder.summary) as file:
            # A longer file is truncated here and then rejected as damaged.
            summary = _adapter().validate_json(file.read(_MAX_BYTES))
    except (OSError, ValidationError):
        return None
    fits = summary.format == _FORMAT and summary.check == _check(folder.events, summary.offset)
    return summary if fits else None


def _check(log: Path, offset: int) -> str:
    """Return a hash of the log's bytes before an offset; "" if the log is shorter."""
    try:
        with open_regular(log) as file:
            if os.fstat(file.fileno()).st_size < offset:
                return ""
            # A log grows only at its end, so the bytes before the offset identify it.
            start = max(0, offset - _CHECKED_BYTES)
            file.seek(start)
            return hashlib.blake2b(file.read(offset - start), digest_size=8).hexdigest()
    except OSError:
        return ""


@cache
def _adapter() -> TypeAdapter[SnapshotCache]:
    return TypeAdapter(SnapshotCache)


_SHARE_OF_LAST_EPOCH = 0.3
"""Weight of the last epoch's duration in the moving average."""


def reduce_events(run: RunSnapshot, log: Iterable[LogRecord]) -> RunSnapshot:
    """Return a snapshot updated by records.

    Only the last of consecutive batch records is used, because a log may contain hundreds of thousands.
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
    # The process of an earlier attempt may have written its last records after the next one began.
    if record.attempt < run.attempt:
        return run
    if record.attempt > run.attempt:
        run = _new_attempt(run, record)
    run = replace(run, updated=record.time)
    match record.event:
        case event_log.AttemptBegun():
            return run
        case event_log.StateChanged() as event:
            return replace(run, state=event.state, epochs_left=event.epochs_left)
        case event_log.FeaturesRead() as event:
            return replace(run, features=event)
        case event_log.HostLoad() as event:
            return replace(run, host=event)
        case event_log.Revived():
            return replace(run, revivals=run.revivals + 1)
        case event_log.RunEnded() as event:
            return replace(run, state=event.state, error=event.error, epochs_left=None, features=None)
        case event:
            models = tuple(
                _advance_model(model, event, record.busy) if model.model == event.model else model
                for model in run.models
            )
            return replace(run, models=models, features=None)


def _new_attempt(run: RunSnapshot, record: LogRecord) -> RunSnapshot:
    """Return the snapshot for a new attempt: clear earlier endings and keep results."""
    return replace(
        run,
        attempt=record.attempt,
        state="queued" if isinstance(record.event, event_log.AttemptBegun) else "running",
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
    # A resumed training keeps its best epoch; a new training keeps only the warnings, which precede this event.
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
    # Measured since the last record, not since the start of the epoch: speed changes with the load of the machine.
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
        # Until an epoch is complete, its duration is estimated from batches; the first measurement replaces it.
        epoch_seconds=took if first else expected + _SHARE_OF_LAST_EPOCH * (took - expected),
        epoch_began=busy,
        measured_at=busy,
    )
    return replace(model, eta_seconds=_eta(model, busy))


def _is_over(alarm: str, event: events.EpochDone) -> bool:
    """Return True if a warning no longer applies after an epoch."""
    if alarm in CONCERNS:
        return not event.concern
    return alarm == "rollback" and event.best_epoch == event.epoch


def _eta(model: ModelSnapshot, busy: float) -> float | None:
    """Return the expected remaining time of all epochs, minus the time already spent in the current epoch."""
    if model.epochs is None or model.epoch_seconds is None:
        return None
    left = (model.epochs - model.epoch) * model.epoch_seconds - max(0.0, busy - model.epoch_began)
    return max(0.0, left)
