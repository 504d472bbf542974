"""Descriptions of all settings, read from their schema: for option help, the settings form, editors and the docs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kelly_core.config.schema import ModelSettings, Settings
from kelly_core.spec import MODELS, model_spec

SCHEMA_FILE = "config.schema.json"
"""Name of the JSON Schema next to a settings file, as written in its ``#:schema`` line."""

_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_SAME_AS_TRAINING = "as in [training]"
_SAME_AS_SPEC = "as in the model's specification"
_WIDTH = 118


@dataclass(frozen=True)
class SettingInfo:
    """One setting.

    Attributes:
        key: dotted key, such as ``training.epochs``.
        description: noun phrase without a full stop.
        default: default value; None if another setting or the model's specification defines it.
        unit: unit of a number, "" if it has none.
        zero: meaning of 0 or of an empty text, "" if it has no special meaning.
        bounds: limits of a number in words, "" if there are none.
        choices: allowed values, () if any value is allowed.
        shown_default: default in readable form.
    """

    key: str
    description: str
    default: object
    unit: str
    zero: str
    bounds: str
    choices: tuple[str, ...]
    shown_default: str

    @property
    def details(self) -> str:
        """Choices, unit, meaning of 0, limits; "" if there are none."""
        zero = f"{'0' if self.is_number else 'empty'} = {self.zero}" if self.zero else ""
        choices = ", ".join(choice or '""' for choice in self.choices)
        return "; ".join(part for part in (choices, self.unit, zero, self.bounds) if part)

    @property
    def help(self) -> str:
        """Description, details and default, as shown in the help of an option."""
        empty = self.default in ("", [])
        default = "none" if empty and not self.zero else "" if empty else self.shown_default
        stated = f"default {default}" if default and not isinstance(self.default, bool) else ""
        notes = "; ".join(part for part in (self.details, stated) if part)
        return f"{self.description} ({notes})." if notes else f"{self.description}."

    @property
    def is_number(self) -> bool:
        """True if the value is a number."""
        return bool(self.bounds or self.unit) or isinstance(self.default, int | float)


@cache
def all_settings() -> Mapping[str, SettingInfo]:
    """Return every setting by dotted key, in the order of the schema."""
    return {info.key: info for info in _section_settings(Settings(), "")}


def setting(key: str) -> SettingInfo:
    """Return the description of one setting.

    Raises:
        KeyError: no setting has this key.
    """
    return all_settings()[key]


def _section_settings(section: BaseModel, prefix: str) -> Iterator[SettingInfo]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _section_settings(value, f"{prefix}{name}.")
        elif isinstance(value, dict):
            for entry, inner in value.items():
                yield from _section_settings(inner, f"{prefix}{name}.{entry}.")
        else:
            yield _setting(f"{prefix}{name}", field, value)


def _setting(key: str, field: FieldInfo, value: object) -> SettingInfo:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    zero, bounds = str(extra.get("zero", "")), dict(_bounds(field.annotation, field.metadata))
    if zero and bounds.get("ge") == 0:
        del bounds["ge"]
    return SettingInfo(
        key=key,
        description=field.description or "",
        default=value,
        unit=str(extra.get("unit", "")),
        zero=zero,
        # Limits of 32 bits are technical and would only lengthen the help.
        bounds=" and ".join(f"{_BOUNDS[name]} {limit:g}" for name, limit in bounds.items() if limit < 2**31),
        choices=_choices(field.annotation),
        shown_default=str(extra.get("shown_default", "")) or _shown(key, value),
    )


def _bounds(annotation: Any, metadata: list[Any]) -> Iterator[tuple[str, float]]:
    """Yield (ge, gt, le or lt; limit) of a field; for ``X | None``, the limits of ``X``."""
    if get_origin(annotation) in (UnionType, Union):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Annotated:
        metadata = [*metadata, *annotation.__metadata__]
    for constraint in metadata:
        # The limits of a named type, such as PositiveCount, are in a Field within its annotation.
        if isinstance(constraint, FieldInfo):
            yield from _bounds(None, constraint.metadata)
        for name in _BOUNDS:
            limit = getattr(constraint, name, None)
            if limit is not None:
                yield name, limit


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) in (UnionType, Union):
        annotation = get_args(annotation)[0]
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _shown(key: str, value: object) -> str:
    if value is None:
        return _SAME_AS_SPEC if key.endswith(".loss") else _SAME_AS_TRAINING
    if isinstance(value, Path):
        return str(value)
    return value if isinstance(value, str) and value else json.dumps(value)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a settings file, with a section for each model."""
    schema = Settings.model_json_schema()
    model = {"$ref": f"#/$defs/{ModelSettings.__name__}"}
    schema["properties"]["models"] = {
        "type": "object",
        "title": "Models",
        "description": ModelSettings.__doc__,
        "properties": {spec.name: model for spec in MODELS},
        "additionalProperties": False,
    }
    for section in schema["$defs"].values():
        # A file may leave out any setting; pydantic requires those whose default depends on the section.
        section.pop("required", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def markdown_table() -> str:
    """Return all settings as Markdown: one table per section, and one for all five models."""
    first, *others = (f"models.{spec.name}." for spec in MODELS)
    tables: dict[str, list[str]] = {}
    for info in all_settings().values():
        if info.key.startswith(tuple(others)):
            continue
        section, name = info.key.rsplit(".", 1)
        default = _SAME_AS_SPEC if info.key == f"{first}dataset" else _code(info.shown_default)
        if info.default is None:
            own = {spec.name: setting(f"models.{spec.name}.{name}").default for spec in MODELS}
            default += "".join(f"; {value} for {model}" for model, value in own.items() if value is not None)
        row = " | ".join((f"`{name}`", info.description.replace("<", "\\<"), info.details, default))
        tables.setdefault("models.<model>" if info.key.startswith(first) else section, []).append(f"| {row} |")
    head = "| setting | description | unit, values, limits | default |\n|---|---|---|---|\n"
    return "\n\n".join(f"## [{section}]\n\n{head}" + "\n".join(rows) for section, rows in tables.items()) + "\n"


def _code(default: str) -> str:
    return f"`{default}`" if " " not in default else default


def config_file() -> str:
    """Return a settings file that states every setting with its default and its description."""
    lines: list[str] = []
    section, described = "", set[str]()
    for info in all_settings().values():
        table, name = info.key.rsplit(".", 1)
        if table != section:
            section = table
            lines += ["", f"[{table}]"]
        # The sections of the models have the same settings; the first one describes them.
        key = f"models.{name}" if table.startswith("models.") else info.key
        if key not in described:
            described.add(key)
            lines += _comment(f"{info.description} ({info.details})" if info.details else info.description)
        lines.append(_assignment(name, info))
    return "\n".join(lines[1:]) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="#   ")


def _assignment(name: str, info: SettingInfo) -> str:
    """Return ``name = default``, as a comment where the default is not a constant."""
    if info.default is None:
        return f"# {name} = {json.dumps(_inherited(info.key))}"
    if info.key == "datasets.cache_dir":
        return f'# {name} = "~/.cache/kelly"'
    return f"{name} = {json.dumps(str(info.default) if isinstance(info.default, Path) else info.default)}"


def _inherited(key: str) -> object:
    """Return the value of a setting that a model's section omits."""
    _, model, name = key.split(".")
    if name == "loss":
        return model_spec(model).loss
    training = "training.early_stopping.patience" if name == "patience" else f"training.{name}"
    return setting(training).default
