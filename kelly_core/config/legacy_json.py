"""Translate JSON settings files of the older layout key by key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kelly_core.errors import ConfigError
from kelly_core.spec import DATASETS, ModelSpec, model_spec

_RENAMED = {
    "default_epochs": "epochs",
    "default_batch_size": "batch_size",
    "default_learning_rate": "learning_rate",
    "default_validation_split": "validation_split",
}
_LOSSES = {
    "mse": "mse",
    "mseloss": "mse",
    "bce": "bce",
    "bceloss": "bce",
    "binary_cross_entropy": "bce",
    "cross_entropy": "soft_cross_entropy",
    "crossentropyloss": "soft_cross_entropy",
    "soft_cross_entropy": "soft_cross_entropy",
    "masked_mse": "masked_mse",
    "masked_l1": "masked_l1",
}
_DATASETS = {"lakh": "lakh_midi", "groove": "groove_midi", "chord_progressions": "chords"}


def translate(document: object, path: Path) -> dict[str, Any]:
    """Convert a JSON document of the older layout, or of the current one, to settings by dotted key.

    ``input_size`` and ``output_size`` must agree with the model's specification. ``estimated_params`` was never exact
    and is ignored.

    Raises:
        ConfigError: a table in place of a value or vice versa, a model or a loss that does not exist, a size
            that differs from the spec, or an early stopping that maximizes.
    """
    if not isinstance(document, dict):
        raise ConfigError("must contain a JSON object", where=path)
    flat: dict[str, Any] = {}
    for section, content in document.items():
        table = _table(content, section, path)
        if section == "training":
            flat |= _training(table, path)
        elif section in {"early_stopping", "checkpointing"}:
            flat |= _training({section: table}, path)
        elif section == "models":
            for name, model in table.items():
                flat |= _model(_spec(name, path), _table(model, f"models.{name}", path), path)
        elif section == "datasets":
            flat |= _datasets(table)
        else:
            flat |= {f"{section}.{key}": value for key, value in table.items()}
    return flat


def _table(content: object, key: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        raise ConfigError(f"{key!r} must be an object", where=path)
    return content


def _training(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if key in {"early_stopping", "checkpointing"}:
            inner = dict(_table(value, f"training.{key}", path))
            if key == "early_stopping" and inner.pop("mode", "min") != "min":
                raise ConfigError("training.early_stopping.mode: a loss is minimised; only 'min' exists", where=path)
            flat |= {f"training.{key}.{name}": item for name, item in inner.items()}
        else:
            flat[f"training.{_RENAMED.get(key, key)}"] = value
    return flat


def _model(spec: ModelSpec, table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        where = f"models.{spec.name}.{key}"
        if key in {"input_size", "output_size"}:
            if value != getattr(spec, key):
                raise ConfigError(f"{where} = {value!r}, but the model has {getattr(spec, key)}", where=path)
        elif key == "estimated_params":
            if not isinstance(value, int):
                raise ConfigError(f"{where} = {value!r} must be a whole number", where=path)
        elif key == "loss":
            flat[where] = _loss(value, where, path)
        elif key == "dataset":
            flat[where] = _DATASETS.get(str(value), value)
        else:
            flat[where] = value
    return flat


def _spec(name: str, path: Path) -> ModelSpec:
    try:
        return model_spec(name)
    except ConfigError as error:
        raise ConfigError(error.problem, where=path, hint=error.hint) from error


def _loss(value: object, where: str, path: Path) -> str:
    known = _LOSSES.get(str(value).lower())
    if known is None:
        raise ConfigError(f"{where} = {value!r} is not a loss", where=path, hint=f"Losses are {', '.join(_LOSSES)}")
    return known


def _datasets(table: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = _DATASETS.get(key, key)
        if name in DATASETS and isinstance(value, Mapping):
            flat |= {f"datasets.{name}.{item}": content for item, content in value.items()}
        else:
            flat[f"datasets.{name}"] = value
    return flat
