"""Records of a run's log: events of the training, and those that its process adds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from kelly_core import events
from kelly_core.bounds import Count, Percent, Seconds
from kelly_core.io.json import dumps

LOG_FORMAT = 1
_MAX_ATTEMPT = 2**31
_MAX_TIME = 2.5e11
_MAX_BUSY = 1e12

LiveState = Literal["queued", "running", "pausing", "paused", "stopping"]
EndState = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class AttemptBegun:
    """A process was started to train, for the first time or to resume; earlier records do not tell its end."""

    format: int = LOG_FORMAT


@dataclass(frozen=True)
class StateChanged:
    """The process changed its state; ``epochs_left`` is set if it stops after a number of epochs."""

    state: LiveState
    epochs_left: Count | None = None


@dataclass(frozen=True)
class FeaturesRead:
    """Progress of feature extraction in files; ``note`` is a message for the user."""

    dataset: str
    done: Count
    total: Count
    note: str = ""


@dataclass(frozen=True)
class GpuLoad:
    """Load of one GPU: utilization in percent, memory in bytes."""

    name: str
    percent: Percent
    memory_used: Count
    memory_total: Count


@dataclass(frozen=True)
class HostLoad:
    """Load of the machine: CPU in percent of all cores, memory in bytes, ``process_memory`` with all children."""

    cpu_percent: Percent
    process_memory: Count
    memory_used: Count
    memory_total: Count
    gpus: tuple[GpuLoad, ...] = ()


@dataclass(frozen=True)
class Revived:
    """The process is running again after some seconds without a heartbeat (it was halted, or the machine slept)."""

    silent_seconds: Seconds


@dataclass(frozen=True)
class RunEnded:
    """The attempt ended; ``error`` says why it failed."""

    state: EndState
    error: str = ""


RunEvent = events.Event | AttemptBegun | StateChanged | FeaturesRead | HostLoad | Revived | RunEnded

KINDS: dict[str, type[RunEvent]] = {
    "attempt": AttemptBegun,
    "state": StateChanged,
    "features": FeaturesRead,
    "model": events.ModelStarted,
    "batch": events.BatchDone,
    "epoch": events.EpochDone,
    "checkpoint": events.CheckpointSaved,
    "alarm": events.TrainingWarning,
    "set": events.SettingsChanged,
    "model_end": events.ModelEnded,
    "export": events.Exported,
    "outcome": events.ModelResult,
    "host": HostLoad,
    "revived": Revived,
    "end": RunEnded,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class LogRecord:
    """One line of a log.

    Attributes:
        time: Unix time at which it was written; only to be shown, for clocks are set.
        busy: seconds of training in the attempt, pauses left out; durations come from these.
        attempt: which start of the run wrote it, 1 for the first.
        event: what happened.
    """

    time: float
    busy: float
    attempt: Count
    event: RunEvent


class DamagedLineError(ValueError):
    """A line that no version of this program writes."""


class UnknownKindError(ValueError):
    """A record of a kind that a newer version may know."""


def encode(record: LogRecord) -> bytes:
    """Encode a record as a line of JSON."""
    line = {
        "t": round(record.time, 3),
        "busy": round(record.busy, 3),
        "attempt": record.attempt,
        "kind": _NAMES[type(record.event)],
        "data": record.event,
    }
    return dumps(line).encode() + b"\n"


def decode(line: bytes) -> LogRecord:
    """Decode a line of JSON.

    Raises:
        DamagedLineError: it is not a record.
        UnknownKindError: it is one, of an unknown kind.
    """
    try:
        fields = json.loads(line)
        kind = fields["kind"]
        if not isinstance(kind, str):
            raise DamagedLineError("its kind is not a text")
        if kind not in KINDS:
            raise UnknownKindError(kind)
        event = _adapter(kind).validate_python(fields["data"])
        return LogRecord(
            _number(fields["t"], _MAX_TIME), _number(fields["busy"], _MAX_BUSY), _attempt(fields["attempt"]), event
        )
    except UnknownKindError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DamagedLineError(str(error)) from error


def _number(value: object, largest: float) -> float:
    """Round a number from 0 to ``largest`` to milliseconds: smaller steps would make paces overflow."""
    if isinstance(value, int | float) and 0 <= value <= largest:
        return round(float(value), 3)
    raise TypeError(f"not a number from 0 to {largest:g}")


def _attempt(value: object) -> int:
    if type(value) is int and 0 <= value <= _MAX_ATTEMPT:
        return value
    raise TypeError("not the number of an attempt")


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(KINDS[kind])
