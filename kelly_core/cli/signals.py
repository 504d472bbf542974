"""Ctrl-C and SIGTERM at the terminal, converted to requests to trainings in other processes."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Protocol

from kelly_core.interrupts import INTERRUPTED

TERMINATED = 143
"""128 + the signal's number, as shells report it."""


class Stoppable(Protocol):
    """A run or a sweep that signals stop."""

    @property
    def live(self) -> bool:
        """True if a process runs that can receive requests."""

    def request_stop(self, *, at_once: bool = False) -> None:
        """Stop after the current step, or at once."""

    def kill(self) -> None:
        """Kill the processes; nothing is saved."""


class Signals:
    """Context manager that converts signals to requests.

    The first Ctrl-C or SIGTERM stops a training after the current step, a second Ctrl-C stops it immediately, a third
    kills its process. A hang-up of the terminal ends only this command.
    """

    def __init__(self) -> None:
        self._work: Stoppable | None = None
        self._interrupts = 0
        self._terminated = False

    @property
    def exit_code(self) -> int | None:
        """Exit code if a signal arrived, else None."""
        return TERMINATED if self._terminated else INTERRUPTED if self._interrupts else None

    @property
    def killed(self) -> bool:
        """True if the third Ctrl-C killed the process."""
        return self._interrupts > 2

    def __enter__(self) -> Signals:
        # Not SIGHUP: the training has a session of its own and continues without this terminal.
        self._former = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def send_to(self, work: Stoppable) -> None:
        """Send requests to this work from now on, and the request of signals that arrived earlier."""
        self._work = work
        if self._interrupts or self._terminated:
            self._send()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        self._terminated = self._terminated or number == signal.SIGTERM
        self._send()

    def _send(self) -> None:
        # Before the start of the process there is nothing to send to; ``send_to`` sends what arrived until then.
        if self._work is None or not self._work.live:
            return
        if self.killed:
            self._work.kill()
        else:
            self._work.request_stop(at_once=self._interrupts > 1)
