"""Checks of exports that commands share: specification, parity, quality on the corpora; and their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kelly_core.cli.console import feature_progress
from kelly_core.cli.help import CHECKS_PANEL, option
from kelly_core.errors import ExportError, KellyError, NoSplitError
from kelly_core.formatting import format_metric

if TYPE_CHECKING:
    from kelly_core.config.schema import Settings
    from kelly_core.engines.external import ExternalEngine
    from kelly_core.export.quality_record import ChainQuality, QualityRecord, Split
    from kelly_core.validation.behavior import ReferenceEngine
    from kelly_core.validation.report import FileReport


SplitOption = Annotated[
    Literal["validation", "test"] | None,
    option(
        CHECKS_PANEL,
        "Measure quality again on this split of the corpora; test is the official one (default: do not measure).",
        "--split",
    ),
]

ChainOption = Annotated[
    Path | None,
    option(
        CHECKS_PANEL,
        "Recordings with MIDI files of the same name: also measure the whole chain from audio (default none).",
        "--chain",
        metavar="FOLDER",
    ),
]


def check_files(files: Sequence[Path], *, check_specs: bool, engine: str | None) -> list[FileReport]:
    """Run every check on the files, including parity with the checkpoint beside each and with the plugin's engine.

    Args:
        files: exports; the checkpoint of each is in checkpoints/ beside it.
        check_specs: also compare them with the models' specifications.
        engine: command of the plugin's own engine.

    Raises:
        KellyError: there is no such engine.
    """
    from kelly_core.engines.external import ExternalEngine
    from kelly_core.validation.checks import validate_file

    external = None if engine is None else ExternalEngine(engine)
    return [validate_file(path, check_specs=check_specs, references=_references(path, external)) for path in files]


def with_measured_quality(report: FileReport, split: Split, settings: Settings) -> FileReport:
    """Return the report with the quality measured now; a corpus or a file that cannot be used is a failed check.

    If the corpus has no such split, the check does not apply and the recorded quality stays.
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


def with_measured_chain(reports: Sequence[FileReport], models: Path, pairs: Path) -> list[FileReport]:
    """Return the reports with the quality of the four models behind the recognizer, measured from audio.

    Args:
        reports: of exports.
        models: folder of the five exports.
        pairs: folder of recordings with MIDI files of the same stems.

    Raises:
        KellyError: the chain or a pair cannot be read.
    """
    from kelly_core.chain import ModelChain
    from kelly_core.evaluation.from_audio import evaluate_chain, find_pairs

    quality = evaluate_chain(ModelChain.load(models), find_pairs(pairs))
    return [replace(report, chain=quality.get(report.model)) for report in reports]


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
    """Return the engines that must compute the same as the file: its checkpoint, if there is one, and the plugin's
    engine.
    """
    from kelly_core.validation.behavior import ReferenceEngine

    references = []
    checkpoint = path.parent / "checkpoints" / f"{path.stem}_best.pt"
    named = _named_checkpoint(path)
    if named is not None and checkpoint.is_file():
        from kelly_core.training.exporting import CheckpointEngine

        references.append(ReferenceEngine("its checkpoint in PyTorch", CheckpointEngine(checkpoint, named).run))
    if engine is not None:
        references.append(ReferenceEngine("the plugin's engine", partial(engine.run, path)))
    return references


def _named_checkpoint(path: Path) -> str | None:
    """Return the recorded hash of the weights that an export was made from; None if there is none."""
    from kelly_core.export.reader import read_document

    try:
        metadata = read_document(path).get("metadata")
    except ExportError:
        return None
    named = metadata.get("checkpoint") if isinstance(metadata, dict) else None
    return named if isinstance(named, str) else None


def render_reports(reports: Sequence[FileReport], *, verbose: bool = False, metrics: bool = False) -> Group:
    """Return a table with a row per file and the verdicts on their quality, then the failed checks with their reasons.

    Args:
        reports: one a file.
        verbose: show the checks that passed, too.
        metrics: show every metric of their quality, too.
    """
    from kelly_core.report.quality import build_quality_section
    from kelly_core.report.terminal import render_blocks

    table = Table("", Column("file", overflow="fold"), "model", "layout", "checks", box=None, pad_edge=False)
    for report in reports:
        passed = sum(check.passed and check.applicable for check in report.checks)
        count = f"{passed}/{sum(check.applicable for check in report.checks)}"
        table.add_row(_mark(report.passed), Text(report.file), Text(report.model), report.layout or "unknown", count)
    parts: list[RenderableType] = [table]
    measured = [report for report in reports if report.quality is not None]
    parts += [Text(), *map(_verdict, measured)] if measured else []
    heard = [report for report in reports if report.chain is not None]
    parts += [Text(), *map(_chain_verdict, heard)] if heard else []
    noteworthy = [report for report in reports if not all(check.passed and check.applicable for check in report.checks)]
    parts += [_details(report, verbose) for report in (reports if verbose else noteworthy)]
    for report in measured if metrics else ():
        assert report.quality is not None
        parts += [Text(f"\n{report.model}", style="bold"), render_blocks(build_quality_section(report.quality))]
    return Group(*parts)


def _verdict(report: FileReport) -> Text:
    assert report.quality is not None
    style = "green" if report.quality.trained else "yellow"
    return Text.assemble((report.model, "bold"), ": ", (report.quality.summary(), style))


def _chain_verdict(report: FileReport) -> Text:
    assert report.chain is not None
    style = "green" if report.chain.marginal.beaten else "yellow"
    text = Text.assemble((report.model, "bold"), ": ", (report.chain.summary(), style))
    if report.chain.control is not None:
        text.append(f"; {_control(report.chain)}", style="dim")
    return text


def _control(chain: ChainQuality) -> str:
    from kelly_core.export.quality_record import words

    metrics = (f"{words(name)} {format_metric((chain.control or {}).get(name))}" for name in chain.primary)
    return f"given the context of the scored notes (control, not quality): {', '.join(metrics)}"


def _details(report: FileReport, verbose: bool) -> Text:
    text = Text(f"\n{report.file}", style="bold")
    for check in report.checks:
        if verbose or not (check.passed and check.applicable):
            mark = _mark(check.passed) if check.applicable else Text("not applicable", style="not bold dim")
            text.append("\n  ").append(mark).append(f" {check.name}: {check.detail}", style="not bold")
    return text


def _mark(passed: bool) -> Text:
    return Text("passed", style="not bold green") if passed else Text("FAILED", style="bold red")
