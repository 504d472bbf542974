"""Terminal tables of runs, and plots of their losses in characters."""

from __future__ import annotations

import math
import shlex
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console, Group
from rich.table import Column, Table
from rich.text import Text

from kelly_core.events import EpochDone
from kelly_core.formatting import MISSING, format_bytes, format_change, format_duration, format_loss, printable
from kelly_core.runs.event_log import HostLoad, LogRecord
from kelly_core.runs.overview import Best, Curves, RunDiff, RunOverview, relative_change, setting_text, thinned
from kelly_core.runs.run_dir import RunLabels, RunManifest
from kelly_core.runs.state import RunSnapshot
from kelly_core.spec import MODELS

_PLOT_LINES, _MAX_PLOT_COLUMNS, _MIN_PLOT_COLUMNS = 14, 100, 40
_STYLES = {
    "queued": "dim",
    "running": "bold green",
    "pausing": "yellow",
    "paused": "yellow",
    "stopping": "yellow",
    "finished": "green",
    "stopped": "cyan",
    "failed": "bold red",
    "died": "bold red",
}


def run_table(runs: Sequence[RunOverview]) -> Table:
    """Return a table with one row per run, with a column of tags only if a run has tags."""
    tagged = any(run.tags for run in runs)
    # IDs and states are never truncated: IDs are typed in other commands, and states are what users look for.
    name = Column("run", no_wrap=True, min_width=max(len(run.id) for run in runs))
    state = Column("state", no_wrap=True, min_width=max(len(run.state) for run in runs))
    table = Table(
        name, state, *map(_folding, ("models", "now at", *["tags"] * tagged, "output")), box=None, pad_edge=False
    )
    for run in runs:
        tags = [" ".join(run.tags)] if tagged else []
        table.add_row(run.id, _state(run), _models(run), _position(run), *tags, _shown(run.output))
    return table


def run_header(run: RunSnapshot, manifest: RunManifest, labels: RunLabels) -> Table:
    """Return the properties of a run, one per line."""
    table = Table.grid(padding=(0, 2))
    begun = datetime.fromtimestamp(run.began) if run.attempt else None
    rows: list[tuple[str, str | Text]] = [
        ("run", run.id),
        ("tags", " ".join(labels.tags)),
        ("note", labels.note),
        ("state", _state(run)),
        ("attempt", f"{run.attempt}, begun {begun:%Y-%m-%d %H:%M:%S}" if begun else "none yet"),
        ("process", f"{run.pid} on {run.host_name}" if run.pid else "none yet"),
        ("output", _shown(run.output)),
        ("command", shlex.join(manifest.command)),
        ("machine", "" if run.host is None else _load(run.host)),
        ("error", Text(printable(run.error), style="red")),
    ]
    for name, value in rows:
        if value:
            table.add_row(Text(name, style="dim"), value)
    return table


def model_table(run: RunSnapshot) -> Table:
    """Return a table with one row per model."""
    columns = ("model", "state", "epoch", "train", "val", "best", "at", "baseline", "patience", "steps/s", "left")
    table = Table(*columns, box=None, pad_edge=False)
    for model in run.models:
        table.add_row(
            model.model,
            Text(model.state, style=_STYLES[model.state]),
            MISSING if model.epochs is None else f"{model.epoch}/{model.epochs}",
            *(format_loss(loss) for loss in (model.train_loss, model.val_loss, model.best_loss)),
            _or_dash(model.best_epoch),
            format_loss(model.baseline_loss),
            # A patience of 0 while training continues means that early stopping is off.
            _or_dash(model.patience_left or (0 if model.reason else None)),
            MISSING if model.steps_per_second is None else f"{model.steps_per_second:,.0f}",
            format_duration(model.eta_seconds),
        )
    return table


def comparison_table(runs: Sequence[str], comparison: RunDiff) -> Group:
    """Return a table of settings and a table of results, compared with the first run."""
    settings = Table(*map(_folding, ("setting", *runs)), box=None, pad_edge=False)
    for key, values in comparison.settings.items():
        settings.add_row(key, *map(setting_text, values))
    models = Table("model", "best of", *map(_folding, runs), box=None, pad_edge=False)
    for model, bests in comparison.models.items():
        models.add_row(model, "loss", *(_loss_against(best, bests[0]) for best in bests))
        models.add_row("", "baseline", *(format_loss(best.baseline_loss) for best in bests))
        models.add_row("", "epoch", *map(_best_epoch, bests))
    return Group(settings if comparison.settings else Text("the settings are the same"), Text(), models)


