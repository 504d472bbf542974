"""Named checks that an export must pass before the plugin may load it.

The plugin cannot detect these errors itself: the engine ignores some, crashes on others, and for the rest the plugin
falls back to heuristics.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from kelly_core.errors import ExportError
from kelly_core.export.json_values import Rule
from kelly_core.export.parser import ParsedNetwork, parse_layers
from kelly_core.export.quality_record import recorded_quality
from kelly_core.export.reader import read_document
from kelly_core.validation.behavior import ReferenceEngine, check_behavior
from kelly_core.validation.metadata import check_metadata, check_specification
from kelly_core.validation.report import Check, FileReport

_LONGEST_NAME = 80


def validate_file(path: Path, *, check_specs: bool = False, references: Sequence[ReferenceEngine] = ()) -> FileReport:
    """Run every check on one file; any file content yields a report.

    Args:
        path: an export of either layout.
        check_specs: also compare the layers with the plugin's specification.
        references: other engines that must compute the same outputs for a sequence of frames.
    """
    try:
        document = read_document(path)
    except ExportError as error:
        # The report names the file already.
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
    yield from check_metadata(metadata, network)
    if check_specs:
        yield check_specification(metadata, stem, network)
    if network.runnable:
        yield from check_behavior(metadata, network, references)
    elif not network.faults:
        kinds = ", ".join(dict.fromkeys(network.checked_only))
        yield Check(
            "outputs", True, f"{kinds} cannot be computed here; only its structure is checked", applicable=False
        )


def _check_format(network: ParsedNetwork) -> Iterator[Check]:
    """Yield one check per rule of the format."""
    for rule in get_args(Rule):
        faults = [fault.text for fault in network.faults if fault.rule == rule]
        yield Check(rule, not faults, "; ".join(faults) or "no error")


def _model_name(metadata: object, stem: str) -> str:
    """Return the recorded model name if it is printable and short, else the file's stem."""
    name = metadata.get("model_name") if isinstance(metadata, dict) else None
    shown = isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_NAME
    return str(name) if shown else stem
