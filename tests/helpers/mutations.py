"""Seeded mutations of valid files: of their bytes, and of values inside JSON documents."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.seeds import seeded_rng

COUNT = int(os.environ.get("TEST_MUTATIONS", "150"))
"""Mutations of each kind of file; a run by hand takes thousands."""

_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    10**400,
    -(10**400),
    2**63,
    1.5,
    -1e308,
    1e308,
    5e-324,
    float("nan"),
    float("inf"),
    float("-inf"),
    "",
    "x",
    "9" * 5000,
    "\x1b[2J",
    "\ud800",
    "NaN",
    "Infinity",
    [],
    {},
    [[]],
    [None],
    {"": 1},
)
_ODD_BYTES = (b"\0", b"\xff", b"\n", b",", b";", b'"', b"-", b"9" * 400, b"nan", b"1e999", b"\x80\x80\x80", b"\r")


def mutated_documents(document: Any, seed: int) -> Iterator[Any]:
    """Copies of a JSON document, each with one to three values replaced, removed or repeated."""
    rng = seeded_rng(seed)
    for _ in range(COUNT):
        changed = copy.deepcopy(document)
        for _ in range(int(rng.integers(1, 4))):
            changed = _mutate(changed, rng)
        yield changed


def mutated_bytes(content: bytes, seed: int) -> Iterator[bytes]:
    """Copies of a file's bytes with bits flipped, and pieces cut, repeated or replaced."""
    rng = seeded_rng(seed)
    for _ in range(COUNT):
        changed = bytearray(content)
        for _ in range(int(rng.integers(1, 6))):
            at = int(rng.integers(len(changed) + 1))
            size = int(rng.integers(1, 20))
            match int(rng.integers(5)):
                case 0 if at < len(changed):
                    changed[at] ^= 1 << int(rng.integers(8))
                case 1:
                    del changed[at : at + size]
                case 2:
                    changed[at:at] = changed[at : at + size]
                case 3:
                    odd = _ODD_BYTES[rng.integers(len(_ODD_BYTES))]
                    changed[at : at + len(odd) * int(rng.integers(2))] = odd
                case _:
                    changed[at : at + size] = rng.bytes(size)
        yield bytes(changed)


def mutated_texts(document: Any, seed: int) -> Iterator[bytes]:
    """A JSON document as bytes, mutated as values and as bytes in turn."""
    whole = json.dumps(document).encode()
    for number, (changed, raw) in enumerate(
        zip(mutated_documents(document, seed), mutated_bytes(whole, seed), strict=True)
    ):
        yield raw if number % 2 else json.dumps(changed).encode()


def _mutate(document: Any, rng: np.random.Generator) -> Any:
    places = list(_places(document))
    if not places:
        return _odd(rng)
    holder, key = places[rng.integers(len(places))]
    match int(rng.integers(4)):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case _:
            holder[key] = _odd(rng)
    return document


def _odd(rng: np.random.Generator) -> Any:
    return copy.deepcopy(_ODD_VALUES[rng.integers(len(_ODD_VALUES))])


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = range(len(node)) if isinstance(node, list) else list(node) if isinstance(node, dict) else []
    for key in keys:
        yield node, key
        yield from _places(node[key])
