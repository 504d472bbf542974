"""Results of a sweep: mean and spread of each point, and the best point."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kelly_core.spec import MODELS
from kelly_core.sweeps.plan import Point


@dataclass(frozen=True)
class TrialResult:
    """Result of one trial.

    Attributes:
        run: ID of its run.
        model, seed, point: as in ``Trial``.
        state: "finished", "stopped", "failed" or "died"; "queued" if it was not started.
        epochs, best_epoch, best_loss, baseline_loss: metrics of the training; None if unknown.
        export: file for the plugin, "" if there is none.
        error: reason of a failure, else "".
    """

    run: str
    model: str
    seed: int
    point: Point
    state: str = "queued"
    epochs: int = 0
    best_epoch: int | None = None
    best_loss: float | None = None
    baseline_loss: float | None = None
    export: str = ""
    error: str = ""


@dataclass(frozen=True)
class PointSummary:
    """Summary of one point for one model.

    Attributes:
        model, point: as in ``Trial``.
        losses: best validation loss of each finished trial by seed.
        missing: number of trials that did not finish.
        mean, spread: mean and standard deviation of the losses over seeds; the spread of fewer than two is None.
        behind, behind_spread: mean and standard deviation of the loss minus the loss of the model's best point with the
            same seed. The split, initial weights and order of examples of a seed are the same for all points, so this
            difference is less noisy than a difference of means.
        best_run: ID of the trial with the lowest loss, "" if none finished.
    """

    model: str
    point: Point
    losses: dict[int, float]
    missing: int
    mean: float | None
    spread: float | None
    behind: float | None
    behind_spread: float | None
    best_run: str


def summarize_points(results: Sequence[TrialResult]) -> list[PointSummary]:
    """Summarize each point of each model, in the order of the models; best points first, incomplete points last."""
    groups: dict[tuple[str, Point], list[TrialResult]] = {}
    for result in results:
        groups.setdefault((result.model, result.point), []).append(result)
    found = []
    for model in (spec.name for spec in MODELS):
        losses = {point: _losses(group) for (name, point), group in groups.items() if name == model}
        missing = {point: len(groups[model, point]) - len(losses[point]) for point in losses}
        # Points with missing trials are last, because a mean of fewer seeds can be low by chance.
        order = sorted(losses, key=lambda point: (missing[point], statistics.fmean(losses[point].values() or [0.0])))
        found += [
            _summarize_point(model, point, losses[point], missing[point], losses[order[0]], groups[model, point])
            for point in order
        ]
    return found


def best_runs(table: Sequence[PointSummary]) -> dict[str, str]:
    """Return the run ID of each model's best trial of its best point; points with unfinished trials are excluded."""
    best: dict[str, str] = {}
    for summary in table:
        if not summary.missing:
            best.setdefault(summary.model, summary.best_run)
    return best


def as_json(results: Sequence[TrialResult]) -> dict[str, Any]:
    """Return trials, table and best runs as JSON values."""
    table = summarize_points(results)
    return {
        "trials": [asdict(result) | {"point": dict(result.point)} for result in results],
        "table": [asdict(summary) | {"point": dict(summary.point)} for summary in table],
        "best": best_runs(table),
    }


def _losses(group: Sequence[TrialResult]) -> dict[int, float]:
    return {one.seed: one.best_loss for one in group if one.state == "finished" and one.best_loss is not None}


def _summarize_point(
    model: str,
    point: Point,
    losses: dict[int, float],
    missing: int,
    best: dict[int, float],
    group: Sequence[TrialResult],
) -> PointSummary:
    behind = [loss - best[seed] for seed, loss in losses.items() if seed in best]
    return PointSummary(
        model=model,
        point=point,
        losses=losses,
        missing=missing,
        mean=statistics.fmean(losses.values()) if losses else None,
        spread=statistics.stdev(losses.values()) if len(losses) > 1 else None,
        behind=statistics.fmean(behind) if behind else None,
        behind_spread=statistics.stdev(behind) if len(behind) > 1 else None,
        best_run=next(one.run for one in group if one.seed == min(losses, key=losses.__getitem__)) if losses else "",
    )
