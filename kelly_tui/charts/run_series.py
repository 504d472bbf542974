"""Chart series of a run's losses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from kelly_core.runs.curves import Curves
from kelly_core.runs.run_dir import short_id
from kelly_core.runs.state import ModelSnapshot
from kelly_tui.charts.chart_data import Series
from kelly_tui.formatting import model_color, run_colors
from kelly_tui.run_watcher import RunView
from kelly_tui.themes import ThemeColors

_LONG_NAME = 20
"""Columns; trials of a sweep have names such as groovepredictor-seed0-4e5ee2c984."""


def validation_series(name: str, curves: Curves, color: str) -> Series:
    """Return the validation loss as a series with the best epoch marked."""
    return Series(name, curves.epochs, curves.val_loss, color, curves.best)


def loss_series(curves: Curves, model: ModelSnapshot, colors: ThemeColors) -> list[Series]:
    """Return training and validation loss of one model, with baselines as guides."""
    baseline = _level("baseline", curves, model.baseline_loss, colors, guide=True)
    return [*baseline, *curve_series(curves, model_color(model.model, colors), colors)]


def curve_series(curves: Curves, color: str, colors: ThemeColors) -> list[Series]:
    """Return training loss and validation loss in separate colors."""
    return [
        Series("train", curves.epochs, curves.train_loss, colors.muted),
        validation_series("validation", curves, color),
    ]


def baseline_series(curves: Curves, model: ModelSnapshot, colors: ThemeColors) -> list[Series]:
    """Return the loss of the best constant output and, on synthetic data, the lowest possible loss."""
    return [
        *_level("baseline", curves, model.baseline_loss, colors),
        *_level("Bayes", curves, model.bayes_loss, colors),
        validation_series("val", curves, model_color(model.model, colors)),
    ]


def overlaid_series(model: str, views: Sequence[RunView], colors: ThemeColors) -> list[Series]:
    """Return the validation losses of one model in several runs, one color per run; empty ones before an epoch."""
    of_runs = run_colors([view.snapshot.id for view in views], colors)
    names = _distinct_names([short_id(view.snapshot.id) for view in views])
    return [
        validation_series(name, view.curves.get(model, Curves()), of_runs[view.snapshot.id])
        for view, name in zip(views, names, strict=True)
        if model in view.curves or any(each.model == model for each in view.snapshot.models)
    ]


def _distinct_names(names: Sequence[str]) -> list[str]:
    """Return names without the words that all begin with if one is long, since a chart would cut off what differs."""
    words = [name.split("-") for name in names]
    if max(map(len, names), default=0) <= _LONG_NAME:
        return list(names)
    shared = sum(1 for _ in takewhile(lambda place: len(set(place)) == 1, zip(*words, strict=False)))
    return ["-".join(each[shared:] or each) for each in words]


def _level(name: str, curves: Curves, value: float | None, colors: ThemeColors, *, guide: bool = False) -> list[Series]:
    if value is None or not curves.epochs:
        return []
    ends = (curves.epochs[0], curves.epochs[-1])
    return [Series(name, ends, (value, value), colors.muted, dashed=True, guide=guide)]
