"""The five losses, weighted by example, frame and output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor
from torch.nn import functional

from kelly_core.data.dataset import Batch, Indices
from kelly_core.errors import ConfigError
from kelly_core.spec import LOSS_OUTPUT, Loss, ModelSpec
from kelly_core.training.networks import activate


@dataclass(frozen=True)
class TensorBatch:
    """A ``data.dataset.Batch`` on the training's device."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    pooled: Tensor | None

    @classmethod
    def of(cls, batch: Batch, device: torch.device, *, single_frames: bool = False) -> TensorBatch:
        """Move a batch to ``device``.

        Args:
            batch: examples as NumPy arrays.
            device: where to.
            single_frames: take every frame of a sequence for an example of its own, [N T, 1, …]; a label of a whole
                sequence then is one of each of its frames.
        """
        arrays = [batch.inputs, batch.targets, batch.weights]
        if single_frames:
            arrays = [array.reshape(-1, 1, array.shape[-1]) for array in arrays]
        inputs, targets, weights = (torch.from_numpy(array).to(device) for array in arrays)
        pooled = None
        if batch.pooled is not None and batch.pooled.any() and not single_frames:
            pooled = torch.from_numpy(batch.pooled).to(device)
        return cls(inputs, targets, weights, pooled)

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int) -> Iterator[TensorBatch]:
        """Cut into batches of ``size`` examples, the last perhaps smaller, as views."""
        parts = [torch.split(tensor, size) for tensor in (self.inputs, self.targets, self.weights)]
        pooled = repeat(None) if self.pooled is None else torch.split(self.pooled, size)
        return map(TensorBatch, *parts, pooled)

    def take(self, order: Indices) -> TensorBatch:
        """The examples at ``order``, copied."""
        chosen = torch.from_numpy(order).to(self.inputs.device)
        pooled = None if self.pooled is None else self.pooled[chosen]
        return TensorBatch(self.inputs[chosen], self.targets[chosen], self.weights[chosen], pooled)


def check_loss(loss: Loss, spec: ModelSpec) -> None:
    """Refuse a loss that needs another output than the model's.

    Raises:
        ConfigError: binary cross-entropy without a sigmoid, or soft cross-entropy without a softmax.
    """
    needed = LOSS_OUTPUT.get(loss)
    if needed not in (None, spec.output_activation):
        output = spec.output_activation or "linear"
        raise ConfigError(f"the loss {loss} needs a {needed} output, but that of {spec.name} is {output}")


def weighted_loss(loss: Loss, activation: str, logits: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
    """Sum of the weighted loss over a batch, and the sum of the weights; their ratio is the mean loss.

    Squared and absolute error and binary cross-entropy (nats) count every output, soft cross-entropy (nats) every
    frame.

    Args:
        loss: which loss.
        activation: of the last layer, applied here in a stable form.
        logits: [N, T, out] before the last activation.
        batch: targets [N, T, out] and weights that broadcast to them.
    """
    weights = batch.weights
    if loss == "soft_cross_entropy":
        each = -(batch.targets * functional.log_softmax(logits, dim=-1)).sum(dim=-1, keepdim=True)
    elif loss == "bce":
        each = functional.binary_cross_entropy_with_logits(logits, batch.targets, reduction="none")
    else:
        outputs = activate(activation, logits)
        if batch.pooled is not None:
            outputs = pool(outputs, weights, batch.pooled)
        off = outputs - batch.targets
        each = off.abs() if loss == "masked_l1" else off.square()
    repeats = each.shape[-1] // weights.shape[-1]
    return (each * weights).sum(), weights.sum() * repeats


def mean_loss(total: Tensor, weight: Tensor) -> Tensor:
    """Mean loss of a batch; 0 where everything in it is masked."""
    return total / weight.clamp(min=torch.finfo(weight.dtype).tiny)


def pool(outputs: Tensor, weights: Tensor, pooled: Tensor) -> Tensor:
    """Replace the outputs [N, T, out] of the examples that are ``pooled`` [N] by their weighted mean over time."""
    mean = mean_loss((outputs * weights).sum(dim=1, keepdim=True), weights.sum(dim=1, keepdim=True))
    return torch.where(pooled[:, None, None], mean, outputs)
