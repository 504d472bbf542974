"""Parse the layers of an export's JSON into weights, and collect every format error.

The rules are stricter than RTNeural's own parser: it ignores some of these errors and crashes on others. The error
text says which.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from kelly_core.engines.numpy_engine import ACTIVATIONS, ActivationLayer, Layer
from kelly_core.engines.weights import GATE_ORDER, Array, DenseWeights, LstmWeights

Layout = Literal["rtneural", "legacy"]
Rule = Literal["structure", "layer types", "dimensions", "activations", "finite", "gates"]

_DENSE_TYPES = ("dense", "time-distributed-dense")
_GATE_ARRAYS = ("weights_ih", "weights_hh", "bias_ih", "bias_hh")
_LARGEST_SIZE = 2**16
_ROUNDING = 1e-6
"""Absolute and relative tolerance between two records of one weight, which other tools may have summed or rounded."""


class FormatError(Exception):
    """A violation of one rule of the export format; ``text`` states expected and actual values."""

    def __init__(self, rule: Rule, text: str) -> None:
        self.rule: Rule = rule
        self.text = text
        super().__init__(text)


@dataclass
class ParsedNetwork:
    """Layers parsed from a document, and every format error; layers with an error are left out of ``layers``.

    ``parameter_count`` counts the numbers present as PyTorch does (two bias vectors per LSTM).
    """

    layout: Layout
    in_size: int = 0
    parameter_count: int = 0
    layers: list[Layer] = field(default_factory=list)
    faults: list[FormatError] = field(default_factory=list)


def parse_layers(document: dict[str, Any]) -> ParsedNetwork:
    """Parse the layers of either layout; continue after an error as long as the layer sizes are known."""
    entries = document.get("layers")
    network = ParsedNetwork(_layout(document, entries))
    try:
        if not isinstance(entries, list) or not entries:
            raise FormatError("structure", '"layers" must be a list of at least one layer')
        in_size = network.in_size = _input_size(document, entries, network.layout)
    except FormatError as fault:
        network.faults.append(fault)
        return network
    for number, entry in enumerate(entries, 1):
        try:
            in_size = _add_layer(network, entry, in_size)
        except FormatError as fault:
            network.faults.append(FormatError(fault.rule, f"layer {number}: {fault.text}"))
            try:
                in_size = _out_size(entry, network.layout)
            except FormatError:  # already recorded; without an output size the next layer cannot be checked
                break
    return network


def _layout(document: dict[str, Any], entries: object) -> Layout:
    """Return "legacy" if neither the document nor any layer has the keys that stock RTNeural reads."""
    layers = entries if isinstance(entries, list) else []
    shaped = any(isinstance(entry, dict) and "shape" in entry for entry in layers)
    return "rtneural" if shaped or "in_shape" in document or not layers else "legacy"


def _input_size(document: dict[str, Any], entries: list[Any], layout: Layout) -> int:
    if layout == "legacy":
        return _size(_object(entries[0]).get("in_size"), '"in_size"')
    if "in_shape" not in document:
        raise FormatError(
            "structure", '"in_shape" is missing: the engine rejects the file, and the plugin reports nothing'
        )
    return _last(document, "in_shape")


def _add_layer(network: ParsedNetwork, entry: object, in_size: int) -> int:
    """Parse a layer with ``in_size`` inputs, append it to ``network`` and return its output size."""
    layer = _object(entry)
    kind = layer.get("type")
    out_size = _out_size(layer, network.layout)
    _agree(layer, in_size, out_size)
    weights: Layer
    if kind in _DENSE_TYPES:
        weights, count = _dense(layer, in_size, out_size, network.layout)
    elif kind == "lstm":
        weights, count = _lstm(layer, in_size, out_size, network.layout), 4 * out_size * (in_size + out_size + 2)
    elif kind == "activation":
        weights, count = _activation_layer(layer, in_size, out_size, network.layout), 0
    else:
        raise FormatError(
            "layer types", f"type {_short(kind)} is not supported; the engine silently drops unknown layers"
        )
    network.layers.append(weights)
    network.parameter_count += count
    return out_size


def _agree(layer: dict[str, Any], in_size: int, out_size: int) -> None:
    for key, actual, source in (("in_size", in_size, "its input size is"), ("out_size", out_size, "its shape ends in")):
        if key in layer and _size(layer[key], f'"{key}"') != actual:
            raise FormatError("dimensions", f'"{key}" is {layer[key]}, but {source} {actual}')


def _dense(layer: dict[str, Any], in_size: int, out_size: int, layout: Layout) -> tuple[DenseWeights, int]:
    activation = _activation(layer)
    if layout == "legacy":
        weight = read_matrix(layer.get("weights"), out_size, in_size, '"weights"')
        bias = _vector(layer.get("bias"), out_size, '"bias"')
        return DenseWeights(weight, bias, activation), weight.size + bias.size
    parts = _parts(layer, 1, 2)
    weight = read_matrix(parts[0], in_size, out_size, "weights[0]").T
    if len(parts) == 1:
        return DenseWeights(weight, np.zeros(out_size, np.float32), activation), weight.size
    bias = _vector(parts[1], out_size, "weights[1], the bias,")
    return DenseWeights(weight, bias, activation), weight.size + bias.size


def _lstm(layer: dict[str, Any], in_size: int, hidden: int, layout: Layout) -> LstmWeights:
    """Return the per-gate arrays if present, since they keep the two biases separate; else the engine's arrays."""
    if layout == "legacy":
        return _gates(layer, in_size, hidden)
    parts = _parts(layer, 3, 3)
    joined = LstmWeights(
        weight_ih=read_matrix(parts[0], in_size, 4 * hidden, "weights[0]").T,
        weight_hh=read_matrix(parts[1], hidden, 4 * hidden, "weights[1]").T,
        bias_ih=_vector(parts[2], 4 * hidden, "weights[2], the bias,"),
        bias_hh=np.zeros(4 * hidden, np.float32),
    )
    if not any(name in layer for name in _GATE_ARRAYS):
        return joined
    split = _gates(layer, in_size, hidden)
    with np.errstate(over="ignore"):
        bias = split.bias_ih + split.bias_hh
    for name, ours, theirs in (
        ("weights_ih", split.weight_ih, joined.weight_ih),
        ("weights_hh", split.weight_hh, joined.weight_hh),
        ("bias_ih + bias_hh", bias, joined.bias_ih),
    ):
        if not np.allclose(ours, theirs, rtol=_ROUNDING, atol=_ROUNDING):
            apart = float(np.abs(ours - theirs).max())
            raise FormatError("gates", f'{name} and "weights", which the engine uses, differ by up to {apart:.3g}')
    return split


