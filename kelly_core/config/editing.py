"""Edit single settings of a TOML file; comments and order are kept."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from kelly_core.config.loading import SettingsFile
from kelly_core.config.reference import SCHEMA_FILE
from kelly_core.errors import ConfigError
from kelly_core.io.atomic import atomic_write, open_regular, read_error

_NEW_FILE = f"""#:schema {SCHEMA_FILE}
# `kelly-core config schema > {SCHEMA_FILE}` writes the schema that editors look for.
"""


def read_values(path: Path) -> dict[str, Any]:
    """Return the file's settings by dotted key; {} if there is no file.

    Raises:
        ConfigError: as ``SettingsFile.read``.
    """
    return SettingsFile.read(path).values if path.exists() else {}


def save_values(path: Path, changes: Mapping[str, object | None]) -> None:
    """Update settings in the file's current content; None removes a setting.

    Args:
        path: the file, created if missing, with a line that refers editors to the JSON Schema.
        changes: new values by dotted key.

    Raises:
        ConfigError: the file is not TOML, or cannot be read or written.
    """
    if path.suffix.lower() != ".toml":
        raise ConfigError("only TOML files can be changed here", where=path, hint="Start with --config config.toml")
    document = _document(path)
    for key, value in changes.items():
        *tables, name = key.split(".")
        node: Any = document
        for table in tables:
            if table not in node:
                # [models] has only sections; as a super table it gets no heading.
                node[table] = tomlkit.table(is_super_table=table == "models")
            node = node[table]
        if value is None:
            node.pop(name, None)
        elif name not in node:
            _insert(node, name, value)
        else:
            node[name] = value
    try:
        text = tomlkit.dumps(document).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "cannot contain a name that is not UTF-8", where=path, hint="Rename the file or folder"
        ) from error
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    # A symbolic link is kept, and its target is replaced.
    target = path.resolve()
    atomic_write(target, text, error_type=ConfigError)
    if mode is not None:
        target.chmod(mode)


def _document(path: Path) -> tomlkit.TOMLDocument:
    """Return the document of a file, or a new one if there is no file."""
    try:
        # Not read by SettingsFile, which drops a byte order mark and the line ends of Windows.
        with open_regular(path) as file:
            return tomlkit.parse(file.read())
    except FileNotFoundError:
        return tomlkit.parse(_NEW_FILE)
    except OSError as error:
        raise read_error(path, error, ConfigError) from error
    except (UnicodeDecodeError, TOMLKitError) as error:
        raise ConfigError(f"is not valid TOML ({error})", where=path) from error


def _insert(table: Any, name: str, value: object) -> None:
    """Insert a setting before the existing ones: at the end it would follow the next table's heading comment."""
    entries = table.value.body
    first = next((place for place, (key, _) in enumerate(entries) if key is not None), None)
    if first is None:
        table[name] = value
    else:
        # tomlkit has no public method for this.
        table.value._insert_at(first, name, value)
