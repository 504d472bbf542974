"""Requests of observers to a run, one per line of its control file, and the controller that handles them."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from kelly_core.bounds import Count
from kelly_core.errors import RunError
from kelly_core.io.atomic import open_for_writing
from kelly_core.io.json import LineTail
from kelly_core.runs.event_log import LiveState, StateChanged

CHANGEABLE = ("learning_rate", "patience", "epochs")
"""Settings that can be changed while a model is trained."""


@dataclass(frozen=True)
class Request:
    """One request of an observer.

    Attributes:
        attempt: number of the attempt that the request is for; later attempts ignore it.
        kind: "stop", "pause", "resume" (after a pause), "rollback" (of one model to its best weights), or "set" (change
            settings of one model from its next epoch on).
        at_once: stop without finishing the current step or other work.
        after_epochs: stop after this number of further complete epochs; 0 stops after the current step.
        model: model to roll back or to change.
        learning_rate, patience, epochs: new values of "set"; None leaves a setting unchanged.
    """

    attempt: Count
    kind: Literal["stop", "pause", "resume", "rollback", "set"]
    at_once: bool = False
    after_epochs: Count = 0
    model: str = ""
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    patience: Count | None = None
    epochs: Annotated[Count, Field(ge=1)] | None = None

    @property
    def changes(self) -> dict[str, float]:
        """New values by setting."""
        return {name: value for name in CHANGEABLE if (value := getattr(self, name)) is not None}


def parse_changes(words: Sequence[str]) -> dict[str, float]:
    """Parse words such as ``learning_rate=0.0005`` into values by setting.

    Raises:
        RunError: a word is not of this form, or its value is not a number.
    """
    changes: dict[str, float] = {}
    for word in words:
        name, sign, value = word.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not sign or math.isnan(number):
            raise RunError("is not KEY=NUMBER", where=word, hint=f"KEY is one of {', '.join(CHANGEABLE)}")
        changes[name] = int(number) if number.is_integer() and name != "learning_rate" else number
    return changes


def send_request(path: Path, request: Request) -> None:
    """Append a request.

    Raises:
        RunError: the file cannot be written.
    """
    hint = "SIGTERM to the training's process also stops it"
    with RunError.from_os_error("cannot be written", where=path, hint=hint):
        handle = open_for_writing(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(handle, json.dumps(asdict(request)).encode() + b"\n")
        finally:
            os.close(handle)


class Inbox:
    """Reads each request to one attempt once; other lines are ignored."""

    def __init__(self, path: Path, attempt: int) -> None:
        self._tail = LineTail(path)
        self._attempt = attempt
        self._adapter = TypeAdapter(Request)

    def read(self) -> list[Request]:
        """Return the requests received since the last call."""
        found = []
        # A read is bounded in bytes; a client may have written more.
        while lines := self._tail.read():
            found += [request for request in map(self._request, lines) if request]
        return [request for request in found if request.attempt == self._attempt]

    def _request(self, line: bytes) -> Request | None:
        try:
            return self._adapter.validate_json(line)
        except ValidationError:
            return None


_POLL_SECONDS = 0.1


class StopNow(BaseException):
    """Raised inside the training to stop it at once; like KeyboardInterrupt, it is not an error."""


class RunController:
    """Stops, pauses, rolls back or changes a training as requests and signals require.

    SIGTERM and the first SIGINT stop after the current step, a second SIGINT stops at once, SIGHUP does nothing.

    Args:
        on_change: called with each change of state.
    """

    def __init__(self, on_change: Callable[[StateChanged], None]) -> None:
        self._on_change = on_change
        self.failure = ""
        """Reason to end the run as failed; "" if there is none."""
        # Reentrant, because ``fail`` calls ``handle`` with the lock held.
        self._lock = threading.RLock()
        self._reported: StateChanged | None = None
        self._stop = False
        self._closed = False
        self._paused = False
        self._epochs_left: int | None = None
        self._rollbacks: set[str] = set()
        self._changes: dict[str, dict[str, float]] = {}
        self._interruptible = False
        self._began = time.monotonic()
        self._pause_began: float | None = None
        self._pauses = 0.0

    @property
    def stopping(self) -> bool:
        """True if the training must end as soon as possible."""
        return self._stop

    def training_seconds(self) -> float:
        """Return the seconds of training so far, excluding pauses."""
        with self._lock:
            return (self._pause_began or time.monotonic()) - self._began - self._pauses

    def should_stop(self) -> bool:
        """Return True to stop after a step; block while the training is paused."""
        # Read without the lock at every step: an outdated value delays a pause by one step.
        if self._paused:
            while self.is_paused():
                time.sleep(_POLL_SECONDS)
        return self._stop

    def should_roll_back(self, model: str) -> bool:
        """Return True to roll a model back to its best weights; return each request once."""
        if model not in self._rollbacks:
            return False
        self._rollbacks.discard(model)
        return True

    def take_changes(self, model: str) -> dict[str, float]:
        """Return the new settings of a model requested since the last call."""
        with self._lock:
            return self._changes.pop(model, {})

    def is_paused(self) -> bool:
        """Return True while the training must wait, and report when a pause begins or ends. The caller must poll."""
        with self._lock:
            hold = self._paused and not self._stop
            if hold and self._pause_began is None:
                self._pause_began = time.monotonic()
                self._enter("paused")
            elif self._pause_began is not None and not hold:
                self._pauses += time.monotonic() - self._pause_began
                self._pause_began = None
                self._enter(self._working_state())
            return hold

    def epoch_done(self, log: Callable[[], None]) -> None:
        """Log a complete epoch, and count down the epochs left if a stop after a number of epochs was requested."""
        # Under one lock: a request that arrived between the two steps would count an epoch logged before it.
        with self._lock:
            log()
            if self._epochs_left is not None:
                self._epochs_left -= 1
                self._stop = self._stop or self._epochs_left <= 0
                self._enter("stopping")

    def begin(self) -> None:
        """Report that training begins."""
        with self._lock:
            self._enter(self._working_state())

    def handle(self, request: Request) -> None:
        """Handle a request of an observer; called from the monitor thread."""
        with self._lock:
            if request.kind == "stop":
                self._handle_stop(request)
            elif request.kind == "rollback":
                self._rollbacks.add(request.model)
            elif request.kind == "set":
                self._changes.setdefault(request.model, {}).update(request.changes)
            elif not self._stop and request.kind == "pause":
                self._enter("paused" if self._pause_began else "pausing")
                self._paused = True
            elif not self._stop:
                self._paused = False
                self._enter(self._working_state())

    def fail(self, problem: str) -> None:
        """End the run at once as failed; called from the monitor thread."""
        with self._lock:
            if not self.failure and not self._closed:
                self.failure = problem
                self.handle(Request(0, "stop", at_once=True))

    def close(self) -> None:
        """Stop reporting state changes; only the end of the run is recorded after this call."""
        with self._lock:
            self._closed = True

    def report_signals(self) -> None:
        """Report a stop requested by a signal, because a signal handler must not write."""
        with self._lock:
            if self._stop and self._reported is not None:
                self._enter("stopping")

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handle signals within the context; call only in the main thread."""
        handlers: dict[signal.Signals, Callable[[int, FrameType | None], None] | signal.Handlers] = {
            signal.SIGTERM: self._on_signal,
            signal.SIGINT: self._on_signal,
            signal.SIGUSR1: lambda _number, _frame: self.interrupt(),
            signal.SIGHUP: signal.SIG_IGN,
        }
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Allow ``StopNow`` to be raised within the context, once."""
        self._interruptible = True
        try:
            yield
        finally:
            self._interruptible = False

    def interrupt(self) -> None:
        """Raise ``StopNow`` if the training can be interrupted now; call only in the main thread."""
        if self._interruptible:
            self._interruptible = False
            raise StopNow

    def _handle_stop(self, request: Request) -> None:
        if request.after_epochs and not self._stop:
            self._epochs_left = request.after_epochs
        else:
            self._stop = True
        self._enter("paused" if self._pause_began and not self._stop else "stopping")
        # Python runs signal handlers in the main thread, which trains, so the signal interrupts even a blocking call.
        if request.at_once:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # A handler can run between any two instructions, even while the lock is held, so it only sets flags. The
        # monitor thread reports them.
        again = self._stop and number == signal.SIGINT
        self._stop = True
        if again:
            self.interrupt()

    def _working_state(self) -> LiveState:
        return "stopping" if self._stop or self._epochs_left is not None else "running"

    def _enter(self, state: LiveState) -> None:
        """Report a state if the state or the number of epochs left has changed."""
        left = None if self._stop else self._epochs_left
        change = StateChanged(state, left)
        if change != self._reported and not self._closed:
            self._reported = change
            self._on_change(change)
