"""``kelly-core validate``: check exports against the requirements of the plugin, and show their quality.

``report`` and ``deploy`` use functions of this module to run and show the same checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kelly_core.cli.console import feature_progress, print_json, print_result
from kelly_core.cli.help import CHECKS_PANEL, OUTPUT_PANEL, option
from kelly_core.cli.options import ConfigOption, DatasetsDirOption, EngineOption, JsonOption, settings_from
from kelly_core.errors import ConfigError, KellyError, NoSplitError
from kelly_core.formatting import format_metric, printable

if TYPE_CHECKING:
    from kelly_core.config.schema import Settings
    from kelly_core.engines.external import ExternalEngine
    from kelly_core.export.quality_record import ChainQuality, QualityRecord, Split
    from kelly_core.validation.behavior import ReferenceEngine
    from kelly_core.validation.report import FileReport

FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILES", help="Exports to check, or folders that contain them.")
]
CheckSpecsOption = Annotated[
    bool, option(CHECKS_PANEL, "Also compare layers and sizes with the specification of the model.", "--check-specs")
]
SplitOption = Annotated[
    Literal["validation", "test"] | None,
    option(
        CHECKS_PANEL,
        "Measure quality again on this split of the corpora; test is the official one (default: do not measure).",
    ),
]
ChainOption = Annotated[
    Path | None,
    option(
        CHECKS_PANEL,
        "Recordings with MIDI files of the same name: also measure the whole chain from audio (default none).",
        metavar="FOLDER",
    ),
]
RequireTrainedOption = Annotated[
    bool, option(CHECKS_PANEL, "Fail exports that are not better than every trivial baseline.", "--require-trained")
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

    Checkpoints are read from checkpoints/ next to each export. --engine adds parity with the plugin's own engine. The
    quality shown is the one recorded by the training; --split measures it again, and --chain also measures the quality
    of the complete chain on audio. The exit status is 0 if every check of every file passes; poor quality fails a file
    only with --require-trained.

    Examples:
      kelly-core validate models --check-specs
      kelly-core validate models --split test --require-trained
      kelly-core validate models --chain songs
      kelly-core validate models/groovepredictor.json --engine ./plugin_engine
    """
    from kelly_core.benchmark.suite import export_files
    from kelly_core.export.provenance import without_previous
    from kelly_core.validation.report import reports_to_json

    files = without_previous([file for source in files for file in export_files(source)])
    reports = check_files(
        files,
        check_specs=check_specs,
        engine=engine,
        split=split,
        chain=chain,
        datasets_dir=datasets_dir,
        config=config,
    )
    if require_trained:
        reports = list(map(_with_trained_check, reports))
    if as_json:
        print_json(reports_to_json(reports))
    else:
        print_result(render_reports(reports, verbose=verbose, metrics=verbose or split is not None))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)


def _with_trained_check(report: FileReport) -> FileReport:
    """Return the report with the verdict as an additional check."""
    from kelly_core.validation.report import Check

    quality = report.quality
    summary = "no quality record" if quality is None else quality.summary()
    check = Check("trained", quality is not None and quality.trained, summary)
    return replace(report, checks=(*report.checks, check))


def check_files(
    files: Sequence[Path],
    *,
    check_specs: bool,
    engine: str | None,
    split: Split | None,
    chain: Path | None,
    datasets_dir: Path | None,
    config: Path | None,
) -> list[FileReport]:
    """Run every check on the files, including parity with their checkpoints and with the plugin's engine.

    Args:
        files: exports; their checkpoints are in checkpoints/ next to them.
        check_specs: also compare the exports with the specifications of their models.
        engine: command of the plugin's own engine.
        split: split of the corpora on which quality is measured again; None keeps the recorded quality.
        chain: folder of recordings with MIDI files of the same stems, on which the chain is measured.
        datasets_dir: folder of the corpora; None uses the setting.
        config: the settings file, or None.

    Raises:
        KellyError: the engine does not exist, or the chain or a recording cannot be read.
    """
    from kelly_core.engines.external import ExternalEngine
    from kelly_core.validation.checks import validate_file

    external = None if engine is None else ExternalEngine(engine)
    reports = [validate_file(path, check_specs=check_specs, references=_references(path, external)) for path in files]
    if split is not None:
        settings = settings_from(config, {"datasets_dir": datasets_dir}, read_corpora=True).settings
        reports = [_with_measured_quality(report, split, settings) for report in reports]
    if chain is not None:
        from kelly_core.chain import ModelChain
        from kelly_core.evaluation.from_audio import evaluate_chain, find_pairs

        quality = evaluate_chain(ModelChain.load(_folder_of(files)), find_pairs(chain))
        reports = [replace(report, chain=quality.get(report.model)) for report in reports]
    return reports


def _folder_of(files: Sequence[Path]) -> Path:
    """Return the folder that contains all exports.

    Raises:
        ConfigError: the exports are in several folders.
    """
    folders = {file.parent for file in files}
    if len(folders) != 1:
        names = ", ".join(sorted(map(str, folders)))
        raise ConfigError(f"the exports are in several folders: {names}", where="--chain", hint="Name one folder")
    return folders.pop()


