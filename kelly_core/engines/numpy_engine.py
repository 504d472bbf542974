"""A network in NumPy, frame by frame, computing in float32 what the plugin's engine computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from threadpoolctl import get_cached_controller

from kelly_core.arrays import Floats
from kelly_core.engines.layers import (
    ActivationLayer,
    BatchNormWeights,
    Conv1dWeights,
    DenseWeights,
    GruWeights,
    Layer,
    LstmWeights,
    PreluWeights,
)

TOLERANCE = 1e-5
"""Largest difference between two float32 engines that is attributed to rounding.

On standardized inputs the five networks differ by 2e-7. With the standardization folded in, the first layer adds up 128
terms of raw decibels, 30 to 80 in size, to a sum near 1. Folding changes the outputs of the emotion network by 5e-7 if
weights have variance 1/in, and by 3e-6 if they are twice as large.
"""


def _sigmoid(x: Floats) -> Floats:
    """σ(x) = (tanh(x / 2) + 1) / 2, which cannot overflow and is exactly 0 below -19."""
    y: Floats = np.tanh(x * 0.5) * 0.5 + 0.5
    return y


def _softmax(x: Floats) -> Floats:
    # The largest exponent becomes 0, so that no power overflows.
    powers: Floats = np.exp(x - x.max())
    powers /= powers.sum()
    return powers


ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {
    "": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "elu": lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
}
"""Activations of the engine; with any other name, including "linear", it dereferences a null pointer."""


class NumpyEngine:
    """A network that keeps its state from frame to frame, as the plugin runs it: reset once, then one step per frame.

    Values too large for float32 become infinities or NaN without a warning, as in the engine.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.in_size = layers[0].in_size
        self.out_size = layers[-1].out_size
        self._stages = [_stage(layer) for layer in layers]

    def reset(self) -> None:
        """Set all state to zero."""
        for stage in self._stages:
            stage.reset()

    def step(self, frame: Floats) -> Floats:
        """Compute one frame, shape [in] → [out], and update the state."""
        values = np.asarray(frame, dtype=np.float32)
        if values.shape != (self.in_size,):
            raise ValueError(f"a frame has shape ({self.in_size},), not {values.shape}")
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for stage in self._stages:
                values = stage(values)
        return values

    def process(self, frames: Floats) -> Floats:
        """Compute frames in sequence from the current state, shape [n, in] → [n, out]."""
        outputs = np.empty((len(frames), self.out_size), dtype=np.float32)
        # Threads do not speed up products of this size, and a preempted thread delays them for long.
        with get_cached_controller().limit(limits=1, user_api="blas"):
            for frame, output in zip(frames, outputs, strict=True):
                output[:] = self.step(frame)
        return outputs


class _Stage(Protocol):
    def __call__(self, x: Floats) -> Floats: ...

    def reset(self) -> None: ...


def _stage(layer: Layer) -> _Stage:
    match layer:
        case DenseWeights():
            return _DenseStage(layer)
        case LstmWeights():
            return _LstmStage(layer)
        case GruWeights():
            return _GruStage(layer)
        case Conv1dWeights():
            return _Conv1dStage(layer)
        case BatchNormWeights():
            return _BatchNormStage(layer)
        case PreluWeights():
            return _PreluStage(layer)
        case ActivationLayer():
            return _ActivationStage(layer)


class _Stateless:
    def reset(self) -> None:
        """Do nothing: there is no state."""


class _ActivationStage(_Stateless):
    def __init__(self, layer: ActivationLayer) -> None:
        self._activate = ACTIVATIONS[layer.activation]

    def __call__(self, x: Floats) -> Floats:
        return self._activate(x)


class _DenseStage(_Stateless):
    def __init__(self, layer: DenseWeights) -> None:
        self._weight = np.ascontiguousarray(layer.weight, dtype=np.float32)
        self._bias = layer.bias.astype(np.float32)
        self._activate = ACTIVATIONS[layer.activation]

    def __call__(self, x: Floats) -> Floats:
        y = np.dot(self._weight, x)
        y += self._bias
        return self._activate(y)


class _BatchNormStage(_Stateless):
    def __init__(self, layer: BatchNormWeights) -> None:
        self._mean, self._beta = layer.mean, layer.beta
        # The engine adds and divides in float32, too.
        self._factor = layer.gamma / np.sqrt(layer.variance + np.float32(layer.epsilon))

    def __call__(self, x: Floats) -> Floats:
        y: Floats = self._factor * (x - self._mean) + self._beta
        return y


