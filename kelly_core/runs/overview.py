"""Views of a run for lists, comparisons and charts: one row, differences from other runs, and losses by epoch."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kelly_core import events
from kelly_core.config.loading import MODEL_OVERRIDES, flatten
from kelly_core.config.schema import Settings
from kelly_core.formatting import MISSING
from kelly_core.runs.run_dir import RunLabels, RunManifest
from kelly_core.runs.state import ModelSnapshot, RunSnapshot
from kelly_core.spec import MODELS

_PLACES = frozenset({"output.dir", "runs.dir"})
"""Output folders of a run. They do not influence its results, and they differ between most runs."""

_COMMON = {own: common for common, own in MODEL_OVERRIDES.items()}
"""Settings of [training] by the model setting that overrides them."""

_TRIALS = "trials"
"""Folder in the output of a sweep that contains the outputs of its trials."""


@dataclass(frozen=True, kw_only=True)
class RunOverview(RunSnapshot):
    """A run in one row of a list: its state and a summary of its values.

    A value is None if it is not known or differs between the models of the run.

    Attributes:
        datasets: names of the corpora that its models learn from.
        epoch, epochs: complete epochs and their planned total, over all models.
        losses: best validation loss of each model that has one.
        best_epoch: epoch of the best loss; only for a run of one model.
        gain: mean over the models of 1 - best loss / baseline loss.
        verdicts: verdicts of its models' evaluations, one or two words each.
        learning_rate: the setting for its models.
        seed: random seed.
        duration: seconds from the start of the latest attempt to the last record.
        tags, note: labels that the user set.
        sweep: name of the folder of its sweep; "" if it belongs to no sweep.
        device: the setting, such as auto.
    """

    datasets: tuple[str, ...]
    epoch: int
    epochs: int | None
    losses: tuple[float, ...]
    best_epoch: int | None
    gain: float | None
    verdicts: tuple[str, ...]
    learning_rate: float | None
    seed: int | None
    duration: float | None
    tags: tuple[str, ...]
    note: str
    sweep: str
    device: str

    @property
    def best_loss(self) -> float | None:
        """Best validation loss if the run has one model; losses of different models are not comparable."""
        return self.losses[0] if len(self.losses) == len(self.models) == 1 else None


def overview(run: RunSnapshot, manifest: RunManifest, labels: RunLabels) -> RunOverview:
    """Return a run as one row."""
    planned = [model.epochs for model in run.models]
    output = Path(run.output)
    return RunOverview(
        **vars(run),
        datasets=tuple(dict.fromkeys(model.dataset for model in run.models if model.dataset)),
        epoch=sum(model.epoch for model in run.models),
        epochs=None if None in planned else sum(filter(None, planned)),
        losses=tuple(model.best_loss for model in run.models if model.best_loss is not None),
        best_epoch=run.models[0].best_epoch if len(run.models) == 1 else None,
        gain=_mean(_gain(model) for model in run.models),
        verdicts=tuple(model.verdict.partition(":")[0].partition(";")[0] for model in run.models if model.verdict),
        learning_rate=_common(_setting(manifest.settings, model.model, "learning_rate") for model in run.models),
        seed=_entry(_entry(manifest.settings, "training"), "seed"),
        duration=max(0.0, run.updated - run.began) if run.began and run.updated else None,
        tags=labels.tags,
        note=labels.note,
        sweep=output.parent.parent.name if output.parent.name == _TRIALS else "",
        device=str(_entry(_entry(manifest.settings, "training"), "device") or ""),
    )


def _gain(model: ModelSnapshot) -> float | None:
    if model.best_loss is None or not model.baseline_loss:
        return None
    return 1 - model.best_loss / model.baseline_loss


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _common(values: Iterable[Any]) -> Any:
    """Return the value if all values are equal, else None."""
    # A damaged manifest may contain unhashable values, so they are compared instead of put into a set.
    found = list(values)
    return found[0] if found and all(value == found[0] for value in found) else None


def _setting(settings: dict[str, Any], model: str, name: str) -> Any:
    own = _entry(_entry(_entry(settings, "models"), model), name)
    return _entry(_entry(settings, "training"), name) if own is None else own


def _entry(section: Any, name: str) -> Any:
    """Return an entry of a section; None if it is missing or the section of a damaged manifest is not a table."""
    return section.get(name) if isinstance(section, dict) else None


class Comparable(Protocol):
    """A run or a copy of its state."""

    @property
    def manifest(self) -> RunManifest:
        """Return the run's manifest."""

    @property
    def snapshot(self) -> RunSnapshot:
        """Return the run's state."""


@dataclass(frozen=True)
class Best:
    """Best result of a run for one model; values are None if unknown."""

    epochs: int | None
    best_epoch: int | None
    best_loss: float | None
    baseline_loss: float | None


@dataclass(frozen=True)
class RunDiff:
    """Settings by dotted key and results by model, with one value per run in the order of the runs."""

    settings: dict[str, tuple[Any, ...]]
    models: dict[str, tuple[Best, ...]]


