"""Runs and their models as tables and charts show them."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence

from rich.text import Text

from kelly_core.runs import ModelSnapshot, RunSnapshot
from kelly_core.runs.comparison import Best
from kelly_core.spec import MODELS
from kelly_tui.following import Curves
from kelly_tui.palette import Palette
from kelly_tui.series import Series
from kelly_tui.wording import NOTHING, duration, loss, size

_NAMES = [spec.name for spec in MODELS]


def short_id(run_id: str) -> str:
    """The two words of an id by which people remember a run."""
    return "-".join(run_id.split("-")[4:]) or run_id


def state_text(state: str, silent_seconds: float, colours: Palette) -> Text:
    """A state in its colour; a live run that gives no sign of life is not called running."""
    if silent_seconds:
        return Text(f"stopped responding {duration(silent_seconds)} ago", colours.warning)
    colour = {
        "running": colours.good,
        "finished": colours.good,
        "failed": colours.bad,
        "died": colours.bad,
        "stopped": colours.muted,
        "queued": colours.muted,
    }.get(state, colours.warning)
    return Text(state, colour)


def model_colour(model: str, colours: Palette) -> str:
    """The colour that a model has on every screen."""
    return colours.series[_NAMES.index(model) % len(colours.series) if model in _NAMES else 0]


def run_colours(run_ids: Sequence[str], colours: Palette) -> dict[str, str]:
    """A colour for each run, the same every time, and another one only where two would share it."""
    taken: dict[str, str] = {}
    for run_id in run_ids:
        start = zlib.crc32(run_id.encode()) % len(colours.series)
        wheel = colours.series[start:] + colours.series[:start]
        taken[run_id] = next((colour for colour in wheel if colour not in taken.values()), wheel[0])
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


def loss_series(curves: Curves, colours: Palette, colour: str) -> list[Series]:
    """Training and validation loss of one model, the best epoch marked."""
    finite = [(value, index) for index, value in enumerate(curves.val_loss) if value == value]
    best = min(finite)[1] if finite else None
    return [
        Series("train", curves.epochs, curves.train_loss, colours.muted),
        Series("validation", curves.epochs, curves.val_loss, colour, best),
    ]