def _loss_against(best: Best, reference: Best) -> str:
    """Return a best loss with its relative difference from the reference."""
    change = None if best is reference else relative_change(best.best_loss, reference.best_loss)
    return format_loss(best.best_loss) + ("" if change is None else f" ({format_change(change, 1)})")


def _folding(header: str) -> Column:
    """Return a column that wraps its header and long words in a narrow terminal."""
    return Column(header, overflow="fold")


def _state(run: RunSnapshot) -> Text:
    text = Text(run.state, style=_STYLES[run.state])
    if run.epochs_left:
        text.append(f" after {run.epochs_left} more", style="dim")
    if run.silent_seconds:
        text.append(f", silent for {format_duration(run.silent_seconds)}", style="bold red")
    for concern in run.concerns:
        text.append(f", {concern}", style="yellow")
    if run.revivals:
        text.append(f", revived {run.revivals}×", style="dim")
    return text


def _models(run: RunSnapshot) -> str:
    return "all" if len(run.models) == len(MODELS) else ", ".join(run.model_names)


def _position(run: RunSnapshot) -> str:
    """Return the progress of a run: of feature extraction, else of the current or last trained model."""
    if run.features:
        return f"features of {run.features.dataset} {run.features.done:,}/{run.features.total:,}"
    begun = [model for model in run.models if model.epochs is not None]
    if not begun:
        return MISSING
    model = begun[-1]
    best = "" if model.best_loss is None else f" best {model.best_loss:.4f}"
    left = "" if model.eta_seconds is None else f", {format_duration(model.eta_seconds)} left"
    return f"{model.model} {model.epoch}/{model.epochs}{best}{left}"


def _load(host: HostLoad) -> str:
    parts = [
        f"CPU {host.cpu_percent:.0f} %",
        f"memory {format_bytes(host.memory_used)} of {format_bytes(host.memory_total)}",
        f"the process {format_bytes(host.process_memory)}",
    ]
    parts += [
        f"{gpu.name} {gpu.percent:.0f} %, {format_bytes(gpu.memory_used)} of {format_bytes(gpu.memory_total)}"
        for gpu in host.gpus
    ]
    return ", ".join(parts)


def _shown(folder: str) -> str:
    path = Path(folder)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else folder


def _best_epoch(best: Best) -> str:
    return MISSING if best.best_epoch is None else f"{best.best_epoch} of {best.epochs}"


def _or_dash(value: object) -> str:
    return MISSING if value is None else str(value)


def curves_by_model(records: Iterable[LogRecord]) -> dict[str, Curves]:
    """Return the curves of each model that completed an epoch in the log of a run."""
    curves: defaultdict[str, Curves] = defaultdict(Curves)
    for record in records:
        if isinstance(record.event, EpochDone):
            curves[record.event.model].add(record.event)
    return curves


def plot_losses(model: str, curves: Curves, target: Console) -> Text:
    """Draw training and validation loss of a model, as wide as the terminal but at most 100 columns."""
    import plotext

    columns = max(_MIN_PLOT_COLUMNS, min(target.width, _MAX_PLOT_COLUMNS))
    plotext.clear_figure()
    # Otherwise plotext limits the size to that of a terminal, which a pipe does not have.
    plotext.limit_size(False, False)
    plotext.plotsize(columns, _PLOT_LINES)
    plotext.theme("clear")
    plotext.title(f"{model}: loss by epoch")
    plotext.xticks(_whole_ticks(curves.epochs))
    # Without colors, letters distinguish the curves.
    dots = target.encoding.startswith("utf") and target.color_system is not None
    legend = Text(" " * 5)
    for name, values, color in (("training", curves.train_loss, "cyan"), ("validation", curves.val_loss, "yellow")):
        if points := [(x, y) for x, y in thinned(curves.epochs, values, columns) if math.isfinite(y)]:
            plotext.plot(*zip(*points, strict=True), color=color, marker="braille" if dots else name[0])
        legend.append("━" if dots else name[0], color).append(f" {name}   ")
    return Text("\n").join([Text.from_ansi(plotext.build().rstrip()), legend])


def _whole_ticks(epochs: Sequence[float]) -> list[int]:
    """Return at most five whole epochs from the first to the last."""
    first, last = int(epochs[0]), int(epochs[-1])
    return sorted({first + (last - first) * number // 4 for number in range(5)})