class _PreluStage(_Stateless):
    def __init__(self, layer: PreluWeights) -> None:
        self._slope = layer.slope

    def __call__(self, x: Floats) -> Floats:
        return np.where(x >= 0.0, x, x * self._slope)


class _LstmStage:
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'), with i, f, g, o = W·[x, h] + b in one product.

    The rows of i, f and o are halved, which float32 does exactly, so that one tanh computes all four gates.
    """

    def __init__(self, layer: LstmWeights) -> None:
        hidden = self._hidden = layer.out_size
        halves = np.full(4 * hidden, 0.5, dtype=np.float32)
        halves[2 * hidden : 3 * hidden] = 1.0
        # Always in C order: the same weights must round the same way.
        joined = np.ascontiguousarray(np.hstack([layer.weight_ih, layer.weight_hh]), dtype=np.float32)
        self._weight = joined * halves[:, None]
        with np.errstate(over="ignore"):
            self._bias = (layer.bias_ih + layer.bias_hh).astype(np.float32) * halves
        self._halves, self._shift = halves, 1.0 - halves
        self._joined = np.zeros(layer.in_size + hidden, dtype=np.float32)
        self._cell = np.zeros(hidden, dtype=np.float32)

    def __call__(self, x: Floats) -> Floats:
        hidden, joined = self._hidden, self._joined
        joined[:-hidden] = x
        gates = np.dot(self._weight, joined)
        gates += self._bias
        np.tanh(gates, out=gates)
        gates *= self._halves
        gates += self._shift
        input_gate, forget_gate, candidate, output_gate = gates.reshape(4, hidden)
        self._cell = forget_gate * self._cell + input_gate * candidate
        output: Floats = output_gate * np.tanh(self._cell)
        joined[-hidden:] = output
        return output

    def reset(self) -> None:
        self._joined[:] = 0.0
        self._cell[:] = 0.0


class _GruStage:
    """h' = (1 - z)·n + z·h, with r, z = σ(W·x + U·h + b) and n = tanh(W·x + b_ih + r·(U·h + b_hh))."""

    def __init__(self, layer: GruWeights) -> None:
        self._hidden = layer.out_size
        self._weight_ih, self._weight_hh = (np.ascontiguousarray(each) for each in (layer.weight_ih, layer.weight_hh))
        self._bias_ih, self._bias_hh = layer.bias_ih, layer.bias_hh
        self._state = np.zeros(layer.out_size, dtype=np.float32)

    def __call__(self, x: Floats) -> Floats:
        hidden = self._hidden
        from_input = np.dot(self._weight_ih, x) + self._bias_ih
        from_state = np.dot(self._weight_hh, self._state) + self._bias_hh
        reset, update = _sigmoid(from_input[: 2 * hidden] + from_state[: 2 * hidden]).reshape(2, hidden)
        new = np.tanh(from_input[2 * hidden :] + reset * from_state[2 * hidden :])
        self._state = (1.0 - update) * new + update * self._state
        return self._state

    def reset(self) -> None:
        # A new array: the last output may still be in use.
        self._state = np.zeros_like(self._state)


class _Conv1dStage:
    """A ring buffer of the last frames; each group of outputs is one product with the taps of its inputs."""

    def __init__(self, layer: Conv1dWeights) -> None:
        groups, kernel = layer.groups, layer.kernel_size
        # [groups, out / groups, kernel · in / groups], in the order of the gathered taps.
        weight = layer.weight.reshape(groups, layer.out_size // groups, -1, kernel).transpose(0, 1, 3, 2)
        self._weight = np.ascontiguousarray(weight.reshape(groups, layer.out_size // groups, -1))
        self._bias = layer.bias
        self._activate = ACTIVATIONS[layer.activation]
        self._ring = np.zeros((layer.history + 1, groups, layer.in_size // groups), dtype=np.float32)
        self._ages = layer.dilation * np.arange(kernel - 1, -1, -1)
        self._newest = 0

    def __call__(self, x: Floats) -> Floats:
        ring = self._ring
        self._newest = (self._newest + 1) % len(ring)
        ring[self._newest] = x.reshape(ring.shape[1:])
        # The ring is never shifted: the index of the newest frame moves, and ages count back from it.
        taps = ring[(self._newest - self._ages) % len(ring)]
        joined = taps.transpose(1, 0, 2).reshape(ring.shape[1], -1, 1)
        return self._activate((self._weight @ joined).ravel() + self._bias)

    def reset(self) -> None:
        self._ring[:] = 0.0
