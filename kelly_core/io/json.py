"""JSON that the program writes: one rule for numbers that are not finite.

JSON has no NaN and no infinity, so every such number is written as ``null``. A field that can hold one is declared as
``bounds.Real``, which reads ``null`` back as NaN.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any


def to_json(value: Any) -> Any:
    """Return a value as JSON types: dataclasses as objects, tuples as lists, numbers that are not finite as None."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON text, on one line without spaces unless indented; see ``to_json``."""
    separators = (",", ":") if indent is None else None
    return json.dumps(to_json(value), indent=indent, separators=separators, allow_nan=False)