def compare_runs(*runs: Comparable, only_differences: bool = True) -> RunDiff:
    """Compare runs by their effective settings; a missing setting has its default value.

    A setting of a model that is not set has the value of [training] or of the model's specification. It counts as equal
    in two runs that both set it to the same value or both leave it unset. If it is unset in both, only the setting that
    provides its value can differ. An option that repeats the value of [training] for each model counts as one
    difference, in [training].

    Args:
        runs: two or more.
        only_differences: omit settings that are equal in all runs, and the output folders.
    """
    defaults = flatten(Settings().model_dump(mode="json"))
    requested = [defaults | flatten(run.manifest.settings) for run in runs]
    in_force = [dict(_values_in_force(settings)) for settings in requested]
    reached = [{model.model: model for model in run.snapshot.models} for run in runs]
    keys = dict.fromkeys(key for settings in requested for key in settings)
    names = dict.fromkeys(name for models in reached for name in models)
    settings = {key: tuple(each.get(key) for each in in_force) for key in keys}
    models = {name: tuple(_best(each.get(name)) for each in reached) for name in names}
    if not only_differences:
        return RunDiff(settings, models)
    changed = {key for key in keys if _differ([each.get(key) for each in requested]) and key not in _PLACES}
    repeated = {key for key in keys if settings.get(_followed(key)) == settings[key]}
    differences = {key: values for key, values in settings.items() if key in changed - repeated and _differ(values)}
    return RunDiff(differences, models)


def _followed(key: str) -> str:
    """Return the setting of [training] that provides the value of an unset model setting; "" if there is none."""
    section, _, rest = key.partition(".")
    return _COMMON.get(rest.partition(".")[2], "") if section == "models" else ""


def _values_in_force(settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield every setting of a run by dotted key; a model setting of None gets the value that applies to it."""
    losses = {spec.name: spec.loss for spec in MODELS}
    for key, value in settings.items():
        section, _, rest = key.partition(".")
        model, _, name = rest.partition(".")
        if value is None and section == "models":
            value = losses.get(model) if name == "loss" else settings.get(_followed(key))
        yield key, value


def setting_text(value: Any) -> str:
    """Return the value of a setting as text for a comparison."""
    return MISSING if value in (None, "") else str(value)


def relative_change(value: float | None, reference: float | None) -> float | None:
    """Return the relative difference of a loss from a reference loss; None if either is unknown."""
    return None if value is None or not reference else value / reference - 1


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _best(model: ModelSnapshot | None) -> Best:
    if model is None or model.best_loss is None:
        return Best(None, None, None, None if model is None else model.baseline_loss)
    return Best(model.epoch, model.best_epoch, model.best_loss, model.baseline_loss)


def _numbers() -> array[float]:
    return array("d")


@dataclass
class Curves:
    """Losses of one model by epoch; ``best`` is the index of the lowest validation loss.

    The values are arrays because the garbage collector visits every number of a list in each collection.
    """

    epochs: array[float] = field(default_factory=_numbers)
    train_loss: array[float] = field(default_factory=_numbers)
    val_loss: array[float] = field(default_factory=_numbers)
    learning_rate: array[float] = field(default_factory=_numbers)
    frames_per_second: array[float] = field(default_factory=_numbers)
    best: int | None = None

    def add(self, event: events.EpochDone) -> None:
        """Add an epoch; an epoch repeated after a resume replaces the earlier one."""
        if self.epochs and self.epochs[-1] >= event.epoch:
            self._cut(bisect_left(self.epochs, event.epoch))
        self.epochs.append(event.epoch)
        new = (event.train_loss, event.val_loss, event.learning_rate, event.frames_per_second)
        for values, value in zip(self._values(), new, strict=True):
            values.append(value)
        self.note_best(len(self.epochs) - 1)

    def copy(self) -> Curves:
        """Return an independent copy."""
        return deepcopy(self)

    def _cut(self, length: int) -> None:
        for values in (self.epochs, *self._values()):
            del values[length:]
        self.best = None
        for index in range(length):
            self.note_best(index)

    def note_best(self, index: int) -> None:
        """Record an epoch as the best one if its validation loss is the lowest so far."""
        loss = self.val_loss[index]
        if not math.isnan(loss) and (self.best is None or loss < self.val_loss[self.best]):
            self.best = index

    def _values(self) -> tuple[array[float], ...]:
        return self.train_loss, self.val_loss, self.learning_rate, self.frames_per_second


def thinned(
    xs: Sequence[float], ys: Sequence[float], columns: int, first: int = 0, end: int | None = None, *, log: bool = False
) -> Iterator[tuple[float, float]]:
    """Yield the points of a curve, at most two per column of a plot: the minimum and the maximum in their order.

    Columns have the same number of points: one more epoch changes only the last column. A column without a drawable
    value yields NaN or another undrawable value.

    Args:
        xs, ys: coordinates of the points.
        columns: width of the plot.
        first, end: range of the points; ``end`` None means up to the last point.
        log: draw on a logarithmic scale, where values must be positive.
    """
    end = len(xs) if end is None else end
    if end - first <= 2 * columns:
        yield from zip(xs[first:end], ys[first:end], strict=True)
        return
    # Imported here to open the first screen sooner. NumPy is used because each redraw may scan 100,000 points.
    import numpy as np

    values = np.asarray(ys, dtype=np.float64)[first:end]
    drawable = np.isfinite(values) & (values > 0) if log else np.isfinite(values)
    size = -(-len(values) // columns)
    # Copies of the last value fill the last column; argmin and argmax return the first equal value, which has an x.
    free = -len(values) % size
    starts = np.arange(first, end, size)
    filled = [values] if drawable.all() else [np.where(drawable, values, filler) for filler in (np.inf, -np.inf)]
    by_column = [np.pad(each, (0, free), "edge").reshape(-1, size) for each in filled]
    indices = np.sort([starts + by_column[0].argmin(axis=1), starts + by_column[-1].argmax(axis=1)], axis=0)
    for index, other in indices.T.tolist():
        yield xs[index], ys[index]
        if other != index:
            yield xs[other], ys[other]
