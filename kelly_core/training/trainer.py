"""All that a training carries from epoch to epoch, and one epoch of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kelly_core.data.dataset import Batch, Dataset, Indices
from kelly_core.evaluation.baselines import best_constant_loss
from kelly_core.events import BatchDone, EpochDone, Listener, ModelStarted
from kelly_core.spec import ModelSpec
from kelly_core.training.adam import FlatAdam
from kelly_core.training.backprop import GradientAccumulator, Map, Sums
from kelly_core.training.checkpoint import Checkpoint
from kelly_core.training.early_stopping import EarlyStopping
from kelly_core.training.history import Row
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.loss_monitor import LossMonitor
from kelly_core.training.losses import TensorBatch, mean_loss, weighted_loss
from kelly_core.training.networks import KellyNetwork, build_network

Asked = Callable[[], bool]
Draw = Callable[[Indices], Batch]

_DRAWN_BATCHES = 16
"""Batches drawn from the dataset at once: enough to spread its cost, few enough to bound memory."""
_MOST_PARTS, _SMALLEST_PART = 16, 16
"""Of a batch of sequences on the CPU. More parts could keep more cores busy, but their gradients must be added up;
smaller ones are slow, larger ones do not fit a core's own cache."""
_SECONDS_BETWEEN_BATCH_EVENTS = 0.5


