"""Small networks with random weights that several tests write, break and read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
from kelly_core.export.golden import golden_inputs
from kelly_core.export.json_values import Layout
from kelly_core.export.writer import build_metadata, write_export
from kelly_core.music.emotion import CODE_VERSION
from kelly_core.spec import Lstm, ModelSpec, State
from tests.seeds import seeded_rng


def tiny_network(seed: int = 0) -> list[Layer]:
    """4 inputs, dense 6 tanh, LSTM 5, dense 5 softmax: an LSTM and a square matrix among its layers."""
    rng = seeded_rng(seed)

    def normal(*shape: int) -> Floats:
        return (0.5 * rng.standard_normal(shape)).astype(np.float32)

    return [
        DenseWeights(normal(6, 4), normal(6), "tanh"),
        LstmWeights(normal(20, 6), normal(20, 5), normal(20), normal(20)),
        DenseWeights(normal(5, 5), normal(5), "softmax"),
    ]


def spec_network(spec: ModelSpec, seed: int = 0) -> list[Layer]:
    """One of the plugin's networks with normal weights of variance 1/in, as if trained."""
    rng = seeded_rng(seed)

    def normal(*shape: int, fan_in: int) -> Floats:
        return (rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)

    layers: list[Layer] = []
    for layer in spec.layers:
        fan_in, out = layer.in_size, layer.out_size
        if isinstance(layer, Lstm):
            matrices = normal(4 * out, fan_in, fan_in=fan_in), normal(4 * out, out, fan_in=out)
            layers.append(LstmWeights(*matrices, normal(4 * out, fan_in=out), normal(4 * out, fan_in=out)))
        else:
            weight = normal(out, fan_in, fan_in=fan_in)
            layers.append(DenseWeights(weight, normal(out, fan_in=fan_in), layer.activation))
    return layers


def random_network(rng: np.random.Generator, depth: int) -> list[Layer]:
    """A network of random layers of every type that an engine computes, of random sizes."""

    def normal(*shape: int) -> Floats:
        return (rng.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    size = int(rng.integers(1, 7))
    layers: list[Layer] = []
    for _ in range(depth):
        kind = rng.choice(["dense", "lstm", "gru", "conv1d", "batchnorm", "prelu", "activation"])
        activation = str(rng.choice(["", "tanh", "relu", "sigmoid", "softmax", "elu"]))
        out, bias = int(rng.integers(1, 7)), bool(rng.integers(2))
        zeros = np.zeros(4 * 6, np.float32)
        if kind == "dense":
            layers.append(DenseWeights(normal(out, size), normal(out) if bias else zeros[:out], activation, bias))
        elif kind in ("lstm", "gru"):
            rows = (4 if kind == "lstm" else 3) * out
            biases = [normal(rows) if bias else zeros[:rows] for _ in range(2)]
            layers.append(
                (LstmWeights if kind == "lstm" else GruWeights)(normal(rows, size), normal(rows, out), *biases, bias)
            )
        elif kind == "conv1d":
            groups = int(rng.choice([g for g in range(1, size + 1) if size % g == 0]))
            out *= groups
            weight = normal(out, size // groups, int(rng.integers(1, 5)))
            vector = normal(out) if bias else np.zeros(out, np.float32)
            layers.append(Conv1dWeights(weight, vector, activation, int(rng.integers(1, 4)), groups, bias))
        elif kind == "batchnorm":
            gamma, beta = (normal(size), normal(size)) if bias else (np.ones(size, np.float32), zeros[:size])
            variance = rng.uniform(0.5, 2.0, size).astype(np.float32)
            layers.append(BatchNormWeights(gamma, beta, normal(size), variance, float(np.float32(0.001)), bias))
        elif kind == "prelu":
            layers.append(PreluWeights(normal(1 if bias else size), size))
        else:
            layers.append(ActivationLayer(activation or "tanh", size))
        size = layers[-1].out_size
    return layers


def metadata_of(layers: Sequence[Layer], name: str = "Tiny", state: State = "stateful") -> dict[str, Any]:
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
        code_version=CODE_VERSION,
    )


def write_tiny(folder: Path, layout: Layout = "rtneural") -> Path:
    """Write the tiny network with its metadata."""
    layers = tiny_network()
    path = folder / "tiny.json"
    write_export(path, layers, metadata_of(layers), layout)
    return path
