"""Small networks with random weights that several tests write, break and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kelly_core.engines.weights import Array, DenseWeights, LayerWeights, LstmWeights
from kelly_core.export.golden import golden_inputs
from kelly_core.export.parser import Layout
from kelly_core.export.writer import build_metadata, write_export
from kelly_core.spec import Lstm, ModelSpec, State
from tests.seeds import seeded_rng


def tiny_network(seed: int = 0) -> list[LayerWeights]:
    """4 inputs, dense 6 tanh, LSTM 5, dense 5 softmax: an LSTM and a square matrix among its layers."""
    rng = seeded_rng(seed)

    def normal(*shape: int) -> Array:
        return (0.5 * rng.standard_normal(shape)).astype(np.float32)

    return [
        DenseWeights(normal(6, 4), normal(6), "tanh"),
        LstmWeights(normal(20, 6), normal(20, 5), normal(20), normal(20)),
        DenseWeights(normal(5, 5), normal(5), "softmax"),
    ]


def spec_network(spec: ModelSpec, seed: int = 0) -> list[LayerWeights]:
    """One of the plugin's networks with normal weights of variance 1/in, as if trained."""
    rng = seeded_rng(seed)

    def normal(*shape: int, fan_in: int) -> Array:
        return (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

    layers: list[LayerWeights] = []
    for layer in spec.layers:
        fan_in, out = layer.in_size, layer.out_size
        if isinstance(layer, Lstm):
            matrices = normal(4 * out, fan_in, fan_in=fan_in), normal(4 * out, out, fan_in=out)
            layers.append(LstmWeights(*matrices, normal(4 * out, fan_in=out), normal(4 * out, fan_in=out)))
        else:
            weight = normal(out, fan_in, fan_in=fan_in)
            layers.append(DenseWeights(weight, normal(out, fan_in=fan_in), layer.activation))
    return layers


def metadata_of(layers: Sequence[LayerWeights], name: str = "Tiny", state: State = "stateful") -> dict[str, Any]:
    """Complete metadata for a network."""
    size = layers[0].in_size
    return build_metadata(
        model_name=name,
        layers=layers,
        state=state,
        trained_on={"dataset": "none"},
        checkpoint="0" * 64,
        metrics={},
        features={},
        golden=golden_inputs(np.full(size, 0.3, np.float32), np.ones(size, np.float32)),
    )


def write_tiny(folder: Path, layout: Layout = "rtneural") -> Path:
    """Write the tiny network with its metadata."""
    layers = tiny_network()
    path = folder / "tiny.json"
    write_export(path, layers, metadata_of(layers), layout)
    return path