class Trainer:
    """A training between two epochs: all that a checkpoint must hold.

    Attributes:
        epoch: complete epochs.
        rollbacks: times that it went back to its best weights because the loss had run away.
        watch: judges the losses so far.
        parts: pieces in which a batch goes through the network, as many as the device's memory asks for.
        baseline: loss of the best constant output.
        parallel_map: computes parts of a batch, side by side where that pays.
    """

    def __init__(
        self,
        spec: ModelSpec,
        dataset: Dataset,
        settings: Hyperparameters,
        device: torch.device,
        workers: Executor,
    ) -> None:
        self.spec, self.dataset, self.settings, self.device = spec, dataset, settings, device
        self.network = build_network(spec, settings.seed).to(device)
        self.optimiser = FlatAdam(self.network, settings.learning_rate, settings.gradient_clip)
        self.gradients = GradientAccumulator(self.network, settings.loss, self.optimiser.gradient)
        self.rng = np.random.default_rng(settings.seed)
        self.stopping = EarlyStopping(settings.patience, settings.min_delta)
        self.watch = LossMonitor(settings.patience, settings.min_delta)
        self.best_network = _copy(self.network)
        self.history: list[Row] = []
        self.epoch = 0
        self.rollbacks = 0
        self.parts = 1
        # A generated set's reference losses are those of the model's own loss; they mean nothing for another.
        self.reference = dataset.reference if settings.loss == spec.loss else None
        self.baseline = self.reference.prior if self.reference else best_constant_loss(dataset, settings.loss)
        self._single_frames = settings.state == "stateless"
        self._side_by_side = device.type == "cpu" and spec.recurrent and not self._single_frames
        self.parallel_map: Map = workers.map if self._side_by_side else map

    @property
    def data_name(self) -> str:
        """The corpus as people should read it."""
        return f"{'synthetic ' if self.dataset.synthetic else ''}{self.dataset.name}"

    @property
    def measured(self) -> bool:
        """Whether any weights have been validated."""
        return bool(np.isfinite(self.stopping.best_loss))

    def train_epoch(self, listen: Listener, should_end: Asked) -> float | None:
        """One pass over the training examples; its mean loss, or None when it was to end before."""
        self.network.train()
        optimiser, settings = self.optimiser, self.settings
        total, weight = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        steps = steps_per_epoch(self.dataset, settings)
        told = time.monotonic()
        for step, batch in enumerate(self._training_batches(), start=1):
            step_total, step_weight = self.gradients(self._parts_of(batch), self.parallel_map)
            optimiser.step(step_weight)
            total += step_total
            weight += step_weight
            if should_end():
                return None
            if time.monotonic() - told > _SECONDS_BETWEEN_BATCH_EVENTS:
                listen(BatchDone(self.spec.name, self.epoch + 1, step, steps))
                told = time.monotonic()
        return float(mean_loss(total, weight))

    def validate(self) -> float:
        """Mean loss over the validation examples that choose the epoch."""
        self.network.eval()
        total, weight = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for batch in self._batches(self.dataset.eval_batch, self.dataset.choosing):
            for loss_sum, weight_sum in self.parallel_map(self._loss, self._parts_of(batch)):
                total, weight = total + loss_sum, weight + weight_sum
        return float(mean_loss(total, weight))

    @torch.inference_mode()
    def _loss(self, batch: TensorBatch) -> Sums:
        logits, _ = self.network.logits(batch.inputs)
        return weighted_loss(self.settings.loss, self.spec.output_activation, logits, batch)

    def update(self, val_loss: float) -> bool:
        """Let early stopping see a loss; keep the weights if it is the lowest so far, and say whether it is."""
        improved = self.stopping.update(val_loss, self.epoch)
        if improved:
            self.best_network = _copy(self.network)
        return improved

    def record_epoch(self, train_loss: float, val_loss: float, seconds: float) -> bool:
        """Enter an epoch into the books; whether its weights are the best so far."""
        self.epoch += 1
        frames = len(self.dataset.train) * self.dataset.sequence_length
        self.history.append(
            {
                "epoch": self.epoch,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "learning_rate": self.optimiser.learning_rate,
                "seconds": round(seconds, 4),
                "frames_per_second": round(frames / seconds, 1),
            }
        )
        self.watch.update(train_loss, val_loss)
        return self.update(val_loss)

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
            bayes_loss=self.reference.bayes if self.reference else None,
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
            steps=steps_per_epoch(self.dataset, self.settings),
            concern=self.watch.concern,
            **row,
        )

    def checkpoint(self) -> Checkpoint:
        """Everything, as data."""
        data, normalizer = self.dataset, self.dataset.normalizer
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
                "judging_examples": 0 if data.judging is None else len(data.judging),
                "split_source": data.split_source,
                "tables": list(data.tables),
                "licences": dict(data.licences),
                "facts": data.metadata,
            },
            mean=torch.from_numpy(normalizer.mean),
            scale=torch.from_numpy(normalizer.scale),
            metrics=self.metrics(),
            rollbacks=self.rollbacks,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where a checkpoint was taken; today's patience counts, renewed by another number of epochs."""
        self.network.load_state_dict(checkpoint.network)
        self.optimiser.load_state_dict(checkpoint.optimiser)
        self.best_network = {name: tensor.to(self.device) for name, tensor in checkpoint.best_network.items()}
        today: dict[str, Any] = {"patience": self.settings.patience, "min_delta": self.settings.min_delta}
        self.stopping = EarlyStopping(**checkpoint.stopping | today)
        if self.settings.epochs != checkpoint.settings["epochs"]:
            self.stopping.renew()
        self.history = list(checkpoint.history)
        losses = [(row["train_loss"], row["val_loss"]) for row in self.history]
        self.watch = LossMonitor.of(losses, **today)
        self.epoch = checkpoint.epoch
        self.rollbacks = checkpoint.rollbacks
        self.rng.bit_generator.state = checkpoint.random["numpy"]
        torch.set_rng_state(checkpoint.random["torch"])
        if self.device.type == "cuda" and checkpoint.random["cuda"]:
            torch.cuda.set_rng_state_all(checkpoint.random["cuda"])

    def roll_back(self, best: Checkpoint, *, by_hand: bool) -> None:
        """Go back to the best weights and learn half as fast from there.

        One that a person asked for is not counted: those that are counted end a training which cannot help itself.
        """
        count, rate = self.rollbacks + (not by_hand), self.optimiser.learning_rate / 2
        self.restore(best)
        self.rollbacks = count
        self.optimiser.learning_rate = rate

    def _parts_of(self, batch: TensorBatch) -> Sequence[TensorBatch]:
        """As many as memory asks for, and for CPU threads those that do not depend on how many threads there are."""
        size = -(-len(batch) // self.parts)
        if self._side_by_side:
            size = min(size, max(_SMALLEST_PART, -(-len(batch) // _MOST_PARTS)))
        return (batch,) if size == len(batch) else tuple(batch.batches(size))

    def _training_batches(self) -> Iterator[TensorBatch]:
        order = self.rng.permutation(self.dataset.train)
        return self._batches(lambda indices: self.dataset.train_batch(indices, self.rng), order, shuffle=True)

    def _batches(self, draw: Draw, indices: Indices, *, shuffle: bool = False) -> Iterator[TensorBatch]:
        """Batches of the settings' size; ``shuffle`` mixes single frames, lest a step see one sequence only."""
        size = self.settings.batch_size
        for start in range(0, len(indices), _DRAWN_BATCHES * size):
            batch = draw(indices[start : start + _DRAWN_BATCHES * size])
            drawn = TensorBatch.of(batch, self.device, single_frames=self._single_frames)
            if shuffle and self._single_frames:
                drawn = drawn.take(self.rng.permutation(len(drawn)))
            yield from drawn.batches(size)


def steps_per_epoch(dataset: Dataset, settings: Hyperparameters) -> int:
    """Optimiser steps in an epoch."""
    frames = dataset.sequence_length if settings.state == "stateless" else 1
    return -(-len(dataset.train) * frames // settings.batch_size)


def _copy(network: KellyNetwork) -> dict[str, Tensor]:
    """Weights that later steps do not touch: ``state_dict`` alone would alias them."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _cuda_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
