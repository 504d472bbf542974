"""The losses, weighted by example, frame and output.

A spec may name a loss of its own: a function ``(outputs, targets, weights) -> (totals, sizes)`` of tensors [N, T, out],
with weights [N, T, 1 or out]. It returns two tensors [N]: the weighted loss of each example, and what to divide by. The
loss of several examples is the sum of the totals over the sum of the sizes. Sizes must not depend on the outputs. The
function must be differentiable with respect to the outputs; training and evaluation both use it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kelly_core.errors import ConfigError
from kelly_core.spec import LOSS_OUTPUT, ModelSpec, is_own_loss, load_reference
from kelly_core.training.batches import TensorBatch
from kelly_core.training.networks import activate


def check_loss(loss: str, spec: ModelSpec) -> None:
    """Check that a loss fits the output activation of a model.

    Raises:
        ConfigError: binary cross-entropy without a sigmoid, or soft cross-entropy without a softmax.
    """
    needed = LOSS_OUTPUT.get(loss)
    if needed not in (None, spec.output_activation):
        output = spec.output_activation or "linear"
        raise ConfigError(f"the loss {loss} needs a {needed} output, but that of {spec.name} is {output}")


def weighted_loss(loss: str, activation: str, logits: Tensor, batch: TensorBatch) -> tuple[Tensor, Tensor]:
    """Return the sum of the weighted loss over a batch and the sum of the weights; their ratio is the mean loss.

    Squared and absolute error and binary cross-entropy (nats) count every output, soft cross-entropy (nats) every
    frame.

    Args:
        loss: which loss.
        activation: of the last layer, applied here in a stable form.
        logits: [N, T, out] before the last activation.
        batch: targets [N, T, out] and weights that broadcast to them.
    """
    weights = batch.weights
    if is_own_loss(loss):
        totals, sizes = load_reference(loss)(activate(activation, logits), batch.targets, weights)
        return totals.sum(), sizes.sum()
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
    # Weights may have one column for all outputs; each then counts once per output.
    repeats = each.shape[-1] // weights.shape[-1]
    return (each * weights).sum(), weights.sum() * repeats


def mean_loss(total: Tensor, weight: Tensor) -> Tensor:
    """Return the mean loss of a batch; 0 if everything in it is masked."""
    # The smallest normal number in place of 0 makes 0 / 0 a loss of 0 instead of NaN.
    return total / weight.clamp(min=torch.finfo(weight.dtype).tiny)


def pool(outputs: Tensor, weights: Tensor, pooled: Tensor) -> Tensor:
    """Replace the outputs [N, T, out] of the examples that are ``pooled`` [N] by their weighted mean over time."""
    mean = mean_loss((outputs * weights).sum(dim=1, keepdim=True), weights.sum(dim=1, keepdim=True))
    return torch.where(pooled[:, None, None], mean, outputs)
