"""The loss curves of a training as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from kelly_core.files import atomic_write
from kelly_core.training.history import Row

_TRAIN, _VALIDATION, _MARK, _REFERENCE = "#4477AA", "#EE6677", "#222222", "#888888"
_LEVELS = (("baseline", "baseline_loss", "--"), ("Bayes", "bayes_loss", ":"))
_DECADE = 10.0


def plot_losses(path: Path, title: str, rows: Sequence[Row], metrics: dict[str, Any]) -> None:
    """Draw training and validation loss with the best epoch marked, the baseline, and the Bayes loss where known.

    Args:
        path: the PNG file, replaced in one step.
        title: shown on top.
        rows: one an epoch.
        metrics: ``best_epoch``, ``val_loss``, ``baseline_loss`` and perhaps ``bayes_loss``.

    Raises:
        KellyError: the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = np.array([row["epoch"] for row in rows])
    curves = {name: np.array([row[name] for row in rows], np.float64) for name in ("train_loss", "val_loss")}
    figure = Figure(figsize=(7.2, 4.4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    marker = "o" if len(rows) < 3 else None
    axes.plot(epochs, curves["train_loss"], color=_TRAIN, marker=marker, label="training")
    axes.plot(epochs, curves["val_loss"], color=_VALIDATION, marker=marker, label="validation")
    best = f"best: {metrics['val_loss']:.4g} at epoch {metrics['best_epoch']}"
    axes.plot(metrics["best_epoch"], metrics["val_loss"], "*", color=_MARK, markersize=11, label=best, zorder=3)
    levels = {name: (metrics[key], style) for name, key, style in _LEVELS if key in metrics}
    for name, (level, style) in levels.items():
        axes.axhline(level, color=_REFERENCE, linestyle=style, linewidth=1.2, label=f"{name}: {level:.4g}")
    shown = np.concatenate([*curves.values(), [level for level, _ in levels.values()]])
    shown = shown[np.isfinite(shown)]
    if shown.min() > 0 and shown.max() / shown.min() > _DECADE:
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set(title=title, xlabel="epoch", ylabel="loss")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    picture = BytesIO()
    figure.savefig(picture, format="png")
    atomic_write(path, lambda file: file.write(picture.getvalue()))
