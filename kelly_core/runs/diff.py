"""Compare the settings and results of several runs."""

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
    """Settings by dotted key, and results by model, one value for each run in their order."""

    settings: dict[str, tuple[Any, ...]]
    models: dict[str, tuple[Best, ...]]


def compare_runs(*runs: Comparable, only_differences: bool = True) -> RunDiff:
    """Compare runs; a setting that one of them does not have is None there.

    Args:
        runs: two or more.
        only_differences: leave out settings that are the same in all runs.
    """
    asked = [flatten(run.record.settings) for run in runs]
    reached = [{model.model: model for model in run.snapshot.models} for run in runs]
    keys = dict.fromkeys(key for settings in asked for key in settings)
    names = dict.fromkeys(name for models in reached for name in models)
    settings = {key: tuple(each.get(key) for each in asked) for key in keys}
    models = {name: tuple(_best(each.get(name)) for each in reached) for name in names}
    if not only_differences:
        return RunDiff(settings, models)
    return RunDiff({key: values for key, values in settings.items() if _differ(values)}, models)


def relative_change(value: float | None, reference: float | None) -> float | None:
    """Return how much a loss is above that of the reference run, as a share of the latter; None if unknown."""
    return None if value is None or not reference else value / reference - 1


def _differ(values: tuple[Any, ...]) -> bool:
    return any(value != values[0] for value in values)


def _best(model: ModelSnapshot | None) -> Best:
    if model is None or model.best_loss is None:
        return Best(None, None, None, None if model is None else model.baseline_loss)
    return Best(model.epoch, model.best_epoch, model.best_loss, model.baseline_loss)
