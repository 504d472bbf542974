"""Layers of a trained network as NumPy arrays, in PyTorch's orientation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, cast

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.spec import (
    Activation,
    ActivationOnly,
    BatchNorm1d,
    Conv1d,
    Dense,
    Gru,
    LayerSpec,
    Lstm,
    Prelu,
    SameSize,
)

GATE_ORDER = ("input", "forget", "cell", "output")
"""Order of an LSTM's gates, the same in PyTorch and RTNeural."""

GRU_GATE_ORDER = ("reset", "update", "new")
"""Order of a GRU's gates in PyTorch; RTNeural, like Keras, has update before reset."""


class _Weighted:
    """Base of dense and convolutional layers: ``weight`` [out, ...] and ``bias`` [out]."""

    weight: Floats
    bias: Floats
    use_bias: bool

    @property
    def out_size(self) -> int:
        """Size of an output frame."""
        return int(self.weight.shape[0])

    @property
    def parameter_count(self) -> int:
        """Number of weights and biases."""
        return self.weight.size + self.use_bias * self.bias.size


@dataclass(frozen=True)
class DenseWeights(_Weighted):
    """A dense layer: ``weight`` [out, in], ``bias`` [out], and its activation.

    ``use_bias`` is False if the layer has no bias; ``bias`` is then zero. The same applies to the other layers.
    """

    kind: ClassVar[str] = Dense.kind
    weight: Floats
    bias: Floats
    activation: str
    use_bias: bool = True

    @property
    def in_size(self) -> int:
        """Size of an input frame."""
        return int(self.weight.shape[1])


@dataclass(frozen=True)
class RecurrentWeights:
    """A recurrent layer with its G gates stacked.

    ``weight_ih`` [GH, in], ``weight_hh`` [GH, H], ``bias_ih`` and ``bias_hh`` [GH].
    """

    kind: ClassVar[str]
    weight_ih: Floats
    weight_hh: Floats
    bias_ih: Floats
    bias_hh: Floats
    use_bias: bool = True
    activation: ClassVar[str] = ""

    @property
    def in_size(self) -> int:
        """Size of an input frame."""
        return int(self.weight_ih.shape[1])

    @property
    def out_size(self) -> int:
        """Size of an output frame, the hidden size H."""
        return int(self.weight_hh.shape[1])

    @property
    def parameter_count(self) -> int:
        """PyTorch's count, with two bias vectors."""
        biases = self.use_bias * (self.bias_ih.size + self.bias_hh.size)
        return self.weight_ih.size + self.weight_hh.size + biases


class LstmWeights(RecurrentWeights):
    """An LSTM, its gates in ``GATE_ORDER``."""

    kind = Lstm.kind


class GruWeights(RecurrentWeights):
    """A GRU, its gates in ``GRU_GATE_ORDER``; the reset gate multiplies U·h + bias_hh, as in PyTorch."""

    kind = Gru.kind


@dataclass(frozen=True)
class Conv1dWeights(_Weighted):
    """A causal convolution over time: ``weight`` [out, in / groups, kernel], ``bias`` [out], and its activation.

    The last tap, ``weight[..., -1]``, multiplies the current frame, and the tap before it multiplies the frame
    ``dilation`` earlier. Frames before the first are zero.
    """

    kind: ClassVar[str] = Conv1d.kind
    weight: Floats
    bias: Floats
    activation: str
    dilation: int = 1
    groups: int = 1
    use_bias: bool = True

    @property
    def in_size(self) -> int:
        """Size of an input frame."""
        return int(self.weight.shape[1]) * self.groups

    @property
    def kernel_size(self) -> int:
        """Number of taps."""
        return int(self.weight.shape[2])

    @property
    def history(self) -> int:
        """Number of earlier frames that an output depends on."""
        return (self.kernel_size - 1) * self.dilation


@dataclass(frozen=True)
class BatchNormWeights:
    """A batch normalization with fixed statistics: gamma · (x - mean) / √(variance + epsilon) + beta, each [n].

    ``affine`` is False if the layer has no gamma and beta; they are then one and zero.
    """

    kind: ClassVar[str] = BatchNorm1d.kind
    gamma: Floats
    beta: Floats
    mean: Floats
    variance: Floats
    epsilon: float
    affine: bool = True
    activation: ClassVar[str] = ""

    @property
    def in_size(self) -> int:
        """Size of an input frame."""
        return int(self.mean.size)

    @property
    def out_size(self) -> int:
        """Size of an output frame."""
        return int(self.mean.size)

    @property
    def parameter_count(self) -> int:
        """Number of trainable values; the statistics are buffers."""
        return self.affine * (self.gamma.size + self.beta.size)


@dataclass(frozen=True)
class PreluWeights(SameSize):
    """A PReLU over ``size`` values: x if x ≥ 0, else slope · x, with one ``slope`` for all or one per value."""

    kind: ClassVar[str] = Prelu.kind
    slope: Floats
    size: int
    activation: ClassVar[str] = ""

    @property
    def parameter_count(self) -> int:
        """Number of slopes."""
        return self.slope.size


@dataclass(frozen=True)
class ActivationLayer(SameSize):
    """An activation in a separate layer, over ``size`` values."""

    kind: ClassVar[str] = ActivationOnly.kind
    activation: str
    size: int

    @property
    def parameter_count(self) -> int:
        """Zero."""
        return 0


# Each layer has a ``kind``, RTNeural's name of its type, and an ``activation`` that follows the layer ("" for none); an
# ``ActivationLayer`` computes nothing else.
Layer = DenseWeights | LstmWeights | GruWeights | Conv1dWeights | BatchNormWeights | PreluWeights | ActivationLayer


def without_activation(layer: Layer) -> Layer | None:
    """Return a layer without its activation; None if nothing is left."""
    if isinstance(layer, ActivationLayer):
        return None
    return replace(layer, activation="") if isinstance(layer, DenseWeights | Conv1dWeights) else layer


def layer_spec(layer: Layer) -> LayerSpec:
    """Return type, activation and sizes of a layer."""
    # The parser and the module reader accept only known activations.
    activation = cast(Activation, layer.activation)
    match layer:
        case DenseWeights():
            return Dense(layer.in_size, layer.out_size, activation)
        case LstmWeights():
            return Lstm(layer.in_size, layer.out_size)
        case GruWeights():
            return Gru(layer.in_size, layer.out_size)
        case Conv1dWeights():
            taps = (layer.kernel_size, activation, layer.dilation, layer.groups)
            return Conv1d(layer.in_size, layer.out_size, *taps)
        case BatchNormWeights():
            return BatchNorm1d(layer.in_size)
        case PreluWeights():
            return Prelu(layer.size, layer.slope.size)
        case ActivationLayer():
            return ActivationOnly(layer.size, activation)


def describe_layer(layer: Layer) -> str:
    """Return type, activation and sizes of a layer, such as "dense tanh 128→512"."""
    return layer_spec(layer).description


class Engine(Protocol):
    """A loaded network that keeps its state from frame to frame, starting from zero.

    ``NumpyEngine``, ``TorchEngine`` and ``OnnxEngine`` implement it.
    """

    in_size: int
    out_size: int

    def reset(self) -> None:
        """Set all state to zero."""

    def step(self, frame: Floats) -> Floats:
        """Compute one frame, shape [in] → [out], and update the state."""
        outputs: Floats = self.process(frame[np.newaxis])[0]
        return outputs

    def process(self, frames: Floats) -> Floats:
        """Compute frames in sequence from the current state, shape [n, in] → [n, out]."""