def _gates(layer: dict[str, Any], in_size: int, hidden: int) -> LstmWeights:
    missing = [name for name in _GATE_ARRAYS if name not in layer]
    if missing:
        raise FormatError("gates", f"the gate arrays {', '.join(missing)} are missing")
    if layer.get("gate_order", list(GATE_ORDER)) != list(GATE_ORDER):
        raise FormatError("gates", f'"gate_order" must be {", ".join(GATE_ORDER)}')

    def four(name: str) -> list[tuple[Any, str]]:
        gates = layer[name]
        if not isinstance(gates, list) or len(gates) != len(GATE_ORDER):
            raise FormatError("gates", f'"{name}" must be a list of four gates')
        return [(gate, f'"{name}" of the {label} gate') for gate, label in zip(gates, GATE_ORDER, strict=True)]

    return LstmWeights(
        np.concatenate([read_matrix(gate, hidden, in_size, label) for gate, label in four("weights_ih")]),
        np.concatenate([read_matrix(gate, hidden, hidden, label) for gate, label in four("weights_hh")]),
        np.concatenate([_vector(gate, hidden, label) for gate, label in four("bias_ih")]),
        np.concatenate([_vector(gate, hidden, label) for gate, label in four("bias_hh")]),
    )


def _activation_layer(layer: dict[str, Any], in_size: int, out_size: int, layout: Layout) -> ActivationLayer:
    if layout == "rtneural" and "weights" not in layer:
        raise FormatError("structure", '"weights" is missing: the engine rejects even an activation layer without it')
    if in_size != out_size:
        raise FormatError("dimensions", f"its input size is {in_size}, but its shape ends in {out_size}")
    return ActivationLayer(_activation(layer), out_size)


