"""Read typed values and sizes from an export's JSON; errors state the expected and the actual value."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from kelly_core.arrays import Floats

Rule = Literal["structure", "layer types", "dimensions", "activations", "finite", "gates"]

Layout = Literal["rtneural", "legacy"]

_SIZE_LIMIT = 2**16


class FormatError(Exception):
    """A violation of one rule of the export format; ``text`` states expected and actual values."""

    def __init__(self, rule: Rule, text: str) -> None:
        self.rule: Rule = rule
        self.text = text
        super().__init__(text)


def read_matrix(value: object, rows: int, columns: int, name: str) -> Floats:
    """Convert ``rows`` JSON lists of ``columns`` numbers each to a float32 array [rows, columns].

    Raises:
        FormatError: a list is missing or has the wrong length, or an entry is not a finite number.
    """
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise FormatError("structure", f"{name} must be a list of lists of numbers")
    lengths = {len(row) for row in value}
    if len(value) != rows or lengths != {columns}:
        misfit = _shape_error(len(value), lengths, rows, columns)
        raise FormatError("dimensions", f"{name} must be {rows} × {columns}, but {misfit}")
    # The types are collected in one set per row: a matrix contains many thousands of numbers, but few types.
    return _numbers(value, [kind for row in value for kind in set(map(type, row))], name)


def read_vector(value: object, size: int, name: str) -> Floats:
    """Convert a JSON list of ``size`` numbers to a float32 array [size].

    Raises:
        FormatError: it is not a list, has another length, or an entry is not a finite number.
    """
    if not isinstance(value, list):
        raise FormatError("structure", f"{name} must be a list of numbers")
    if len(value) != size:
        effect = "; the engine reads past its end" if len(value) < size else ""
        raise FormatError("dimensions", f"{name} must have {size} numbers, but has {len(value)}{effect}")
    return _numbers(value, list(map(type, value)), name)


def read_number(value: object, name: str) -> float:
    """Return a JSON number that is finite as float32.

    Raises:
        FormatError: it is not a number, or not finite.
    """
    _numbers([value], [type(value)], name)
    return float(value)  # type: ignore[arg-type]  # checked above


def read_size(value: object, name: str) -> int:
    """Return a JSON integer from 1 to 65,535.

    Raises:
        FormatError: the value is anything else.
    """
    # True is an int in Python, but not a number in JSON.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < _SIZE_LIMIT:
        raise FormatError("structure", f"{name} must be a whole number from 1 to {_SIZE_LIMIT - 1}")
    return value


def read_single_size(layer: dict[str, Any], key: str) -> int:
    """Return a size that RTNeural's exporter writes as a number and its parser also accepts as a one-entry list.

    Raises:
        FormatError: the value is anything else.
    """
    value = layer.get(key)
    return read_size(value[0] if isinstance(value, list) and len(value) == 1 else value, f'"{key}"')


def read_object(value: object) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        FormatError: the value is anything else.
    """
    if not isinstance(value, dict):
        raise FormatError("structure", f"it is {brief(value)}, not an object")
    return value


def read_parts(layer: dict[str, Any], *counts: int) -> list[Any]:
    """Return a layer's list of weight arrays.

    Raises:
        FormatError: it is missing or has none of the lengths ``counts``.
    """
    parts = layer.get("weights")
    if not isinstance(parts, list) or len(parts) not in counts:
        raise FormatError("structure", f'"weights" must be a list of {" or ".join(map(str, counts))} arrays')
    return parts


def read_input_size(document: dict[str, Any], entries: list[Any], layout: Layout, has_2d: bool) -> int:
    """Return the number of inputs of an export.

    Raises:
        FormatError: it is missing or not a size.
    """
    if layout == "legacy":
        return read_size(read_object(entries[0]).get("in_size"), '"in_size"')
    if "in_shape" not in document:
        raise FormatError(
            "structure", '"in_shape" is missing: the engine rejects the file, and the plugin reports nothing'
        )
    return _read_shape(document, "in_shape", has_2d)


def read_output_size(entry: object, layout: Layout, has_2d: bool) -> int:
    """Return the number of outputs of a layer.

    Raises:
        FormatError: it is missing or not a size.
    """
    layer = read_object(entry)
    if layout == "legacy":
        return read_size(layer.get("out_size"), '"out_size"')
    return _read_shape(layer, "shape", has_2d)


def _read_shape(content: dict[str, Any], key: str, has_2d: bool) -> int:
    """Return the size that the engine reads from a shape: the last entry, or the product of entries 3 and 4 of four."""
    shape = content.get(key)
    if has_2d and isinstance(shape, list) and len(shape) == 4:
        return read_size(shape[2], f'entry 3 of "{key}"') * read_size(shape[3], f'entry 4 of "{key}"')
    if not isinstance(shape, list) or not 1 <= len(shape) <= 3:
        raise FormatError("structure", f'"{key}" must be a list of one to three entries that ends with a size')
    return read_size(shape[-1], f'the last entry of "{key}"')


def require_sizes(layer: dict[str, Any], in_size: int, out_size: int) -> None:
    """Compare the sizes that a layer records, if any, with its actual input and output size.

    Raises:
        FormatError: a size differs.
    """
    for key, actual, source in (("in_size", in_size, "its input size is"), ("out_size", out_size, "its shape ends in")):
        if key in layer and read_size(layer[key], f'"{key}"') != actual:
            raise FormatError("dimensions", f'"{key}" is {layer[key]}, but {source} {actual}')


def brief(value: object) -> str:
    """Return a value for a message: strings and numbers cut at 40 characters, other types by name."""
    if isinstance(value, str | int | float) or value is None:
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:40]}…"
    return "a list" if isinstance(value, list) else "an object"


def _shape_error(rows: int, lengths: set[int], wanted_rows: int, wanted_columns: int) -> str:
    if rows == wanted_columns and lengths == {wanted_rows}:
        return f"is {rows} × {wanted_rows}: it is transposed"
    if len(lengths) > 1:
        return f"has rows of {min(lengths)} to {max(lengths)} numbers; the engine fills short rows with zeros silently"
    return f"is {rows} × {max(lengths, default=0)}"


def _numbers(values: list[Any], kinds: list[type], name: str) -> Floats:
    if not set(kinds) <= {int, float}:
        raise FormatError("structure", f"{name} contains an entry that is not a number")
    try:
        # A number beyond float32 becomes infinite, which is reported below.
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=np.float64).astype(np.float32)
    except OverflowError:
        # An integer beyond float64.
        array = np.array([np.inf], dtype=np.float32)
    if not np.isfinite(array).all():
        raise FormatError("finite", f"{name} contains a number outside the range of float32")
    return array
