"""A run in one row: what lists show of it, and what filters search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kelly_core.runs.labels import RunLabels
from kelly_core.runs.run_dir import RunManifest
from kelly_core.runs.snapshot import ModelSnapshot, RunSnapshot

_TRIALS = "trials"
"""Folder between the output of a sweep and those of its trials."""


@dataclass(frozen=True)
class RunOverview:
    """A run in one row; None where a value is not known, or differs between its models.

    Attributes:
        id, state, output, created: as in ``RunSnapshot``.
        concerns: warnings about the losses of models in training.
        models: names, in the order of training.
        datasets: names of the corpora that its models learn from.
        epoch, epochs: complete epochs and their planned total, over all models.
        losses: best validation losses, one for each model that has one.
        best_epoch: epoch of the best loss of a run of one model.
        gain: mean over the models of 1 - best loss / baseline loss.
        verdicts: what the evaluations of its models found, one word or two each.
        learning_rate: as set for its models.
        seed: random seed.
        duration: seconds from the begin of the latest attempt to the last record.
        tags, note: as a person gave them.
        sweep: name of the folder of its sweep, "" for a run of its own.
        device: as set, such as auto.
    """

    id: str
    state: str
    concerns: tuple[str, ...]
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    output: str
    created: float
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
        """Best validation loss of a run of one model; losses of several models are not comparable."""
        return self.losses[0] if len(self.losses) == len(self.models) == 1 else None


def overview(run: RunSnapshot, record: RunManifest, labels: RunLabels) -> RunOverview:
    """Return a run in one row."""
    planned = [model.epochs for model in run.models]
    output = Path(run.output)
    return RunOverview(
        id=run.id,
        state=run.state,
        concerns=run.concerns,
        models=tuple(model.model for model in run.models),
        datasets=tuple(dict.fromkeys(model.dataset for model in run.models if model.dataset)),
        output=run.output,
        created=run.created,
        epoch=sum(model.epoch for model in run.models),
        epochs=None if None in planned else sum(filter(None, planned)),
        losses=tuple(model.best_loss for model in run.models if model.best_loss is not None),
        best_epoch=run.models[0].best_epoch if len(run.models) == 1 else None,
        gain=_mean(_gain(model) for model in run.models),
        verdicts=tuple(model.verdict.partition(":")[0].partition(";")[0] for model in run.models if model.verdict),
        learning_rate=_common(_setting(record.settings, model.model, "learning_rate") for model in run.models),
        seed=_entry(_entry(record.settings, "training"), "seed"),
        duration=max(0.0, run.updated - run.began) if run.began and run.updated else None,
        tags=labels.tags,
        note=labels.note,
        sweep=output.parent.parent.name if output.parent.name == _TRIALS else "",
        device=str(_entry(_entry(record.settings, "training"), "device") or ""),
    )


def _gain(model: ModelSnapshot) -> float | None:
    if model.best_loss is None or not model.baseline_loss:
        return None
    return 1 - model.best_loss / model.baseline_loss


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _common(values: Iterable[Any]) -> Any:
    """Return the value that all have, None if they differ."""
    # A damaged manifest may hold values that have no hash, so they are compared.
    found = list(values)
    return found[0] if found and all(value == found[0] for value in found) else None


def _setting(settings: dict[str, Any], model: str, name: str) -> Any:
    own = _entry(_entry(_entry(settings, "models"), model), name)
    return _entry(_entry(settings, "training"), name) if own is None else own


def _entry(section: Any, name: str) -> Any:
    """Return an entry of a section; None if a damaged manifest has something else in its place."""
    return section.get(name) if isinstance(section, dict) else None
