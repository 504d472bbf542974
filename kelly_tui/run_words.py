"""Runs and their models as tables and charts show them."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence

from rich.text import Text

from kelly_core.runs.diff import Best
from kelly_core.runs.snapshot import CONCERNS, ModelSnapshot, RunSnapshot
from kelly_core.spec import MODELS
from kelly_tui.following import Curves, RunView
from kelly_tui.palette import Palette
from kelly_tui.series import Series
from kelly_tui.wording import NOTHING, duration, loss, size

MOST_MARKS = 4
"""Runs that can be marked: with the one in front there is a colour for each."""

_NAMES = [spec.name for spec in MODELS]


def short_id(run_id: str) -> str:
    """The two words of an id by which people remember a run."""
    return "-".join(run_id.split("-")[4:]) or run_id


def run_state_text(run: RunSnapshot, colors: Palette) -> Text:
    """The state of a run; of one that goes on as usual rather what there is to worry about."""
    if run.state == "running" and run.concerns and not run.silent_seconds:
        return Text(run.concerns[0], colors.warning)
    return state_text(run.state, run.silent_seconds, colors)


def model_state_text(model: ModelSnapshot, colors: Palette) -> Text:
    """The state of a model; of one in training rather what there is to worry about."""
    if model.state == "running" and model.alarm_kind in CONCERNS:
        return Text(model.alarm_kind, colors.warning)
    return state_text(model.state, 0.0, colors)


def state_text(state: str, silent_seconds: float, colors: Palette) -> Text:
    """A state in its colour; a live run that gives no sign of life is not called running."""
    if silent_seconds:
        return Text(f"stopped responding {duration(silent_seconds)} ago", colors.warning)
    color = {
        "running": colors.good,
        "finished": colors.good,
        "failed": colors.bad,
        "died": colors.bad,
        "stopped": colors.muted,
        "queued": colors.muted,
    }.get(state, colors.warning)
    return Text(state, color)


def model_colour(model: str, colors: Palette) -> str:
    """The colour that a model has on every screen."""
    return colors.series[_NAMES.index(model) % len(colors.series) if model in _NAMES else 0]


def run_colours(run_ids: Sequence[str], colors: Palette) -> dict[str, str]:
    """A colour for each run, the same every time, and another one only where two would share it."""
    taken: dict[str, str] = {}
    for run_id in run_ids:
        start = zlib.crc32(run_id.encode()) % len(colors.series)
        wheel = colors.series[start:] + colors.series[:start]
        taken[run_id] = next((color for color in wheel if color not in taken.values()), wheel[0])
    return taken


def epochs_text(model: ModelSnapshot) -> str:
    """Complete epochs of all, such as 12/50."""
    return NOTHING if model.epochs is None else f"{model.epoch}/{model.epochs}"


def best_text(model: ModelSnapshot | Best) -> str:
    """The best loss and its epoch."""
    return NOTHING if model.best_loss is None else f"{loss(model.best_loss)} @{model.best_epoch}"


def host_text(run: RunSnapshot) -> str:
    """What the machine is doing, in one line."""
    if run.host is None:
        return ""
    host = run.host
    parts = [
        f"CPU {host.cpu_percent:.0f} %",
        f"memory {size(host.memory_used)} of {size(host.memory_total)}",
        f"process {size(host.process_memory)}",
    ]
    parts += [f"{gpu.name} {gpu.percent:.0f} %, {size(gpu.memory_used)}" for gpu in host.gpus]
    return " · ".join(parts)


def age_text(then: float) -> str:
    """How long ago a Unix time was, in its largest unit."""
    seconds = max(0.0, time.time() - then)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def models_text(run: RunSnapshot) -> str:
    """Which models a run trains, in few words."""
    names = [model.model for model in run.models]
    return "all five" if len(names) == len(_NAMES) else names[0] if len(names) == 1 else f"{len(names)} models"


def marked_with(marked: Sequence[str], run_id: str) -> list[str]:
    """The marked runs after one more mark, or one less; where there are too many, the first loses its mark."""
    if run_id in marked:
        return [other for other in marked if other != run_id]
    return [*marked, run_id][-MOST_MARKS:]


def validation_series(name: str, curves: Curves, color: str) -> Series:
    """Validation losses under a name, the best epoch marked."""
    return Series(name, curves.epochs, curves.val_loss, color, curves.best)


def loss_series(curves: Curves, model: ModelSnapshot, colors: Palette) -> list[Series]:
    """Training and validation loss of one model, and the baseline where they come near it."""
    baseline = _level("baseline", curves, model.baseline_loss, colors, guide=True)
    return [*baseline, *curve_series(curves, model_colour(model.model, colors), colors)]


def curve_series(curves: Curves, color: str, colors: Palette) -> list[Series]:
    """Training loss, and validation loss in a colour of its own."""
    return [
        Series("train", curves.epochs, curves.train_loss, colors.muted),
        validation_series("validation", curves, color),
    ]


def baseline_series(curves: Curves, model: ModelSnapshot, colors: Palette) -> list[Series]:
    """Validation loss between that of the best constant output and, on generated data, the least there can be."""
    return [
        *_level("baseline", curves, model.baseline_loss, colors),
        *_level("Bayes", curves, model.bayes_loss, colors),
        validation_series("val", curves, model_colour(model.model, colors)),
    ]


def overlaid_series(model: str, views: Sequence[RunView], colors: Palette) -> list[Series]:
    """Validation losses of one model in several runs, each run in its colour."""
    of_runs = run_colours([view.snapshot.id for view in views], colors)
    return [
        validation_series(short_id(view.snapshot.id), view.curves[model], of_runs[view.snapshot.id])
        for view in views
        if model in view.curves
    ]


def _level(name: str, curves: Curves, value: float | None, colors: Palette, *, guide: bool = False) -> list[Series]:
    if value is None or not curves.epochs:
        return []
    ends = (curves.epochs[0], curves.epochs[-1])
    return [Series(name, ends, (value, value), colors.muted, dashed=True, guide=guide)]
