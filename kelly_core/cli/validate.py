"""``kelly-core validate``: whether exports are what the plugin needs, and how good they are."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from kelly_core.cli.feature_bar import feature_progress
from kelly_core.cli.options import ConfigOption, DatasetsDirOption, EngineOption, JsonOption, settings_from
from kelly_core.errors import ExportError, KellyError

if TYPE_CHECKING:
    from kelly_core.config import Settings
    from kelly_core.export.quality import Quality, Split
    from kelly_core.external_engine import ExternalEngine
    from kelly_core.validation.behaviour import Reference
    from kelly_core.validation.report import FileReport


def validate(
    files: Annotated[list[Path], typer.Argument(help="Exports to check.")],
    check_specs: Annotated[
        bool, typer.Option("--check-specs", help="Also hold them against the models' specs.")
    ] = False,
    engine: EngineOption = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Measure their quality anew, on validation or the official test.")
    ] = None,
    require_trained: Annotated[
        bool, typer.Option("--require-trained", help="Fail those that are not better than a trivial answer.")
    ] = False,
    datasets_dir: DatasetsDirOption = None,
    config: ConfigOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the checks that passed, and all figures.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check exports: structure, sizes, activations, gates, state, and parity with the checkpoint they come from.

    The checkpoint is looked for in checkpoints/ beside the file; --engine adds parity with the plugin's own engine.
    The verdict on a file's quality is shown as the training left it; --split measures it anew on the corpora. Exits
    with 0 only if every check of every file passes; a bad verdict is one only with --require-trained.
    """
    from kelly_core.external_engine import ExternalEngine
    from kelly_core.validation.checks import validate_file
    from kelly_core.validation.report import render, to_json

    measured = None if split is None else _split(split)
    external = None if engine is None else ExternalEngine(engine)
    reports = [validate_file(path, check_specs=check_specs, references=_references(path, external)) for path in files]
    if measured is not None:
        settings = settings_from(config, {"datasets.dir": ("--datasets-dir", datasets_dir)}).settings
        reports = [_measured(report, path, measured, settings) for report, path in zip(reports, files, strict=True)]
    if require_trained:
        reports = list(map(_judged, reports))
    if as_json:
        typer.echo(json.dumps(to_json(reports), indent=2))
    else:
        Console().print(render(reports, verbose=verbose, figures=verbose or measured is not None))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


def _split(name: str) -> Split:
    if name == "validation":
        return "validation"
    if name == "test":
        return "test"
    raise typer.BadParameter(f"{name!r} is neither validation nor test", param_hint="--split")


def _measured(report: FileReport, path: Path, split: Split, settings: Settings) -> FileReport:
    """The report with the quality measured now; a corpus or a file that cannot be used is a failed check."""
    from kelly_core.validation.report import Check

    name = f"quality on {split}"
    try:
        quality = _measure(path, split, settings)
    except KellyError as error:
        return replace(report, quality=None, checks=(*report.checks, Check(name, False, str(error))))
    return replace(report, quality=quality, checks=(*report.checks, Check(name, True, quality.summary())))


def _measure(path: Path, split: Split, settings: Settings) -> Quality:
    from kelly_core.data.catalog import open_dataset
    from kelly_core.export.reader import read_export
    from kelly_core.spec import model_spec
    from kelly_core.training.assessment import assess_export

    export = read_export(path)
    spec = model_spec(str(export.metadata.get("model_name", path.stem)))
    corpus = settings.models[spec.name].dataset
    with feature_progress(corpus) as progress:
        dataset = open_dataset(corpus, settings, progress, include_test=split == "test")
    return assess_export(export, spec, dataset, split)


def _judged(report: FileReport) -> FileReport:
    """The report with the verdict as a check."""
    from kelly_core.validation.report import Check

    quality = report.quality
    told = "nothing says how good it is" if quality is None else quality.summary()
    check = Check("trained", quality is not None and quality.trained, told)
    return replace(report, checks=(*report.checks, check))


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
