"""The losses, weighted by example, frame and output; their gradients, and the backward pass of a network.

A spec may name a loss of its own: a function ``(outputs, targets, weights) -> (totals, sizes)`` of tensors [N, T, out],
with weights [N, T, 1 or out]. It returns two tensors [N]: the weighted loss of each example, and its divisor. The loss
of several examples is the sum of the totals over the sum of the sizes. Sizes must not depend on the outputs. The
function must be differentiable with respect to the outputs; training and evaluation both use it.

The gradients of dense layers are hand-written; those of all other layers come from autograd (docs/adr/0006).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kelly_core.engines.torch_engine import advance
from kelly_core.errors import ConfigError
from kelly_core.spec import LOSS_OUTPUT, ModelSpec, is_custom_loss, load_reference
from kelly_core.training.batches import TensorBatch
from kelly_core.training.networks import KellyNetwork, activate

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

    Squared and absolute error and binary cross-entropy (nats) count every output, soft cross-entropy (nats) every
    frame.

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


def loss_gradient(loss: str, activation: str, logits: Tensor, batch: TensorBatch) -> Tensor:
    """Return the gradient of the sum of ``losses.weighted_loss`` with respect to the logits [N, T, out].

    For both cross-entropies it is output minus target (Bishop, Pattern Recognition and Machine Learning, 2006, 4.3);
    the output is multiplied by the sum of the soft targets, which need not be 1.
    """
    if is_custom_loss(loss):
        # The derivative of a loss of an installed package comes from autograd only.
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
    """Return the gradient with respect to an activation's inputs from that with respect to its outputs [..., out]."""
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


Map = Callable[..., Iterator[Any]]
"""Signature of the built-in ``map``; the map of an executor computes several items in parallel."""
_Back = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""Backward function of a layer: it takes the gradient with respect to the outputs, writes the gradients with respect to
the parameters, and returns the gradient with respect to the inputs.
"""


class GradientAccumulator:
    """Gradients of batches that are split into micro-batches.

    The gradient of each micro-batch is computed separately. They are summed in order, so that rounding does not depend
    on how many are computed in parallel.

    Args:
        network: network; the gradient is taken with respect to its parameters.
        loss: loss function.
        gradient: vector that receives the gradient of each batch, concatenated in the network's order.
    """

    def __init__(self, network: KellyNetwork, loss: str, gradient: Tensor) -> None:
        self._chain = BackwardPass(network, loss)
        self._parameters = list(network.parameters())
        self._gradient, self._whole = gradient, self._by_parameter(gradient)
        self._rows = gradient.new_empty(0, len(gradient))
        self._parts: list[list[Tensor]] = []

    def __call__(self, parts: Sequence[TensorBatch], parallel_map: Map = map) -> LossSums:
        """Write the gradient of a batch's weighted loss sum to ``gradient``; return loss sum and weight sum."""
        # A single micro-batch writes directly to the gradient, which saves a copy at each step.
        if len(parts) == 1:
            return self._chain(parts[0], self._whole)
        if len(parts) > len(self._rows):
            self._rows = self._gradient.new_empty(len(parts), len(self._gradient))
            self._parts = [self._by_parameter(row) for row in self._rows]
        # Each micro-batch writes to its own row, so that threads never add to the same memory.
        sums = list(parallel_map(self._chain, parts, self._parts[: len(parts)]))
        # The order of this sum, and so its rounding, depends only on the number of rows.
        torch.sum(self._rows[: len(parts)], dim=0, out=self._gradient)
        total, weight = torch.stack([torch.stack(pair) for pair in sums]).sum(dim=0)
        return total, weight

    def _by_parameter(self, vector: Tensor) -> list[Tensor]:
        """Return views of a vector in the shapes of the parameters."""
        pieces = torch.split(vector, [parameter.numel() for parameter in self._parameters])
        return [piece.view_as(parameter) for piece, parameter in zip(pieces, self._parameters, strict=True)]


