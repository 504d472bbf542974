"""State of a run as observers show it, and its copy on disk, which saves them reading a long log from the beginning."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from kelly_core.bounds import Count, Finite, Pid, Rate, Seconds, UnixTime
from kelly_core.events import Concern
from kelly_core.io.atomic import open_for_writing, open_regular
from kelly_core.io.json import dumps
from kelly_core.runs.log_records import EndState, FeaturesRead, HostLoad, LiveState
from kelly_core.runs.run_dir import RunDirectory

_FORMAT = 1
_CHECKED_BYTES = 256
_MAX_BYTES = 2**20

RunState = LiveState | EndState | Literal["died"]
ModelState = Literal["queued", "running", "paused", "finished", "stopped", "failed", "died"]

LIVE: tuple[str, ...] = get_args(LiveState)
"""States in which a process is working."""

CONCERNS: tuple[str, ...] = tuple(filter(None, get_args(Concern)))
"""Kinds of warnings that end when the losses improve."""


@dataclass(frozen=True)
class ModelSnapshot:
    """State of one model of a run; None means not known yet.

    Attributes:
        model: its name.
        state: its own state; "failed" with ``error``.
        dataset, synthetic, device, baseline_loss: as in ``events.ModelStarted``.
        epoch, epochs: complete epochs, and their planned total.
        step, steps: steps taken in the epoch in progress, and how many an epoch has.
        train_loss, val_loss: of the last complete epoch.
        best_loss, best_epoch: the lowest validation loss.
        patience_left: epochs without progress that are still allowed; 0 where any number is.
        learning_rate: of the last complete epoch.
        steps_per_second, frames_per_second: pace of training.
        epoch_seconds: how long an epoch takes, validation and saving included.
        eta_seconds: time until all epochs are done; early stopping may end it sooner.
        reason: why its training ended, "" before.
        export: file for the plugin, "" before.
        checkpoint: True if this run has saved one from which it can continue.
        bayes_loss: as in ``events.ModelStarted``.
        alarm, alarm_kind: the last alarm that still holds, "" if there is none.
        error: why it failed, "" if it did not.
        verdict: in one line whether it counts as trained, "" before.
        epoch_began: when the epoch in progress began, in seconds of work.
        measured_at: when ``step`` was last known, in seconds of work.
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
        attempt: which start of it this is; 0 before the first.
        created, began, updated: Unix times of its making, of the attempt and of the last record.
        output: folder that gets the exports, absolute.
        models: in the order of training.
        error: why it failed, "" if it did not.
        epochs_left: it stops after this number of further epochs; None if that was not requested.
        features: how far the features of a corpus are, while they are computed.
        host: load of its machine, when last measured.
        host_name, pid: where its process runs or ran; "" and 0 before it did.
        silent_seconds: for how long a live process has given no sign of life; 0 while all is well.
        revivals: how often it came back from silence in this attempt.
        damaged_lines: lines of the log that could not be read.
        unknown_records: records of kinds that only a newer version knows.
        skipped_bytes: how much of an unusually long log was left out to answer at once.
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
    def concerns(self) -> tuple[str, ...]:
        """Return warnings about the losses of models in training: plateau, overfitting."""
        if not self.live:
            return ()
        kinds = (model.alarm_kind for model in self.models if model.state in ("running", "paused"))
        return tuple(dict.fromkeys(kind for kind in kinds if kind in CONCERNS))

    @property
    def live(self) -> bool:
        """True if a process is working on it."""
        return self.state in LIVE


@dataclass(frozen=True)
class SnapshotCache:
    """State of a log up to ``offset``; ``check`` identifies the log.

    Only a help: it can be written again from the log, and a damaged or older one is not used.
    """

    format: int
    offset: Count
    check: str
    snapshot: RunSnapshot


def write_summary(folder: RunDirectory, snapshot: RunSnapshot, offset: int) -> None:
    """Replace the summary; on failure the previous one stays."""
    text = dumps(SnapshotCache(_FORMAT, offset, _check(folder.events, offset), snapshot))
    temporary = folder.summary.with_name(".summary.json.tmp")
    with contextlib.suppress(OSError):
        with os.fdopen(open_for_writing(temporary, os.O_WRONLY | os.O_TRUNC), "wb") as file:
            file.write(text.encode())
        temporary.replace(folder.summary)


def read_summary(folder: RunDirectory) -> SnapshotCache | None:
    """Return the summary if it exists and matches the log."""
    try:
        with open_regular(folder.summary) as file:
            # A longer one is cut here, so that it is refused as damaged.
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
            start = max(0, offset - _CHECKED_BYTES)
            file.seek(start)
            return hashlib.blake2b(file.read(offset - start), digest_size=8).hexdigest()
    except OSError:
        return ""


@cache
def _adapter() -> TypeAdapter[SnapshotCache]:
    return TypeAdapter(SnapshotCache)
