"""The losses, weighted by example, frame and output, and their gradients.

A spec may name its own loss: a function ``(outputs, targets, weights) -> (totals, sizes)`` of tensors [N, T, out],
with weights [N, T, 1 or out]. It returns two tensors [N]: the weighted loss of each example, and its divisor. The loss
of several examples is the sum of the totals over the sum of the sizes. Sizes must not depend on the outputs. The
function must be differentiable with respect to the outputs; training and evaluation both use it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kelly_core.entry_points import load_reference
from kelly_core.errors import ConfigError
from kelly_core.spec import LOSS_OUTPUT, ModelSpec, is_custom_loss
from kelly_core.training.batches import TensorBatch
from kelly_core.training.networks import activate

LossSums = tuple[Tensor, Tensor]
"""Sum of the weighted loss, and sum of the weights; their ratio is the mean loss."""


def check_loss(loss: str, spec: ModelSpec) -> None:
    """Check that a loss fits the output activation of a model.

    Raises:
        ConfigError: binary cross-entropy without a sigmoid, or soft cross-entropy without a softmax.
    """
    needed = LOSS_OUTPUT.get(loss)
    if needed not in (None, spec.output_activation):
        output = spec.output_activation or "linear"
        raise ConfigError(f"the loss {loss} needs a {needed} output, but that of {spec.name} is {output}")


def weighted_loss(loss: str, activation: str, logits: Tensor, batch: TensorBatch) -> LossSums:
    """Return the sum of the weighted loss over a batch and the sum of the weights.

    Squared and absolute error and binary cross-entropy (nats) are per output, soft cross-entropy (nats) is per frame.

    Args:
        loss: name of the loss.
        activation: activation of the last layer, applied here in a stable form.
        logits: [N, T, out] before the last activation.
        batch: targets [N, T, out] and weights that broadcast to them.
    """
    weights = batch.weights
    if is_custom_loss(loss):
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
    # Weights may have one column for all outputs; each weight then counts once per output.
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


def loss_gradient(loss: str, activation: str, logits: Tensor, batch: TensorBatch) -> Tensor:
    """Return the gradient of the sum of ``losses.weighted_loss`` with respect to the logits [N, T, out].

    For both cross-entropies it is output minus target (Bishop, Pattern Recognition and Machine Learning, 2006, 4.3);
    the output is multiplied by the sum of the soft targets, which need not be 1.
    """
    if is_custom_loss(loss):
        # The loss of an installed package has no hand-written derivative.
        with torch.enable_grad():
            leaf = logits.detach().requires_grad_()
            return torch.autograd.grad(weighted_loss(loss, activation, leaf, batch)[0], leaf)[0]
    outputs = activate(activation, logits)
    if loss == "soft_cross_entropy":
        return (outputs * batch.targets.sum(dim=-1, keepdim=True) - batch.targets) * batch.weights
    if loss == "bce":
        return (outputs - batch.targets) * batch.weights
    pooled = outputs if batch.pooled is None else pool(outputs, batch.weights, batch.pooled)
    off = pooled - batch.targets
    grad = (off.sign() if loss == "masked_l1" else 2 * off) * batch.weights
    if batch.pooled is None:
        return activation_gradient(activation, grad, outputs)
    # A pooled output is a weighted mean over time, so each frame receives its share of the gradient of the mean.
    share = mean_loss(batch.weights, batch.weights.sum(dim=1, keepdim=True))
    grad = torch.where(batch.pooled[:, None, None], grad.sum(dim=1, keepdim=True) * share, grad)
    return activation_gradient(activation, grad, outputs)


def activation_gradient(name: str, gradient: Tensor, outputs: Tensor) -> Tensor:
    """Convert the gradient with respect to an activation's outputs [..., out] to that for its inputs."""
    if name == "tanh":
        result: Tensor = torch.ops.aten.tanh_backward(gradient, outputs)
    elif name == "sigmoid":
        result = torch.ops.aten.sigmoid_backward(gradient, outputs)
    elif name == "relu":
        result = torch.ops.aten.threshold_backward(gradient, outputs, 0)
    elif name == "elu":
        # Below 0 the output is exp(x) - 1, whose derivative exp(x) is the output plus 1.
        result = gradient * torch.where(outputs > 0, 1.0, outputs + 1)
    elif name == "softmax":
        # The Jacobian is diag(s) - s sᵀ, so its product needs no matrix.
        result = outputs * (gradient - (gradient * outputs).sum(dim=-1, keepdim=True))
    else:
        result = gradient
    return result
