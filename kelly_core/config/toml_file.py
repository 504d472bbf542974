"""A file of settings, whatever an editor or a hostile hand made of it: what it sets, and in which line."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kelly_core.config import legacy_json
from kelly_core.config.keys import flatten
from kelly_core.errors import ConfigError
from kelly_core.io.atomic import open_regular

_MAX_FILE_BYTES = 256 * 2**10
"""Parsing 1 MiB of adversarial TOML takes 10 s and 1.3 GB; a file with every setting has a few KiB."""


@dataclass(frozen=True)
class SettingsFile:
    """What a file sets.

    Attributes:
        path: the file.
        text: all that it says.
        values: settings by dotted key.
    """

    path: Path
    text: str
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> SettingsFile:
        """Read a ``.json`` file of the older shape, or TOML.

        Raises:
            ConfigError: it cannot be read, is larger than 256 KiB, is no such file, or has a key of the older shape
                that makes no sense.
        """
        try:
            text = _text(path)
            if _is_json(path):
                return cls(path, text, legacy_json.translate(_json_object(text, path), path))
            return cls(path, text, flatten(tomllib.loads(text)))
        except OSError as error:
            raise ConfigError(f"cannot be read ({error.strerror})", where=path) from error
        except (ValueError, RecursionError) as error:
            kind = "JSON" if _is_json(path) else "TOML"
            raise ConfigError(f"is not valid {kind} ({error})", where=path) from error

    def place(self, key: str) -> str:
        """The file, and the line of the key where that can be told."""
        line = None if _is_json(self.path) else _toml_line(self.text, key)
        return str(self.path) if line is None else f"{self.path}, line {line}"


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _text(path: Path) -> str:
    """What the file says, whichever mark and ends of lines the editor left in it."""
    with open_regular(path) as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        limit = f"{_MAX_FILE_BYTES // 2**10} KiB"
        raise ConfigError(f"is larger than {limit}, the limit of a settings file", where=path, hint="Shorten it")
    return content.decode("utf-8-sig").replace("\r\n", "\n")


def _json_object(text: str, path: Path) -> dict[str, Any]:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ConfigError("must hold a JSON object", where=path)
    return document


def _toml_line(text: str, key: str) -> int | None:
    """Line of a dotted key in TOML text (1 is the first), where tables have headers of their own."""
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            table = stripped.strip("[] ").split("]")[0] + "."
        name = stripped.split("=")[0].strip()
        if "=" in stripped and (table + name == key or key.startswith(f"{table}{name}.")):
            return number
    return None