def _activation(layer: dict[str, Any]) -> str:
    name = layer.get("activation", "")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(key for key in ACTIVATIONS if key)
        raise FormatError(
            "activations", f'activation {_short(name)} is not one of {known} or "": the engine crashes on it'
        )
    return name


def _parts(layer: dict[str, Any], fewest: int, most: int) -> list[Any]:
    parts = layer.get("weights")
    if not isinstance(parts, list) or not fewest <= len(parts) <= most:
        wanted = str(most) if fewest == most else f"{fewest} or {most}"
        raise FormatError("structure", f'"weights" must be a list of {wanted} arrays')
    return parts


def _object(entry: object) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise FormatError("structure", f"it is {_short(entry)}, not an object")
    return entry


def _out_size(entry: object, layout: Layout) -> int:
    layer = _object(entry)
    return _last(layer, "shape") if layout == "rtneural" else _size(layer.get("out_size"), '"out_size"')


def _last(content: dict[str, Any], key: str) -> int:
    """Return the size that the engine reads from a shape: the last entry (of four entries it multiplies two)."""
    shape = content.get(key)
    if not isinstance(shape, list) or not 1 <= len(shape) <= 3:
        raise FormatError("structure", f'"{key}" must be a list of one to three entries that ends with a size')
    return _size(shape[-1], f'the last entry of "{key}"')


def _size(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _LARGEST_SIZE:
        raise FormatError("structure", f"{name} must be a whole number from 1 to {_LARGEST_SIZE - 1}")
    return value


def read_matrix(value: object, rows: int, columns: int, name: str) -> Array:
    """Convert ``rows`` JSON lists of ``columns`` numbers each to a float32 array [rows, columns].

    Raises:
        FormatError: a list is missing or has the wrong length, or an entry is not a finite number.
    """
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise FormatError("structure", f"{name} must be a list of lists of numbers")
    lengths = {len(row) for row in value}
    if len(value) != rows or lengths != {columns}:
        misfit = _misfit(len(value), lengths, rows, columns)
        raise FormatError("dimensions", f"{name} must be {rows} × {columns}, but {misfit}")
    return _numbers(value, [kind for row in value for kind in set(map(type, row))], name)


def _misfit(rows: int, lengths: set[int], wanted_rows: int, wanted_columns: int) -> str:
    if rows == wanted_columns and lengths == {wanted_rows}:
        return f"is {rows} × {wanted_rows}: it is transposed"
    if len(lengths) > 1:
        return f"has rows of {min(lengths)} to {max(lengths)} numbers; the engine fills short rows with zeros silently"
    return f"is {rows} × {max(lengths, default=0)}"


def _vector(value: object, size: int, name: str) -> Array:
    if not isinstance(value, list):
        raise FormatError("structure", f"{name} must be a list of numbers")
    if len(value) != size:
        fate = "; the engine reads past its end" if len(value) < size else ""
        raise FormatError("dimensions", f"{name} must have {size} numbers, but has {len(value)}{fate}")
    return _numbers(value, list(map(type, value)), name)


def _numbers(values: list[Any], kinds: list[type], name: str) -> Array:
    if not set(kinds) <= {int, float}:
        raise FormatError("structure", f"{name} holds an entry that is not a number")
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=np.float64).astype(np.float32)
    except OverflowError:
        array = np.array([np.inf], dtype=np.float32)
    if not np.isfinite(array).all():
        raise FormatError("finite", f"{name} holds a number outside the range of float32")
    return array


def _short(value: object) -> str:
    """Return a value for a message: strings and numbers cut at 40 characters, other types by name."""
    if isinstance(value, str | int | float) or value is None:
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:40]}…"
    return "a list" if isinstance(value, list) else "an object"
