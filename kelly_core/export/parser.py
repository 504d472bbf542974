"""Parse the layers of an export's JSON into weights, and collect every format error.

The rules are stricter than RTNeural's own parser, which ignores some of these errors and crashes on others; the error
text says which. The layers over time and features, conv2d and batchnorm2d, are only checked: no engine here computes
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
from kelly_core.engines.numpy_engine import ACTIVATIONS
from kelly_core.export.json_values import (
    FormatError,
    Layout,
    brief,
    read_input_size,
    read_matrix,
    read_number,
    read_object,
    read_output_size,
    read_parts,
    read_single_size,
    read_size,
    read_vector,
    require_sizes,
)

_GATE_ARRAYS = ("weights_ih", "weights_hh", "bias_ih", "bias_hh")
_ROUNDING = 1e-6
"""Absolute and relative tolerance between two records of one weight, which other tools may have summed or rounded."""


@dataclass
class ParsedNetwork:
    """Layers parsed from a document, and every format error; ``layers`` excludes layers with an error.

    ``checked_only`` lists the layer types whose structure is checked, but which no engine here can compute.
    ``foreign`` is True for a file of another program: none of Kelly's own keys in its layers or its metadata.
    """

    layout: Layout
    foreign: bool = False
    in_size: int = 0
    layers: list[Layer] = field(default_factory=list)
    checked_only: list[str] = field(default_factory=list)
    errors: list[FormatError] = field(default_factory=list)

    @property
    def parameter_count(self) -> int:
        """Number of parameters present, counted as PyTorch does (two bias vectors per LSTM)."""
        return sum(layer.parameter_count for layer in self.layers)

    @property
    def runnable(self) -> bool:
        """True if an engine can be built from the layers."""
        return not self.errors and not self.checked_only


def parse_layers(document: dict[str, Any]) -> ParsedNetwork:
    """Parse the layers of either layout; continue after an error as long as the layer sizes are known."""
    entries = document.get("layers")
    layout = _layout(document, entries)
    network = ParsedNetwork(layout, layout == "rtneural" and _is_foreign(document, entries))
    if not isinstance(entries, list) or not entries:
        network.errors.append(FormatError("structure", '"layers" must be a list of at least one layer'))
        return network
    has_2d = any(_kind(entry) in _CHECKS_2D for entry in entries)
    try:
        in_size = network.in_size = read_input_size(document, entries, layout, has_2d)
    except FormatError as error:
        network.errors.append(error)
        return network
    for number, entry in enumerate(entries, 1):
        try:
            in_size = _add_layer(network, entry, in_size, has_2d)
        except FormatError as error:
            network.errors.append(FormatError(error.rule, f"layer {number}: {error.text}"))
            try:
                in_size = read_output_size(entry, network.layout, has_2d)
            except FormatError:  # already recorded; without an output size the next layer cannot be checked
                break
    # The engine leaves out an activation layer without an activation.
    computed = [layer for layer in network.layers if layer.activation or not isinstance(layer, ActivationLayer)]
    if network.runnable and not computed:
        network.errors.append(
            FormatError("structure", "no layer computes anything: the engine crashes on an empty model")
        )
    return network


def _layout(document: dict[str, Any], entries: object) -> Layout:
    """Return "legacy" if neither the document nor any layer has the keys that stock RTNeural reads."""
    layers = entries if isinstance(entries, list) else []
    shaped = any(isinstance(entry, dict) and "shape" in entry for entry in layers)
    return "rtneural" if shaped or "in_shape" in document or not layers else "legacy"


def _is_foreign(document: dict[str, Any], entries: object) -> bool:
    metadata, layers = document.get("metadata", {}), entries if isinstance(entries, list) else []
    unnamed = isinstance(metadata, dict) and not {"model_name", "export_version", "golden"} & metadata.keys()
    return unnamed and not any(isinstance(entry, dict) and "in_size" in entry for entry in layers)


def _kind(entry: object) -> str:
    """Return the type of a layer, "" if it is not text."""
    kind = entry.get("type") if isinstance(entry, dict) else None
    return kind if isinstance(kind, str) else ""


def _add_layer(network: ParsedNetwork, entry: object, in_size: int, has_2d: bool) -> int:
    """Parse a layer with ``in_size`` inputs, append it to ``network`` and return its output size."""
    layer = read_object(entry)
    kind = _kind(layer)
    out_size = read_output_size(layer, network.layout, has_2d)
    require_sizes(layer, in_size, out_size)
    parsers = _LEGACY_PARSERS if network.layout == "legacy" else _PARSERS
    if network.layout == "rtneural" and kind in _CHECKS_2D:
        _CHECKS_2D[kind](layer, in_size, out_size)
        _activation(layer)
        network.checked_only.append(kind)
    elif kind in parsers:
        network.layers.append(parsers[kind](layer, in_size, out_size))
    else:
        raise FormatError(
            "layer types", f"type {brief(layer.get('type'))} is not supported; the engine silently drops unknown layers"
        )
    return out_size


def _dense(layer: dict[str, Any], in_size: int, out_size: int) -> DenseWeights:
    activation = _activation(layer)
    parts = read_parts(layer, 1, 2)
    # RTNeural's weights are [in, out], as in Keras; PyTorch's are [out, in].
    weight = read_matrix(parts[0], in_size, out_size, "weights[0]").T
    if len(parts) == 1:
        return DenseWeights(weight, np.zeros(out_size, np.float32), activation, use_bias=False)
    return DenseWeights(weight, read_vector(parts[1], out_size, "weights[1], the bias,"), activation)


def _legacy_dense(layer: dict[str, Any], in_size: int, out_size: int) -> DenseWeights:
    weight = read_matrix(layer.get("weights"), out_size, in_size, '"weights"')
    return DenseWeights(weight, read_vector(layer.get("bias"), out_size, '"bias"'), _activation(layer))


def _lstm(layer: dict[str, Any], in_size: int, hidden: int) -> LstmWeights:
    """Return the per-gate arrays if present, since they keep the two biases separate, otherwise the engine's."""
    _require_tanh(layer)
    parts = read_parts(layer, 3)
    weight_ih = read_matrix(parts[0], in_size, 4 * hidden, "weights[0]").T
    weight_hh = read_matrix(parts[1], hidden, 4 * hidden, "weights[1]").T
    bias = read_vector(parts[2], 4 * hidden, "weights[2], the bias,")
    joined = LstmWeights(
        weight_ih,
        weight_hh,
        bias_ih=bias,
        bias_hh=np.zeros(4 * hidden, np.float32),
        use_bias=_use_bias(layer, bias),
    )
    if not any(name in layer for name in _GATE_ARRAYS):
        return joined
    split = _gates(layer, in_size, hidden)
    # A sum that overflows differs from the recorded sum; the comparison below reports this.
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

    bias_ih, bias_hh = (
        np.concatenate([read_vector(gate, hidden, label) for gate, label in four(name)])
        for name in ("bias_ih", "bias_hh")
    )
    return LstmWeights(
        np.concatenate([read_matrix(gate, hidden, in_size, label) for gate, label in four("weights_ih")]),
        np.concatenate([read_matrix(gate, hidden, hidden, label) for gate, label in four("weights_hh")]),
        bias_ih,
        bias_hh,
        use_bias=_use_bias(layer, bias_ih, bias_hh),
    )


