"""Read settings and record where each value comes from: typed option > environment > file > default."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kelly_core.config import legacy_json
from kelly_core.config.schema import Settings
from kelly_core.errors import ConfigError, did_you_mean, expectation, nearest
from kelly_core.formatting import short_repr
from kelly_core.io.atomic import open_for_reading
from kelly_core.spec import LOSS_OUTPUT, MODELS, package_problems

DEFAULT_FILE = Path("config.toml")
ENVIRONMENT_PREFIX = "KELLY_"
_ALL_SETTINGS = "`kelly-core config` lists all settings"

MODEL_OVERRIDES = {
    "training.epochs": "epochs",
    "training.batch_size": "batch_size",
    "training.learning_rate": "learning_rate",
    "training.early_stopping.patience": "patience",
}
"""Settings that a model's own section may override, and their name there."""

_MAX_FILE_BYTES = 256 * 2**10
"""Parsing 1 MiB of adversarial TOML takes 10 s and 1.3 GB; a file with every setting has a few KiB."""


@dataclass(frozen=True)
class LoadedSettings:
    """Settings, and the origin of each by dotted key: "default", a file's name, a variable or an option."""

    settings: Settings
    origins: dict[str, str]

    def rows(self) -> list[tuple[str, object, str]]:
        """Return every setting as (dotted key, value, origin)."""
        flat = flatten(self.settings.model_dump(mode="json"))
        return [(key, value, self.origins[key]) for key, value in flat.items()]


