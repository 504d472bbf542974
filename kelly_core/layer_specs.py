"""Types of layers as data, which RTNeural can compute: sizes, activations and parameter counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

Activation = Literal["", "tanh", "relu", "sigmoid", "softmax", "elu"]


class _Layer:
    """Base of all layers; subclasses give ``in_size``, ``out_size``, ``parameter_count`` and ``kind``."""

    activation: Activation = ""
    kind = ""

    if TYPE_CHECKING:

        @property
        def in_size(self) -> int:
            """Size of an input frame."""

        @property
        def out_size(self) -> int:
            """Size of an output frame."""

        @property
        def parameter_count(self) -> int:
            """Trainable numbers, by PyTorch's count."""

    @property
    def carries_state(self) -> bool:
        """True if an output depends on earlier frames."""
        return False

    @property
    def label(self) -> str:
        """Type and activation, such as "dense tanh"."""
        return f"{self.kind} {self.activation}".rstrip()

    @property
    def description(self) -> str:
        """Type, activation and sizes, such as "dense tanh 128→512"."""
        return f"{self.label} {self.in_size}→{self.out_size}"

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the layer's numbers."""
        if self.activation not in get_args(Activation):
            yield f"{self.activation!r} is not an activation; there are {', '.join(get_args(Activation)[1:])}"


@dataclass(frozen=True)
class Dense(_Layer):
    """A fully connected layer followed by an activation ("" for none)."""

    in_size: int
    out_size: int
    activation: Activation = ""
    kind = "dense"

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return self.out_size * (self.in_size + 1)


@dataclass(frozen=True)
class _Recurrent(_Layer):
    in_size: int
    out_size: int
    gates = 0

    @property
    def carries_state(self) -> bool:
        """True."""
        return True

    @property
    def parameter_count(self) -> int:
        """PyTorch's count, in which a recurrent layer has two bias vectors."""
        return self.gates * self.out_size * (self.in_size + self.out_size + 2)


@dataclass(frozen=True)
class Lstm(_Recurrent):
    """A one-layer LSTM; gates in PyTorch's order input, forget, cell, output."""

    kind = "lstm"
    gates = 4


@dataclass(frozen=True)
class Gru(_Recurrent):
    """A one-layer GRU; gates in PyTorch's order reset, update, new."""

    kind = "gru"
    gates = 3


@dataclass(frozen=True)
class Conv1d(_Layer):
    """A causal convolution over time, zeros before the first frame, followed by an activation ("" for none)."""

    in_size: int
    out_size: int
    kernel_size: int
    activation: Activation = ""
    dilation: int = 1
    groups: int = 1
    kind = "conv1d"

    @property
    def carries_state(self) -> bool:
        """True if an output depends on earlier frames."""
        return self.kernel_size > 1

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return self.out_size * (self.in_size // self.groups * self.kernel_size + 1)

    @property
    def description(self) -> str:
        """Type, activation, sizes and taps."""
        return f"{super().description} (kernel {self.kernel_size}, dilation {self.dilation}, groups {self.groups})"

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the layer's numbers."""
        yield from super().problems()
        if min(self.kernel_size, self.dilation, self.groups) < 1:
            yield "kernel_size, dilation and groups must be at least 1"
        elif self.in_size % self.groups or self.out_size % self.groups:
            yield f"{self.groups} groups do not divide {self.in_size} inputs and {self.out_size} outputs"


class SameSize:
    """Base of layers whose outputs are as many as their inputs, here and as weights in ``engines.layers``."""

    size: int

    @property
    def in_size(self) -> int:
        """Size of an input frame."""
        return self.size

    @property
    def out_size(self) -> int:
        """Size of an output frame."""
        return self.size


@dataclass(frozen=True)
class _SameSizeLayer(SameSize, _Layer):
    size: int

    @property
    def parameter_count(self) -> int:
        """Zero."""
        return 0

    @property
    def description(self) -> str:
        """Type and size."""
        return f"{self.label} {self.size}"


@dataclass(frozen=True)
class BatchNorm1d(_SameSizeLayer):
    """A batch normalization with affine weights, epsilon 1e-5."""

    kind = "batchnorm"

    @property
    def parameter_count(self) -> int:
        """The affine weights; the statistics are buffers."""
        return 2 * self.size


@dataclass(frozen=True)
class Prelu(_SameSizeLayer):
    """A PReLU with one slope for all values, or one for each."""

    slopes: int = 1
    kind = "prelu"

    @property
    def parameter_count(self) -> int:
        """Number of slopes."""
        return self.slopes

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with the layer's numbers."""
        if self.slopes not in (1, self.size):
            yield f"{self.slopes} slopes for {self.size} values; give 1 or {self.size}"


@dataclass(frozen=True)
class ActivationOnly(_SameSizeLayer):
    """An activation in a layer of its own, where it cannot be part of a dense or convolutional layer."""

    activation: Activation
    kind = "activation"

    @property
    def description(self) -> str:
        """Type."""
        return self.label


LayerSpec = Dense | Lstm | Gru | Conv1d | BatchNorm1d | Prelu | ActivationOnly
