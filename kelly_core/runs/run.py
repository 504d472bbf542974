"""A run for observers: its state, new records, requests to it, and its process with the cause of its end."""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

from pydantic import TypeAdapter, ValidationError

from kelly_core import events
from kelly_core.errors import RunError
from kelly_core.formatting import printable
from kelly_core.io.atomic import open_regular
from kelly_core.io.locks import FileLock, LockOwner, is_held
from kelly_core.runs import control
from kelly_core.runs.event_log import LogReader, LogRecord
from kelly_core.runs.run_dir import RunDirectory, read_manifest
from kelly_core.runs.state import (
    ModelSnapshot,
    ModelState,
    RunSnapshot,
    SnapshotCache,
    read_summary,
    reduce_events,
    write_summary,
)

_POLL_SECONDS = 0.2
_QUICK_READ_BYTES = 2**20
_SECONDS_TO_END = 30.0
"""Seconds that a process may take to exit after it has reported its end."""
SILENT_SECONDS = 10.0
"""Seconds without a heartbeat (one per second) after which a process counts as silent."""
_FIRST_SIGNAL = 128
_MAX_BYTES = 64
_MAX_STATUS = 255
_TAIL_BYTES = 4096
_MAX_LINE = 200

_CAUSES = {
    signal.SIGKILL: (
        "by `kill -9`, or by the system because memory ran out",
        "Look for `Out of memory` in the kernel's log; if it is there, use fewer --jobs or a smaller batch size",
    ),
    signal.SIGBUS: (
        "a mapped file became shorter while it was read, or the disk or shared memory is full or failing",
        "`kelly-core cache --verify` checks the cached features",
    ),
    signal.SIGSEGV: ("a fault in native code", "The stack is at the end of console.log; update the package it names"),
    signal.SIGABRT: ("native code aborted, often because memory ran out", "The reason is at the end of console.log"),
    signal.SIGILL: (
        "an instruction that this processor lacks",
        "Install packages that are built for this processor",
    ),
    signal.SIGXCPU: ("its limit of CPU time was reached", "Raise the limit: ulimit -t"),
}


@dataclass(frozen=True)
class Heartbeat:
    """Heartbeat of a run: its owner, its age in seconds, and True if it is locked."""

    owner: LockOwner
    locked: bool
    age: float

    @classmethod
    def read(cls, folder: RunDirectory) -> Heartbeat:
        """Read the heartbeat of a run; its age is infinite if it does not exist.

        Raises:
            RunError: the heartbeat cannot be read.
        """
        try:
            age = max(0.0, time.time() - folder.heartbeat.stat().st_mtime)
        except FileNotFoundError:
            age = math.inf
        except OSError as error:
            raise RunError(f"cannot be read ({error.strerror})", where=folder.heartbeat) from error
        return cls(LockOwner.read(folder.heartbeat), is_held(folder.heartbeat, error_type=RunError), age)

    @property
    def here(self) -> bool:
        """True if the process runs or ran on this machine."""
        return self.owner.host in ("", socket.gethostname())

    @property
    def alive(self) -> bool:
        """True if a process is working; on another machine, whose locks can be invisible here, the age decides."""
        return self.locked or (not self.here and self.age < SILENT_SECONDS)


