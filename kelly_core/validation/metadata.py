"""What a file says about itself, held against what is in it and against the plugin's specification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from kelly_core.engines.numpy_engine import describe_layer
from kelly_core.export.parser import ParsedNetwork
from kelly_core.export.quality_record import QualityRecord
from kelly_core.export.writer import EXPORT_VERSION, LEGACY_METADATA, METADATA
from kelly_core.spec import MODELS, Dense, ModelSpec, State
from kelly_core.spec import Layer as LayerSpec
from kelly_core.validation.report import Check

STATES: tuple[str, ...] = get_args(State)

_OBJECTS = ("trained_on", "metrics", "features")


def check_metadata(metadata: object, anatomy: ParsedNetwork) -> Iterator[Check]:
    """Whether the metadata are complete, and agree with the layers wherever both say something."""
    if not isinstance(metadata, dict):
        yield Check("metadata", False, 'there is no "metadata" object: nothing says what the file is')
        return
    wanted = METADATA if anatomy.layout == "rtneural" else LEGACY_METADATA
    yield _complete(metadata, wanted)
    yield _agrees("export version", metadata, {"export_version": EXPORT_VERSION})
    if "quality" in metadata:
        yield _check_quality(metadata["quality"])
    if anatomy.faults:
        return
    count = anatomy.parameter_count
    yield _agrees("sizes", metadata, {"input_size": anatomy.in_size, "output_size": anatomy.layers[-1].out_size})
    yield _agrees("parameter count", metadata, {"parameter_count": count})
    if "memory_bytes" in wanted:
        yield _agrees("memory", metadata, {"memory_bytes": 4 * count})


def _check_quality(record: object) -> Check:
    """Whether what the file says of its quality can be read; the verdict itself decides nothing here."""
    try:
        return Check("quality record", True, QualityRecord.from_json(record).summary())
    except ValueError as error:
        return Check("quality record", False, str(error))


def _complete(metadata: dict[str, Any], wanted: tuple[str, ...]) -> Check:
    wrong = [f'"{key}" is missing' for key in wanted if key not in metadata]
    if not isinstance(metadata.get("model_name", ""), str):
        wrong.append('"model_name" is not a string')
    wrong += [f'"{key}" is no object' for key in _OBJECTS if not isinstance(metadata.get(key, {}), dict)]
    if metadata.get("state", STATES[0]) not in STATES:
        wrong.append(f'"state" is none of {", ".join(STATES)}')
    return Check("metadata", not wrong, "; ".join(wrong) or f"all {len(wanted)} entries are there")


def _agrees(name: str, metadata: dict[str, Any], truth: dict[str, int | str]) -> Check:
    """Whether each entry is the truth, in value and kind."""
    wrong = [
        f'"{key}" is {_brief(metadata.get(key))}, but must be {value}'
        for key, value in truth.items()
        if type(metadata.get(key)) is not type(value) or metadata[key] != value
    ]
    return Check(name, not wrong, "; ".join(wrong) or ", ".join(str(value) for value in truth.values()))


def _brief(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return "missing" if value is None else repr(value)[:40]


def check_specification(metadata: object, stem: str, anatomy: ParsedNetwork) -> Check:
    """Whether the file holds, layer by layer, the model that it is named after.

    The plugin finds a model by the name of its file, so a file may not be named after another model than it holds.
    """
    named = metadata.get("model_name") if isinstance(metadata, dict) else None
    by_name = {spec.name: spec for spec in MODELS}
    by_stem = {spec.file_stem: spec for spec in MODELS}
    spec = by_stem.get(stem.lower()) if named is None else by_name.get(named) if isinstance(named, str) else None
    if spec is None:
        return Check("specification", False, f"{_brief(named or stem)} is none of {', '.join(by_name)}")
    wrong = _differences(spec, anatomy)
    if by_stem.get(stem.lower(), spec) is not spec:
        wrong.append(f"the file is named {stem}, but holds {spec.name}")
    return Check("specification", not wrong, "; ".join(wrong) or f"{spec.name} as specified")


def _differences(spec: ModelSpec, anatomy: ParsedNetwork) -> list[str]:
    found = [describe_layer(layer) for layer in anatomy.layers]
    wanted = [_describe_spec(layer) for layer in spec.layers]
    if len(found) != len(wanted):
        return [f"{spec.name} has {len(wanted)} layers, but {len(found)} were read"]
    wrong = [
        f"layer {number} is {ours}, but must be {theirs}"
        for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True), 1)
        if ours != theirs
    ]
    if not wrong and anatomy.parameter_count != spec.parameter_count:
        wrong.append(f"{anatomy.parameter_count} parameters were read, but there must be {spec.parameter_count}")
    return wrong


def _describe_spec(layer: LayerSpec) -> str:
    kind = f"dense {layer.activation}".rstrip() if isinstance(layer, Dense) else "lstm"
    return f"{kind} {layer.in_size}→{layer.out_size}"
