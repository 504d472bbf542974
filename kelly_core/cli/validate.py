"""``kelly-core validate``: whether exports are what the plugin needs."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kelly_core.cli.options import EngineOption, JsonOption
from kelly_core.errors import ExportError

if TYPE_CHECKING:
    from kelly_core.external_engine import ExternalEngine
    from kelly_core.validation.behaviour import Reference


def validate(
    files: Annotated[list[Path], typer.Argument(help="Exports to check.")],
    check_specs: Annotated[
        bool, typer.Option("--check-specs", help="Also hold them against the models' specs.")
    ] = False,
    engine: EngineOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the checks that passed, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check exports: structure, sizes, activations, gates, state, and parity with the checkpoint they come from.

    The checkpoint is looked for in checkpoints/ beside the file; --engine adds parity with the plugin's own engine.
    Exits with 0 only if every check of every file passes.
    """
    from kelly_core.external_engine import ExternalEngine
    from kelly_core.validation.checks import validate_file
    from kelly_core.validation.report import render, to_json

    external = None if engine is None else ExternalEngine(engine)
    reports = [validate_file(path, check_specs=check_specs, references=_references(path, external)) for path in files]
    if as_json:
        typer.echo(json.dumps(to_json(reports), indent=2))
    else:
        Console().print(render(reports, verbose=verbose))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


def _references(path: Path, engine: ExternalEngine | None) -> list[Reference]:
    """What must compute the same as the file: the checkpoint beside it, if there is one, and the plugin's engine."""
    from kelly_core.validation.behaviour import Reference

    references = []
    checkpoint = path.parent / "checkpoints" / f"{path.stem}_best.pt"
    named = _named_checkpoint(path)
    if named is not None and checkpoint.is_file():
        from kelly_core.training.exporting import CheckpointEngine

        references.append(Reference("its checkpoint in PyTorch", CheckpointEngine(checkpoint, named).run))
    if engine is not None:
        references.append(Reference("the plugin's engine", partial(engine.run, path)))
    return references


def _named_checkpoint(path: Path) -> str | None:
    """Hash of the weights that an export says it was made from; None where the file says nothing."""
    from kelly_core.export.reader import read_document

    try:
        metadata = read_document(path).get("metadata")
    except ExportError:
        return None
    named = metadata.get("checkpoint") if isinstance(metadata, dict) else None
    return named if isinstance(named, str) else None
