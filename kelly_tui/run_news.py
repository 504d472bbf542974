"""What there is to tell about runs: since the last look, and since the screens were last open."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.notifications import SeverityLevel

from kelly_core.formatting import format_change
from kelly_core.runs.registry import RunList
from kelly_core.runs.run_dir import short_id
from kelly_core.runs.state import CONCERNS, ENDED, ModelSnapshot
from kelly_tui.formatting import age_text
from kelly_tui.state_store import SEEN_RUNS

_MAX_LINES = 5
_DIVERGED = ("rollback", "diverged")


@dataclass(frozen=True)
class News:
    """A notice: title, text, and how serious it is."""

    title: str
    text: str
    severity: SeverityLevel


def news_of(former: RunList, current: RunList) -> Iterator[News]:
    """Yield which runs have ended, or have got a reason to worry, since the former list."""
    known = {run.id: run for run in former.runs if run.live}
    for run in current.runs:
        if run.id not in known:
            continue
        former_models = {model.model: model for model in known[run.id].models}
        news = [
            f"{model.model}: {model.alarm or model.alarm_kind}"
            for model in run.models
            if _is_alarming(model, former_models.get(model.model))
        ]
        if not run.live:
            row = current.overviews.get(run.id)
            gain = "" if row is None or row.gain is None else f", {format_change(row.gain)} on the baseline"
            news = [f"{run.state}{f': {run.error}' if run.error else gain}"]
        if news:
            severity: SeverityLevel = (
                "error" if run.state in ("failed", "died") else "warning" if run.live else "information"
            )
            yield News(short_id(run.id), "\n".join(news), severity)


def _is_alarming(model: ModelSnapshot, former: ModelSnapshot | None) -> bool:
    """Return True if a model diverged, or its losses have got a new reason to worry while it is in training."""
    kind = model.alarm_kind
    if kind in CONCERNS:
        # Its text changes with each epoch.
        return model.state not in ENDED and (former is None or former.alarm_kind != kind)
    return kind in _DIVERGED and (former is None or (former.alarm_kind, former.alarm) != (kind, model.alarm))


def seen_states(run_list: RunList, runs_folder: Path) -> dict[str, Any]:
    """Return what is kept about the runs for ``news_since`` at the next start."""
    states = {run.id: run.state for run in run_list.runs}
    return {"folder": str(runs_folder.absolute()), "states": states, "time": time.time()}


def news_since(state: dict[str, Any], run_list: RunList, runs_folder: Path) -> News | None:
    """Return which runs are still live or have changed since the states that were kept, None for none."""
    memory = SEEN_RUNS.sound(state).get("runs", {})
    seen, folder = memory.get("states", {}), memory.get("folder")
    if folder != str(runs_folder.absolute()):
        return None
    news = [f"{short_id(run.id)} {run.state}" for run in run_list.runs if seen.get(run.id) != run.state]
    live = [f"{short_id(run.id)} is still {run.state}" for run in run_list.runs if run.live and run.id in seen]
    lines = [*live, *news][:_MAX_LINES]
    return News(f"Since you left, {age_text(memory['time'])}", "\n".join(lines), "information") if lines else None
