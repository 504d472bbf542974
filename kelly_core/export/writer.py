"""Write a network as a JSON file for the plugin's engine, RTNeural, or in the legacy layout; and an export as ONNX."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from kelly_core.arrays import Floats
from kelly_core.engines.layers import (
    GATE_ORDER,
    ActivationLayer,
    BatchNormWeights,
    Conv1dWeights,
    DenseWeights,
    GruWeights,
    Layer,
    LstmWeights,
    PreluWeights,
)
from kelly_core.engines.numpy_engine import TOLERANCE, NumpyEngine
from kelly_core.engines.onnx_engine import OnnxEngine, build_onnx
from kelly_core.errors import ExportError
from kelly_core.export.golden import probe_export
from kelly_core.export.json_values import Layout
from kelly_core.export.parser import parse_layers
from kelly_core.export.reader import Export
from kelly_core.io.atomic import atomic_write
from kelly_core.io.json import to_json
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
"""Required metadata keys."""

_BYTES_PER_NUMBER = 4
_CHECKED_FRAMES = 200
_ONNX_PROPERTIES = ("model_name", "state", "checkpoint")


def write_export(path: Path, layers: Sequence[Layer], metadata: Mapping[str, Any], layout: Layout = "rtneural") -> None:
    """Write an export atomically: a reader gets the complete old file or the complete new one.

    Args:
        path: file to create or replace.
        layers: the network, with input normalization and state folded into the weights where the plugin needs it.
        metadata: result of ``build_metadata``; the legacy layout keeps only ``LEGACY_METADATA``.
        layout: "rtneural" for the stock parser, "legacy" for plugin builds with their own parser.

    Raises:
        ExportError: the engine cannot load the network (a non-finite weight, an unknown activation, layer sizes that
            do not match), the metadata is not valid JSON, or the file cannot be written.
    """
    if layout == "rtneural":
        shape = {"in_shape": [None, None, layers[0].in_size]}
        document = {**shape, "layers": [_rtneural_layer(layer) for layer in layers], "metadata": dict(metadata)}
    else:
        kept = {key: metadata[key] for key in LEGACY_METADATA}
        document = {"layers": [_legacy_layer(layer) for layer in layers], "metadata": kept}
    for error in parse_layers(document).errors:
        raise ExportError(f"was not written: {error.text}", where=path)
    try:
        # Not orjson, which writes null in place of NaN; here that is an error.
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        content = text.encode("utf-8")
    except ValueError as error:
        raise ExportError(f"was not written: its metadata is not valid JSON: {error}", where=path) from error
    atomic_write(path, content, error_type=ExportError)


def build_metadata(
    *,
    model_name: str,
    layers: Sequence[Layer],
    state: State,
    trained_on: Mapping[str, Any],
    checkpoint: str,
    metrics: Mapping[str, Any],
    features: Mapping[str, Any],
    golden: Floats,
    quality: Mapping[str, Any] | None = None,
    code_version: int | None = None,
) -> dict[str, Any]:
    """Return an export's metadata, with golden vectors so that the file can be verified on any machine.

    Args:
        model_name: name in the model's spec.
        layers: the network as it will be written.
        state: whether the plugin carries the LSTM state from frame to frame.
        trained_on: dataset, real or synthetic, example counts, dataset hash, origin of the splits.
        checkpoint: hash of the checkpoint that the weights come from.
        metrics: training metrics; a non-finite number becomes null.
        features: how the inputs are computed, with all constants.
        golden: golden input frames [T, in]; the outputs are computed here in sequence from zero state.
        quality: ``export.quality_record.QualityRecord`` as JSON values; omitted if quality was not measured.
        code_version: version of the emotion code that the network returns or takes; None if it has no code.
    """
    count = sum(layer.parameter_count for layer in layers)
    golden = golden.astype(np.float32)
    outputs = NumpyEngine(layers).process(golden)
    return {
        "model_name": model_name,
        "framework": "PyTorch",
        "export_version": EXPORT_VERSION,
        "parameter_count": count,
        "memory_bytes": count * _BYTES_PER_NUMBER,
        "input_size": layers[0].in_size,
        "output_size": layers[-1].out_size,
        "state": state,
        **({} if code_version is None else {"code_version": code_version}),
        "trained_on": dict(trained_on),
        "checkpoint": checkpoint,
        "metrics": to_json(metrics),
        **({"quality": dict(quality)} if quality else {}),
        "features": dict(features),
        "golden": {"inputs": _decimals(golden), "outputs": _decimals(outputs)},
    }


def _rtneural_layer(layer: Layer) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "type": layer.kind,
        "activation": layer.activation,
        "shape": [None, None, layer.out_size],
        "in_size": layer.in_size,
        "out_size": layer.out_size,
    }
    match layer:
        case Conv1dWeights():
            entry |= {"kernel_size": [layer.kernel_size], "dilation": [layer.dilation], "groups": layer.groups}
        case BatchNormWeights():
            entry["epsilon"] = layer.epsilon
    entry["weights"] = _arrays(layer)
    # The engine needs these arrays even where the layer has no bias; with this entry the file can be converted back
    # without loss.
    if isinstance(layer, LstmWeights | GruWeights | Conv1dWeights) and not layer.use_bias:
        entry["use_bias"] = False
    if isinstance(layer, LstmWeights):
        entry |= {**_gates(layer), "gate_order": list(GATE_ORDER)}
    return entry


def _arrays(layer: Layer) -> list[Any]:
    """Return a layer's weights in the order and orientation that the engine reads."""
    match layer:
        case DenseWeights():
            return [_decimals(layer.weight.T), *([_decimals(layer.bias)] if layer.use_bias else [])]
        case LstmWeights():
            bias = _decimals(layer.bias_ih + layer.bias_hh)
            return [_decimals(layer.weight_ih.T), _decimals(layer.weight_hh.T), bias]
        case GruWeights():
            kernel, recurrence, *biases = (
                _update_first(array) for array in (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
            )
            return [_decimals(kernel.T), _decimals(recurrence.T), _decimals(np.stack(biases))]
        case Conv1dWeights():
            return [_decimals(layer.weight.transpose(2, 1, 0)), _decimals(layer.bias)]
        case BatchNormWeights():
            trained = [layer.gamma, layer.beta] if layer.affine else []
            return [_decimals(array) for array in (*trained, layer.mean, layer.variance)]
        case PreluWeights():
            return [[_decimals(layer.slope)]]
        case ActivationLayer():
            return []


def _update_first(stacked: Floats) -> Floats:
    """Reorder gates from PyTorch's reset, update, new to RTNeural's update, reset, new."""
    reset, update, new = np.split(stacked, 3)
    return np.concatenate([update, reset, new])


def _legacy_layer(layer: Layer) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": layer.kind, "in_size": layer.in_size, "out_size": layer.out_size}
    match layer:
        case LstmWeights():
            entry |= _gates(layer)
        case DenseWeights():
            entry |= {
                "activation": layer.activation,
                "weights": _decimals(layer.weight),
                "bias": _decimals(layer.bias),
            }
        case ActivationLayer():
            entry["activation"] = layer.activation
    return entry


def _gates(layer: LstmWeights) -> dict[str, Any]:
    parts = {"weights_ih": layer.weight_ih, "weights_hh": layer.weight_hh}
    parts |= {"bias_ih": layer.bias_ih, "bias_hh": layer.bias_hh}
    return {name: [_decimals(gate) for gate in np.split(stacked, len(GATE_ORDER))] for name, stacked in parts.items()}


def _decimals(array: Floats) -> list[Any]:
    """Return nested lists of the shortest decimals that round-trip to the same float32 values.

    ``json`` prints the float64 number nearest to such a decimal as that same decimal, so the text stays short.
    """
    if not np.isfinite(array).all():
        # The parser rejects these values and names their position; orjson would write null.
        return list(array.tolist())
    # orjson formats float32 directly, ten times as fast as formatting each number in Python.
    nested: list[Any] = orjson.loads(orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY))
    return nested


def write_onnx(export: Export, path: Path) -> None:
    """Write an export's layers as an ONNX file, after checking that ONNX Runtime computes the same outputs.

    Raises:
        ExportError: the extra ``onnx`` is not installed, the outputs differ, or the file cannot be written.
    """
    properties = {key: str(export.metadata[key]) for key in _ONNX_PROPERTIES if key in export.metadata}
    content = build_onnx(export.layers, properties)
    frames = probe_export(export, _CHECKED_FRAMES)
    apart = float(np.abs(OnnxEngine(content).process(frames) - NumpyEngine(export.layers).process(frames)).max())
    if not apart <= TOLERANCE:
        raise ExportError(
            f"was not written: ONNX Runtime's outputs differ by up to {apart:.3g}, expected at most {TOLERANCE:g}",
            where=path,
        )
    atomic_write(path, content, error_type=ExportError)