def _gru(layer: dict[str, Any], in_size: int, hidden: int) -> GruWeights:
    _require_tanh(layer)
    parts = read_parts(layer, 3)
    if isinstance(parts[2], list) and len(parts[2]) == 3 * hidden and not any(isinstance(b, list) for b in parts[2]):
        raise FormatError(
            "dimensions",
            f"weights[2], the biases, must be 2 × {3 * hidden}, but is one vector of {3 * hidden}: the engine"
            " computes the GRU of PyTorch and of Keras with reset_after=True, and rejects the file",
        )
    weight_ih = read_matrix(parts[0], in_size, 3 * hidden, "weights[0]").T
    weight_hh = read_matrix(parts[1], hidden, 3 * hidden, "weights[1]").T
    biases = read_matrix(parts[2], 2, 3 * hidden, "weights[2], the biases,")
    return GruWeights(
        weight_ih=_reset_first(weight_ih),
        weight_hh=_reset_first(weight_hh),
        bias_ih=_reset_first(biases[0]),
        bias_hh=_reset_first(biases[1]),
        use_bias=_use_bias(layer, biases),
    )


def _reset_first(stacked: Floats) -> Floats:
    """Reorder gates from RTNeural's update, reset, new to PyTorch's reset, update, new."""
    update, reset, new = np.split(stacked, 3)
    return np.concatenate([reset, update, new])


