"""Writing a network as the JSON file that the plugin's engine, RTNeural, parses; and the other known layout."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.engines.weights import GATE_ORDER, Array, LayerWeights, LstmWeights
from kelly_core.errors import ExportError
from kelly_core.export.parser import Layout, parse_layers
from kelly_core.io.atomic import atomic_write
from kelly_core.spec import State

EXPORT_VERSION = "2.0"
LEGACY_METADATA = ("model_name", "input_size", "output_size", "parameter_count", "export_version")
METADATA = (
    *LEGACY_METADATA,
    "framework",
    "memory_bytes",
    "state",
    "trained_on",
    "checkpoint",
    "metrics",
    "features",
    "golden",
)
"""What a file's metadata must hold."""

_BYTES_A_NUMBER = 4


def write_export(
    path: Path, layers: Sequence[LayerWeights], metadata: Mapping[str, Any], layout: Layout = "rtneural"
) -> None:
    """Write an export in one step: a reader finds the former file or the new one, never a part.

    Args:
        path: the file to make or to replace.
        layers: the network, with standardisation and state folded in where the plugin needs that.
        metadata: what ``build_metadata`` made; the legacy layout keeps ``LEGACY_METADATA`` of it.
        layout: "rtneural" for the stock parser, "legacy" for plugin builds with a parser of their own.

    Raises:
        ExportError: the network is nothing the engine can load (a weight that is not finite, an unknown activation,
            layers that do not fit), the metadata is no JSON, or the file cannot be written.
    """
    if layout == "rtneural":
        shape = {"in_shape": [None, None, layers[0].in_size]}
        document = {**shape, "layers": [_rtneural_layer(layer) for layer in layers], "metadata": dict(metadata)}
    else:
        kept = {key: metadata[key] for key in LEGACY_METADATA}
        document = {"layers": [_legacy_layer(layer) for layer in layers], "metadata": kept}
    for fault in parse_layers(document).faults:
        raise ExportError(f"was not written: {fault.text}", where=path)
    try:
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        content = text.encode("utf-8")
    except ValueError as fault:
        raise ExportError(f"was not written, as its metadata is no JSON: {fault}", where=path) from fault
    atomic_write(path, lambda stream: stream.write(content), error=ExportError)


def build_metadata(
    *,
    model_name: str,
    layers: Sequence[LayerWeights],
    state: State,
    trained_on: Mapping[str, Any],
    checkpoint: str,
    metrics: Mapping[str, Any],
    features: Mapping[str, Any],
    golden: Array,
    quality: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe an export, with outputs for a few inputs so that the file can be proved whole wherever it goes.

    Args:
        model_name: name of the model's spec.
        layers: the network as it will be written.
        state: whether the plugin may rely on state from frame to frame.
        trained_on: dataset, whether real or synthetic, example counts, dataset hash, origin of the splits.
        checkpoint: hash of the checkpoint the weights come from.
        metrics: what the model reached; a number that is not finite becomes null.
        features: how the inputs are made, and with which constants.
        golden: input frames [T, in]; the outputs are computed here, stateful from zero.
        quality: ``export.quality.Quality`` as JSON values; left out where it was not measured.
    """
    count = sum(_parameter_count(layer) for layer in layers)
    golden = golden.astype(np.float32)
    return {
        "model_name": model_name,
        "framework": "PyTorch",
        "export_version": EXPORT_VERSION,
        "parameter_count": count,
        "memory_bytes": count * _BYTES_A_NUMBER,
        "input_size": layers[0].in_size,
        "output_size": layers[-1].out_size,
        "state": state,
        "trained_on": dict(trained_on),
        "checkpoint": checkpoint,
        "metrics": _null_if_not_finite(metrics),
        **({"quality": dict(quality)} if quality else {}),
        "features": dict(features),
        "golden": {"inputs": _decimals(golden), "outputs": _decimals(NumpyEngine(layers).run(golden))},
    }


def _rtneural_layer(layer: LayerWeights) -> dict[str, Any]:
    head = {"shape": [None, None, layer.out_size], "in_size": layer.in_size, "out_size": layer.out_size}
    if isinstance(layer, LstmWeights):
        joined = [_decimals(layer.weight_ih.T), _decimals(layer.weight_hh.T), _decimals(layer.bias_ih + layer.bias_hh)]
        return {
            "type": "lstm",
            "activation": "",
            **head,
            "weights": joined,
            **_gates(layer),
            "gate_order": list(GATE_ORDER),
        }
    weights = [_decimals(layer.weight.T), _decimals(layer.bias)]
    return {"type": "dense", "activation": layer.activation, **head, "weights": weights}


def _legacy_layer(layer: LayerWeights) -> dict[str, Any]:
    sizes = {"in_size": layer.in_size, "out_size": layer.out_size}
    if isinstance(layer, LstmWeights):
        return {"type": "lstm", **sizes, **_gates(layer)}
    weights = {"weights": _decimals(layer.weight), "bias": _decimals(layer.bias)}
    return {"type": "dense", **sizes, "activation": layer.activation, **weights}


def _gates(layer: LstmWeights) -> dict[str, Any]:
    def split(stacked: Array) -> list[Any]:
        return [_decimals(gate) for gate in np.split(stacked, len(GATE_ORDER))]

    return {
        "weights_ih": split(layer.weight_ih),
        "weights_hh": split(layer.weight_hh),
        "bias_ih": split(layer.bias_ih),
        "bias_hh": split(layer.bias_hh),
    }


def _decimals(array: Array) -> list[Any]:
    """Nested lists of the shortest decimals that name the same float32 numbers.

    The float64 number nearest to such a decimal prints as that decimal again, so JSON's own printing keeps it short.
    """
    shortest = np.array([float(str(number)) for number in array.ravel()])
    nested: list[Any] = shortest.reshape(array.shape).tolist()
    return nested


def _parameter_count(layer: LayerWeights) -> int:
    if isinstance(layer, LstmWeights):
        return layer.weight_ih.size + layer.weight_hh.size + layer.bias_ih.size + layer.bias_hh.size
    return layer.weight.size + layer.bias.size


def _null_if_not_finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _null_if_not_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_null_if_not_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
