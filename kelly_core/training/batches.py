"""Batches of examples as tensors: reading, shuffling and splitting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from torch import Tensor

from kelly_core.arrays import Indices
from kelly_core.data.dataset import Batch, Dataset
from kelly_core.errors import TrainingError
from kelly_core.spec import BatchNorm1d, ModelSpec
from kelly_core.training.hyperparameters import Hyperparameters

_BATCHES_PER_READ = 16
"""Batches read from the dataset at a time: enough to spread the cost of a read, few enough to bound memory."""
_MAX_MICRO_BATCHES, _MIN_MICRO_BATCH_SIZE = 16, 16
"""Limits for the micro-batches of a batch of sequences on the CPU. With more micro-batches, summing their gradients
costs more than parallelism saves. Smaller micro-batches are slow, and larger ones exceed the cache of a core.
"""


@dataclass(frozen=True)
class TensorBatch:
    """A ``data.dataset.Batch`` as tensors on the training device.

    Attributes:
        inputs: [N, T, in].
        targets: [N, T, out].
        weights: loss weights, which broadcast to the targets.
        pooled: [N], True if an example's target applies to its mean output over time; None if no example is pooled.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    pooled: Tensor | None

    @classmethod
    def of(cls, batch: Batch, device: torch.device, *, single_frames: bool = False) -> TensorBatch:
        """Move a batch to ``device``.

        ``single_frames`` makes every frame of a sequence an example, [N T, 1, …]; the label of a whole sequence then
        applies to each of its frames.
        """
        arrays = [batch.inputs, batch.targets, batch.weights]
        if single_frames:
            arrays = [array.reshape(-1, 1, array.shape[-1]) for array in arrays]
        inputs, targets, weights = (torch.from_numpy(array).to(device) for array in arrays)
        pooled = None
        # Without a pooled example the losses skip the reduction over time.
        if batch.pooled is not None and batch.pooled.any() and not single_frames:
            pooled = torch.from_numpy(batch.pooled).to(device)
        return cls(inputs, targets, weights, pooled)

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int) -> Iterator[TensorBatch]:
        """Split into batches of ``size`` examples, as views; the last batch may be smaller."""
        parts = [torch.split(tensor, size) for tensor in (self.inputs, self.targets, self.weights)]
        pooled = repeat(None) if self.pooled is None else torch.split(self.pooled, size)
        return map(TensorBatch, *parts, pooled)

    def take(self, order: Indices) -> TensorBatch:
        """Return the examples at ``order``, copied."""
        chosen = torch.from_numpy(order).to(self.inputs.device)
        pooled = None if self.pooled is None else self.pooled[chosen]
        return TensorBatch(self.inputs[chosen], self.targets[chosen], self.weights[chosen], pooled)


class BatchLoader:
    """Reader of a training's examples in batches, split into micro-batches.

    Attributes:
        micro_batches: minimum number of micro-batches in a batch, as the device's memory requires.
        parallel: True if it is faster to compute micro-batches in parallel: for sequences on the CPU.
    """

    def __init__(self, spec: ModelSpec, dataset: Dataset, settings: Hyperparameters, device: torch.device) -> None:
        self._model, self._dataset, self._size, self._device = spec.name, dataset, settings.batch_size, device
        self._single_frames = settings.state == "stateless"
        self.micro_batches = 1
        # A batch normalization updates its running statistics with each batch, in the order of the batches.
        in_order = any(isinstance(layer, BatchNorm1d) for layer in spec.layers)
        self.parallel = device.type == "cpu" and spec.recurrent and not self._single_frames and not in_order

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch."""
        frames = self._dataset.sequence_length if self._single_frames else 1
        # -(-a // b) rounds up without going through floats.
        return -(-len(self._dataset.train) * frames // self._size)

    def training(self, rng: np.random.Generator) -> Iterator[TensorBatch]:
        """Yield the training examples in a new order and with new noise, both drawn from ``rng``."""
        order = rng.permutation(self._dataset.train)
        for batch in self._read(lambda indices: self._dataset.train_batch(indices, rng), order):
            # Shuffled across all examples of one read, so that the frames of a step come from many sequences.
            shuffled = batch.take(rng.permutation(len(batch))) if self._single_frames else batch
            yield from shuffled.batches(self._size)

    def validation(self) -> Iterator[TensorBatch]:
        """Yield the validation examples that select the best epoch, in order and without noise."""
        for batch in self._read(self._dataset.eval_batch, self._dataset.choosing):
            yield from batch.batches(self._size)

    def split(self, batch: TensorBatch) -> Sequence[TensorBatch]:
        """Split a batch as memory requires and, for CPU threads, independently of the number of threads.

        A fixed split keeps the rounding of summed gradients, and so the result, the same on any number of threads.
        """
        size = -(-len(batch) // self.micro_batches)
        if self.parallel:
            size = min(size, max(_MIN_MICRO_BATCH_SIZE, -(-len(batch) // _MAX_MICRO_BATCHES)))
        return (batch,) if size == len(batch) else tuple(batch.batches(size))

    def split_further(self) -> int:
        """Double the number of micro-batches; return how many examples each has.

        Raises:
            TrainingError: one example is already too large for the memory.
        """
        if 2 * self.micro_batches > self._size:
            hint = "Use another device, or shorter sequences"
            raise TrainingError(f"not one example of {self._model} fits into memory", hint=hint)
        self.micro_batches *= 2
        if self._device.type == "cuda":
            # Blocks that the allocator keeps for the larger size would otherwise count as used.
            torch.cuda.empty_cache()
        return -(-self._size // self.micro_batches)

    def _read(self, read: Callable[[Indices], Batch], indices: Indices) -> Iterator[TensorBatch]:
        step = _BATCHES_PER_READ * self._size
        for start in range(0, len(indices), step):
            yield TensorBatch.of(read(indices[start : start + step]), self._device, single_frames=self._single_frames)
