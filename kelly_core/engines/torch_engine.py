"""A network's layers as a PyTorch module, and an engine that runs it frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kelly_core.arrays import Floats
from kelly_core.engines.layers import (
    ActivationLayer,
    BatchNormWeights,
    Conv1dWeights,
    DenseWeights,
    Engine,
    GruWeights,
    Layer,
    LstmWeights,
    PreluWeights,
    layer_spec,
)
from kelly_core.spec import ActivationOnly, BatchNorm1d, Conv1d, Dense, Gru, LayerSpec, Lstm, Prelu

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "softmax": lambda: nn.Softmax(dim=-1),
    "elu": nn.ELU,
}

LayerStates = list[Any]
"""State of each module after earlier frames; None for a module without state, and before the first frame."""


class FrameSequential(nn.Sequential):
    """Modules in a chain over sequences of frames, in the layout [N, T, channels] throughout.

    It differs from ``nn.Sequential`` in three respects: recurrent modules pass on their outputs without their state,
    convolutions are causal (zeros before the first frame), and modules that expect [N, channels, T] get that layout.
    """

    def forward(self, frames: Tensor) -> Tensor:
        """Compute outputs [N, T, out] or [T, out] for inputs [N, T, in] or [T, in], from zero state."""
        if frames.dim() == 2:
            return self.advance(frames[None], None)[0][0]
        return self.advance(frames, None)[0]

    def advance(self, frames: Tensor, state: LayerStates | None) -> tuple[Tensor, LayerStates]:
        """Compute outputs [N, T, out] for inputs [N, T, in] from a state (None for zero), and the state after them."""
        after: LayerStates = []
        for module, before in zip(self, state or [None] * len(self), strict=True):
            frames, kept = advance(module, frames, before)
            after.append(kept)
        return frames, after


def build_module(layers: Sequence[Layer]) -> FrameSequential:
    """Return a trainable PyTorch module with the weights of a network, in eval mode."""
    return FrameSequential(*(module for layer in layers for module in _modules(layer))).eval()


class TorchEngine(Engine):
    """A network in PyTorch that keeps its state from frame to frame, starting from zero."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.in_size, self.out_size = layers[0].in_size, layers[-1].out_size
        self._module = build_module(layers)
        self._state: LayerStates | None = None

    def reset(self) -> None:
        """Set all state to zero."""
        self._state = None

    def process(self, frames: Floats) -> Floats:
        """Compute frames in sequence from the current state, shape [n, in] → [n, out]."""
        with torch.inference_mode():
            outputs, self._state = self._module.advance(
                torch.from_numpy(np.asarray(frames, np.float32))[None], self._state
            )
        result: Floats = outputs[0].numpy()
        return result

    def sequences(self, inputs: Floats) -> Floats:
        """Compute sequences, shape [N, T, in] → [N, T, out], each from zero state; the state is kept."""
        with torch.inference_mode():
            result: Floats = self._module(torch.from_numpy(inputs)).numpy()
        return result


def advance(module: nn.Module, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Compute a module's outputs [N, T, out] for inputs [N, T, in] from a state, and the state after them; see
    ``FrameSequential``.
    """
    if isinstance(module, nn.LSTM | nn.GRU):
        outputs, after = module(frames, state)
        return outputs, after
    if isinstance(module, nn.Conv1d):
        past = (module.kernel_size[0] - 1) * module.dilation[0]
        zeros = frames.new_zeros(frames.shape[0], past, frames.shape[2])
        joined = torch.cat([zeros if state is None else state, frames], dim=1)
        # PyTorch's convolutions take channels second. Not [-past:], which would keep everything for past = 0.
        return module(joined.transpose(1, 2)).transpose(1, 2), joined[:, joined.shape[1] - past :]
    if isinstance(module, nn.BatchNorm1d | nn.PReLU):
        return module(frames.transpose(1, 2)).transpose(1, 2), None
    return module(frames), None


def _modules(layer: Layer) -> Iterator[nn.Module]:
    """Yield a layer's module with its weights, then the module of its activation."""
    if not isinstance(layer, ActivationLayer):
        # Torch draws initial weights, which are replaced; the state of the generator is restored.
        with torch.random.fork_rng(devices=[]):
            module, weights = _module(layer)
        with torch.no_grad():
            for name, array in weights.items():
                # None, or missing from an LSTM or a GRU, if the layer has no bias.
                if (tensor := getattr(module, name, None)) is not None:
                    tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
        yield module
    if layer.activation:
        yield ACTIVATIONS[layer.activation]()


def _module(layer: Layer) -> tuple[nn.Module, dict[str, Floats]]:
    """Return a module of a layer's type and sizes, and the arrays for its parameters and buffers, by attribute."""
    spec = layer_spec(layer)
    match layer:
        case DenseWeights() | Conv1dWeights():
            return new_module(spec, bias=layer.use_bias), {"weight": layer.weight, "bias": layer.bias}
        case LstmWeights() | GruWeights():
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            return new_module(spec, bias=layer.use_bias), {f"{name}_l0": getattr(layer, name) for name in names}
        case BatchNormWeights():
            statistics = {"running_mean": layer.mean, "running_var": layer.variance}
            module = new_module(spec, bias=layer.affine, epsilon=layer.epsilon)
            return module, {"weight": layer.gamma, "bias": layer.beta, **statistics}
        case PreluWeights():
            return new_module(spec), {"weight": layer.slope}
        case ActivationLayer():
            return new_module(spec), {}


def new_module(layer: LayerSpec, *, bias: bool = True, epsilon: float = 1e-5) -> nn.Module:
    """Return the module of a layer with initial weights, without the activation that follows it.

    Args:
        layer: type and sizes.
        bias: False for a layer without a bias, or a batch normalization without gamma and beta.
        epsilon: epsilon of a batch normalization.
    """
    match layer:
        case Dense():
            return nn.Linear(layer.in_size, layer.out_size, bias)
        case Lstm():
            return nn.LSTM(layer.in_size, layer.out_size, bias=bias, batch_first=True)
        case Gru():
            return nn.GRU(layer.in_size, layer.out_size, bias=bias, batch_first=True)
        case Conv1d():
            sizes = (layer.in_size, layer.out_size, layer.kernel_size)
            return nn.Conv1d(*sizes, dilation=layer.dilation, groups=layer.groups, bias=bias)
        case BatchNorm1d():
            return nn.BatchNorm1d(layer.size, eps=epsilon, affine=bias)
        case Prelu():
            return nn.PReLU(layer.slopes)
        case ActivationOnly():
            return nn.Identity()
