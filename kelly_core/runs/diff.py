"""Compare the settings and results of two runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from kelly_core.config.keys import flatten
from kelly_core.runs.run_dir import RunManifest
from kelly_core.runs.snapshot import ModelSnapshot, RunSnapshot


class Comparable(Protocol):
    """A run, or an observer's copy of it."""

    @property
    def record(self) -> RunManifest:
        """Return the run's manifest."""

    @property
    def snapshot(self) -> RunSnapshot:
        """Return the run's state."""


@dataclass(frozen=True)
class Best:
    """Best result of a run for one model; None if there is none."""

    epochs: int | None
    best_epoch: int | None
    best_loss: float | None
    baseline_loss: float | None


@dataclass(frozen=True)
class RunDiff:
    """Settings that differ as (first, second) by dotted key, and the results of both by model."""

    settings: dict[str, tuple[Any, Any]]
    models: dict[str, tuple[Best, Best]]


def compare_runs(first: Comparable, second: Comparable) -> RunDiff:
    """Compare two runs."""
    asked = [flatten(run.record.settings) for run in (first, second)]
    keys = dict.fromkeys([*asked[0], *asked[1]])
    settings = {key: (asked[0].get(key), asked[1].get(key)) for key in keys}
    reached = [{model.model: model for model in run.snapshot.models} for run in (first, second)]
    models = dict.fromkeys([*reached[0], *reached[1]])
    return RunDiff(
        {key: both for key, both in settings.items() if both[0] != both[1]},
        {model: (_best(reached[0].get(model)), _best(reached[1].get(model))) for model in models},
    )


def _best(model: ModelSnapshot | None) -> Best:
    if model is None or model.best_loss is None:
        return Best(None, None, None, None if model is None else model.baseline_loss)
    return Best(model.epoch, model.best_epoch, model.best_loss, model.baseline_loss)
