"""The one training loop of all five models."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from kelly_core.data.dataset import Dataset
from kelly_core.errors import CheckpointError, TrainingError
from kelly_core.events import CheckpointSaved, Listener, ModelEnded, TrainingWarning
from kelly_core.export.quality_record import QualityRecord
from kelly_core.io.atomic import remove_leftovers
from kelly_core.spec import ModelSpec
from kelly_core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kelly_core.training.device import cpu_workers, resolve_device
from kelly_core.training.evaluation import evaluate_network
from kelly_core.training.history import write_history
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.losses import check_loss
from kelly_core.training.plots import plot_losses
from kelly_core.training.trainer import Asked, Trainer

Reason = Literal["epochs_done", "early_stopping", "stopped", "diverged"]
CheckpointKind = Literal["best", "latest", "interval"]

MAX_ROLLBACKS = 3
DIVERGENCE = 10.0
"""A validation loss so many times that of the first epoch, or of the best, is no learning any more."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training reached.

    Attributes:
        reason: why it ended.
        epoch: complete epochs.
        metrics: figures of the best epoch: ``best_epoch``, ``val_loss``, ``baseline_loss``, and on synthetic data
            ``bayes_loss`` and ``epsilon``.
        checkpoint: the training as it ended, with the best weights; None when no weights were ever measured.
        quality: of the best weights; None when no weights were ever measured.
    """

    reason: Reason
    epoch: int
    metrics: dict[str, Any]
    checkpoint: Checkpoint | None
    quality: QualityRecord | None


@dataclass(frozen=True)
class TrainingPaths:
    """Where one model's training leaves its files."""

    output: Path
    stem: str

    @property
    def best(self) -> Path:
        """Checkpoint with the best weights."""
        return self.output / "checkpoints" / f"{self.stem}_best.pt"

    @property
    def latest(self) -> Path:
        """Checkpoint of the last complete epoch."""
        return self.output / "checkpoints" / f"{self.stem}_latest.pt"

    def of_epoch(self, epoch: int) -> Path:
        """Checkpoint kept by ``save_interval``."""
        return self.output / "checkpoints" / f"{self.stem}_epoch{epoch:04d}.pt"

    @property
    def history(self) -> Path:
        """History as JSON; the CSV is beside it."""
        return self.output / "history" / f"{self.stem}_history.json"

    @property
    def plot(self) -> Path:
        """Loss curves."""
        return self.output / "plots" / f"{self.stem}_loss.png"


def fit(
    spec: ModelSpec,
    dataset: Dataset,
    settings: Hyperparameters,
    output: Path,
    *,
    resume: bool = False,
    renew_patience: bool = False,
    listen: Listener = lambda _event: None,
    should_stop: Asked = lambda: False,
    should_roll_back: Asked = lambda: False,
) -> TrainingResult:
    """Train one model, keep its checkpoints, history and plot.

    A stop is answered after the step in hand; the epoch in progress is then not counted, so that a resume repeats it
    and ends with the very weights of a training that was never stopped.

    Args:
        spec: the model.
        dataset: examples of the model's sizes.
        settings: how to train.
        output: folder for checkpoints, history and plots.
        resume: go on from the latest checkpoint, or from the beginning where there is none.
        renew_patience: let a training that early stopping has ended go on, too.
        listen: gets every event.
        should_stop: asked after each step.
        should_roll_back: asked after each step; True drops the epoch in progress, and the training goes on from its
            best weights with half the learning rate.

    Raises:
        ConfigError: the loss needs another output than the model's.
        TrainingError: the dataset does not fit the model, or the device is not there.
        CheckpointError: the checkpoint to resume is damaged, or of another training; nothing is overwritten.
    """
    if (dataset.input_size, dataset.output_size) != (spec.input_size, spec.output_size):
        raise TrainingError(f"{dataset.name} does not have the inputs and outputs of {spec.name}")
    check_loss(settings.loss, spec)
    device = resolve_device(settings.device)
    paths = TrainingPaths(output, spec.file_stem)
    remove_leftovers(paths.latest.parent, spec.file_stem)
    with cpu_workers(settings.threads) as workers:
        loop = Trainer(spec, dataset, settings, device, workers)
        if resume:
            _resume(loop, paths.latest, listen)
            if renew_patience:
                loop.stopping.renew()
        listen(loop.started())
        reason = _run(loop, paths, listen, should_stop, should_roll_back)
        quality = _assess(loop, paths, reason) if loop.measured else None
    if settings.save_plots and loop.history:
        plot_losses(paths.plot, f"{spec.name} on {loop.data_name}", loop.history, loop.metrics())
    listen(ModelEnded(spec.name, reason, loop.epoch, loop.stopping.best_epoch, loop.stopping.best_loss))
    checkpoint = replace(loop.checkpoint(), quality=quality.to_json()) if quality else None
    return TrainingResult(reason, loop.epoch, loop.metrics(), checkpoint, quality)


