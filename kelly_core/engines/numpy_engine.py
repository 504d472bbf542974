"""A network in NumPy, frame by frame, computing in float32 what the plugin's engine computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from kelly_core.engines.weights import Array, DenseWeights, LayerWeights, LstmWeights

TOLERANCE = 1e-5
"""Largest difference between two float32 engines that is put down to rounding.

On standardised inputs the five networks differ by 2e-7. With the standardisation folded in, the first layer adds up 128
terms of raw decibels, 30 to 80 in size, to a sum near 1. Folded against unfolded, that costs the emotion network 5e-7
where weights have variance 1/in, and 3e-6 where they are twice as large.
"""


@dataclass(frozen=True)
class ActivationLayer:
    """An activation that stands in a layer of its own; ``size`` numbers go in and come out."""

    activation: str
    size: int

    @property
    def in_size(self) -> int:
        """Numbers that go in."""
        return self.size

    @property
    def out_size(self) -> int:
        """Numbers that come out."""
        return self.size


Layer = LayerWeights | ActivationLayer


def describe_layer(layer: Layer) -> str:
    """Kind, activation and sizes of a layer, such as "dense tanh 128→512"."""
    if isinstance(layer, ActivationLayer):
        return f"activation {layer.activation}"
    kind = f"dense {layer.activation}".rstrip() if isinstance(layer, DenseWeights) else "lstm"
    return f"{kind} {layer.in_size}→{layer.out_size}"


def _sigmoid(x: Array) -> Array:
    """σ(x) = (tanh(x / 2) + 1) / 2, which cannot overflow and is exactly 0 below -19."""
    y: Array = np.tanh(x * 0.5) * 0.5 + 0.5
    return y


def _softmax(x: Array) -> Array:
    powers: Array = np.exp(x - x.max())
    powers /= powers.sum()
    return powers


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "elu": lambda x: np.where(x > 0.0, x, np.expm1(np.minimum(x, 0.0))),
}
"""What the engine knows by name; any other name, "linear" among them, makes it read through a null pointer."""


class NumpyEngine:
    """A network that keeps its state from frame to frame, as the plugin runs it: reset once, then step for ever.

    Numbers too large for float32 come out as infinities or NaN without a warning, as they do from the engine.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.in_size = layers[0].in_size
        self.out_size = layers[-1].out_size
        self._stages = [_stage(layer) for layer in layers]

    def reset(self) -> None:
        """Set the state of every LSTM to zero."""
        for stage in self._stages:
            stage.reset()

    def step(self, frame: Array) -> Array:
        """Compute one frame, shape [in] → [out], and move the state on."""
        values = np.asarray(frame, dtype=np.float32)
        if values.shape != (self.in_size,):
            raise ValueError(f"a frame has shape ({self.in_size},), not {values.shape}")
        with np.errstate(over="ignore", invalid="ignore"):
            for stage in self._stages:
                values = stage(values)
        return values

    def run(self, frames: Array) -> Array:
        """Compute frame after frame from the present state, shape [T, in] → [T, out]."""
        outputs = np.empty((len(frames), self.out_size), dtype=np.float32)
        # Products of this size gain nothing from threads, and wait long for one that another program has displaced.
        with threadpool_limits(limits=1, user_api="blas"):
            for frame, output in zip(frames, outputs, strict=True):
                output[:] = self.step(frame)
        return outputs


class _Stage(Protocol):
    def __call__(self, x: Array) -> Array: ...

    def reset(self) -> None: ...


def _stage(layer: Layer) -> _Stage:
    if isinstance(layer, LstmWeights):
        return _LstmStage(layer)
    if isinstance(layer, DenseWeights):
        return _DenseStage(layer)
    return _ActivationStage(layer)


class _ActivationStage:
    def __init__(self, layer: ActivationLayer) -> None:
        self._activate = ACTIVATIONS[layer.activation]

    def __call__(self, x: Array) -> Array:
        return self._activate(x)

    def reset(self) -> None:
        pass


class _DenseStage:
    def __init__(self, layer: DenseWeights) -> None:
        self._weight = np.ascontiguousarray(layer.weight, dtype=np.float32)
        self._bias = layer.bias.astype(np.float32)
        self._activate = ACTIVATIONS[layer.activation]

    def __call__(self, x: Array) -> Array:
        y = np.dot(self._weight, x)
        y += self._bias
        return self._activate(y)

    def reset(self) -> None:
        pass


class _LstmStage:
    """c' = σ(f)·c + σ(i)·tanh(g), h' = σ(o)·tanh(c'), with i, f, g, o = W·[x, h] + b in one product.

    The rows of i, f and o are halved, which float32 does exactly, so that one tanh serves all four gates.
    """

    def __init__(self, layer: LstmWeights) -> None:
        hidden = self._hidden = layer.out_size
        halves = np.full(4 * hidden, 0.5, dtype=np.float32)
        halves[2 * hidden : 3 * hidden] = 1.0
        self._weight = np.hstack([layer.weight_ih, layer.weight_hh]).astype(np.float32) * halves[:, None]
        with np.errstate(over="ignore"):
            self._bias = (layer.bias_ih + layer.bias_hh).astype(np.float32) * halves
        self._halves, self._shift = halves, 1.0 - halves
        self._joined = np.zeros(layer.in_size + hidden, dtype=np.float32)
        self._cell = np.zeros(hidden, dtype=np.float32)

    def __call__(self, x: Array) -> Array:
        hidden, joined = self._hidden, self._joined
        joined[:-hidden] = x
        gates = np.dot(self._weight, joined)
        gates += self._bias
        np.tanh(gates, out=gates)
        gates *= self._halves
        gates += self._shift
        let_in, keep, candidate, let_out = gates.reshape(4, hidden)
        self._cell = keep * self._cell + let_in * candidate
        output: Array = let_out * np.tanh(self._cell)
        joined[-hidden:] = output
        return output

    def reset(self) -> None:
        self._joined[:] = 0.0
        self._cell[:] = 0.0
