"""A complete training: dataset, training and export of a model."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
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
from kelly_core.training.hyperparameters import training_settings
from kelly_core.training.trainer import Requests, Trainer, TrainingResult


def train_model(
    settings: Settings,
    spec: ModelSpec,
    *,
    resume: bool = False,
    renew_patience: bool = False,
    unsaved_rate: float | None = None,
    listen: Listener = lambda _event: None,
    requests: Requests = Requests(),  # noqa: B008 - immutable
    progress: Callable[[str], Progress | None] = lambda _dataset: None,
) -> ModelResult:
    """Train and export one model. If its data or its checkpoint cannot be used, the result contains the error.

    Args:
        settings: all settings; ``settings.output.dir`` receives the export.
        spec: the model.
        resume, renew_patience, unsaved_rate: see ``Trainer.fit``.
        listen: receives every event.
        requests: polled between steps.
        progress: returns the progress callback for a corpus's features.
    """
    started = time.monotonic()
    corpus = settings.models[spec.name].dataset
    # The results of earlier steps are kept if a later one fails.
    done = ModelResult(spec.name, corpus, False, None, None, 0, {}, 0.0)
    try:
        dataset = open_dataset(corpus, settings, progress(corpus))
        done = replace(done, synthetic=dataset.synthetic)
        for warning in _data_warnings(spec, dataset, settings):
            listen(warning)
        own = training_settings(settings, spec)
        trainer = Trainer(spec, dataset, own, settings.output.dir, listen=listen, requests=requests)
        result = trainer.fit(resume=resume, renew_patience=renew_patience, unsaved_rate=unsaved_rate)
        verdict = result.quality.summary() if result.quality else ""
        done = replace(done, reason=result.reason, epochs=result.epoch, metrics=result.metrics, verdict=verdict)
        if leak := _gain_leak(trainer, settings, result):
            listen(TrainingWarning(spec.name, "leak", f"LEAK? {leak}"))
        # None if no epoch was completed.
        if result.checkpoint is not None:
            done = replace(done, export=str(export_checkpoint(result.checkpoint, settings.output, listen)))
    except KellyError as error:
        done = replace(done, error=str(error))
    except Exception as error:
        if spec in CHAIN_MODELS:
            raise
        # The code of an installed package may raise any exception, which must not end the training of the other models.
        done = replace(done, error=f"unexpected {type(error).__name__}: {error}")
        traceback.print_exc()
    return replace(done, seconds=time.monotonic() - started)


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

    The gain comes from the quality record, in which the musical context is unknown: the context of the scored
    notes may help more than any emotion can.
    """
    spec, dataset = trainer.spec, trainer.dataset
    default_loss = settings.models[spec.name].loss in (None, spec.loss)
    real_music = not (dataset.synthetic or dataset.made_by_rules)
    loss = result.quality.metrics["loss"] if result.quality else None
    if not real_music or not default_loss or loss is None:
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
            spec.name, "made_by_rules", f"{dataset.name} is made by rules: the metrics do not apply to real music"
        )
    if leaks := find_leakage(dataset):
        yield TrainingWarning(spec.name, "leak", f"LEAK in {dataset.name}: {'; '.join(leaks)}")