def _run(loop: Trainer, paths: TrainingPaths, listen: Listener, should_stop: Asked, should_roll_back: Asked) -> Reason:
    """Epoch after epoch until there is a reason to end; the loop then is as after its last complete epoch."""
    last = loop.checkpoint()
    best = _best_so_far(last, paths)
    while loop.epoch < loop.settings.epochs:
        if loop.stopping.exhausted:
            return "early_stopping"
        started = time.perf_counter()
        try:
            train_loss = loop.train_epoch(listen, lambda: should_stop() or should_roll_back())
            seconds = time.perf_counter() - started
            val_loss = None if train_loss is None else loop.validate()
        except torch.OutOfMemoryError as error:
            _split_batches(loop, last, listen, error)
            continue
        if train_loss is None or val_loss is None:
            if should_stop():
                _keep_stopped(loop, last, paths, listen)
                return "stopped"
            last = _roll_back(loop, best, paths, listen, "as asked", by_hand=True)
            continue
        if trouble := _trouble(loop, train_loss, val_loss):
            if loop.rollbacks == MAX_ROLLBACKS:
                listen(TrainingWarning(loop.spec.name, "diverged", f"{trouble}, for the fourth time: giving up"))
                loop.restore(last)
                return "diverged"
            last = _roll_back(loop, best, paths, listen, trouble, by_hand=False)
            continue
        improved = loop.record_epoch(train_loss, val_loss, seconds)
        last = loop.checkpoint()
        best = last if improved else best
        _save(loop, last, paths, improved, listen)
        listen(loop.epoch_done())
        if loop.watch.is_new and loop.watch.concern:
            listen(TrainingWarning(loop.spec.name, loop.watch.concern, loop.watch.advice(loop.stopping.patience_left)))
    return "epochs_done"


def _best_so_far(last: Checkpoint, paths: TrainingPaths) -> Checkpoint:
    """Where to roll back to: of a resumed training the best checkpoint if it is kept, else where it goes on from."""
    if last.epoch and paths.best.exists():
        best = load_checkpoint(paths.best)
        if best.weights_hash() == last.weights_hash():
            return best
    return last


def _trouble(loop: Trainer, train_loss: float, val_loss: float) -> str:
    """What is wrong with an epoch's losses, "" if nothing is."""
    if not np.isfinite([train_loss, val_loss]).all():
        return f"the loss of epoch {loop.epoch + 1} is not a finite number"
    if loop.history and val_loss > DIVERGENCE * max(loop.history[0]["val_loss"], loop.stopping.best_loss):
        return f"the validation loss of epoch {loop.epoch + 1} has run away to {val_loss:.4g}"
    return ""


def _roll_back(
    loop: Trainer, best: Checkpoint, paths: TrainingPaths, listen: Listener, why: str, *, by_hand: bool
) -> Checkpoint:
    """Go back to the best weights, say so, and give the state from which it goes on.

    What a person asked for must not be forgotten where the training ends before its next epoch does, so it is saved;
    a loss that runs away does so again.
    """
    loop.roll_back(best, by_hand=by_hand)
    last = loop.checkpoint()
    where = f"epoch {loop.epoch}" if loop.epoch else "the beginning"
    message = f"{why}: back to {where} with a learning rate of {loop.optimiser.learning_rate:.3g}"
    listen(TrainingWarning(loop.spec.name, "rollback", message))
    if by_hand and loop.epoch and loop.settings.save_latest:
        _save_as("latest", last, paths.latest, listen)
    return last


