"""Named checks that an export must pass before the plugin may load it.

The plugin cannot detect these errors: its engine ignores some and crashes on others, and for the rest the plugin falls
back to heuristics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from kelly_core.engines.layers import describe_layer
from kelly_core.errors import ExportError
from kelly_core.export.json_values import FormatError, Rule
from kelly_core.export.parser import ParsedNetwork, parse_layers
from kelly_core.export.quality_record import QualityRecord, recorded_quality
from kelly_core.export.reader import code_version, read_strict_json
from kelly_core.export.writer import EXPORT_VERSION, LEGACY_METADATA, METADATA
from kelly_core.music.context import NAMES
from kelly_core.music.emotion import CODE_VERSION
from kelly_core.spec import MODELS, ModelSpec
from kelly_core.validation.behavior import ReferenceEngine, check_behavior
from kelly_core.validation.report import STATES, Check, FileReport

_OBJECTS = ("trained_on", "metrics", "features")
_MAX_NAME_LENGTH = 80


def validate_file(path: Path, *, check_specs: bool = False, references: Sequence[ReferenceEngine] = ()) -> FileReport:
    """Run every check on one file; invalid content results in a report, not in an error.

    Args:
        path: export of either layout.
        check_specs: also compare the layers with the plugin's specification.
        references: other engines that must compute the same outputs for a sequence of frames.
    """
    try:
        document = read_strict_json(path)
    except ExportError as error:
        # The report already names the file.
        problem = str(ExportError(error.problem, hint=error.hint))
        return FileReport(str(path), path.stem, None, (Check("readable", False, problem),))
    network = parse_layers(document)
    checks = tuple(_checks(document, network, path.stem, check_specs, references))
    metadata = document.get("metadata")
    return FileReport(str(path), _model_name(metadata, path.stem), network.layout, checks, recorded_quality(metadata))


def _checks(
    document: dict[str, Any],
    network: ParsedNetwork,
    stem: str,
    check_specs: bool,
    references: Sequence[ReferenceEngine],
) -> Iterator[Check]:
    metadata = document.get("metadata")
    yield Check("readable", True, "a JSON object")
    yield from _check_format(network)
    yield from _check_metadata(metadata, network)
    if check_specs:
        yield _check_specification(metadata, stem, network)
    if network.runnable:
        yield from check_behavior(metadata, network, references)
    elif not network.errors:
        kinds = ", ".join(dict.fromkeys(network.checked_only))
        yield Check(
            "outputs", True, f"{kinds} cannot be computed here; only its structure is checked", applicable=False
        )


def _check_format(network: ParsedNetwork) -> Iterator[Check]:
    """Yield one check per rule of the format."""
    for rule in get_args(Rule):
        errors = [error.text for error in network.errors if error.rule == rule]
        yield Check(rule, not errors, "; ".join(errors) or "no error")


def _model_name(metadata: object, stem: str) -> str:
    """Return the recorded model name if it is printable and short, else the stem of the file."""
    name = metadata.get("model_name") if isinstance(metadata, dict) else None
    shown = isinstance(name, str) and name.isprintable() and 0 < len(name) <= _MAX_NAME_LENGTH
    return str(name) if shown else stem


def _check_metadata(metadata: object, network: ParsedNetwork) -> Iterator[Check]:
    """Check that the metadata are complete and agree with the layers; files of other programs need no metadata."""
    if network.foreign:
        yield Check("metadata", True, "another program wrote the file, without Kelly's metadata", applicable=False)
        return
    if not isinstance(metadata, dict):
        yield Check("metadata", False, '"metadata" is missing or not an object')
        return
    wanted = METADATA if network.layout == "rtneural" else LEGACY_METADATA
    yield _complete(metadata, wanted)
    yield _agrees("export version", metadata, {"export_version": EXPORT_VERSION})
    if _has_code(metadata):
        yield _check_code(metadata, network)
    if "quality" in metadata:
        yield _check_quality(metadata["quality"])
    if not network.runnable:
        return
    count = network.parameter_count
    yield _agrees("sizes", metadata, {"input_size": network.in_size, "output_size": network.layers[-1].out_size})
    yield _agrees("parameter count", metadata, {"parameter_count": count})
    if "memory_bytes" in wanted:
        yield _agrees("memory", metadata, {"memory_bytes": 4 * count})


def _has_code(metadata: dict[str, Any]) -> bool:
    """Return False only for a network without an emotion code as input or output.

    Early files do not record the version. Networks without a code are recognized by their spec, or by the recorded
    names of the submodules of a PyTorch module.
    """
    codeless = [spec.name for spec in MODELS if not spec.has_code]
    return "code_version" in metadata or not ("modules" in metadata or metadata.get("model_name") in codeless)


def _check_code(metadata: dict[str, Any], network: ParsedNetwork) -> Check:
    """Check that the version of the emotion code is known, and report it."""
    try:
        version = code_version(metadata, network.layout)
    except FormatError as error:
        return Check("emotion code", False, error.text)
    if version is None:
        return Check("emotion code", True, "the legacy layout does not record its version")
    context = f"musical context ({', '.join(NAMES)})" if version == CODE_VERSION else "no musical context"
    return Check("emotion code", True, f"version {version}, {context}")


def _check_quality(record: object) -> Check:
    """Check that the quality record is valid; its verdict does not affect the check."""
    try:
        return Check("quality record", True, QualityRecord.from_json(record).summary())
    except ValueError as error:
        return Check("quality record", False, str(error))


def _complete(metadata: dict[str, Any], wanted: tuple[str, ...]) -> Check:
    wrong = [f'"{key}" is missing' for key in wanted if key not in metadata]
    if not isinstance(metadata.get("model_name", ""), str):
        wrong.append('"model_name" is not a string')
    wrong += [f'"{key}" is not an object' for key in _OBJECTS if not isinstance(metadata.get(key, {}), dict)]
    if metadata.get("state", STATES[0]) not in STATES:
        wrong.append(f'"state" is not one of {", ".join(STATES)}')
    return Check("metadata", not wrong, "; ".join(wrong) or f"all {len(wanted)} entries are present")


def _agrees(name: str, metadata: dict[str, Any], truth: dict[str, int | str]) -> Check:
    """Check that each entry has the expected value and type."""
    wrong = [
        f'"{key}" is {_brief(metadata.get(key))}, but must be {value}'
        for key, value in truth.items()
        # Python treats 320.0 and True as equal to integers; a parser in C++ may not.
        if type(metadata.get(key)) is not type(value) or metadata[key] != value
    ]
    return Check(name, not wrong, "; ".join(wrong) or ", ".join(str(value) for value in truth.values()))


def _brief(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return "missing" if value is None else repr(value)[:40]


def _check_specification(metadata: object, stem: str, network: ParsedNetwork) -> Check:
    """Check that the layers match the specification of the model, and that the file is not named after another model.

    The plugin finds a model by its file name.
    """
    named = metadata.get("model_name") if isinstance(metadata, dict) else None
    by_name = {spec.name: spec for spec in MODELS}
    by_stem = {spec.file_stem: spec for spec in MODELS}
    spec = by_stem.get(stem.lower()) if named is None else by_name.get(named) if isinstance(named, str) else None
    if spec is None:
        return Check("specification", False, f"{_brief(named or stem)} is not one of {', '.join(by_name)}")
    wrong = _differences(spec, network)
    if by_stem.get(stem.lower(), spec) is not spec:
        wrong.append(f"the file is named {stem}, but contains {spec.name}")
    return Check("specification", not wrong, "; ".join(wrong) or f"{spec.name} as specified")


def _differences(spec: ModelSpec, network: ParsedNetwork) -> list[str]:
    found = [describe_layer(layer) for layer in network.layers]
    wanted = [layer.description for layer in spec.layers]
    if len(found) != len(wanted):
        return [f"{spec.name} must have {len(wanted)} layers, but the file has {len(found)}"]
    wrong = [
        f"layer {number} is {ours}, but must be {theirs}"
        for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True), 1)
        if ours != theirs
    ]
    # The descriptions do not show whether a layer has a bias.
    if not wrong and network.parameter_count != spec.parameter_count:
        wrong.append(
            f"{spec.name} must have {spec.parameter_count} parameters, but the file has {network.parameter_count}"
        )
    return wrong
