"""Adam (Kingma and Ba, 2015) over all weights of a network at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam


class FlatAdam:
    """Adam with gradient clipping, for networks so small that function calls take longer than arithmetic.

    All weights are concatenated in one vector; the network's parameters become views of it. Clipping and stepping are
    then one operation each instead of one per parameter.

    Args:
        network: already on its device; moving it later would detach it from the vectors.
        learning_rate: learning rate of Adam.
        gradient_clip: maximum L2 norm of a step's gradient; 0 does not clip.

    Attributes:
        gradient: gradient of all weights, concatenated in the network's order; the caller fills it before each step,
            which scales it in place.
        learning_rate: learning rate of the following steps.
    """

    def __init__(self, network: nn.Module, learning_rate: float, gradient_clip: float) -> None:
        parameters = list(network.parameters())
        sizes = [parameter.numel() for parameter in parameters]
        weights = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        # The parameters become views, so that one operation on the vector updates all of them.
        for parameter, values in zip(parameters, torch.split(weights, sizes), strict=True):
            parameter.data = values.view_as(parameter)
        self.gradient = torch.zeros_like(weights)
        self._weights = weights
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)
        self._steps = torch.zeros((), device=weights.device)
        self._gradient_clip = gradient_clip
        self.learning_rate = learning_rate

    @torch.no_grad()
    def step(self, weight: Tensor) -> None:
        """Divide the gradient of a weighted loss sum by its ``weight``, clip it, and update the network.

        ``weight`` is the sum of the loss weights. If everything in a batch is masked, it is 0 and the gradient stays 0.
        """
        # The smallest normal number in place of 0 avoids 0 / 0, which would make every weight NaN.
        factor = 1.0 / weight.clamp(min=torch.finfo(weight.dtype).tiny)
        if self._gradient_clip:
            # The norm stays a tensor: comparing it with Python numbers would wait for the GPU at each step.
            norm = torch.linalg.vector_norm(self.gradient) * factor
            factor = factor * (self._gradient_clip / norm).clamp_(max=1.0)
        self.gradient.mul_(factor)
        # Not torch.optim.Adam, whose bookkeeping takes longer than the update of so few weights.
        adam(
            [self._weights],
            [self.gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps],
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return both moments, the number of steps and the learning rate; the tensors are not copied."""
        return {
            "mean": self._mean,
            "square": self._square,
            "steps": self._steps,
            "learning_rate": self.learning_rate,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of ``state_dict``."""
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        self._steps.copy_(state["steps"])
        self.learning_rate = state["learning_rate"]