def load_settings(
    file: Path | None = None,
    options: Mapping[str, tuple[str, object]] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> LoadedSettings:
    """Merge defaults, file, environment and options.

    Args:
        file: a ``.toml`` or ``.json`` file; None reads ``config.toml`` of the working folder if there is one.
        options: typed options by dotted key, each with the option's name and its value.
        environment: variables; ``KELLY_TRAINING_EPOCHS`` sets ``training.epochs`` and so on.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, or a file that cannot be read; the message
            names the key and the line or the variable.
    """
    values = flatten(Settings().model_dump())
    origins = dict.fromkeys(values, "default")
    path = file or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    source = None if path is None else SettingsFile.read(path)
    layers = [
        {} if source is None else _of_file(source, values),
        _from_environment(environment, values),
        dict(options or {}),
    ]
    return _merge(values, origins, layers)


def _of_file(source: SettingsFile, known: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return a file's settings, without sections of models or corpora whose package is excluded."""
    sections = {key.rpartition(".")[0] for key in known}
    broken = package_problems()
    return {
        key: (source.place(key), value)
        for key, value in source.values.items()
        if not (broken and key.startswith(("models.", "datasets.")) and key.count(".") == 2)
        or key.rpartition(".")[0] in sections
    }


def with_options(settings: Settings, options: Mapping[str, tuple[str, object]]) -> Settings:
    """Return settings overridden by typed options, given by dotted key with the option's name and value.

    Raises:
        ConfigError: as ``load_settings``.
    """
    values = flatten(settings.model_dump())
    return _merge(values, dict.fromkeys(values, "settings"), [options]).settings


def for_every_model(options: Mapping[str, tuple[str, object]]) -> dict[str, tuple[str, object]]:
    """Return the options, copied to each model whose section could override them; typed options take precedence."""
    added = {
        f"models.{spec.name}.{name}": options[key]
        for key, name in MODEL_OVERRIDES.items()
        if key in options
        for spec in MODELS
    }
    return {**options, **added}


def _merge(
    values: dict[str, Any], origins: dict[str, str], layers: Iterable[Mapping[str, tuple[str, Any]]]
) -> LoadedSettings:
    """Override settings by layers, in order, and validate the result."""
    for layer in layers:
        _reject_unknown(layer, values)
        values.update({key: value for key, (_, value) in layer.items()})
        origins.update({key: origin for key, (origin, _) in layer.items()})
    try:
        settings = Settings.model_validate(unflatten(values))
    except ValidationError as error:
        raise _readable(error, origins) from None
    _check_models(settings, origins)
    _check_parallel(settings, origins)
    return LoadedSettings(settings, origins)


def _check_models(settings: Settings, origins: Mapping[str, str]) -> None:
    """Check the settings of each model against its specification."""
    for spec in MODELS:
        requested = settings.models[spec.name]
        if requested.dataset != spec.dataset:
            key = f"models.{spec.name}.dataset"
            raise ConfigError(
                f"{key} = {requested.dataset!r}, but the model is trained on {spec.dataset!r}", where=origins[key]
            )
        needed = LOSS_OUTPUT.get(requested.loss or spec.loss)
        if needed not in (None, spec.output_activation):
            key, output = f"models.{spec.name}.loss", spec.output_activation or "linear"
            problem = f"{key} = {requested.loss!r} needs a {needed} output, and the model's is {output}"
            raise ConfigError(problem, where=origins[key])
        if requested.state not in spec.states:
            key, states = f"models.{spec.name}.state", " or ".join(spec.states)
            problem = f"{key} = {requested.state!r}, but the model's layers can only be {states}"
            raise ConfigError(problem, where=origins[key])


def _check_parallel(settings: Settings, origins: Mapping[str, str]) -> None:
    if settings.parallel.backend == "dask" and not settings.parallel.scheduler:
        hint = "Give --scheduler tcp://HOST:PORT, as `dask scheduler` prints it, or set it in [parallel]"
        raise ConfigError("parallel.backend = 'dask' needs a scheduler", where=origins["parallel.backend"], hint=hint)


def environment_name(key: str) -> str:
    """Return the environment variable that sets a dotted key."""
    return ENVIRONMENT_PREFIX + key.replace(".", "_").upper()


def _from_environment(environment: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    names = {environment_name(key): key for key in defaults}
    found = {name: text for name, text in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}
    for name in found.keys() - names.keys():
        # Compared without the common prefix, which would make any two variables similar.
        near = nearest(name.removeprefix(ENVIRONMENT_PREFIX).replace("_", "."), defaults)
        hint = f"Did you mean {environment_name(near)}?" if near else _ALL_SETTINGS
        raise ConfigError("is not the variable of a setting", where=name, hint=hint)
    return {names[name]: (name, parse_value(text, defaults[names[name]])) for name, text in found.items()}


def parse_value(text: str, default: object) -> object:
    """Parse text as a TOML value; return it unchanged if the setting is text or the text is not a TOML value."""
    if isinstance(default, str | Path):
        return text
    try:
        # A TOML parser reads documents only, not single values.
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _reject_unknown(layer: Mapping[str, tuple[str, Any]], known: Mapping[str, Any]) -> None:
    for key, (origin, value) in layer.items():
        if key in known:
            continue
        if any(name.startswith(f"{key}.") for name in known):
            kind = "an array of tables" if value and isinstance(value, list) else repr(value)
            hint = f"Write [{key}] once, and its settings below it"
            raise ConfigError(f"{key} is a section of settings, got {kind}", where=origin, hint=hint)
        raise unknown_setting(key, known, origin)


def unknown_setting(key: str, known: Iterable[str], origin: str) -> ConfigError:
    """Return the error for a setting that does not exist, with the closest known setting as a hint."""
    return ConfigError(f"unknown setting {key!r}", where=origin, hint=did_you_mean(key, known) or _ALL_SETTINGS)


def _readable(error: ValidationError, origins: Mapping[str, str]) -> ConfigError:
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    known = (".".join(location[:end]) for end in range(len(location), 0, -1))
    key = next((candidate for candidate in known if candidate in origins), ".".join(location))
    message = expectation(first["msg"])
    value = str(first["input"]) if isinstance(first["input"], Path) else first["input"]
    problem = f"{key} = {short_repr(value)}: {message}" if key in origins else f"{key}: {message}"
    return ConfigError(problem, where=origins.get(key))


@dataclass(frozen=True)
class SettingsFile:
    """The values that a settings file sets.

    Attributes:
        path: the file.
        text: its content.
        values: settings by dotted key.
    """

    path: Path
    text: str
    values: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> SettingsFile:
        """Read a ``.json`` file of the older layout, or TOML.

        Raises:
            ConfigError: it cannot be read, is larger than 256 KiB, is not valid TOML or JSON, or has an invalid key of
                the older layout.
        """
        try:
            text = _text(path)
            if _is_json(path):
                return cls(path, text, legacy_json.translate(json.loads(text), path))
            return cls(path, text, flatten(tomllib.loads(text)))
        except (ValueError, RecursionError) as error:
            kind = "JSON" if _is_json(path) else "TOML"
            raise ConfigError(f"is not valid {kind} ({error})", where=path) from error

    def place(self, key: str) -> str:
        """Return the file name, with the line of the key, or of the inline table that contains it, if it is known."""
        outer = accumulate(key.split("."), "{}.{}".format)
        line = next((self._lines[name] for name in outer if name in self._lines), None)
        return str(self.path) if line is None else f"{self.path}, line {line}"

    @cached_property
    def _lines(self) -> dict[str, int]:
        return {} if _is_json(self.path) else _toml_lines(self.text)


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _text(path: Path) -> str:
    """Return the content without a byte order mark and with Unix line ends."""
    with open_for_reading(path, ConfigError) as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        limit = f"{_MAX_FILE_BYTES // 2**10} KiB"
        raise ConfigError(f"is larger than {limit}, the limit of a settings file", where=path, hint="Shorten it")
    return content.decode("utf-8-sig").replace("\r\n", "\n")


def _toml_lines(text: str) -> dict[str, int]:
    """Return the first line of each dotted key in TOML text (1 = first)."""
    # tomllib records no positions. This parsing is approximate; a wrong line only makes a message less helpful.
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            table = stripped.strip("[] ").split("]")[0] + "."
            if stripped.startswith("[["):
                lines.setdefault(table[:-1], number)
        elif "=" in stripped:
            lines.setdefault(table + stripped.split("=")[0].strip(), number)
    return lines


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one table with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table with dotted keys as nested tables."""
    tree: dict[str, Any] = {}
    for dotted, value in flat.items():
        *tables, key = dotted.split(".")
        node = tree
        for table in tables:
            node = node.setdefault(table, {})
        node[key] = value
    return tree
