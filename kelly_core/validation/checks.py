"""Everything that must hold of a file before the plugin may load it, as named checks.

The plugin cannot tell: of the faults looked for here the engine takes some in silence, dies of others, and falls back
to heuristics over the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from kelly_core.errors import ExportError
from kelly_core.export.parser import ParsedNetwork, Rule, parse_layers
from kelly_core.export.quality_record import recorded_quality
from kelly_core.export.reader import read_document
from kelly_core.validation.behaviour import ReferenceEngine, check_behaviour
from kelly_core.validation.metadata import check_metadata, check_specification
from kelly_core.validation.report import Check, FileReport

_LONGEST_NAME = 80


def validate_file(path: Path, *, check_specs: bool = False, references: Sequence[ReferenceEngine] = ()) -> FileReport:
    """Put every check to one file, whatever its bytes are.

    Args:
        path: an export of either layout.
        check_specs: also hold it against the plugin's specification.
        references: other engines that must compute the same over a sequence of frames.
    """
    try:
        document = read_document(path)
    except ExportError as error:
        return FileReport(str(path), path.stem, None, (Check("readable", False, error.problem),))
    anatomy = parse_layers(document)
    checks = tuple(_checks(document, anatomy, path.stem, check_specs, references))
    metadata = document.get("metadata")
    return FileReport(str(path), _model_name(metadata, path.stem), anatomy.layout, checks, recorded_quality(metadata))


def _checks(
    document: dict[str, Any],
    anatomy: ParsedNetwork,
    stem: str,
    check_specs: bool,
    references: Sequence[ReferenceEngine],
) -> Iterator[Check]:
    metadata = document.get("metadata")
    yield Check("readable", True, "a JSON object")
    yield from _check_format(anatomy)
    yield from check_metadata(metadata, anatomy)
    if check_specs:
        yield check_specification(metadata, stem, anatomy)
    if not anatomy.faults:
        yield from check_behaviour(metadata, anatomy, references)


def _check_format(anatomy: ParsedNetwork) -> Iterator[Check]:
    """One check a rule of the format; layers with a fault cannot be run, so nothing further is asked of them."""
    for rule in get_args(Rule):
        faults = [fault.text for fault in anatomy.faults if fault.rule == rule]
        yield Check(rule, not faults, "; ".join(faults) or "nothing wrong")


def _model_name(metadata: object, stem: str) -> str:
    """The name that the file gives itself, if it is one that can be shown; else the name of the file."""
    name = metadata.get("model_name") if isinstance(metadata, dict) else None
    shown = isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_NAME
    return str(name) if shown else stem
