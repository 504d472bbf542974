"""A complete training: dataset, training and export of each model."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence

from kelly_core.config.schema import Settings
from kelly_core.data.catalog import open_dataset
from kelly_core.data.dataset import Dataset
from kelly_core.data.leakage import find_leakage, implausible_gain
from kelly_core.errors import KellyError
from kelly_core.evaluation.baselines import constant_loss
from kelly_core.events import Exported, Listener, ModelResult, TrainingWarning
from kelly_core.features.extraction import Progress
from kelly_core.spec import CHAIN_MODELS, ModelSpec
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


def train_models(
    settings: Settings,
    specs: Sequence[ModelSpec],
    *,
    resume: bool = False,
    renew_patience: bool = False,
    listen: Listener = lambda _event: None,
    should_stop: Callable[[], bool] = lambda: False,
    should_roll_back: Callable[[str], bool] = lambda _model: False,
    take_changes: Callable[[str], Mapping[str, float]] = lambda _model: {},
    unsaved_rate: float | None = None,
    progress: Callable[[str], Progress | None] = lambda _dataset: None,
) -> list[ModelResult]:
    """Train and export several models, one after the other.

    If the data or the checkpoint of a model cannot be used, its result has the error and the others are trained.

    Args:
        settings: all of them; ``settings.output.dir`` gets the exports.
        specs: the models, in order.
        resume: go on from the latest checkpoints.
        renew_patience: let one that early stopping has ended go on, too.
        listen: gets every event.
        should_stop: asked after each step; True ends the training and leaves out the models that follow.
        should_roll_back: called after each step; whether the named model returns to its best weights.
        take_changes: called before each epoch; new settings of the named model, see ``Trainer``.
        unsaved_rate: see ``Trainer.fit``.
        progress: gives the callback for a corpus's features.
    """
    results = []
    for spec in specs:
        results.append(
            _train_one(
                settings,
                spec,
                resume,
                renew_patience,
                listen,
                should_stop,
                should_roll_back,
                take_changes,
                unsaved_rate,
                progress,
            )
        )
        if should_stop():
            break
    return results


def _train_one(
    settings: Settings,
    spec: ModelSpec,
    resume: bool,
    renew_patience: bool,
    listen: Listener,
    should_stop: Callable[[], bool],
    should_roll_back: Callable[[str], bool],
    take_changes: Callable[[str], Mapping[str, float]],
    unsaved_rate: float | None,
    progress: Callable[[str], Progress | None],
) -> ModelResult:
    started = time.monotonic()
    corpus = settings.models[spec.name].dataset
    dataset: Dataset | None = None
    result: TrainingResult | None = None
    export: str | None = None
    error = ""
    try:
        dataset = open_dataset(corpus, settings, progress(corpus))
        for alarm in _data_warnings(spec, dataset, settings):
            listen(alarm)
        output = settings.output.dir
        trainer = Trainer(
            spec,
            dataset,
            training_settings(settings, spec),
            output,
            listen=listen,
            should_stop=should_stop,
            should_roll_back=lambda: should_roll_back(spec.name),
            take_changes=lambda: take_changes(spec.name),
        )
        result = trainer.fit(resume=resume, renew_patience=renew_patience, unsaved_rate=unsaved_rate)
        if leak := _gain_leak(trainer, settings, result):
            listen(TrainingWarning(spec.name, "leak", f"LEAK? {leak}"))
        if result.checkpoint is not None:
            path = output / f"{spec.file_stem}.json"
            export = str(path)
            keep_best = settings.output.keep_best
            replacement = replace_export(result.checkpoint, path, settings.output.layout, keep_best=keep_best)
            if replacement.text:
                listen(TrainingWarning(spec.name, "replaced", replacement.text))
            if replacement.written:
                listen(Exported(spec.name, export))
    except KellyError as fault:
        error = str(fault)
    except Exception as fault:
        if spec in CHAIN_MODELS:
            raise
        # The code of an installed package may raise anything; it must not cost the other models.
        error = f"unexpected {type(fault).__name__}: {fault}"
        traceback.print_exc()
    return ModelResult(
        model=spec.name,
        dataset=corpus,
        synthetic=dataset is not None and dataset.synthetic,
        export=export,
        reason=None if result is None else result.reason,
        epochs=0 if result is None else result.epoch,
        metrics={} if result is None else result.metrics,
        seconds=time.monotonic() - started,
        error=error,
        verdict=result.quality.summary() if result and result.quality else "",
    )


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
        yield TrainingWarning(spec.name, "synthetic", f"training on synthetic data, as asked, instead of {corpus}")
    elif dataset.synthetic:
        yield TrainingWarning(spec.name, "synthetic", f"{missing}: training on SYNTHETIC data instead")
    elif corpus not in dataset.rows.corpora:
        yield TrainingWarning(spec.name, "missing", f"{missing}: training on {dataset.name} ALONE instead")
    for warning in dataset.warnings:
        yield TrainingWarning(spec.name, "split", warning)
    if dataset.made_by_rules:
        yield TrainingWarning(
            spec.name, "made_by_rules", f"{dataset.name} is made by rules: the figures say nothing about real music"
        )
    if leaks := find_leakage(dataset):
        yield TrainingWarning(spec.name, "leak", f"LEAK in {dataset.name}: {'; '.join(leaks)}")