def _with_measured_quality(report: FileReport, split: Split, settings: Settings) -> FileReport:
    """Return the report with newly measured quality; an unusable corpus or file is a failed check.

    If the corpus does not have the split, the check does not apply and the recorded quality is kept.
    """
    from kelly_core.validation.report import Check

    name = f"quality on {split}"
    try:
        quality = _measure(Path(report.file), split, settings)
    except NoSplitError as error:
        return replace(report, checks=(*report.checks, Check(name, True, str(error), applicable=False)))
    except KellyError as error:
        return replace(report, quality=None, checks=(*report.checks, Check(name, False, str(error))))
    return replace(report, quality=quality, checks=(*report.checks, Check(name, True, quality.summary())))


def _measure(path: Path, split: Split, settings: Settings) -> QualityRecord:
    from kelly_core.data.catalog import open_dataset
    from kelly_core.export.reader import read_export
    from kelly_core.spec import model_spec
    from kelly_core.training.evaluation import evaluate_export

    export = read_export(path)
    spec = model_spec(str(export.metadata.get("model_name", path.stem)))
    corpus = settings.models[spec.name].dataset
    with feature_progress(corpus) as progress:
        dataset = open_dataset(corpus, settings, progress, include_test=split == "test")
    return evaluate_export(export, spec, dataset, split)


def _references(path: Path, engine: ExternalEngine | None) -> list[ReferenceEngine]:
    """Return the engines whose outputs must equal those of the file: its checkpoint and the plugin's engine, if any."""
    from kelly_core.export.provenance import read_provenance
    from kelly_core.validation.behavior import ReferenceEngine

    references = []
    checkpoint = path.parent / "checkpoints" / f"{path.stem}_best.pt"
    recorded = read_provenance(path)
    # Without a recorded hash, the checkpoint may belong to another training.
    if recorded is not None and recorded.checkpoint and checkpoint.is_file():
        from kelly_core.training.exporting import run_checkpoint

        run = partial(run_checkpoint, checkpoint, recorded.checkpoint)
        references.append(ReferenceEngine("its checkpoint in PyTorch", run))
    if engine is not None:
        references.append(ReferenceEngine("the plugin's engine", partial(engine.run, path)))
    return references


def render_reports(reports: Sequence[FileReport], *, verbose: bool = False, metrics: bool = False) -> Group:
    """Return a table with a row per file, the verdicts on quality, and the failed checks with their reasons.

    Args:
        reports: reports, one per file.
        verbose: also show passed checks.
        metrics: also show all quality metrics.
    """
    from kelly_core.report.quality import build_quality_section
    from kelly_core.report.terminal import render_blocks

    table = Table("", Column("file", overflow="fold"), "model", "layout", "checks", box=None, pad_edge=False)
    for report in reports:
        passed = sum(check.passed and check.applicable for check in report.checks)
        count = f"{passed}/{sum(check.applicable for check in report.checks)}"
        table.add_row(_mark(report.passed), report.file, report.model, report.layout or "unknown", count)
    parts: list[RenderableType] = [table]
    measured = [(report.model, report.quality) for report in reports if report.quality is not None]
    parts += [Text(), *starmap(_verdict, measured)] if measured else []
    on_audio = [(report.model, report.chain) for report in reports if report.chain is not None]
    parts += [Text(), *starmap(_chain_verdict, on_audio)] if on_audio else []
    noteworthy = [report for report in reports if not all(check.passed and check.applicable for check in report.checks)]
    parts += [_details(report, verbose) for report in (reports if verbose else noteworthy)]
    for model, quality in measured if metrics else ():
        parts += [Text(f"\n{model}", style="bold"), render_blocks(build_quality_section(quality))]
    return Group(*parts)


def _verdict(model: str, quality: QualityRecord) -> Text:
    return Text.assemble(
        (model, "bold"), ": ", (printable(quality.summary()), "green" if quality.trained else "yellow")
    )


def _chain_verdict(model: str, chain: ChainQuality) -> Text:
    from kelly_core.export.quality_record import display_name

    style = "green" if chain.marginal.beaten else "yellow"
    text = Text.assemble((model, "bold"), ": ", (printable(chain.summary()), style))
    if chain.control is not None:
        metrics = (f"{display_name(name)} {format_metric(chain.control.get(name))}" for name in chain.primary)
        control = f"given the context of the scored notes (control, not quality): {', '.join(metrics)}"
        text.append(f"; {control}", style="dim")
    return text


def _details(report: FileReport, verbose: bool) -> Text:
    text = Text(f"\n{printable(report.file)}", style="bold")
    for check in report.checks:
        if verbose or not (check.passed and check.applicable):
            mark = _mark(check.passed) if check.applicable else Text("not applicable", style="not bold dim")
            text.append("\n  ").append(mark).append(f" {check.name}: {printable(check.detail)}", style="not bold")
    return text


def _mark(passed: bool) -> Text:
    return Text("passed", style="not bold green") if passed else Text("FAILED", style="bold red")
