"""Read an export file of either layout. Any input bytes yield an ``Export`` or an ``ExportError``."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import orjson

from kelly_core.engines.layers import Layer
from kelly_core.errors import ExportError
from kelly_core.export.json_values import FormatError, Layout
from kelly_core.export.parser import parse_layers
from kelly_core.formatting import format_bytes
from kelly_core.io.atomic import open_regular, read_error
from kelly_core.music.emotion import CODE_VERSIONS

MAX_BYTES = 64_000_000
"""Maximum file size in bytes; the largest export of the five models is a quarter of this size."""
_EXAMPLE = "Name an export, such as models/groovepredictor.json"
_ZIP = b"PK\x03\x04"
"""First bytes of a zip archive, in which PyTorch saves a checkpoint."""
_LIST_OF_NUMBERS = re.compile(r"\[[-+0-9.eE,\s]+\]")


@dataclass(frozen=True)
class Export:
    """Content of an export file: layers in PyTorch orientation, metadata ({} if none) and the JSON document.

    ``parameter_count`` counts the numbers present as PyTorch does (two bias vectors per LSTM).
    """

    path: Path
    layout: Layout
    layers: tuple[Layer, ...]
    metadata: dict[str, Any]
    in_size: int
    parameter_count: int
    document: dict[str, Any]

    @property
    def out_size(self) -> int:
        """Size of one output frame."""
        return self.layers[-1].out_size

    @property
    def code_version(self) -> int | None:
        """Version of the emotion code that the network returns or takes; None if the file does not record it.

        Raises:
            ExportError: the version is unknown.
        """
        try:
            return code_version(self.metadata, self.layout)
        except FormatError as error:
            raise ExportError(error.text, where=self.path) from error


def code_version(metadata: Mapping[str, Any], layout: Layout) -> int | None:
    """Return the version of the emotion code from an export's metadata; None for the legacy layout, which lacks it.

    Raises:
        FormatError: the version is unknown.
    """
    if "code_version" not in metadata:
        return None if layout == "legacy" else 1  # older files lack the entry
    version = metadata["code_version"]
    if type(version) is not int or version not in CODE_VERSIONS:
        known = " or ".join(map(str, CODE_VERSIONS))
        raise FormatError("structure", f'"code_version" is {str(version)[:40]!r}, but must be {known}')
    return version


def read_export(path: Path) -> Export:
    """Read an export file.

    Raises:
        ExportError: the file is missing, unreadable, too large or not JSON, or its layers violate the format.
    """
    document = read_strict_json(path)
    network = parse_layers(document)
    if network.errors:
        raise ExportError(network.errors[0].text, where=path)
    if network.checked_only:
        kinds = ", ".join(dict.fromkeys(network.checked_only))
        raise ExportError(f"has layers of type {kinds}, which can be checked but not computed here", where=path)
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        raise ExportError('"metadata" must be an object', where=path)
    layers = tuple(network.layers)
    return Export(path, network.layout, layers, metadata, network.in_size, network.parameter_count, document)


def read_strict_json(path: Path) -> dict[str, Any]:
    """Read a JSON object as strictly as the engine's parser (UTF-8, no NaN), and refuse duplicate keys.

    Raises:
        ExportError: the file is missing, not a regular file, larger than ``MAX_BYTES``, or not such an object.
    """
    try:
        document = _parse(_text(path))
    except RecursionError as error:
        raise ExportError("its JSON is nested too deeply", where=path) from error
    except UnicodeError as error:
        raise ExportError(f"is not UTF-8 text: {error}", where=path) from error
    except ValueError as error:
        raise ExportError(f"is not JSON, or is truncated: {error}", where=path) from error
    if not isinstance(document, dict):
        raise ExportError("is JSON, but not an object with layers", where=path)
    return document


def is_zip_file(path: Path) -> bool:
    """Return True if a file is a zip archive, such as a checkpoint of any name; False if it cannot be read."""
    try:
        with open_regular(path) as stream:
            return bool(stream.read(len(_ZIP)) == _ZIP)
    except OSError:
        return False


def _text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise ExportError("is not a file", where=path)
        with open_regular(path) as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise read_error(path, error, ExportError, _EXAMPLE) from error
    if len(content) > MAX_BYTES:
        raise ExportError(f"is larger than {format_bytes(MAX_BYTES)}, the limit for an export", where=path)
    if not content.strip():
        raise ExportError("is empty", where=path)
    if content.startswith(_ZIP):
        hint = f"Export the checkpoint first: kelly-core export {shlex.quote(str(path))}"
        raise ExportError("is a zip archive, such as a checkpoint, not an export", where=path, hint=hint)
    return content.decode("utf-8")


def _parse(text: str) -> Any:
    try:
        document = orjson.loads(text)
        # orjson keeps the last of equal keys. Without lists of numbers a thousandth of the text is left to check.
        json.loads(_LIST_OF_NUMBERS.sub("[]", text), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError):
        # json takes twice as long, but describes the error, and accepts keys that differ in a list of numbers.
        return _parse_and_describe(text)
    return document


def _parse_and_describe(text: str) -> Any:
    document = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_keys)
    if "\\u" in text:  # an escape can contain a lone surrogate, which only encoding to UTF-8 detects
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key[:40]!r} occurs twice in one object")
    return content
