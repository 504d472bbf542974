"""The loss of a batch, and its gradient, which is added to what the parameters of a network hold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kelly_core.spec import Dense, Loss
from kelly_core.training.losses import TensorBatch, weighted_loss
from kelly_core.training.networks import KellyNetwork, activate

Backward = Callable[[TensorBatch], tuple[Tensor, Tensor]]
"""Adds a batch's gradient to the parameters' own and gives what ``losses.weighted_loss`` gives, without a graph."""


def backward_of(network: KellyNetwork, loss: Loss) -> Backward:
    """The fastest way to the gradients of a network whose parameters have gradients already, zeros at first."""
    return Autograd(network, loss) if network.spec.recurrent else DenseChain(network, loss)


class Autograd:
    """Gradients by PyTorch's own means, for any network."""

    def __init__(self, network: KellyNetwork, loss: Loss) -> None:
        self._network, self._loss = network, loss

    def __call__(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Add the gradient of a batch [N, T, …]; sum of its weighted loss and sum of its weights."""
        logits, _ = self._network.logits(batch.inputs)
        total, weight = weighted_loss(self._loss, self._network.spec.output_activation, logits, batch)
        torch.autograd.backward(total)
        return total.detach(), weight


class DenseChain:
    """Gradients of a chain of dense layers, with the chain rule written out.

    The products of such small matrices take no longer than autograd's bookkeeping: without it a step takes 0.5 to 0.7
    of the time.
    """

    def __init__(self, network: KellyNetwork, loss: Loss) -> None:
        self._loss = loss
        self._activations = [layer.activation for layer in network.spec.layers if isinstance(layer, Dense)]
        modules = [module for module in network.layers if isinstance(module, nn.Linear)]
        self._weights = [(module.weight, module.bias) for module in modules]

    @torch.no_grad()
    def __call__(self, batch: TensorBatch) -> tuple[Tensor, Tensor]:
        """Add the gradient of a batch [N, T, …]; sum of its weighted loss and sum of its weights."""
        inputs, logits = self._forward(batch.inputs.flatten(0, 1))
        logits = logits.view_as(batch.targets)
        sums = weighted_loss(self._loss, self._activations[-1], logits, batch)
        gradient = loss_gradient(self._loss, self._activations[-1], logits, batch).flatten(0, 1)
        for index in reversed(range(len(inputs))):
            weight, bias = self._weights[index]
            assert weight.grad is not None and bias.grad is not None
            weight.grad.addmm_(gradient.t(), inputs[index])
            bias.grad.add_(gradient.sum(dim=0))
            if index:
                gradient = activation_gradient(self._activations[index - 1], gradient @ weight, inputs[index])
        return sums

    def _forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Inputs [F, in] of each layer for frames ``x``, and what the last layer gives before its activation."""
        inputs = []
        for index, (weight, bias) in enumerate(self._weights):
            x = activate(self._activations[index - 1], x) if index else x
            inputs.append(x)
            x = torch.addmm(bias, x, weight.t())
        return inputs, x


def loss_gradient(loss: Loss, activation: str, logits: Tensor, batch: TensorBatch) -> Tensor:
    """Derivative of the sum that ``losses.weighted_loss`` gives by the logits [N, T, out], for unpooled labels.

    Of the two cross-entropies it is the well-known "output minus target" (Bishop, Pattern Recognition and Machine
    Learning, 2006, 4.3), where soft targets need not add up to 1.
    """
    outputs = activate(activation, logits)
    if loss == "soft_cross_entropy":
        return (outputs * batch.targets.sum(dim=-1, keepdim=True) - batch.targets) * batch.weights
    if loss == "bce":
        return (outputs - batch.targets) * batch.weights
    return activation_gradient(activation, 2 * (outputs - batch.targets) * batch.weights, outputs)


def activation_gradient(name: str, gradient: Tensor, outputs: Tensor) -> Tensor:
    """From the derivative by an activation's outputs to that by its inputs, all of one shape [..., out]."""
    if name == "tanh":
        result: Tensor = torch.ops.aten.tanh_backward(gradient, outputs)
    elif name == "sigmoid":
        result = torch.ops.aten.sigmoid_backward(gradient, outputs)
    elif name == "relu":
        result = torch.ops.aten.threshold_backward(gradient, outputs, 0)
    elif name == "softmax":
        result = outputs * (gradient - (gradient * outputs).sum(dim=-1, keepdim=True))
    else:
        result = gradient
    return result
