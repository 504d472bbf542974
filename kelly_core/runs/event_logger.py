"""Write the events of a run's process to its log and its console."""

from __future__ import annotations

import time
from collections.abc import Callable

from kelly_core.runs.console import say
from kelly_core.runs.event_log import LogWriter
from kelly_core.runs.log_records import LogRecord, RunEvent
from kelly_core.runs.messages import describe


class EventLogger:
    """Writes events as records of one attempt, and those of interest to users as lines.

    Args:
        log: the log.
        attempt: number of the attempt.
    """

    def __init__(self, log: LogWriter, attempt: int) -> None:
        self._log = log
        self._attempt = attempt
        self.busy: Callable[[], float] = lambda: 0.0
        """Function that returns the seconds of training so far; its owner subtracts pauses."""

    def tell(self, event: RunEvent) -> None:
        """Write an event."""
        self._log.append(LogRecord(time.time(), self.busy(), self._attempt, event))
        line = describe(event)
        if line is not None:
            say(line)
