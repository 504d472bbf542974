"""A trained network as plain NumPy arrays: what the writer, the reader and PyTorch hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

GATE_ORDER = ("input", "forget", "cell", "output")
"""Order of an LSTM's gates, in PyTorch and in RTNeural alike."""

_CLOSED_FORGET_BIAS = -100.0


@dataclass(frozen=True)
class DenseWeights:
    """A dense layer in PyTorch orientation: ``weight`` [out, in], ``bias`` [out], and its activation."""

    weight: Array
    bias: Array
    activation: str

    @property
    def in_size(self) -> int:
        """Numbers that go in."""
        return int(self.weight.shape[1])

    @property
    def out_size(self) -> int:
        """Numbers that come out."""
        return int(self.weight.shape[0])


@dataclass(frozen=True)
class LstmWeights:
    """An LSTM in PyTorch orientation, gates stacked in ``GATE_ORDER``.

    ``weight_ih`` [4H, in], ``weight_hh`` [4H, H], ``bias_ih`` and ``bias_hh`` [4H].
    """

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array
    bias_hh: Array

    @property
    def in_size(self) -> int:
        """Numbers that go in."""
        return int(self.weight_ih.shape[1])

    @property
    def out_size(self) -> int:
        """Numbers that come out: the hidden size H."""
        return int(self.weight_hh.shape[1])


LayerWeights = DenseWeights | LstmWeights


def fold_normalization(
    layers: Sequence[LayerWeights], mean: NDArray[np.float64], scale: NDArray[np.float64]
) -> list[LayerWeights]:
    """Let the first dense layer take raw inputs: W' = W · scale, b' = b - W' · mean.

    Args:
        layers: weights trained on standardised inputs ``(x - mean) * scale``; the first must be dense.
        mean: mean of each input, shape [in].
        scale: factor on each centred input, shape [in]: 1/σ, or 0 for an input that the network must ignore.
    """
    first = layers[0]
    if not isinstance(first, DenseWeights):
        raise TypeError("only a dense first layer can absorb the standardisation of its inputs")
    weight = first.weight.astype(np.float64) * scale
    bias = first.bias.astype(np.float64) - weight @ mean
    folded = replace(first, weight=weight.astype(np.float32), bias=bias.astype(np.float32))
    return [folded, *layers[1:]]


def fold_stateless(layers: Sequence[LayerWeights]) -> list[LayerWeights]:
    """Make every LSTM forget at once, so that each call computes what a first call from zero state computes.

    The recurrent weights and the forget gate's input weights become 0 and the forget gate's bias -100: σ(-100) is
    below float32's resolution, so neither h nor c of the last frame reaches the next.
    """
    return [_forgetful(layer) if isinstance(layer, LstmWeights) else layer for layer in layers]


def _forgetful(lstm: LstmWeights) -> LstmWeights:
    hidden = lstm.out_size
    forget = slice(hidden, 2 * hidden)
    weight_ih, bias_ih, bias_hh = lstm.weight_ih.copy(), lstm.bias_ih.copy(), lstm.bias_hh.copy()
    weight_ih[forget] = 0.0
    bias_ih[forget] = _CLOSED_FORGET_BIAS
    bias_hh[forget] = 0.0
    return LstmWeights(weight_ih, np.zeros_like(lstm.weight_hh), bias_ih, bias_hh)
