"""The layers of an export in PyTorch, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch

from kelly_core.engines.numpy_engine import ActivationLayer, Layer, describe_layer
from kelly_core.engines.weights import Array, DenseWeights, LstmWeights
from kelly_core.errors import ExportError
from kelly_core.spec import Activation, Dense, Lstm, ModelSpec
from kelly_core.spec import Layer as LayerSpec
from kelly_core.training.networks import ACTIVATIONS, KellyNetwork, LstmState, load_weights


class TorchEngine:
    """An export in PyTorch that carries its state from frame to frame, from zero, as ``NumpyEngine`` does.

    Raises:
        ExportError: a layer is of a kind that none of the five models has.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        weights = [layer for layer in layers if not isinstance(layer, ActivationLayer)]
        specs = tuple(map(_layer_spec, layers))
        self._network = KellyNetwork(ModelSpec("export", specs, loss="mse", dataset="")).eval()
        load_weights(self._network, weights)
        self._state: list[LstmState] | None = None

    def step(self, frame: Array) -> Array:
        """Compute one frame, shape [in] → [out], and update the state."""
        with torch.inference_mode():
            outputs, self._state = self._network(torch.from_numpy(frame)[None, None], self._state)
        result: Array = outputs[0, 0].numpy()
        return result

    def sequences(self, inputs: Array) -> Array:
        """Compute sequences, shape [N, T, in] → [N, T, out], each from zero state; the carried state does not
        change.
        """
        with torch.inference_mode():
            outputs, _ = self._network(torch.from_numpy(inputs))
        result: Array = outputs.numpy()
        return result


def _layer_spec(layer: Layer) -> LayerSpec:
    if isinstance(layer, LstmWeights):
        return Lstm(layer.in_size, layer.out_size)
    if isinstance(layer, DenseWeights) and layer.activation in ACTIVATIONS:
        return Dense(layer.in_size, layer.out_size, cast("Activation", layer.activation))
    raise ExportError(f"has the layer {describe_layer(layer)}, which the networks in PyTorch do not know")
