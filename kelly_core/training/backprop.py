"""Gradient of a batch's loss with respect to the weights: hand-written for dense layers, by autograd for all others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kelly_core.engines.torch_engine import advance
from kelly_core.training.batches import TensorBatch
from kelly_core.training.losses import LossSums, activation_gradient, loss_gradient, weighted_loss
from kelly_core.training.networks import KellyNetwork, activate

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
        """Write the gradient of a batch [N, T, …] to tensors of the parameters' shapes; return loss and weight sum."""
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
    """Any layer with its activation; a layer with state starts each example from zero."""

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