class BackwardPass:
    """Gradients of a chain of layers.

    For matrices this small, the bookkeeping of autograd takes as long as the matrix products; without it a step of the
    dense networks takes 0.5 to 0.7 of the time. All other layers use autograd.
    """

    def __init__(self, network: KellyNetwork, loss: str) -> None:
        self._loss, self._output = loss, network.spec.output_activation
        activations: list[str] = [layer.activation for layer in network.spec.layers]
        activations[-1] = ""  # The loss functions apply the last activation.
        self._layers: list[_DenseLayer | _AutogradLayer] = [
            _DenseLayer(module, activation, first=not index)
            if isinstance(module, nn.Linear)
            else _AutogradLayer(module, activation)
            for index, (module, activation) in enumerate(zip(network.layers, activations, strict=True))
        ]

    @torch.no_grad()
    def __call__(self, batch: TensorBatch, gradient: Sequence[Tensor]) -> LossSums:
        """Write the gradient of a batch [N, T, …] to tensors of the parameters' shapes; return both sums."""
        x, backs = batch.inputs.flatten(0, 1), []
        for layer in self._layers:
            x, back = layer.forward(x, len(batch))
            backs.append(back)
        logits = x.view_as(batch.targets)
        sums = weighted_loss(self._loss, self._output, logits, batch)
        grad = loss_gradient(self._loss, self._output, logits, batch).flatten(0, 1)
        # The loop runs from the last layer to the first, so ``gradient`` is filled from its end.
        end = len(gradient)
        for layer, back in zip(reversed(self._layers), reversed(backs), strict=True):
            start = end - layer.parameters
            grad = back(grad, gradient[start:end])
            end = start
        return sums


class _DenseLayer:
    """Dense layer with its activation; the first layer computes no gradient with respect to its inputs."""

    parameters = 2

    def __init__(self, module: nn.Linear, activation: str, *, first: bool) -> None:
        self._module, self._activation, self._first = module, activation, first

    def forward(self, x: Tensor, examples: int) -> tuple[Tensor, _Back]:  # noqa: ARG002 - part of the interface
        """Return outputs [F, out] for frames [F, in], and the backward function."""
        weight = self._module.weight
        outputs = activate(self._activation, torch.addmm(self._module.bias, x, weight.t()))

        def back(grad: Tensor, gradient: Sequence[Tensor]) -> Tensor:
            grad = activation_gradient(self._activation, grad, outputs)
            torch.mm(grad.t(), x, out=gradient[0])
            torch.sum(grad, dim=0, out=gradient[1])
            # Nothing uses the gradient with respect to the inputs of the network.
            return grad if self._first else grad @ weight

        return outputs, back


class _AutogradLayer:
    """Any layer with its activation; one with state starts each example from zero."""

    def __init__(self, module: nn.Module, activation: str) -> None:
        self._module, self._activation = module, activation
        self.parameters = len(list(module.parameters()))

    def forward(self, x: Tensor, examples: int) -> tuple[Tensor, _Back]:
        """Return outputs [F, out] for the concatenated frames [F, in] of some examples, and their backward function."""
        # The caller disables autograd, which this layer needs. The detached input cuts the graph below this layer.
        with torch.enable_grad():
            inputs = x.view(examples, -1, x.shape[-1]).detach().requires_grad_()
            outputs = activate(self._activation, advance(self._module, inputs, None)[0])

        def back(grad: Tensor, gradient: Sequence[Tensor]) -> Tensor:
            wanted = [inputs, *self._module.parameters()]
            by_inputs, *by_parameters = torch.autograd.grad(outputs, wanted, grad.view_as(outputs))
            for place, part in zip(gradient, by_parameters, strict=True):
                place.copy_(part)
            return by_inputs.flatten(0, 1)

        return outputs.detach().flatten(0, 1), back