class Run:
    """A run on disk. Any number of observers can open it at the same time.

    Opening a run reads its log so far; ``poll`` and ``follow`` read new records.

    Attributes:
        folder: paths of its files.
        manifest: the request that it carries out.

    Args:
        folder: directory of the run.
        reading: part of the log to read: "usual" is the part after the summary, "quick" only the last megabyte of that
            part, "whole" the complete log, which detects all damage.

    Raises:
        RunError: the manifest is missing, damaged or of a newer version.
    """

    def __init__(self, folder: RunDirectory, *, reading: Literal["quick", "usual", "whole"] = "usual") -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self._process_gone = False
        self._not_yet_given: deque[LogRecord] = deque()
        self._logged, self._reader = self._start_of_reading(None if reading == "whole" else read_summary(folder))
        if reading == "quick":
            skipped = self._reader.skip_to_last(_QUICK_READ_BYTES)
            self._logged = replace(self._logged, skipped_bytes=skipped)
        # A call reads a bounded number of records; a long log needs several calls.
        while self.poll():
            pass

    @property
    def id(self) -> str:
        """ID of the run: the name of its folder."""
        return self.folder.id

    @property
    def live(self) -> bool:
        """True if a process was working on the run at the last ``poll``."""
        return self.snapshot.live

    @property
    def snapshot(self) -> RunSnapshot:
        """State at the last ``poll``."""
        logged, heartbeat = self._logged, Heartbeat.read(self.folder)
        died = self._process_gone and logged.live
        silent = heartbeat.age if logged.live and not died and heartbeat.age > SILENT_SECONDS else 0.0
        return replace(
            logged,
            state="died" if died else logged.state,
            error=describe_exit(self.folder, logged.attempt) if died else logged.error,
            models=tuple(_settled(model, "died" if died else logged.state) for model in logged.models),
            host_name=heartbeat.owner.host,
            pid=heartbeat.owner.pid,
            silent_seconds=silent,
        )

    def poll(self) -> list[LogRecord]:
        """Return a bounded number of records written since the last call; [] if there are none."""
        # ``follow`` had read these records but not yielded them when its caller stopped iterating.
        if self._not_yet_given:
            found = list(self._not_yet_given)
            self._not_yet_given.clear()
            return found
        # Checked before reading: all records of a process must be read before it counts as dead.
        alive = Heartbeat.read(self.folder).alive
        found = self._reader.read()
        self._logged = replace(
            reduce_events(self._logged, found), damaged_lines=self._reader.damaged, unknown_records=self._reader.unknown
        )
        # If records were read, more may follow, so the process counts as gone only when none is left.
        self._process_gone = not alive and not found
        return found

    def follow(self) -> Iterator[LogRecord]:
        """Yield records as they arrive until no process works on the run; a later call continues from there."""
        while True:
            self._not_yet_given.extend(self.poll())
            if not self._not_yet_given:
                if not self.snapshot.live:
                    return
                time.sleep(_POLL_SECONDS)
            while self._not_yet_given:
                yield self._not_yet_given.popleft()

    def records(self) -> Iterator[LogRecord]:
        """Yield all records of the log."""
        reader = LogReader(self.folder.events)
        while found := reader.read():
            yield from found

    def request_stop(self, *, at_once: bool = False, after_epochs: int = 0) -> None:
        """Request a stop, which always keeps the checkpoints and an export of the best weights so far.

        Args:
            at_once: stop without finishing the current step or other work.
            after_epochs: number of epochs to complete first, including the current one; 0 stops after the current step
                and discards the epoch in progress.

        Raises:
            RunError: no process is working on it.
        """
        self._send("stop", at_once=at_once, after_epochs=after_epochs)

    def request_pause(self) -> None:
        """Request a pause after the current step.

        Raises:
            RunError: no process is working on it.
        """
        self._send("pause")

    def request_resume(self) -> None:
        """Request the end of a pause.

        Raises:
            RunError: no process is working on it.
        """
        self._send("resume")

    def request_rollback(self, model: str = "") -> str:
        """Request that a model in training return to its best weights and continue at half the learning rate.

        The new rate is at most the rate of the best epoch, so a rollback undoes a later change to a larger rate.

        The rollback takes effect after the current step, or when a paused run continues, and discards the epoch in
        progress. Only the number of automatic rollbacks is limited.

        Args:
            model: name of the model; optional if only one model is in training.

        Returns:
            The name of the model.

        Raises:
            RunError: no process is working on the run, the model is not in training or has no best weights yet, or
                ``model`` is "" and several models are in training.
        """
        self._check_live()
        wanted = [each.model for each in self.snapshot.models if each.can_roll_back and model in ("", each.model)]
        if not wanted:
            problem = f"{model} has no best epoch to go back to" if model else "no model has a best epoch to go back to"
            raise RunError(problem, where=self.id, hint="It must be in training, and have completed an epoch")
        if len(wanted) > 1:
            hint = f"Name one with --model: {', '.join(wanted)}"
            raise RunError(f"{len(wanted)} models are in training", where=self.id, hint=hint)
        self._send("rollback", model=wanted[0])
        return wanted[0]

    def pending_request(self) -> Literal["stop", "pause", ""]:
        """Return the request to the latest attempt that is still in effect; "" if there is none.

        The state of a process that is starting does not include its requests yet. A stop cannot be canceled.
        """
        kinds = [request.kind for request in control.Inbox(self.folder.control, self._attempt()).read()]
        if "stop" in kinds or self.snapshot.state == "stopping":
            return "stop"
        last = next((kind for kind in reversed(kinds) if kind in ("pause", "resume")), "")
        return "pause" if last == "pause" or self.snapshot.state in ("pausing", "paused") else ""

    def request_change(self, changes: Mapping[str, float], model: str = "") -> str:
        """Request new settings of a model from its next epoch on.

        Args:
            changes: new values of ``learning_rate``, ``patience`` and ``epochs``.
            model: name of the model; optional if only one has not ended or only one is in training.

        Returns:
            The name of the model.

        Raises:
            RunError: no process is working on the run, a setting cannot be changed, its value is out of range, the
                model has ended, or ``model`` is "" and the model is ambiguous.
        """
        self._check_live()
        going = [each.model for each in self.snapshot.models if each.state in ("queued", "running", "paused")]
        wanted = [name for name in going if model in ("", name)]
        if not wanted:
            raise RunError(f"{model or 'every model'} has ended", where=self.id)
        if len(wanted) > 1:
            in_training = [each.model for each in self.snapshot.models if each.state in ("running", "paused")]
            if len(in_training) != 1:
                hint = f"Name one with --model: {', '.join(wanted)}"
                raise RunError(f"{len(wanted)} models have not ended", where=self.id, hint=hint)
            wanted = in_training
        unknown = [name for name in changes if name not in control.CHANGEABLE]
        if unknown:
            hint = f"Settings that can be changed are {', '.join(control.CHANGEABLE)}"
            raise RunError(f"{unknown[0]} cannot be changed while it trains", where=self.id, hint=hint)
        self._send("set", model=wanted[0], **changes)
        return wanted[0]

    def changes_of(self, model: str) -> tuple[dict[str, float], float | None]:
        """Return the settings of a model that were changed on request, and the rate that no checkpoint contains yet.

        A resumed training uses the changed settings. The rate was in effect when the process ended before it saved a
        checkpoint; None if there is no such rate.
        """
        changes: dict[str, float] = {}
        unsaved: float | None = None
        for record in self.records():
            event = record.event
            # A training from the beginning starts with its original settings.
            if isinstance(event, events.ModelStarted) and event.model == model and event.first_epoch == 1:
                changes, unsaved = {}, None
            elif isinstance(event, events.SettingsChanged) and event.model == model:
                new = {name: getattr(event, name) for name in control.CHANGEABLE}
                changes |= {name: value for name, value in new.items() if value is not None}
                unsaved = event.learning_rate or unsaved
            elif isinstance(event, events.CheckpointSaved) and event.model == model and event.kind == "latest":
                unsaved = None
        return changes, unsaved

    def kill(self) -> None:
        """Kill the run's process on this machine; files on disk stay valid.

        Raises:
            RunError: the process belongs to another user.
        """
        heartbeat = Heartbeat.read(self.folder)
        # Only while the lock is held: otherwise another program may have the PID by now.
        if heartbeat.locked and heartbeat.here and heartbeat.owner.pid:
            try:
                os.kill(heartbeat.owner.pid, signal.SIGKILL)
            except ProcessLookupError:
                # The process has just ended.
                return
            except PermissionError as error:
                raise RunError(f"its process ({heartbeat.owner.pid}) is another user's", where=self.id) from error

    def remove(self) -> None:
        """Delete the run's folder and keep the training's output.

        Raises:
            RunError: a process is working on the run, or the folder cannot be deleted.
        """
        lock = self.acquire_lock()
        try:
            shutil.rmtree(self.folder.path)
        except OSError as error:
            raise RunError(f"cannot be deleted ({error.strerror})", where=self.folder.path) from error
        finally:
            lock.release()

    def acquire_lock(self) -> FileLock:
        """Acquire the run's lock, to delete the run or to start its process.

        Raises:
            RunError: a process is working on the run.
        """
        snapshot = Run(self.folder).snapshot
        # A process that has reported its end holds the lock until it exits, so wait for the lock.
        lock = None if snapshot.live else FileLock.acquire(self.folder.heartbeat, _SECONDS_TO_END, error_type=RunError)
        if lock is None:
            hint = f"Stop it first: kelly-core runs stop {self.id}"
            raise RunError(f"a process ({snapshot.pid}) is working on it", where=self.id, hint=hint)
        return lock

    def summarize(self) -> None:
        """Write the state of the log for quick reads; call only in the run's process."""
        write_summary(self.folder, self._logged, self._reader.offset)

    def _start_of_reading(self, summary: SnapshotCache | None) -> tuple[RunSnapshot, LogReader]:
        manifest = self.manifest
        fresh = RunSnapshot(
            id=self.id,
            state="queued",
            attempt=0,
            created=manifest.created,
            output=str(manifest.output),
            models=tuple(ModelSnapshot(model) for model in manifest.models),
        )
        if summary is None:
            return fresh, LogReader(self.folder.events)
        # The directory may have been renamed since the summary was written.
        known = replace(summary.snapshot, id=self.id, output=fresh.output)
        return known, LogReader(self.folder.events, summary.offset, known.damaged_lines, known.unknown_records)

    def _attempt(self) -> int:
        return read_manifest(self.folder).attempts

    def _send(self, kind: str, **values: object) -> None:
        self._check_live()
        try:
            content = {"attempt": self._attempt(), "kind": kind, **values}
            request = TypeAdapter(control.Request).validate_python(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            raise RunError(f"{first['loc'][0]} = {first['input']}: {first['msg']}", where=self.id) from error
        control.send_request(self.folder.control, request)

    def _check_live(self) -> None:
        if not self.snapshot.live:
            hint = f"`kelly-core runs resume {self.id}` starts it again"
            raise RunError(f"it has ended ({self.snapshot.state})", where=self.id, hint=hint)


def _settled(model: ModelSnapshot, state: str) -> ModelSnapshot:
    """Return the snapshot of a model, updated for a pause or the end of its run."""
    if model.state == "running" and state in ("paused", "stopped", "failed", "died"):
        return replace(model, state=cast(ModelState, state), eta_seconds=None)
    return model


def describe_exit(folder: RunDirectory, attempt: int) -> str:
    """Describe how a process that did not log its end has ended, and how to continue.

    The description is "its process is gone" if the cause is unknown, as after a power failure.
    """
    resume = f"`kelly-core runs resume {folder.id}` continues from the last checkpoint"
    status = _read(folder, attempt)
    if status is None:
        return f"its process is gone. {resume}"
    if status <= _FIRST_SIGNAL:
        last = _last_line(folder.console)
        words = f", its last output: {last}" if last else ""
        return f"its process ended with exit code {status}{words} (see {folder.console}). {resume}"
    number = status - _FIRST_SIGNAL
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"killed by signal {number}. {resume}"
    words = (signal.strsignal(number) or name).lower()
    cause, fix = _CAUSES.get(signal.Signals(number), ("", ""))
    return ". ".join(filter(None, [f"killed by {name} ({words}){cause and ': ' + cause}", fix, resume]))


def _read(folder: RunDirectory, attempt: int) -> int | None:
    try:
        with open_regular(folder.exit_status) as file:
            words = file.read(_MAX_BYTES).split()
        known, status = map(int, words)
    except (OSError, ValueError):
        return None
    return status if known == attempt and 0 <= status <= _MAX_STATUS else None


def _last_line(console: Path) -> str:
    """Return the last line that is not empty, at most 200 characters; "" if there is none."""
    try:
        with open_regular(console) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((printable(line.strip()[:_MAX_LINE]) for line in reversed(lines) if line.strip()), "")