def _split_batches(loop: Trainer, last: Checkpoint, listen: Listener, error: torch.OutOfMemoryError) -> None:
    """Let batches go through the network in twice as many parts; the gradient of a step stays what it was.

    Raises:
        TrainingError: not even a single example fits.
    """
    parts = 2 * loop.parts
    if parts > loop.settings.batch_size:
        hint = "Use another device, or shorter sequences"
        raise TrainingError(f"not one example of {loop.spec.name} fits into memory", hint=hint) from error
    loop.restore(last)
    loop.parts = parts
    if loop.device.type == "cuda":
        torch.cuda.empty_cache()
    size = -(-loop.settings.batch_size // parts)
    message = f"out of memory: steps of {loop.settings.batch_size} examples are computed {size} at a time"
    listen(TrainingWarning(loop.spec.name, "out_of_memory", message))


def _save(loop: Trainer, checkpoint: Checkpoint, paths: TrainingPaths, improved: bool, listen: Listener) -> None:
    settings = loop.settings
    at_interval = settings.save_interval > 0 and loop.epoch % settings.save_interval == 0
    wanted: list[tuple[CheckpointKind, Path, bool]] = [
        ("best", paths.best, settings.save_best and improved),
        ("interval", paths.of_epoch(loop.epoch), at_interval),
        ("latest", paths.latest, settings.save_latest),
    ]
    for kind, path, due in wanted:
        if due:
            _save_as(kind, checkpoint, path, listen)
    if settings.save_history:
        write_history(paths.history, loop.spec.name, loop.history, loop.metrics())


def _save_as(kind: CheckpointKind, checkpoint: Checkpoint, path: Path, listen: Listener) -> None:
    save_checkpoint(checkpoint, path)
    listen(CheckpointSaved(checkpoint.model, checkpoint.epoch, kind, str(path)))


def _keep_stopped(loop: Trainer, last: Checkpoint, paths: TrainingPaths, listen: Listener) -> None:
    """Go back to the last complete epoch and make sure that it can be resumed.

    A training stopped in its first epoch keeps what weights it has as the best, so that there is something, unless a
    former training left a checkpoint there, which is worth more.
    """
    if loop.epoch:
        loop.restore(last)
        if not loop.settings.save_latest:
            _save_as("latest", last, paths.latest, listen)
        return
    if paths.best.exists():
        return
    loop.update(loop.validate())
    if loop.measured and loop.settings.save_best:
        _save_as("best", loop.checkpoint(), paths.best, listen)


def _assess(loop: Trainer, paths: TrainingPaths, reason: Reason) -> QualityRecord:
    """Measure the best weights; what was found goes into the checkpoints that hold them, and into the history.

    A training killed before this is done finds itself complete at a resume, and does it then.
    """
    settings = loop.settings
    best = loop.checkpoint().best().to(loop.device)
    quality = evaluate_network(best, loop.dataset, settings, loop.parallel_map)
    weights = loop.checkpoint().weights_hash()
    kept = [(settings.save_best, paths.best), (settings.save_latest or reason == "stopped", paths.latest)]
    for path in [path for wanted, path in kept if wanted and path.exists()]:
        saved = load_checkpoint(path)
        if saved.weights_hash() == weights:
            save_checkpoint(replace(saved, quality=quality.to_json()), path)
    if settings.save_history and loop.history:
        write_history(paths.history, loop.spec.name, loop.history, loop.metrics(), quality.to_json())
    return quality


def _resume(loop: Trainer, latest: Path, listen: Listener) -> None:
    """Put the latest checkpoint into the loop, if there is one and it is of the same training."""
    if not latest.exists():
        message = f"nothing to resume in {latest.parent}: starting at the beginning"
        listen(TrainingWarning(loop.spec.name, "nothing_to_resume", message))
        return
    try:
        checkpoint = load_checkpoint(latest)
    except CheckpointError as error:
        hint = error.hint or "Start without --resume to train from the beginning"
        raise CheckpointError(error.problem, where=error.where, hint=hint) from error
    if checkpoint.model != loop.spec.name:
        raise CheckpointError(f"is of {checkpoint.model}, not {loop.spec.name}", where=latest)
    if checkpoint.dataset["fingerprint"] != loop.dataset.fingerprint:
        hint = "Give the data of that time, or another --output, or start without --resume"
        raise CheckpointError("was trained on other examples or another split", where=latest, hint=hint)
    judging = 0 if loop.dataset.judging is None else len(loop.dataset.judging)
    if checkpoint.dataset.get("judging_examples", 0) != judging:
        hint = "Start without --resume; only the version that wrote it can continue it"
        raise CheckpointError("chose its best epoch on other validation examples", where=latest, hint=hint)
    for name, value in loop.settings.resume_critical().items():
        if checkpoint.settings[name] != value:
            hint = "A resumed training keeps its settings; start without --resume to change them"
            problem = f"was trained with {name} = {checkpoint.settings[name]}, not {value}"
            raise CheckpointError(problem, where=latest, hint=hint)
    loop.restore(checkpoint)
