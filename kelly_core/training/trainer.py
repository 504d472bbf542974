"""The training loop of all models."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kelly_core.data.dataset import Dataset
from kelly_core.errors import TrainingError
from kelly_core.evaluation.baselines import best_constant, constant_loss
from kelly_core.evaluation.evaluate import metrics_of
from kelly_core.events import (
    BatchDone,
    EndReason,
    EpochDone,
    Listener,
    ModelEnded,
    ModelStarted,
    SettingsChanged,
    TrainingWarning,
    WarningKind,
)
from kelly_core.export.quality_record import QualityRecord
from kelly_core.spec import ModelSpec
from kelly_core.training.adam import FlatAdam
from kelly_core.training.backprop import GradientAccumulator, Map
from kelly_core.training.batches import BatchLoader, TensorBatch
from kelly_core.training.checkpoint import Checkpoint, describe_dataset, random_states, restore_random_states
from kelly_core.training.device import cpu_workers, resolve_device
from kelly_core.training.evaluation import evaluate_network
from kelly_core.training.exporting import fold_normalization
from kelly_core.training.files import TrainingFiles
from kelly_core.training.history import EpochRow, epoch_row
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.loss_monitor import EarlyStopping, LossMonitor, divergence
from kelly_core.training.losses import LossSums, check_loss, mean_loss, weighted_loss
from kelly_core.training.networks import build_network, copy_weights, start_at, update_average, weights_of
from kelly_core.training.plots import plot_losses

MAX_ROLLBACKS = 3
_SECONDS_BETWEEN_BATCH_EVENTS = 0.5
_GENERATED_EXAMPLES = 256
"""Generated examples for the initial output; they are not stored, and generating all of them would take a minute."""


@dataclass(frozen=True)
class TrainingResult:
    """Result of one training.

    Attributes:
        reason: why it ended.
        epoch: complete epochs.
        metrics: best epoch: ``best_epoch``, ``val_loss``, ``baseline_loss``, and on synthetic data
            ``bayes_loss`` and ``epsilon``.
        checkpoint, quality: final state with the best weights, and their quality; None if no weights were validated.
    """

    reason: EndReason
    epoch: int
    metrics: dict[str, Any]
    checkpoint: Checkpoint | None
    quality: QualityRecord | None


@dataclass(frozen=True)
class Requests:
    """Functions that a training calls to get the requests of its observers.

    Attributes:
        should_stop: polled after each step; True ends the training.
        should_roll_back: polled after each step; True drops the current epoch, and the training of the named model
            continues from its best weights with at most half the learning rate.
        take_changes: polled before each epoch; new values of ``learning_rate``, ``patience`` and ``epochs`` of the
            named model.
    """

    should_stop: Callable[[], bool] = lambda: False
    should_roll_back: Callable[[str], bool] = lambda _model: False
    take_changes: Callable[[str], Mapping[str, float]] = lambda _model: {}


class Trainer:
    """Training of one model, with its checkpoints, history and plot.

    A stop takes effect after the current step. The interrupted epoch is not counted, so that a resumed training
    repeats it and ends with exactly the weights of an uninterrupted one.

    Attributes:
        evaluated: the network that is validated and exported: ``network``, or one with the moving mean of its weights.
        epoch: complete epochs.
        rollbacks: automatic rollbacks so far.
        batches: the examples, split as the device's memory requires.
        stopping: best loss and early stopping.
        loss_monitor: detects plateaus and overfitting.
        history: one row per epoch.
        constant: best constant output on the training examples, [out].
        baseline: validation loss of that output.
        parallel_map: computes micro-batches, in parallel if that is faster.

    Args:
        spec: the model.
        dataset: examples of the model's sizes.
        settings: hyperparameters.
        output: folder for checkpoints, history and plots.
        listen: receives every event.
        requests: polled between steps and between epochs.

    Raises:
        ConfigError: the loss requires another output activation than the model's, or the spec's metrics cannot be
            imported.
        ExportError: the first layer cannot absorb the normalization of the inputs.
        TrainingError: the dataset does not fit the model, or the device is not available.
    """

    def __init__(
        self,
        spec: ModelSpec,
        dataset: Dataset,
        settings: Hyperparameters,
        output: Path,
        *,
        listen: Listener = lambda _event: None,
        requests: Requests = Requests(),
    ) -> None:
        if (dataset.input_size, dataset.output_size) != (spec.input_size, spec.output_size):
            raise TrainingError(f"{dataset.name} does not have the inputs and outputs of {spec.name}")
        check_loss(settings.loss, spec)
        self.spec, self.dataset, self.settings = spec, dataset, settings
        self.listen, self.requests = listen, requests
        self.files = TrainingFiles(output, spec.file_stem, settings, listen)
        self.device = resolve_device(settings.device)
        self.constant = best_constant(dataset, settings.loss, _GENERATED_EXAMPLES if dataset.synthetic else 0)
        network = build_network(spec, settings.seed)
        # Errors of evaluation and export are raised here, not after hours of training.
        metrics_of(spec)
        fold_normalization(weights_of(network), dataset.normalizer)
        start_at(network, self.constant)
        self.network = network.to(self.device)
        # Copied before the optimizer makes the parameters views of one vector.
        self.evaluated = deepcopy(self.network) if dataset.averages_weights else self.network
        self.optimizer = FlatAdam(self.network, settings.learning_rate, settings.gradient_clip)
        self.gradients = GradientAccumulator(self.network, settings.loss, self.optimizer.gradient)
        self.rng = np.random.default_rng(settings.seed)
        self.stopping = EarlyStopping(settings.patience, settings.min_delta)
        self.loss_monitor = LossMonitor(settings.patience, settings.min_delta)
        self.best_network = copy_weights(self.network)
        self.history: list[EpochRow] = []
        self.epoch = 0
        self.rollbacks = 0
        self.batches = BatchLoader(spec, dataset, settings, self.device)
        self.parallel_map: Map = map
        # The reference losses of a generated dataset apply to the model's own loss only.
        self._reference = dataset.reference if settings.loss == spec.loss else None
        self.baseline = (
            self._reference.prior if self._reference else constant_loss(dataset, settings.loss, self.constant)
        )

    def fit(
        self, *, resume: bool = False, renew_patience: bool = False, unsaved_rate: float | None = None
    ) -> TrainingResult:
        """Train until all epochs are done, early stopping applies, or a stop is requested.

        Args:
            resume: continue from the latest checkpoint, or start at the beginning if there is none.
            renew_patience: also continue a training that early stopping has ended.
            unsaved_rate: learning rate at the time of the interruption, if the checkpoint to resume does not contain it
                yet.

        Raises:
            CheckpointError: the checkpoint to resume is corrupted, or belongs to another training; nothing is
                overwritten.
            TrainingError: not even one example fits into memory.
        """
        self.files.remove_leftovers()
        with cpu_workers(self.settings.threads) as workers:
            self.parallel_map = workers.map if self.batches.parallel else map
            if resume:
                self._resume()
                if renew_patience:
                    self.stopping.renew_patience()
                if unsaved_rate is not None:
                    self.optimizer.learning_rate = unsaved_rate
            self.listen(self._started_event())
            reason = self._run_epochs()
            quality = self._evaluate(reason) if self.validated else None
        if self.settings.save_plots and self.history:
            data = f"{'synthetic ' if self.dataset.synthetic else ''}{self.dataset.name}"
            plot_losses(self.files.plot, f"{self.spec.name} on {data}", self.history, self.metrics())
        stopping = self.stopping
        self.listen(ModelEnded(self.spec.name, reason, self.epoch, stopping.best_epoch, stopping.best_loss))
        checkpoint = replace(self.state(), quality=quality.to_json()) if quality else None
        return TrainingResult(reason, self.epoch, self.metrics(), checkpoint, quality)

    def _run_epochs(self) -> EndReason:
        """Train epoch by epoch until there is a reason to end; leave the state of a complete epoch."""
        last = self.state()
        # ``last`` and ``best`` are copies: a failed or interrupted epoch changes neither.
        best = self.files.best_state(last)
        while True:
            # Polled between epochs only: a resume could not repeat an epoch with two learning rates.
            if changes := self.requests.take_changes(self.spec.name):
                last = self._change(changes)
            if self.epoch >= self.settings.epochs or self.stopping.exhausted:
                return "epochs_done" if self.epoch >= self.settings.epochs else "early_stopping"
            started = time.perf_counter()
            try:
                train_loss = self.train_epoch()
                seconds = time.perf_counter() - started
                val_loss = None if train_loss is None else self.validate()
            # The epoch is repeated from its start, because its first steps have already changed the weights.
            except torch.OutOfMemoryError:
                self._split_batches(last)
                continue
            if train_loss is None or val_loss is None:
                if self.requests.should_stop():
                    self._keep_stopped(last)
                    return "stopped"
                last = self._roll_back(best, "as requested", requested=True)
                continue
            if problem := divergence(self.epoch + 1, train_loss, val_loss, self._losses, self.stopping.best_loss):
                if self.rollbacks == MAX_ROLLBACKS:
                    self._warn("diverged", f"{problem}, for the fourth time: training ends")
                    self.load_state(last)
                    return "diverged"
                last = self._roll_back(best, problem, requested=False)
                continue
            # The epoch is complete only from here on; every exit above restores an earlier state.
            is_best = self.record_epoch(train_loss, val_loss, seconds)
            last = self.state()
            best = last if is_best else best
            self.files.save_epoch(last, is_best=is_best)
            # Sent after saving: a listener that receives an epoch can rely on its checkpoint.
            self.listen(self._epoch_event())
            if self.loss_monitor.is_new and self.loss_monitor.concern:
                self._warn(self.loss_monitor.concern, self.loss_monitor.advice())

    def train_epoch(self) -> float | None:
        """Pass once over the training examples. Return the mean loss, or None if interrupted by a request."""
        self.network.train()
        # The sums stay on the device: reading a number from a GPU waits for everything queued before it.
        total, weight = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        steps = self.batches.steps_per_epoch
        last_event = time.monotonic()
        for step, batch in enumerate(self.batches.training(self.rng), start=1):
            step_total, step_weight = self.gradients(self.batches.split(batch), self.parallel_map)
            self.optimizer.step(step_weight)
            total += step_total
            weight += step_weight
            # Polled after the step, so that a request never waits for more than one step.
            if self.requests.should_stop() or self.requests.should_roll_back(self.spec.name):
                return None
            if time.monotonic() - last_event > _SECONDS_BETWEEN_BATCH_EVENTS:
                self.listen(BatchDone(self.spec.name, self.epoch + 1, step, steps))
                last_event = time.monotonic()
        update_average(self.evaluated, self.network, self.epoch)
        return float(mean_loss(total, weight))

    def validate(self) -> float:
        """Return the mean loss over the validation examples that choose the epoch."""
        self.evaluated.eval()
        total, weight = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for batch in self.batches.validation():
            for loss_sum, weight_sum in self.parallel_map(self._loss, self.batches.split(batch)):
                total, weight = total + loss_sum, weight + weight_sum
        return float(mean_loss(total, weight))

    def record_epoch(self, train_loss: float, val_loss: float, seconds: float) -> bool:
        """Record a finished epoch. Return True if it is the new best."""
        self.epoch += 1
        frames = len(self.dataset.train) * self.dataset.sequence_length
        self.history.append(epoch_row(self.epoch, train_loss, val_loss, self.optimizer.learning_rate, seconds, frames))
        self.loss_monitor.update(train_loss, val_loss)
        return self._keep_if_best(val_loss)

    def state(self) -> Checkpoint:
        """Return everything that a resume needs; later steps do not change it."""
        normalizer = self.dataset.normalizer
        return Checkpoint(
            model=self.spec.name,
            epoch=self.epoch,
            network=copy_weights(self.network),
            best_network=self.best_network,
            optimiser=deepcopy(self.optimizer.state_dict()),
            stopping=self.stopping.state_dict(),
            history=list(self.history),
            random=random_states(self.rng),
            settings=asdict(self.settings),
            dataset=describe_dataset(self.dataset) | {"best_constant": self.constant.tolist()},
            mean=torch.from_numpy(normalizer.mean),
            scale=torch.from_numpy(normalizer.scale),
            metrics=self.metrics(),
            rollbacks=self.rollbacks,
            average=copy_weights(self.evaluated) if self.dataset.averages_weights else {},
        )

    def load_state(self, checkpoint: Checkpoint) -> None:
        """Return to the state of a checkpoint.

        Patience and minimum gain come from the current settings; another number of epochs renews the patience.
        """
        # This copies into the existing parameters, which stay views of the optimizer's vector.
        self.network.load_state_dict(checkpoint.network)
        if self.dataset.averages_weights:
            self.evaluated.load_state_dict(checkpoint.average or checkpoint.network)
        self.optimizer.load_state_dict(checkpoint.optimiser)
        self.best_network = {name: tensor.to(self.device) for name, tensor in checkpoint.best_network.items()}
        patience, min_delta = self.settings.patience, self.settings.min_delta
        self.stopping = EarlyStopping.from_state(checkpoint.stopping, patience, min_delta)
        if self.settings.epochs != checkpoint.settings["epochs"]:
            self.stopping.renew_patience()
        self.history = list(checkpoint.history)
        # The monitor's state is a function of the losses, so the checkpoint need not contain it.
        self.loss_monitor = LossMonitor.of(self._losses, patience, min_delta)
        self.epoch = checkpoint.epoch
        self.rollbacks = checkpoint.rollbacks
        restore_random_states(checkpoint.random, self.rng, self.device)

    def metrics(self) -> dict[str, Any]:
        """Return the metrics of the best epoch so far."""
        best = self.stopping.best_loss
        metrics = {"best_epoch": self.stopping.best_epoch, "val_loss": best, "baseline_loss": self.baseline}
        if self._reference:
            metrics |= {"bayes_loss": self._reference.bayes, "epsilon": self._reference.excess(best)}
        return metrics

    @property
    def validated(self) -> bool:
        """True if any weights have been validated."""
        return bool(np.isfinite(self.stopping.best_loss))

    @property
    def _losses(self) -> list[tuple[float, float]]:
        """Training and validation loss of each epoch."""
        return [(row["train_loss"], row["val_loss"]) for row in self.history]

    @torch.inference_mode()
    def _loss(self, batch: TensorBatch) -> LossSums:
        logits, _ = self.evaluated.logits(batch.inputs)
        return weighted_loss(self.settings.loss, self.spec.output_activation, logits, batch)

    def _keep_if_best(self, val_loss: float) -> bool:
        """Update early stopping, and keep the weights if the loss is the lowest so far. Return True if it is."""
        is_best = self.stopping.update(val_loss, self.epoch)
        if is_best:
            self.best_network = copy_weights(self.evaluated)
        return is_best

    def _roll_back(self, best: Checkpoint, why: str, *, requested: bool) -> Checkpoint:
        """Return to the best weights with at most half the learning rate, and return the state to continue from.

        An increase of the rate since the best epoch is undone: the new rate never exceeds the rate of that epoch.
        Requested rollbacks are not counted: the limit exists to end a training that diverges repeatedly.
        """
        rollbacks, half = self.rollbacks + (not requested), self.optimizer.learning_rate / 2
        self.load_state(best)
        learning_rate = min(half, self.optimizer.learning_rate)
        self.rollbacks, self.optimizer.learning_rate = rollbacks, learning_rate
        where = f"epoch {self.epoch}" if self.epoch else "the beginning"
        self._warn("rollback", f"{why}: back to {where} with a learning rate of {learning_rate:.3g}")
        # An automatic rollback need not be saved: after a resume the same loss diverges again.
        return self._save_now() if requested else self.state()

    def _change(self, changes: Mapping[str, float]) -> Checkpoint:
        """Apply changed settings between two epochs. Return the state from which training continues.

        The learning rate is a part of the optimizer's state; the settings keep the initial rate.
        """
        new: dict[str, Any] = {name: int(changes[name]) for name in ("patience", "epochs") if name in changes}
        self.settings = replace(self.settings, **new)
        self.stopping.patience = self.settings.patience
        self.loss_monitor = LossMonitor.of(self._losses, self.settings.patience, self.settings.min_delta)
        if "learning_rate" in changes:
            self.optimizer.learning_rate = changes["learning_rate"]
        self.listen(SettingsChanged(self.spec.name, self.epoch, changes.get("learning_rate"), **new))
        return self._save_now()

    def _save_now(self) -> Checkpoint:
        """Save the state immediately, so that a stop during the next epoch does not lose it."""
        state = self.state()
        if self.epoch and self.settings.save_latest:
            self.files.save("latest", state)
        return state

    def _split_batches(self, last: Checkpoint) -> None:
        """Double the number of micro-batches and repeat the epoch; the gradient of a step stays the same.

        Raises:
            TrainingError: not even a single example fits.
        """
        size = self.batches.split_further()
        self.load_state(last)
        steps = f"steps of {self.settings.batch_size} examples"
        self._warn("out_of_memory", f"out of memory: {steps} are computed {size} at a time")

    def _keep_stopped(self, last: Checkpoint) -> None:
        """Return to the last complete epoch and make sure that it can be resumed.

        A training stopped in its first epoch keeps its current weights as the best, so that they can be exported. The
        best checkpoint of an earlier training is not replaced.
        """
        if self.epoch:
            self.load_state(last)
            if not self.settings.save_latest:
                self.files.save("latest", last)
        # No epoch is complete, so there are no validated weights to export yet.
        elif not self.files.best.exists():
            update_average(self.evaluated, self.network, self.epoch)
            self._keep_if_best(self.validate())
            if self.validated and self.settings.save_best:
                self.files.save("best", self.state())

    def _evaluate(self, reason: EndReason) -> QualityRecord:
        """Evaluate the best weights, and add the result to the checkpoints that contain them and to the history.

        If the training is killed before this is complete, a resumed training has no epochs left and only evaluates.
        """
        state = self.state()
        network = state.best().to(self.device)
        quality = evaluate_network(network, self.dataset, self.settings, self.parallel_map)
        self.files.add_quality(state, quality.to_json(), has_latest=self.settings.save_latest or reason == "stopped")
        return quality

    def _resume(self) -> None:
        """Load the latest checkpoint, if there is one."""
        checkpoint = self.files.load_latest(self.spec.name, self.dataset)
        if checkpoint is None:
            folder = self.files.latest.parent
            self._warn("nothing_to_resume", f"nothing to resume in {folder}: starting at the beginning")
        else:
            self.load_state(checkpoint)

    def _warn(self, kind: WarningKind, message: str) -> None:
        self.listen(TrainingWarning(self.spec.name, kind, message))

    def _started_event(self) -> ModelStarted:
        data = self.dataset
        return ModelStarted(
            model=self.spec.name,
            dataset=data.name,
            synthetic=data.synthetic,
            train_examples=len(data.train),
            validation_examples=len(data.validation),
            first_epoch=self.epoch + 1,
            epochs=self.settings.epochs,
            device=str(self.device),
            baseline_loss=self.baseline,
            bayes_loss=self._reference.bayes if self._reference else None,
        )

    def _epoch_event(self) -> EpochDone:
        return EpochDone(
            model=self.spec.name,
            epochs=self.settings.epochs,
            best_loss=self.stopping.best_loss,
            best_epoch=self.stopping.best_epoch,
            patience_left=self.stopping.patience_left,
            steps=self.batches.steps_per_epoch,
            concern=self.loss_monitor.concern,
            **self.history[-1],
        )
