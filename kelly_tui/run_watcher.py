"""Watch runs: read one incrementally for a screen, and find changes in the list of all runs."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from textual.notifications import SeverityLevel

from kelly_core import events
from kelly_core.formatting import format_change
from kelly_core.runs.event_log import LogReader, LogRecord, describe
from kelly_core.runs.overview import Curves
from kelly_core.runs.registry import RunList
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, RunManifest, short_id
from kelly_core.runs.state import CONCERNS, ENDED, ModelSnapshot, RunSnapshot
from kelly_tui.formatting import age_text
from kelly_tui.state_store import SEEN_RUNS

_LINES = 500
_SECONDS_PER_POLL = 0.3
_RECORDS_AT_ONCE = 50
_PAUSE = 2e-4
"""Seconds to sleep after this many records, so that the screens' thread gets the GIL: with equal shares of it, drawing
a screen would take twice as long."""
_MAX_NOTICES = 5
_DIVERGED = ("rollback", "diverged")


@dataclass(frozen=True)
class RunView:
    """State of a run as a screen shows it."""

    manifest: RunManifest
    snapshot: RunSnapshot
    curves: dict[str, Curves]
    lines: tuple[str, ...]


class RunWatcher:
    """Reads a run from the beginning, a bounded part per poll, so that a long log never blocks the screen.

    Attributes:
        has_more: the last poll left records for the next one.

    Raises:
        RunError: there is no run, or its manifest cannot be read.
    """

    def __init__(self, folder: RunDirectory) -> None:
        self._run = Run(folder)
        self._reader = LogReader(folder.events)
        self._records = self._reader.one_by_one()
        self._curves: defaultdict[str, Curves] = defaultdict(Curves)
        self._published: dict[str, Curves] = {}
        self._lines: deque[str] = deque(maxlen=_LINES)
        self.has_more = False

    def poll(self) -> RunView:
        """Read new records for a short time and return the state.

        Raises:
            RunError: the log cannot be read any more.
        """
        self._run.poll()
        self._read_on(time.monotonic() + _SECONDS_PER_POLL)
        # An unchanged curve stays the same object, which is compared at no cost and not drawn again.
        self._published = {name: self._published.get(name) or each.copy() for name, each in self._curves.items()}
        return RunView(self._run.manifest, self._run.snapshot, dict(self._published), tuple(self._lines))

    def _read_on(self, deadline: float) -> None:
        self.has_more = True
        while time.monotonic() < deadline:
            found = list(islice(self._records, _RECORDS_AT_ONCE))
            if not found:
                self._records = self._reader.one_by_one()
                self.has_more = False
                return
            for record in found:
                self._apply(record)
            time.sleep(_PAUSE)

    def _apply(self, record: LogRecord) -> None:
        event = record.event
        if isinstance(event, events.ModelStarted) and event.first_epoch == 1:
            # The model starts from the beginning; a resumed model continues its curves.
            self._curves.pop(event.model, None)
            self._published.pop(event.model, None)
        elif isinstance(event, events.EpochDone):
            self._published.pop(event.model, None)
            self._curves[event.model].add(event)
        text = describe(event)
        if text is not None:
            self._lines.append(f"{time.strftime('%H:%M:%S', time.localtime(record.time))}  {text}")


@dataclass(frozen=True)
class Notice:
    """A notice: title, text and severity."""

    title: str
    text: str
    severity: SeverityLevel


def new_notices(previous: RunList, current: RunList) -> Iterator[Notice]:
    """Yield notices about runs that have ended, or have a new warning, since the previous list."""
    known = {run.id: run for run in previous.runs if run.live}
    for run in current.runs:
        if run.id not in known:
            continue
        previous_models = {model.model: model for model in known[run.id].models}
        news = [
            f"{model.model}: {model.alarm or model.alarm_kind}"
            for model in run.models
            if _is_alarming(model, previous_models.get(model.model))
        ]
        if not run.live:
            gain = "" if run.gain is None else f", {format_change(run.gain)} on the baseline"
            news = [f"{run.state}{f': {run.error}' if run.error else gain}"]
        if news:
            severity: SeverityLevel = (
                "error" if run.state in ("failed", "died") else "warning" if run.live else "information"
            )
            yield Notice(short_id(run.id), "\n".join(news), severity)


def _is_alarming(model: ModelSnapshot, previous: ModelSnapshot | None) -> bool:
    """Return True if a model diverged, or has a new warning about its losses while it is in training."""
    kind = model.alarm_kind
    if kind in CONCERNS:
        # The kind of the warning is compared, because its text changes with each epoch.
        return model.state not in ENDED and (previous is None or previous.alarm_kind != kind)
    return kind in _DIVERGED and (previous is None or (previous.alarm_kind, previous.alarm) != (kind, model.alarm))


def seen_states(run_list: RunList, runs_folder: Path) -> dict[str, Any]:
    """Return the states of the runs, to be saved and passed to ``notice_since`` at the next start."""
    states = {run.id: run.state for run in run_list.runs}
    return {"folder": str(runs_folder.absolute()), "states": states, "time": time.time()}


def notice_since(state: dict[str, Any], run_list: RunList, runs_folder: Path) -> Notice | None:
    """Return a notice of runs that are still live or have changed since the saved states; None if there are none."""
    memory = SEEN_RUNS.valid_entries(state).get("runs", {})
    seen, folder = memory.get("states", {}), memory.get("folder")
    if folder != str(runs_folder.absolute()):
        return None
    news = [f"{short_id(run.id)} {run.state}" for run in run_list.runs if seen.get(run.id) != run.state]
    live = [f"{short_id(run.id)} is still {run.state}" for run in run_list.runs if run.live and run.id in seen]
    lines = [*live, *news][:_MAX_NOTICES]
    return Notice(f"Since you left, {age_text(memory['time'])}", "\n".join(lines), "information") if lines else None
