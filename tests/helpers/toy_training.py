"""A corpus of a few random examples, and short trainings on it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kelly_core.arrays import Indices
from kelly_core.data.dataset import Batch, Dataset, Normalizer
from kelly_core.events import Event
from kelly_core.export.reader import Export, read_export
from kelly_core.spec import ModelSpec, model_spec
from kelly_core.training.backprop import BackwardPass
from kelly_core.training.batches import TensorBatch
from kelly_core.training.checkpoint import Checkpoint, load_checkpoint
from kelly_core.training.exporting import export_network
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.trainer import Requests, Trainer, TrainingResult
from tests.helpers.example_arrays import ArrayDataset
from tests.seeds import seeded_rng, shifted

EMOTION, MELODY, GROOVE = (model_spec(name) for name in ("EmotionRecognizer", "MelodyTransformer", "GroovePredictor"))
STEPS = 4
"""Steps per epoch of the toy corpus: 16 training examples, 4 per batch."""


class ToyDataset(ArrayDataset):
    """Random inputs, targets that depend on them, and fresh noise on every training example."""

    name = "toy"
    fingerprint = "toy"

    def __init__(self, spec: ModelSpec, examples: int = 24, frames: int = 1) -> None:
        rng = seeded_rng(1)
        normalizer = Normalizer(rng.normal(size=spec.input_size), rng.uniform(0.5, 2.0, size=spec.input_size))
        inputs = rng.normal(size=(examples, frames, spec.input_size)).astype(np.float32)
        mixing = rng.normal(size=(spec.input_size, spec.output_size)) / np.sqrt(spec.input_size)
        scores = np.exp(inputs @ mixing)
        total = scores.sum(axis=-1, keepdims=True) if spec.output_activation == "softmax" else 1 + scores
        groups = [f"song {index // 2}" for index in range(examples)]
        super().__init__(scores / total, examples // 3, inputs=inputs, groups=groups)
        self.normalizer, self.metadata, self.noise = normalizer, {"kind": "toy"}, 0.1

    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        batch = self.eval_batch(indices)
        noise = self.noise * rng.standard_normal(batch.inputs.shape, dtype=np.float32)
        return Batch(batch.inputs + noise, batch.targets, batch.weights, batch.pooled)


def settings(spec: ModelSpec, **changes: Any) -> Hyperparameters:
    """Settings for a short training on one thread without pictures."""
    usual: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 0.003,
        "loss": spec.loss,
        "state": "stateful",
        "patience": 0,
        "device": "cpu",
        "seed": shifted(0),
        "threads": 1,
        "save_plots": False,
        "save_history": False,
    }
    return Hyperparameters(**usual | changes)


def script_validation_losses(monkeypatch: pytest.MonkeyPatch, losses: Sequence[float]) -> None:
    """Make the validation loss of epoch n equal to ``losses[n - 1]``, and to the last one in every later epoch.

    The weights are still trained; only the number that early stopping and the choice of the best epoch depend on is
    fixed. A test that needs an early best epoch must not depend on rounding, which differs between processors.
    """
    monkeypatch.setattr(Trainer, "validate", lambda trainer: losses[min(trainer.epoch, len(losses) - 1)])


def watch_batches(monkeypatch: pytest.MonkeyPatch, look: Callable[[TensorBatch], object]) -> None:
    """Call ``look`` with each batch whose gradient is computed."""
    compute = BackwardPass.__call__

    def watched(chain: BackwardPass, batch: TensorBatch, gradient: Any) -> Any:
        look(batch)
        return compute(chain, batch, gradient)

    monkeypatch.setattr(BackwardPass, "__call__", watched)


class ToyRun:
    """Trainings of one model into one folder, with every event that they sent."""

    def __init__(self, spec: ModelSpec, output: Path, dataset: Dataset | None = None) -> None:
        self.spec, self.output = spec, output
        self.dataset = dataset or ToyDataset(spec, frames=6 if spec.recurrent else 1)
        self.events: list[Event] = []

    def __call__(
        self,
        *,
        resume: bool = False,
        stop_after: int | None = None,
        roll_back_after: Collection[int] = (),
        **changes: Any,
    ) -> TrainingResult:
        """Train; a stop is requested after ``stop_after`` steps, a rollback after ``roll_back_after`` steps."""
        asked = 0

        def should_stop() -> bool:
            nonlocal asked
            asked += 1
            return stop_after is not None and asked >= stop_after

        trainer = Trainer(
            self.spec,
            self.dataset,
            settings(self.spec, **changes),
            self.output,
            listen=self.events.append,
            requests=Requests(should_stop, lambda _model: asked in roll_back_after),
        )
        return trainer.fit(resume=resume)

    def events_of(self, kind: type[Event]) -> list[Any]:
        """Return the events of one type so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def checkpoint_path(self, kind: str) -> Path:
        """Return the path of the checkpoint ``kind``."""
        return self.output / "checkpoints" / f"{self.spec.file_stem}_{kind}.pt"

    def export(self) -> Export:
        """Export the best checkpoint, and read the file."""
        export_network(load_checkpoint(self.checkpoint_path("best")), self.output / "export.json")
        return read_export(self.output / "export.json")


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Compare bit for bit, however deep."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{index}]")
    else:
        assert one == other, where


def assert_same_training(one: TrainingResult, other: TrainingResult) -> None:
    """Weights, best weights, Adam, random generators, early stopping and losses are the same bit for bit."""
    assert one.checkpoint is not None
    assert other.checkpoint is not None
    for name in ("epoch", "network", "best_network", "average", "optimiser", "random", "metrics"):
        assert_same(getattr(one.checkpoint, name), getattr(other.checkpoint, name), name)
    timeless = [
        [{key: value for key, value in row.items() if "second" not in key} for row in result.checkpoint.history]
        for result in (one, other)
        if result.checkpoint is not None
    ]
    assert timeless[0] == timeless[1]
    progress = ("best_loss", "best_epoch", "reference_loss", "waited")
    assert [one.checkpoint.stopping[key] for key in progress] == [other.checkpoint.stopping[key] for key in progress]


def first_weight(checkpoint: Checkpoint | None) -> torch.Tensor:
    return checkpoint.network["layers.0.weight"]
