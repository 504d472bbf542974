"""``kelly-core validate``: check exports against what the plugin needs, and show their quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kelly_core.cli.checking import (
    ChainOption,
    SplitOption,
    check_files,
    render_reports,
    with_measured_chain,
    with_measured_quality,
)
from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.help import CHECKS_PANEL, OUTPUT_PANEL, option
from kelly_core.cli.options import ConfigOption, DatasetsDirOption, EngineOption, JsonOption, settings_from
from kelly_core.errors import ConfigError

if TYPE_CHECKING:
    from kelly_core.validation.report import FileReport


FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILES", help="Exports to check, or folders that contain them.")
]
CheckSpecsOption = Annotated[
    bool,
    option(CHECKS_PANEL, "Also compare layers and sizes with the specification of the model.", "--check-specs"),
]
RequireTrainedOption = Annotated[
    bool,
    option(CHECKS_PANEL, "Fail exports that are not better than every trivial baseline.", "--require-trained"),
]
VerboseOption = Annotated[bool, option(OUTPUT_PANEL, "Show passed checks and all metrics.", "--verbose")]


def validate(
    files: FilesArgument,
    check_specs: CheckSpecsOption = False,
    engine: EngineOption = None,
    split: SplitOption = None,
    chain: ChainOption = None,
    require_trained: RequireTrainedOption = False,
    datasets_dir: DatasetsDirOption = None,
    config: ConfigOption = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check exports: structure, sizes, activations, gates, state, and parity with their checkpoints.

    Checkpoints are read from checkpoints/ beside each export. --engine adds parity with the plugin's own engine. The
    quality shown is the one recorded by the training; --split measures it again, and --chain measures what the whole
    chain makes of audio beside it. The exit status is 0 if every check
    of every file passes; poor quality fails a file only with --require-trained.

    Examples:
      kelly-core validate models --check-specs
      kelly-core validate models --split test --require-trained
      kelly-core validate models --chain songs
      kelly-core validate models/groovepredictor.json --engine ./plugin_engine
    """
    from kelly_core.benchmark.suite import export_files
    from kelly_core.export.provenance import without_previous
    from kelly_core.validation.report import to_json

    files = without_previous([file for source in files for file in export_files(source)])
    reports = check_files(files, check_specs=check_specs, engine=engine)
    if split is not None:
        settings = settings_from(config, {"datasets_dir": datasets_dir}, read_corpora=True).settings
        reports = [with_measured_quality(report, split, settings) for report in reports]
    if chain is not None:
        reports = with_measured_chain(reports, _folder_of(files), chain)
    if require_trained:
        reports = list(map(_with_trained_check, reports))
    if as_json:
        print_json(to_json(reports))
    else:
        print_result(render_reports(reports, verbose=verbose, metrics=verbose or split is not None))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


def _folder_of(files: Sequence[Path]) -> Path:
    """Return the folder that holds all exports.

    Raises:
        ConfigError: they are in several folders.
    """
    folders = {file.parent for file in files}
    if len(folders) != 1:
        names = ", ".join(sorted(map(str, folders)))
        raise ConfigError(f"the exports are in several folders: {names}", where="--chain", hint="Name one folder")
    return folders.pop()


def _with_trained_check(report: FileReport) -> FileReport:
    """Return the report with the verdict as a further check."""
    from kelly_core.validation.report import Check

    quality = report.quality
    summary = "no quality record" if quality is None else quality.summary()
    check = Check("trained", quality is not None and quality.trained, summary)
    return replace(report, checks=(*report.checks, check))
