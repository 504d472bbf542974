"""The one training loop of all five models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from kelly_core.data.dataset import Batch, Dataset, Indices
from kelly_core.errors import CheckpointError, TrainingError
from kelly_core.events import Alarm, BatchDone, CheckpointSaved, EpochDone, Listener, ModelEnded, ModelStarted
from kelly_core.spec import ModelSpec
from kelly_core.training.baselines import constant_baseline
from kelly_core.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from kelly_core.training.device import cpu_threads, resolve_device
from kelly_core.training.early_stopping import EarlyStopping
from kelly_core.training.history import Row, write_history
from kelly_core.training.losses import TensorBatch, check_loss, mean_loss, weighted_loss
from kelly_core.training.networks import KellyNetwork, build_network
from kelly_core.training.optimiser import FlatAdam
from kelly_core.training.plots import plot_losses
from kelly_core.training.settings import TrainingSettings

Reason = Literal["epochs_done", "early_stopping", "stopped", "non_finite_loss"]
CheckpointKind = Literal["best", "latest", "interval"]
StopAsked = Callable[[], bool]
Draw = Callable[[Indices], Batch]

_DRAWN_BATCHES = 16
"""Batches drawn from the dataset at once: enough to spread its cost, few enough to bound memory."""
_SECONDS_BETWEEN_BATCH_EVENTS = 0.5


@dataclass(frozen=True)
class TrainingResult:
    """What a training reached.

    Attributes:
        reason: why it ended.
        epoch: complete epochs.
        metrics: figures of the best epoch: ``best_epoch``, ``val_loss``, ``baseline_loss``, and on synthetic data
            ``bayes_loss`` and ``epsilon``.
        checkpoint: the training as it ended, with the best weights; None when no weights were ever measured.
    """

    reason: Reason
    epoch: int
    metrics: dict[str, Any]
    checkpoint: Checkpoint | None


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


def train(
    spec: ModelSpec,
    dataset: Dataset,
    settings: TrainingSettings,
    output: Path,
    *,
    resume: bool = False,
    listen: Listener = lambda event: None,
    should_stop: StopAsked = lambda: False,
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
        listen: gets every event.
        should_stop: asked after each step.

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
    with cpu_threads(settings.threads, spec.recurrent and settings.state == "stateful"):
        loop = _Loop(spec, dataset, settings, device)
        if resume:
            _resume(loop, paths.latest, listen)
        listen(loop.started())
        reason = _run(loop, paths, listen, should_stop)
    if settings.save_plots and loop.history:
        plot_losses(paths.plot, f"{spec.name} on {loop.data_name}", loop.history, loop.metrics())
    listen(ModelEnded(spec.name, reason, loop.epoch, loop.stopping.best_epoch, loop.stopping.best_loss))
    return TrainingResult(reason, loop.epoch, loop.metrics(), loop.checkpoint() if loop.measured else None)


def _run(loop: _Loop, paths: TrainingPaths, listen: Listener, should_stop: StopAsked) -> Reason:
    """Epoch after epoch until there is a reason to end; the loop then is as after its last complete epoch."""
    settings, last = loop.settings, loop.checkpoint()
    while loop.epoch < settings.epochs:
        if loop.stopping.exhausted:
            return "early_stopping"
        started = time.perf_counter()
        train_loss = loop.train_epoch(listen, should_stop)
        if train_loss is None:
            _keep_stopped(loop, last, paths, listen)
            return "stopped"
        seconds = time.perf_counter() - started
        val_loss = loop.validate()
        if not np.isfinite([train_loss, val_loss]).all():
            message = f"the loss of epoch {loop.epoch + 1} is not a finite number: lower the learning rate"
            listen(Alarm(loop.spec.name, "non_finite_loss", message))
            loop.restore(last)
            return "non_finite_loss"
        improved = loop.complete_epoch(train_loss, val_loss, seconds)
        last = loop.checkpoint()
        _save(loop, last, paths, improved, listen)
        listen(loop.epoch_done())
    return "epochs_done"


def _save(loop: _Loop, checkpoint: Checkpoint, paths: TrainingPaths, improved: bool, listen: Listener) -> None:
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


def _keep_stopped(loop: _Loop, last: Checkpoint, paths: TrainingPaths, listen: Listener) -> None:
    """Go back to the last complete epoch and make sure that it can be resumed.

    A training stopped in its first epoch keeps what weights it has as the best, so that there is something.
    """
    if loop.epoch:
        loop.restore(last)
        if not loop.settings.save_latest:
            _save_as("latest", last, paths.latest, listen)
        return
    loop.take_in(loop.validate())
    if loop.measured and loop.settings.save_best:
        _save_as("best", loop.checkpoint(), paths.best, listen)


def _resume(loop: _Loop, latest: Path, listen: Listener) -> None:
    """Put the latest checkpoint into the loop, if there is one and it is of the same training."""
    if not latest.exists():
        message = f"nothing to resume in {latest.parent}: starting at the beginning"
        listen(Alarm(loop.spec.name, "nothing_to_resume", message))
        return
    checkpoint = load_checkpoint(latest)
    if checkpoint.model != loop.spec.name:
        raise CheckpointError(f"is of {checkpoint.model}, not {loop.spec.name}", where=latest)
    if checkpoint.dataset["fingerprint"] != loop.dataset.fingerprint:
        hint = "Give the data of that time, or another --output, or start without --resume"
        raise CheckpointError("was trained on other examples or another split", where=latest, hint=hint)
    for name, value in loop.settings.mathematics().items():
        if checkpoint.settings[name] != value:
            hint = "A resumed training keeps its settings; start without --resume to change them"
            problem = f"was trained with {name} = {checkpoint.settings[name]}, not {value}"
            raise CheckpointError(problem, where=latest, hint=hint)
    loop.restore(checkpoint)


class _Loop:
    """All that a training carries from epoch to epoch, and so all that a checkpoint must hold."""

    def __init__(self, spec: ModelSpec, dataset: Dataset, settings: TrainingSettings, device: torch.device) -> None:
        self.spec, self.dataset, self.settings, self.device = spec, dataset, settings, device
        self.network = build_network(spec, settings.seed).to(device)
        self.optimiser = FlatAdam(self.network, settings.learning_rate, settings.gradient_clip)
        self.rng = np.random.default_rng(settings.seed)
        self.stopping = EarlyStopping(settings.patience, settings.min_delta)
        self.best_network = _copy(self.network)
        self.history: list[Row] = []
        self.epoch = 0
        # A generated set's reference losses are those of the model's own loss; they mean nothing for another.
        self.reference = dataset.reference if settings.loss == spec.loss else None
        self.baseline = self.reference.prior if self.reference else constant_baseline(dataset, settings.loss)
        self._single_frames = settings.state == "stateless"

    @property
    def data_name(self) -> str:
        """The corpus as people should read it."""
        return f"{'synthetic ' if self.dataset.synthetic else ''}{self.dataset.name}"

    @property
    def measured(self) -> bool:
        """Whether any weights have been validated."""
        return bool(np.isfinite(self.stopping.best_loss))

    def train_epoch(self, listen: Listener, should_stop: StopAsked) -> float | None:
        """One pass over the training examples; its mean loss, or None when a stop was asked for."""
        network, optimiser, settings = self.network.train(), self.optimiser, self.settings
        total, weight = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        steps = steps_per_epoch(self.dataset, settings)
        told = time.monotonic()
        for step, batch in enumerate(self._training_batches(), start=1):
            logits, _ = network.logits(batch.inputs)
            loss_sum, weight_sum = weighted_loss(settings.loss, self.spec.output_activation, logits, batch)
            optimiser.zero_grad()
            torch.autograd.backward(mean_loss(loss_sum, weight_sum))
            optimiser.step()
            total += loss_sum.detach()
            weight += weight_sum
            if should_stop():
                return None
            if time.monotonic() - told > _SECONDS_BETWEEN_BATCH_EVENTS:
                listen(BatchDone(self.spec.name, self.epoch + 1, step, steps))
                told = time.monotonic()
        return float(mean_loss(total, weight))

    @torch.inference_mode()
    def validate(self) -> float:
        """Mean loss over the validation examples."""
        network = self.network.eval()
        total, weight = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for batch in self._batches(self.dataset.fixed, self.dataset.validation):
            logits, _ = network.logits(batch.inputs)
            sums = weighted_loss(self.settings.loss, self.spec.output_activation, logits, batch)
            total, weight = total + sums[0], weight + sums[1]
        return float(mean_loss(total, weight))

    def take_in(self, val_loss: float) -> bool:
        """Let early stopping see a loss; keep the weights if it is the lowest so far, and say whether it is."""
        improved = self.stopping.update(val_loss, self.epoch)
        if improved:
            self.best_network = _copy(self.network)
        return improved

    def complete_epoch(self, train_loss: float, val_loss: float, seconds: float) -> bool:
        """Enter an epoch into the books; whether its weights are the best so far."""
        self.epoch += 1
        frames = len(self.dataset.train) * self.dataset.sequence_length
        self.history.append(
            {
                "epoch": self.epoch,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "learning_rate": self.settings.learning_rate,
                "seconds": round(seconds, 4),
                "frames_per_second": round(frames / seconds, 1),
            }
        )
        return self.take_in(val_loss)

    def metrics(self) -> dict[str, Any]:
        """Figures of the best epoch so far."""
        best = self.stopping.best_loss
        figures = {"best_epoch": self.stopping.best_epoch, "val_loss": best, "baseline_loss": self.baseline}
        if self.reference:
            figures |= {"bayes_loss": self.reference.bayes, "epsilon": self.reference.excess(best)}
        return figures

    def started(self) -> ModelStarted:
        """The event that opens a training."""
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
        )

    def epoch_done(self) -> EpochDone:
        """The event of the epoch just completed."""
        row, stopping = self.history[-1], self.stopping
        return EpochDone(
            model=self.spec.name,
            epochs=self.settings.epochs,
            best_loss=stopping.best_loss,
            best_epoch=stopping.best_epoch,
            patience_left=stopping.patience_left,
            **row,
        )

    def checkpoint(self) -> Checkpoint:
        """Everything, as data."""
        data, standardisation = self.dataset, self.dataset.standardisation
        return Checkpoint(
            model=self.spec.name,
            epoch=self.epoch,
            network=_copy(self.network),
            best_network=self.best_network,
            optimiser=deepcopy(self.optimiser.state_dict()),
            stopping=asdict(self.stopping),
            history=list(self.history),
            random={"numpy": self.rng.bit_generator.state, "torch": torch.get_rng_state(), "cuda": _cuda_states()},
            settings=asdict(self.settings),
            dataset={
                "name": data.name,
                "synthetic": data.synthetic,
                "fingerprint": data.fingerprint,
                "train_examples": len(data.train),
                "validation_examples": len(data.validation),
                "facts": data.facts,
            },
            mean=torch.from_numpy(standardisation.mean),
            scale=torch.from_numpy(standardisation.scale),
            metrics=self.metrics(),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was taken; today's settings decide on patience, and more epochs renew it."""
        self.network.load_state_dict(checkpoint.network)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.best_network = {name: tensor.to(self.device) for name, tensor in checkpoint.best_network.items()}
        today = {"patience": self.settings.patience, "min_delta": self.settings.min_delta}
        self.stopping = EarlyStopping(**checkpoint.stopping | today)
        if self.settings.epochs > checkpoint.settings["epochs"]:
            self.stopping.renew()
        self.history = list(checkpoint.history)
        self.epoch = checkpoint.epoch
        self.rng.bit_generator.state = checkpoint.random["numpy"]
        torch.set_rng_state(checkpoint.random["torch"])
        if self.device.type == "cuda" and checkpoint.random["cuda"]:
            torch.cuda.set_rng_state_all(checkpoint.random["cuda"])

    def _training_batches(self) -> Iterator[TensorBatch]:
        order = self.rng.permutation(self.dataset.train)
        return self._batches(lambda indices: self.dataset.draw(indices, self.rng), order, shuffle=True)

    def _batches(self, draw: Draw, indices: Indices, *, shuffle: bool = False) -> Iterator[TensorBatch]:
        """Batches of the settings' size; ``shuffle`` mixes single frames, lest a step see one sequence only."""
        size = self.settings.batch_size
        for start in range(0, len(indices), _DRAWN_BATCHES * size):
            batch = draw(indices[start : start + _DRAWN_BATCHES * size])
            drawn = TensorBatch.of(batch, self.device, single_frames=self._single_frames)
            if shuffle and self._single_frames:
                drawn = drawn.take(self.rng.permutation(len(drawn)))
            yield from drawn.batches(size)


def steps_per_epoch(dataset: Dataset, settings: TrainingSettings) -> int:
    """Optimiser steps in an epoch."""
    frames = dataset.sequence_length if settings.state == "stateless" else 1
    return -(-len(dataset.train) * frames // settings.batch_size)


def _copy(network: KellyNetwork) -> dict[str, Tensor]:
    """Weights that later steps do not touch: ``state_dict`` alone would alias them."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
