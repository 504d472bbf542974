"""Structure of the layers over time and features, conv2d and batchnorm2d, which no engine here computes."""

from __future__ import annotations

from typing import Any

from kelly_core.export.json_values import (
    FormatError,
    brief,
    read_matrix,
    read_number,
    read_parts,
    read_single_size,
    read_size,
    read_vector,
)

LAYERS_2D = ("conv2d", "batchnorm2d")


def check_2d_layer(layer: dict[str, Any], in_size: int, out_size: int) -> None:
    """Check keys, sizes and arrays of a conv2d or batchnorm2d layer; a frame is features × filters.

    Raises:
        FormatError: a key is missing, or the sizes do not agree.
    """
    if layer["type"] == "conv2d":
        _check_conv2d(layer, in_size, out_size)
    else:
        _check_batchnorm2d(layer, in_size, out_size)


def _check_conv2d(layer: dict[str, Any], in_size: int, out_size: int) -> None:
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
    # Unlike those of conv2d, the engine takes these as plain numbers only.
    filters, features = (read_size(layer.get(key), f'"{key}"') for key in ("num_filters_in", "num_features_in"))
    _require_product(features, filters, in_size)
    if out_size != in_size:
        raise FormatError("dimensions", f"its input size is {in_size}, but its shape makes {out_size}")
    if "epsilon" not in layer:
        raise FormatError("structure", '"epsilon" is missing: the engine rejects the file')
    epsilon = read_number(layer["epsilon"], '"epsilon"')
    parts = read_parts(layer, 2, 4)
    arrays = [read_vector(part, filters, f"weights[{index}]") for index, part in enumerate(parts)]
    if not (arrays[-1] + epsilon > 0).all():
        raise FormatError("finite", 'the variance plus "epsilon" must be above 0; the engine divides by its root')


def _require_product(features: int, filters: int, in_size: int) -> None:
    if features * filters != in_size:
        raise FormatError("dimensions", f"{features} features × {filters} filters, but its input size is {in_size}")


def _is_list_of(value: object, size: int) -> bool:
    return isinstance(value, list) and len(value) == size
