"""``kelly-core validate``: whether exports are what the plugin needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kelly_core.cli.options import JsonOption
from kelly_core.errors import ExportError

if TYPE_CHECKING:
    from kelly_core.validation.behaviour import Reference


def validate(
    files: Annotated[list[Path], typer.Argument(help="Exports to check.")],
    check_specs: Annotated[
        bool, typer.Option("--check-specs", help="Also hold them against the models' specs.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the checks that passed, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check exports: structure, sizes, activations, gates, state, and parity with the checkpoint they come from.

    The checkpoint is looked for in checkpoints/ beside the file. Exits with 0 only if every check of every file passes.
    """
    from kelly_core.validation.checks import validate_file
    from kelly_core.validation.report import render, to_json

    reports = [validate_file(path, check_specs=check_specs, references=_references(path)) for path in files]
    if as_json:
        typer.echo(json.dumps(to_json(reports), indent=2))
    else:
        Console().print(render(reports, verbose=verbose))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


def _references(path: Path) -> list[Reference]:
    """The checkpoint that lies beside an export, if there is one, in PyTorch."""
    from kelly_core.validation.behaviour import Reference

    checkpoint = path.parent / "checkpoints" / f"{path.stem}_best.pt"
    named = _named_checkpoint(path)
    if named is None or not checkpoint.is_file():
        return []
    from kelly_core.training.exporting import CheckpointEngine

    return [Reference("its checkpoint in PyTorch", CheckpointEngine(checkpoint, named).run)]


def _named_checkpoint(path: Path) -> str | None:
    """Hash of the weights that an export says it was made from; None where the file says nothing."""
    from kelly_core.export.reader import read_document

    try:
        metadata = read_document(path).get("metadata")
    except ExportError:
        return None
    named = metadata.get("checkpoint") if isinstance(metadata, dict) else None
    return named if isinstance(named, str) else None
