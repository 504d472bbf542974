"""Ctrl-C and SIGTERM at the terminal as requests to trainings that are processes of their own."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Protocol

INTERRUPTED = 130
TERMINATED = 143


class Steerable(Protocol):
    """What signals can be turned into requests to."""

    @property
    def live(self) -> bool:
        """Whether there is anything to ask."""

    def request_stop(self, *, at_once: bool = False) -> None:
        """Stop after the current step, or at once."""

    def kill(self) -> None:
        """End without any courtesy."""


class Signals:
    """Turns Ctrl-C and SIGTERM into requests to a training: the first stops it, a second at once, a third kills it.

    A hang-up of the terminal ends only this command: the training is a process of its own.
    """

    def __init__(self) -> None:
        self._work: Steerable | None = None
        self._interrupts = 0
        self._terminated = False

    @property
    def exit_code(self) -> int | None:
        """Exit code of a training that a signal was to stop; None if none came."""
        return TERMINATED if self._terminated else INTERRUPTED if self._interrupts else None

    @property
    def killed(self) -> bool:
        """Whether the process was killed from here."""
        return self._interrupts > 2

    def __enter__(self) -> Signals:
        self._former = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def steer(self, work: Steerable) -> None:
        """From now on requests go to this one, those that came earlier first."""
        self._work = work
        if self._interrupts or self._terminated:
            self._ask()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        self._terminated = self._terminated or number == signal.SIGTERM
        self._ask()

    def _ask(self) -> None:
        if self._work is None or not self._work.live:
            return
        if self.killed:
            self._work.kill()
        else:
            self._work.request_stop(at_once=self._interrupts > 1)
