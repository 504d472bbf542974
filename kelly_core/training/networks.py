"""The networks in PyTorch, built from their specs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kelly_core.arrays import Doubles
from kelly_core.engines.layers import ActivationLayer, Conv1dWeights, DenseWeights, Layer, describe_layer
from kelly_core.engines.torch_engine import LayerStates, advance, new_module
from kelly_core.export.torch_modules import read_layer
from kelly_core.spec import MODELS, ActivationOnly, LayerSpec, ModelSpec

_MIN_PROBABILITY = 1e-6
"""Initial probability of an output that no training example has: about one occurrence in a small corpus."""
_MAX_TANH = 0.99
"""Largest initial output of tanh, at which it still has a gradient."""
_KEPT_SHARE = 0.8
"""Share of the previous mean in the moving mean of the weights, from the fifth epoch on."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: torch.softmax(x, dim=-1),
    "elu": functional.elu,
}


def activate(name: str, x: Tensor) -> Tensor:
    """Apply the activation called ``name``; softmax goes over the last axis."""
    return ACTIVATIONS[name](x)


class KellyNetwork(nn.Module):
    """A chain of layers, built from a spec: one module per layer, followed by its activation."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleList(map(new_module, spec.layers))

    def logits(self, x: Tensor, state: LayerStates | None = None) -> tuple[Tensor, LayerStates]:
        """Run all but the last activation, which the losses apply in a stable form.

        Args:
            x: [N, T, in].
            state: state of each layer after the earlier frames; None starts from zero.

        Returns:
            [N, T, out] and the state of each layer after these frames.
        """
        after: LayerStates = []
        last = len(self.layers) - 1
        for index, (layer, module) in enumerate(zip(self.spec.layers, self.layers, strict=True)):
            x, kept = advance(module, x, None if state is None else state[index])
            after.append(kept)
            # The losses apply the output activation themselves, where log-softmax and log-sigmoid do not overflow.
            if index != last:
                x = activate(layer.activation, x)
        return x, after

    def forward(self, x: Tensor, state: LayerStates | None = None) -> tuple[Tensor, LayerStates]:
        """Return outputs [N, T, out] and the state of each layer for inputs [N, T, in]; see ``logits``."""
        x, after = self.logits(x, state)
        return activate(self.spec.output_activation, x), after


def build_network(spec: ModelSpec, seed: int) -> KellyNetwork:
    """Return a network with initial weights drawn from ``seed``; the global generator is not changed."""
    # The initial weights depend only on the seed, not on earlier draws, and later draws are not affected.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KellyNetwork(spec)


def start_at(network: KellyNetwork, output: Doubles) -> None:
    """Set the bias of the last layer to the logits of ``output`` [out], so that training starts near that output.

    The logits are log odds for a sigmoid, logarithms for a softmax, and the inverses of tanh and ELU. An output at the
    end of its range, where the logits are infinite, is moved just inside the range. A last layer without a bias is not
    changed.
    """
    last = network.layers[-1]
    if not isinstance(last, nn.Linear | nn.Conv1d) or last.bias is None:
        return
    # At 0 and 1 the logits are infinite, and the first gradients would be infinite, too.
    probability = np.clip(output, _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    match network.spec.output_activation:
        case "sigmoid":
            logits = np.log(probability) - np.log1p(-probability)
        case "softmax":
            logits = np.log(probability)
        case "tanh":
            logits = np.arctanh(np.clip(output, -_MAX_TANH, _MAX_TANH))
        case "elu":
            logits = np.where(output > 0, output, np.log1p(np.clip(output, -_MAX_TANH, 0)))
        case _:
            logits = output
    with torch.no_grad():
        last.bias.copy_(torch.from_numpy(logits.astype(np.float32)))


def copy_weights(network: KellyNetwork) -> dict[str, Tensor]:
    """Return a copy of the weights; later steps would change the tensors that ``state_dict`` returns."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


@torch.no_grad()
def update_average(average: KellyNetwork, network: KellyNetwork, epochs: int) -> None:
    """Update the moving mean of the weights at the end of an epoch; the first five epochs have equal weight.

    Args:
        average: network with the mean, changed in place; ``network`` itself if no mean is computed.
        network: network with the weights of the epoch.
        epochs: complete epochs before it.
    """
    if average is network:
        return
    # n / (n + 1) results in the plain mean of the first epochs, before the share becomes constant.
    kept = min(_KEPT_SHARE, epochs / (epochs + 1))
    current = network.state_dict()
    for name, mean in average.state_dict().items():
        # Batch normalization counts batches in an integer, which is copied, not averaged.
        mean.copy_(torch.lerp(current[name], mean, kept) if mean.is_floating_point() else current[name])


def weights_of(network: KellyNetwork) -> list[Layer]:
    """Return copies of a network's weights as NumPy arrays in PyTorch orientation.

    Raises:
        ExportError: a weight is not finite.
    """
    layers = zip(network.spec.layers, network.layers, strict=True)
    return [_weights(layer, module, f"layers.{index}") for index, (layer, module) in enumerate(layers)]


def _weights(layer: LayerSpec, module: nn.Module, name: str) -> Layer:
    if isinstance(layer, ActivationOnly):
        return ActivationLayer(layer.activation, layer.size)
    weights = read_layer(module, name, layer.in_size)
    return (
        replace(weights, activation=layer.activation) if isinstance(weights, DenseWeights | Conv1dWeights) else weights
    )


@dataclass(frozen=True)
class Architecture:
    """Sizes and parameter count of a network as built, and those in its spec."""

    model: str
    layers: str
    parameters: int
    expected_parameters: int
    input_size: int
    output_size: int
    passed: bool


def verify_architectures() -> list[Architecture]:
    """Build every network, run two frames through it, and compare its sizes and parameters with its spec."""
    return [_verify(spec) for spec in MODELS]


def _verify(spec: ModelSpec) -> Architecture:
    network = build_network(spec, seed=0)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    with torch.inference_mode():
        outputs, _ = network(torch.zeros(1, 2, spec.input_size))
    return Architecture(
        model=spec.name,
        layers=" → ".join(describe_layer(layer) for layer in weights_of(network)),
        parameters=parameters,
        expected_parameters=spec.parameter_count,
        input_size=spec.input_size,
        output_size=outputs.shape[-1],
        passed=parameters == spec.parameter_count and tuple(outputs.shape) == (1, 2, spec.output_size),
    )
