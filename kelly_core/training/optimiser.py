"""Adam over all weights of a network at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class FlatAdam:
    """Adam with the norm of the gradient clipped, for networks so small that the number of operations decides.

    Weights and gradients are laid end to end in two vectors, of which the network's own parameters become views.
    Clearing, clipping and stepping then are one operation each instead of one a parameter.

    Args:
        network: on its device already; moving it afterwards would part it from the vectors.
        learning_rate: of Adam.
        gradient_clip: largest norm of a step's gradient; 0 does not clip.
    """

    def __init__(self, network: nn.Module, learning_rate: float, gradient_clip: float) -> None:
        parameters = list(network.parameters())
        sizes = [parameter.numel() for parameter in parameters]
        weights = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        self._gradient = torch.zeros_like(weights)
        parts = zip(parameters, torch.split(weights, sizes), torch.split(self._gradient, sizes), strict=True)
        for parameter, values, gradient in parts:
            parameter.data = values.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)
        vector = nn.Parameter(weights)
        vector.grad = self._gradient
        self._adam = torch.optim.Adam([vector], lr=learning_rate, fused=True)
        self._gradient_clip = gradient_clip

    def zero_grad(self) -> None:
        """Clear the gradient in place: setting it to None would part it from the parameters' own."""
        self._gradient.zero_()

    @property
    def learning_rate(self) -> float:
        """Of the next steps."""
        rate: float = self._adam.param_groups[0]["lr"]
        return rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._adam.param_groups[0]["lr"] = rate

    def step(self, weight: Tensor) -> None:
        """Divide the gradient of a weighted sum by its ``weight``, clip it, and move the weights.

        A weight of 0, of a batch in which everything is masked, leaves a gradient of 0.
        """
        factor = 1.0 / weight.clamp(min=torch.finfo(weight.dtype).tiny)
        if self._gradient_clip:
            norm = torch.linalg.vector_norm(self._gradient) * factor
            factor = factor * (self._gradient_clip / norm).clamp_(max=1.0)
        self._gradient.mul_(factor)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # Denormals are flushed in the calling thread only; see cpu_threads.
        self._adam.step()
        torch.set_num_threads(threads)

    def state_dict(self) -> dict[str, Any]:
        """Adam's state, as PyTorch gives it: live tensors."""
        return self._adam.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that ``state_dict`` gave."""
        self._adam.load_state_dict(state)
