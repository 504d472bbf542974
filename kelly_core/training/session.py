"""A complete training: dataset, training and export of a model."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kelly_core.config.schema import OutputSettings, Settings
from kelly_core.data.catalog import open_dataset
from kelly_core.data.dataset import Dataset
from kelly_core.data.leakage import find_leakage, implausible_gain
from kelly_core.errors import KellyError
from kelly_core.evaluation.baselines import constant_loss
from kelly_core.events import Exported, Listener, ModelResult, TrainingWarning
from kelly_core.features.extraction import Progress
from kelly_core.spec import CHAIN_MODELS, ModelSpec
from kelly_core.training.checkpoint import Checkpoint
from kelly_core.training.exporting import replace_export
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.trainer import Trainer, TrainingResult


def training_settings(settings: Settings, spec: ModelSpec) -> Hyperparameters:
    """Return the hyperparameters of one model; its own section overrides [training]."""
    common, own = settings.training, settings.models[spec.name]
    stopping, checkpointing = common.early_stopping, common.checkpointing
    return Hyperparameters(
        epochs=own.epochs or common.epochs,
        batch_size=own.batch_size or common.batch_size,
        learning_rate=own.learning_rate or common.learning_rate,
        loss=own.loss or spec.loss,
        state=own.state,
        gradient_clip=common.gradient_clip,
        patience=stopping.patience if own.patience is None else own.patience,
        min_delta=stopping.min_delta,
        save_best=checkpointing.save_best,
        save_latest=checkpointing.save_latest,
        save_interval=checkpointing.save_interval,
        seed=common.seed,
        device=common.device,
        threads=common.threads,
        save_history=settings.output.history,
        save_plots=settings.output.plots,
    )


@dataclass(frozen=True)
class Requests:
    """Functions that a training calls to learn what its observers request.

    Attributes:
        should_stop: called after each step; True ends the training.
        should_roll_back: called after each step; True returns the named model to its best weights.
        take_changes: called before each epoch; new settings of the named model, see ``Trainer``.
    """

    should_stop: Callable[[], bool] = lambda: False
    should_roll_back: Callable[[str], bool] = lambda _model: False
    take_changes: Callable[[str], Mapping[str, float]] = lambda _model: {}


def train_model(
    settings: Settings,
    spec: ModelSpec,
    *,
    resume: bool = False,
    renew_patience: bool = False,
    unsaved_rate: float | None = None,
    listen: Listener = lambda _event: None,
    requests: Requests = Requests(),
    progress: Callable[[str], Progress | None] = lambda _dataset: None,
) -> ModelResult:
    """Train and export one model. If its data or its checkpoint cannot be used, the result has the error.

    Args:
        settings: all settings; ``settings.output.dir`` receives the export.
        spec: the model.
        resume, renew_patience, unsaved_rate: see ``Trainer.fit``.
        listen: receives every event.
        requests: polled between steps.
        progress: returns the progress callback for a corpus's features.
    """
    started = time.monotonic()
    training = _ModelTraining(settings, spec, listen)
    error = ""
    try:
        dataset = training.open_data(progress)
        result = training.fit(dataset, requests, resume, renew_patience, unsaved_rate)
        training.export(result)
    except KellyError as fault:
        error = str(fault)
    except Exception as fault:
        if spec in CHAIN_MODELS:
            raise
        # The code of an installed package may raise anything; it must not cost the other models.
        error = f"unexpected {type(fault).__name__}: {fault}"
        traceback.print_exc()
    return training.outcome(error, time.monotonic() - started)


class _ModelTraining:
    """Steps of a complete training. Results of the earlier ones stay known if a later one fails."""

    def __init__(self, settings: Settings, spec: ModelSpec, listen: Listener) -> None:
        self._settings, self._spec, self._listen = settings, spec, listen
        self._corpus = settings.models[spec.name].dataset
        self._dataset: Dataset | None = None
        self._result: TrainingResult | None = None
        self._export: Path | None = None

    def open_data(self, progress: Callable[[str], Progress | None]) -> Dataset:
        """Open the examples and warn about them."""
        dataset = self._dataset = open_dataset(self._corpus, self._settings, progress(self._corpus))
        for warning in _data_warnings(self._spec, dataset, self._settings):
            self._listen(warning)
        return dataset

    def fit(
        self, dataset: Dataset, requests: Requests, resume: bool, renew_patience: bool, unsaved_rate: float | None
    ) -> TrainingResult:
        """Train, and warn if the result is better than real music allows."""
        name = self._spec.name
        trainer = Trainer(
            self._spec,
            dataset,
            training_settings(self._settings, self._spec),
            self._settings.output.dir,
            listen=self._listen,
            should_stop=requests.should_stop,
            should_roll_back=partial(requests.should_roll_back, name),
            take_changes=partial(requests.take_changes, name),
        )
        result = self._result = trainer.fit(resume=resume, renew_patience=renew_patience, unsaved_rate=unsaved_rate)
        if leak := _gain_leak(trainer, self._settings, result):
            self._listen(TrainingWarning(name, "leak", f"LEAK? {leak}"))
        return result

    def export(self, result: TrainingResult) -> None:
        """Export the best weights, if an epoch was completed."""
        if result.checkpoint is not None:
            self._export = export_checkpoint(result.checkpoint, self._settings.output, self._listen)

    def outcome(self, error: str, seconds: float) -> ModelResult:
        """Return what is known after the last step, or after the one that failed with ``error``."""
        result = self._result
        return ModelResult(
            model=self._spec.name,
            dataset=self._corpus,
            synthetic=self._dataset is not None and self._dataset.synthetic,
            export=None if self._export is None else str(self._export),
            reason=None if result is None else result.reason,
            epochs=0 if result is None else result.epoch,
            metrics={} if result is None else result.metrics,
            seconds=seconds,
            error=error,
            verdict=result.quality.summary() if result and result.quality else "",
        )


def export_checkpoint(checkpoint: Checkpoint, output: OutputSettings, listen: Listener) -> Path:
    """Export the best weights of a checkpoint, report what is replaced or kept, and return the path of the export."""
    path = output.dir / f"{checkpoint.spec.file_stem}.json"
    replacement = replace_export(checkpoint, path, output.layout, keep_best=output.keep_best)
    if replacement.text:
        listen(TrainingWarning(checkpoint.model, "replaced", replacement.text))
    if replacement.written:
        listen(Exported(checkpoint.model, str(path)))
    return path


def _gain_leak(trainer: Trainer, settings: Settings, result: TrainingResult) -> str:
    """Return a warning about an implausible gain; bounds are known for real music and the model's own loss only.

    The gain is that of the quality record, in which the musical context is unknown: the context of the scored
    notes may help more than any emotion can.
    """
    spec, dataset = trainer.spec, trainer.dataset
    own_loss = settings.models[spec.name].loss in (None, spec.loss)
    real_music = not (dataset.synthetic or dataset.made_by_rules)
    loss = result.quality.metrics["loss"] if result.quality else None
    if not real_music or not own_loss or loss is None:
        return ""
    scored = dataset.validation if dataset.judging is None else dataset.judging
    return implausible_gain(spec, loss, constant_loss(dataset, spec.loss, trainer.constant, scored))


def _data_warnings(spec: ModelSpec, dataset: Dataset, settings: Settings) -> Iterator[TrainingWarning]:
    """Yield the warnings about the data before the training begins."""
    corpus = settings.models[spec.name].dataset
    missing = f"{corpus} is not in {settings.datasets.folder(corpus)}"
    if settings.datasets.use_synthetic:
        yield TrainingWarning(spec.name, "synthetic", f"training on synthetic data, as requested, instead of {corpus}")
    elif dataset.synthetic:
        yield TrainingWarning(spec.name, "synthetic", f"{missing}: training on SYNTHETIC data instead")
    elif corpus not in dataset.rows.corpora:
        yield TrainingWarning(spec.name, "missing", f"{missing}: training on {dataset.name} ALONE instead")
    for warning in dataset.warnings:
        yield TrainingWarning(spec.name, "split", warning)
    if dataset.made_by_rules:
        yield TrainingWarning(
            spec.name, "made_by_rules", f"{dataset.name} is made by rules: the metrics say nothing about real music"
        )
    if leaks := find_leakage(dataset):
        yield TrainingWarning(spec.name, "leak", f"LEAK in {dataset.name}: {'; '.join(leaks)}")
