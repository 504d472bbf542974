"""The five networks in PyTorch, built from their specs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kelly_core.engines.layers import Array, DenseWeights, Layer, LstmWeights
from kelly_core.spec import MODELS, Dense, ModelSpec

LstmState = tuple[Tensor, Tensor]

_LEAST_PROBABILITY = 1e-6
"""Initial probability of what no training example has: about one in all beats of a small corpus."""
_LARGEST_TANH = 0.99
"""Largest initial output of tanh, which still has a gradient there."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda x: x,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: torch.softmax(x, dim=-1),
}


def activate(name: str, x: Tensor) -> Tensor:
    """Apply the activation called ``name``; softmax goes over the last axis."""
    return ACTIVATIONS[name](x)


class KellyNetwork(nn.Module):
    """A chain of dense and LSTM layers, built from a spec."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleList(
            nn.Linear(layer.in_size, layer.out_size)
            if isinstance(layer, Dense)
            else nn.LSTM(layer.in_size, layer.out_size, batch_first=True)
            for layer in spec.layers
        )

    def logits(self, x: Tensor, state: Sequence[LstmState] | None = None) -> tuple[Tensor, list[LstmState]]:
        """Run all but the last activation, which the losses apply in a stable form.

        Args:
            x: [N, T, in].
            state: of each LSTM after the frames before; None starts from zero.

        Returns:
            [N, T, out] and the state of each LSTM after these frames.
        """
        after: list[LstmState] = []
        last = len(self.layers) - 1
        for index, (layer, module) in enumerate(zip(self.spec.layers, self.layers, strict=True)):
            if isinstance(layer, Dense):
                x = module(x)
                # The losses apply the output activation themselves, where log-softmax and log-sigmoid do not overflow.
                if index != last:
                    x = activate(layer.activation, x)
            else:
                x, carried = module(x, None if state is None else state[len(after)])
                after.append(carried)
        return x, after

    def forward(self, x: Tensor, state: Sequence[LstmState] | None = None) -> tuple[Tensor, list[LstmState]]:
        """Return outputs [N, T, out] and the state of each LSTM for inputs [N, T, in]; see ``logits``."""
        x, after = self.logits(x, state)
        return activate(self.spec.output_activation, x), after


def build_network(spec: ModelSpec, seed: int) -> KellyNetwork:
    """Return a network with initial weights drawn from ``seed``; the global generator is not changed."""
    # The initial weights depend on the seed only, not on what was drawn before, and other draws are not disturbed.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KellyNetwork(spec)


def start_at(network: KellyNetwork, output: NDArray[np.float64]) -> None:
    """Set the bias of the last layer to the logits of ``output`` [out], so that training starts near that answer.

    The logits are log odds of a sigmoid, logarithms of a softmax and the inverse of tanh. An output at the end of its
    range, where they are infinite, counts as just inside it.
    """
    last = network.layers[-1]
    assert isinstance(last, nn.Linear)
    # At 0 and 1 the logits are infinite, and so would be the first gradients.
    probability = np.clip(output, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    match network.spec.output_activation:
        case "sigmoid":
            logits = np.log(probability) - np.log1p(-probability)
        case "softmax":
            logits = np.log(probability)
        case "tanh":
            logits = np.arctanh(np.clip(output, -_LARGEST_TANH, _LARGEST_TANH))
        case _:
            logits = output
    with torch.no_grad():
        last.bias.copy_(torch.from_numpy(logits.astype(np.float32)))


def copy_weights(network: KellyNetwork) -> dict[str, Tensor]:
    """Return weights that later steps do not change; ``state_dict`` alone aliases them."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def weights_of(network: KellyNetwork) -> list[Layer]:
    """Return copies of a network's weights as NumPy arrays in PyTorch orientation."""
    return [
        _dense_weights(network, i) if isinstance(layer, Dense) else _lstm_weights(network, i)
        for i, layer in enumerate(network.spec.layers)
    ]


def _array(parameter: Tensor) -> Array:
    # A copy: the parameters are views of one vector that the next step overwrites.
    array: Array = parameter.detach().cpu().numpy().copy()
    return array


def _dense_weights(network: KellyNetwork, index: int) -> DenseWeights:
    module, layer = network.layers[index], network.spec.layers[index]
    assert isinstance(module, nn.Linear)
    assert isinstance(layer, Dense)
    return DenseWeights(_array(module.weight), _array(module.bias), layer.activation)


def _lstm_weights(network: KellyNetwork, index: int) -> LstmWeights:
    module = network.layers[index]
    assert isinstance(module, nn.LSTM)
    weight_ih, weight_hh, bias_ih, bias_hh = (
        _array(getattr(module, name)) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    return LstmWeights(weight_ih, weight_hh, bias_ih, bias_hh)


@dataclass(frozen=True)
class Architecture:
    """A network as built, and the numbers of its spec."""

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
        layers=" → ".join(_describe(layer) for layer in network.layers),
        parameters=parameters,
        expected_parameters=spec.parameter_count,
        input_size=spec.input_size,
        output_size=outputs.shape[-1],
        passed=parameters == spec.parameter_count and tuple(outputs.shape) == (1, 2, spec.output_size),
    )


def _describe(module: nn.Module) -> str:
    if isinstance(module, nn.LSTM):
        return f"LSTM {module.input_size}→{module.hidden_size}"
    assert isinstance(module, nn.Linear)
    return f"dense {module.in_features}→{module.out_features}"
