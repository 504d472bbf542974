"""Changes to trained weights for the plugin: normalization and statelessness folded into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kelly_core.engines.layers import DenseWeights, Layer, LstmWeights

_CLOSED_FORGET_BIAS = -100.0


def fold_normalization(layers: Sequence[Layer], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> list[Layer]:
    """Let the first dense layer take raw inputs: W' = W · scale, b' = b - W' · mean.

    Args:
        layers: weights trained on standardized inputs ``(x - mean) * scale``; the first must be dense.
        mean: mean of each input, shape [in].
        scale: factor on each centered input, shape [in]: 1/σ, or 0 for an input that the network must ignore.
    """
    first = layers[0]
    if not isinstance(first, DenseWeights):
        raise TypeError("only a dense first layer can absorb the standardisation of its inputs")
    weight = first.weight.astype(np.float64) * scale
    bias = first.bias.astype(np.float64) - weight @ mean
    folded = replace(first, weight=weight.astype(np.float32), bias=bias.astype(np.float32), use_bias=True)
    return [folded, *layers[1:]]


def fold_stateless(layers: Sequence[Layer]) -> list[Layer]:
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