def _conv1d(layer: dict[str, Any], in_size: int, out_size: int) -> Conv1dWeights:
    kernel, dilation = (_single(layer, key) for key in ("kernel_size", "dilation"))
    groups = read_size(layer.get("groups", 1), '"groups"')
    if in_size % groups or out_size % groups:
        raise FormatError(
            "dimensions",
            f'"groups" is {groups}, which must divide {in_size} inputs and {out_size} outputs; the engine'
            " rounds the quotients down, and crashes on 0",
        )
    _require_causal(layer)
    if not isinstance(layer.get("weights"), list) or len(layer["weights"]) != 2:
        raise FormatError("structure", '"weights" must be a list of 2 arrays: the engine rejects a conv1d without bias')
    taps, bias = layer["weights"]
    if not isinstance(taps, list) or len(taps) != kernel:
        found = len(taps) if isinstance(taps, list) else brief(taps)
        raise FormatError(
            "dimensions",
            f"weights[0] must be {kernel} taps of {in_size // groups} × {out_size}, but has {found}; the engine"
            " shifts a shorter kernel in time silently",
        )
    matrices = [read_matrix(tap, in_size // groups, out_size, f"weights[0][{index}]") for index, tap in enumerate(taps)]
    vector = read_vector(bias, out_size, "weights[1], the bias,")
    # [kernel, in / groups, out] becomes PyTorch's [out, in / groups, kernel].
    weight = np.ascontiguousarray(np.stack(matrices).transpose(2, 1, 0))
    return Conv1dWeights(weight, vector, _activation(layer), dilation, groups, _use_bias(layer, vector))


def _single(layer: dict[str, Any], key: str) -> int:
    """Return the integer in a one-entry list."""
    value = layer.get(key)
    if not isinstance(value, list) or len(value) != 1:
        found = "is missing" if key not in layer else f"is {brief(value)}"
        if isinstance(value, list):
            found = f"has {len(value)} entries, of which the engine uses the last"
        raise FormatError("structure", f'"{key}" must be a list of one whole number, but {found}')
    return read_size(value[0], f'the entry of "{key}"')


def _require_causal(layer: dict[str, Any]) -> None:
    for key in ("strides", "stride"):
        if layer.get(key, 1) not in (1, [1]):
            raise FormatError(
                "structure", f'"{key}" is {brief(layer[key])}; the engine ignores it and computes every frame'
            )
    if layer.get("padding", "causal") not in ("causal", "valid"):
        raise FormatError("structure", f'"padding" is {brief(layer["padding"])}; the engine is always causal')


def _batchnorm(layer: dict[str, Any], in_size: int, out_size: int) -> BatchNormWeights:
    _require_same_size(in_size, out_size)
    _require_no_activation(layer)
    epsilon = _epsilon(layer)
    parts = read_parts(layer, 2, 4)
    names = ("gamma", "beta", "mean", "variance")[-len(parts) :]
    arrays = {
        name: _batchnorm_array(part, in_size, f"weights[{index}], the {name},")
        for index, (name, part) in enumerate(zip(names, parts, strict=True))
    }
    _require_root(arrays["variance"], epsilon)
    ones, zeros = np.ones(in_size, np.float32), np.zeros(in_size, np.float32)
    return BatchNormWeights(**{"gamma": ones, "beta": zeros} | arrays, epsilon=epsilon, affine=len(parts) == 4)


def _epsilon(layer: dict[str, Any]) -> float:
    if "epsilon" not in layer:
        raise FormatError("structure", '"epsilon" is missing: the engine rejects the file')
    return read_number(layer["epsilon"], '"epsilon"')


def _require_root(variance: Floats, epsilon: float) -> None:
    # The engine adds in float32; the smallest sum must be positive, because its square root is a divisor.
    if not (variance + np.float32(epsilon) > 0).all():
        raise FormatError("finite", 'the variance plus "epsilon" must be above 0; the engine divides by its root')


def _batchnorm_array(value: object, size: int, name: str) -> Floats:
    if isinstance(value, list) and len(value) < size:
        text = f"{name} must have {size} numbers, but has {len(value)}; the engine leaves the rest at 0 or 1 silently"
        raise FormatError("dimensions", text)
    return read_vector(value, size, name)


def _prelu(layer: dict[str, Any], in_size: int, out_size: int) -> PreluWeights:
    _require_same_size(in_size, out_size)
    _require_no_activation(layer)
    [rows] = read_parts(layer, 1)
    if not isinstance(rows, list) or len(rows) != 1 or not isinstance(rows[0], list):
        raise FormatError("structure", "weights[0] must be a list that contains one list of slopes")
    if len(rows[0]) not in (1, in_size):
        effect = "leaves the other slopes at 0" if len(rows[0]) < in_size else "writes past its array"
        raise FormatError(
            "dimensions", f"weights[0][0] must have 1 or {in_size} slopes, but has {len(rows[0])}; the engine {effect}"
        )
    return PreluWeights(read_vector(rows[0], len(rows[0]), "weights[0][0]"), in_size)


def _check_conv2d(layer: dict[str, Any], in_size: int, out_size: int) -> None:
    """Check keys, sizes and arrays; a frame is features × filters."""
    keys = ("kernel_size_time", "kernel_size_feature", "dilation", "strides")
    time, kernel, _, stride = (read_single_size(layer, key) for key in keys)
    filters, features, filters_out = (
        read_single_size(layer, f"num_{key}") for key in ("filters_in", "features_in", "filters_out")
    )
    if layer.get("padding") not in ("valid", "same"):
        raise FormatError("structure", f'"padding" must be "valid" or "same", but is {brief(layer.get("padding"))}')
    _require_product(features, filters, in_size)
    if layer["padding"] == "valid" and kernel > features:
        raise FormatError("dimensions", f'"kernel_size_feature" is {kernel}, but there are {features} features')
    # The sizes of tf.keras: ⌈(n - k + 1) / s⌉ without padding, ⌈n / s⌉ with it.
    features_out = -(-(features - kernel + 1 if layer["padding"] == "valid" else features) // stride)
    if features_out * filters_out != out_size:
        raise FormatError(
            "dimensions", f"it gives {features_out} features × {filters_out} filters, but its shape makes {out_size}"
        )
    taps, bias = read_parts(layer, 2)
    read_vector(bias, filters_out, "weights[1], the bias,")
    if not _is_list_of(taps, time) or not all(_is_list_of(tap, kernel) for tap in taps):
        raise FormatError("dimensions", f"weights[0] must be {time} × {kernel} × {filters} × {filters_out}")
    for i, tap in enumerate(taps):
        for j, matrix in enumerate(tap):
            read_matrix(matrix, filters, filters_out, f"weights[0][{i}][{j}]")


def _check_batchnorm2d(layer: dict[str, Any], in_size: int, out_size: int) -> None:
    # Unlike for conv2d, the engine accepts these sizes as plain numbers only.
    filters, features = (read_size(layer.get(key), f'"{key}"') for key in ("num_filters_in", "num_features_in"))
    _require_product(features, filters, in_size)
    if out_size != in_size:
        raise FormatError("dimensions", f"its input size is {in_size}, but its shape makes {out_size}")
    epsilon = _epsilon(layer)
    arrays = [read_vector(part, filters, f"weights[{index}]") for index, part in enumerate(read_parts(layer, 2, 4))]
    _require_root(arrays[-1], epsilon)


def _require_product(features: int, filters: int, in_size: int) -> None:
    if features * filters != in_size:
        raise FormatError("dimensions", f"{features} features × {filters} filters, but its input size is {in_size}")


def _is_list_of(value: object, size: int) -> bool:
    return isinstance(value, list) and len(value) == size


def _activation_layer(layer: dict[str, Any], in_size: int, out_size: int) -> ActivationLayer:
    if "weights" not in layer:
        raise FormatError("structure", '"weights" is missing: the engine rejects even an activation layer without it')
    return _legacy_activation(layer, in_size, out_size)


def _legacy_activation(layer: dict[str, Any], in_size: int, out_size: int) -> ActivationLayer:
    _require_same_size(in_size, out_size)
    return ActivationLayer(_activation(layer), out_size)


def _require_same_size(in_size: int, out_size: int) -> None:
    if in_size != out_size:
        raise FormatError("dimensions", f"its input size is {in_size}, but its shape ends in {out_size}")


def _activation(layer: dict[str, Any]) -> str:
    name = layer.get("activation", "")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(key for key in ACTIVATIONS if key)
        raise FormatError(
            "activations", f'activation {brief(name)} is not one of {known} or "": the engine crashes on it'
        )
    return name


def _require_tanh(layer: dict[str, Any]) -> None:
    """Reject a recurrent layer with an activation other than tanh; "" also means tanh."""
    if layer.get("activation", "") not in ("", "tanh"):
        found = brief(layer["activation"])
        raise FormatError(
            "activations", f"activation {found} of a recurrent layer: the engine ignores it and uses tanh"
        )


def _require_no_activation(layer: dict[str, Any]) -> None:
    if layer.get("activation", "") != "":
        found = brief(layer["activation"])
        raise FormatError("activations", f"activation {found} of this type of layer: the engine ignores it")


def _use_bias(layer: dict[str, Any], *biases: Floats) -> bool:
    """Return the entry "use_bias"; False marks a zero bias that exists only because the engine needs one."""
    value = layer.get("use_bias", True)
    if not isinstance(value, bool):
        raise FormatError("structure", '"use_bias" must be true or false')
    if not value and any(bias.any() for bias in biases):
        raise FormatError("dimensions", '"use_bias" is false, but the bias, which the engine uses, is not 0')
    return value


_Parser = Callable[[dict[str, Any], int, int], Layer]
_PARSERS: dict[str, _Parser] = {
    "dense": _dense,
    "time-distributed-dense": _dense,
    "lstm": _lstm,
    "gru": _gru,
    "conv1d": _conv1d,
    "batchnorm": _batchnorm,
    "prelu": _prelu,
    "activation": _activation_layer,
}
_LEGACY_PARSERS: dict[str, _Parser] = {
    "dense": _legacy_dense,
    "time-distributed-dense": _legacy_dense,
    "lstm": _gates,
    "activation": _legacy_activation,
}
_CHECKS_2D: dict[str, Callable[[dict[str, Any], int, int], None]] = {
    "conv2d": _check_conv2d,
    "batchnorm2d": _check_batchnorm2d,
}
