"""Plot of the loss curves of a training."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelly_core.io.atomic import atomic_write
from kelly_core.training.history import EpochRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_TRAIN, _VALIDATION, _INK, _REFERENCE = "#4477AA", "#EE6677", "#222222", "#888888"
_LEVELS = (("baseline", "baseline_loss", "--"), ("Bayes", "bayes_loss", ":"))
_DECADE = 10.0


def plot_losses(path: Path, title: str, rows: Sequence[EpochRow], metrics: Mapping[str, Any]) -> None:
    """Write the plot of ``draw_losses`` as PNG.

    Raises:
        KellyError: the file cannot be written.
    """
    picture = io.BytesIO()
    draw_losses(title, rows, metrics).savefig(picture, format="png", dpi=120)
    atomic_write(path, picture.getvalue())


def draw_losses(title: str, rows: Sequence[EpochRow], metrics: Mapping[str, Any], *, ink: str = _INK) -> Figure:
    """Draw training and validation loss, the best epoch, the baseline, and the Bayes loss if it is known.

    Args:
        title: shown on top; "" for none.
        rows: one per epoch, at least one.
        metrics: ``best_epoch``, ``val_loss``, ``baseline_loss`` and, if known, ``bayes_loss``.
        ink: color of everything that is not a curve.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs, *curves = ([row[column] for row in rows] for column in ("epoch", "train_loss", "val_loss"))
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    marker = "o" if len(rows) < 3 else None
    for losses, color, label in zip(curves, (_TRAIN, _VALIDATION), ("training", "validation"), strict=True):
        axes.plot(epochs, losses, color=color, marker=marker, label=label)
    best = f"best: {metrics['val_loss']:.4g} at epoch {metrics['best_epoch']}"
    axes.plot(metrics["best_epoch"], metrics["val_loss"], "*", color=ink, markersize=11, label=best, zorder=3)
    levels = []
    for name, key, style in _LEVELS:
        if key in metrics:
            levels.append(metrics[key])
            axes.axhline(metrics[key], color=_REFERENCE, linestyle=style, label=f"{name}: {metrics[key]:.4g}", lw=1.2)
    shown = [value for values in (*curves, levels) for value in values if math.isfinite(value)]
    # On a linear axis the first epochs of such a curve would flatten all others.
    if shown and min(shown) > 0 and max(shown) / min(shown) > _DECADE:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_title(title, color=ink)
    axes.set_xlabel("epoch", color=ink)
    axes.set_ylabel("loss", color=ink)
    axes.tick_params(which="both", colors=ink)
    axes.spines[:].set_color(ink)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, labelcolor=ink)
    return figure
