"""Examples given as arrays, so that every number can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Indices
from kelly_core.data.dataset import Batch, Dataset, Example, ExampleMetadata, Normalizer
from kelly_core.data.splits import TRAIN, VALIDATION
from kelly_core.evaluation.metrics.base import Labels, Predictor, Sums


class ArrayDataset(Dataset):
    """Arrays as a dataset; the first ``validation`` examples validate, the others train."""

    name = "arrays"
    fingerprint = "arrays"

    def __init__(
        self,
        targets: ArrayLike,
        validation: int,
        *,
        inputs: ArrayLike | None = None,
        weights: ArrayLike | None = None,
        pooled: Sequence[bool] | None = None,
        groups: Sequence[str] | None = None,
        sources: Sequence[str] | None = None,
        input_size: int = 64,
    ) -> None:
        self.targets = np.asarray(targets, np.float32)
        count, frames = self.targets.shape[:2]
        self.inputs = np.zeros((count, frames, input_size)) if inputs is None else np.asarray(inputs)
        self.inputs = self.inputs.astype(np.float32)
        weighed = np.ones((count, frames, 1)) if weights is None else np.asarray(weights)
        self.weights = np.broadcast_to(weighed, (count, frames, weighed.shape[-1])).astype(np.float32)
        self.pooled = None if pooled is None else np.array(pooled)
        self.input_size, self.output_size = self.inputs.shape[2], self.targets.shape[2]
        self.sequence_length = frames
        self.normalizer = Normalizer.identity(self.input_size)
        self.validation, self.train, self.test = np.arange(validation), np.arange(validation, count), np.arange(0)
        self.rows = ExampleMetadata(
            corpora=np.full(count, self.name),
            groups=np.array(groups or [f"song {index}" for index in range(count)]),
            sources=np.array(sources or ["sidecar"] * count),
            splits=np.where(np.arange(count) < validation, VALIDATION, TRAIN),
        )
        self.metadata: dict[str, Any] = {}

    def __getitem__(self, index: int) -> Example:
        raise NotImplementedError("examples are read in batches")

    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        raise NotImplementedError("a subclass that trains defines it")

    def eval_batch(self, indices: Indices) -> Batch:
        pooled = None if self.pooled is None else self.pooled[indices]
        return Batch(self.inputs[indices], self.targets[indices], self.weights[indices], pooled)

    def answers(self, outputs: ArrayLike) -> Predictor:
        """Return a predictor with given outputs for the validation examples, [n, T or 1, out]."""
        said = np.asarray(outputs, np.float32)

        def predict(batch: Batch) -> np.ndarray:
            assert len(batch) == len(self.validation)
            return np.broadcast_to(said, (*batch.inputs.shape[:2], self.output_size))

        return predict


def labels(targets: ArrayLike, weights: ArrayLike = 1.0, pooled: Sequence[bool] = (), bpm: float = 120.0) -> Labels:
    """Labels of [N, T, out] targets."""
    values = np.asarray(targets, np.float32)
    weighed = np.asarray(weights, np.float32)
    if weighed.ndim == 0:
        weighed = np.full((*values.shape[:2], 1), weighed, np.float32)
    marked = np.array(pooled or [False] * len(values))
    return Labels(values, weighed, marked, np.full(len(values), bpm))


def total(sums: Sums) -> Sums:
    """Sums over all examples."""
    return {name: values.sum(axis=0) for name, values in sums.items()}
