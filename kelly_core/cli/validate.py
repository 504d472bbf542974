"""``kelly-core validate``: whether exports are what the plugin needs, and how good they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kelly_core.cli.checking import SplitOption, check_files, measured_anew
from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.options import ConfigOption, DatasetsDirOption, EngineOption, JsonOption, settings_from

if TYPE_CHECKING:
    from kelly_core.validation.report import FileReport


def validate(
    files: Annotated[list[Path], typer.Argument(help="Exports to check, or folders that hold them.")],
    check_specs: Annotated[
        bool, typer.Option("--check-specs", help="Also hold them against the models' specs.")
    ] = False,
    engine: EngineOption = None,
    split: SplitOption = None,
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
    The verdict on a file's quality is shown as the training left it; --split measures it again on the corpora. Exits
    with 0 only if every check of every file passes; a bad verdict is one only with --require-trained.
    """
    from kelly_core.benchmark.suite import export_files
    from kelly_core.export.provenance import without_previous
    from kelly_core.validation.report import render, to_json

    files = without_previous([file for source in files for file in export_files(source)])
    reports = check_files(files, check_specs=check_specs, engine=engine)
    if split is not None:
        settings = settings_from(config, {"datasets.dir": ("--datasets-dir", datasets_dir)}, read_corpora=True).settings
        reports = [measured_anew(report, split, settings) for report in reports]
    if require_trained:
        reports = list(map(_judged, reports))
    if as_json:
        print_json(to_json(reports))
    else:
        print_result(render(reports, verbose=verbose, figures=verbose or split is not None))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


def _judged(report: FileReport) -> FileReport:
    """The report with the verdict as a check."""
    from kelly_core.validation.report import Check

    quality = report.quality
    told = "nothing says how good it is" if quality is None else quality.summary()
    check = Check("trained", quality is not None and quality.trained, told)
    return replace(report, checks=(*report.checks, check))
