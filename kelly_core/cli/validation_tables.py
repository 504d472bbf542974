"""Tables of a validation: the checks of each file, and a model's quality beside its baselines, by source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kelly_core.export.quality_record import ChainQuality, Figures, QualityRecord, words
from kelly_core.formatting import format_figure

if TYPE_CHECKING:
    from kelly_core.validation.report import FileReport


def render_reports(reports: Sequence[FileReport], *, verbose: bool = False, figures: bool = False) -> Group:
    """Return a table with a row per file and the verdicts on their quality, then the failed checks with their reasons.

    Args:
        reports: one a file.
        verbose: show the checks that passed, too.
        figures: show every figure of their quality, too.
    """
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
    for report in measured if figures else ():
        assert report.quality is not None
        parts += [Text(f"\n{report.model}", style="bold"), render_quality(report.quality)]
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
    figures = (f"{words(name)} {format_figure((chain.control or {}).get(name))}" for name in chain.primary)
    return f"given the context of the scored notes (control, not quality): {', '.join(figures)}"


def _details(report: FileReport, verbose: bool) -> Text:
    text = Text(f"\n{report.file}", style="bold")
    for check in report.checks:
        if verbose or not (check.passed and check.applicable):
            mark = _mark(check.passed) if check.applicable else Text("not applicable", style="not bold dim")
            text.append("\n  ").append(mark).append(f" {check.name}: {check.detail}", style="not bold")
    return text


def _mark(passed: bool) -> Text:
    return Text("passed", style="not bold green") if passed else Text("FAILED", style="bold red")


def render_quality(quality: QualityRecord) -> Group:
    """Return every figure of a quality record."""
    counted = f"{quality.examples:,} {quality.split} examples, {quality.groups:,} groups: {quality.summary()}"
    parts: list[RenderableType] = [Text(counted, style="green" if quality.trained else "yellow"), _against(quality)]
    if len(quality.sources) > 1:
        parts.append(_by_source(quality))
    parts.append(_figures(quality))
    parts += [Text(note, style="dim") for note in quality.notes]
    return Group(*parts)


def _against(quality: QualityRecord) -> Table:
    """The measures that decide: of the model, of each baseline with the difference from it, of each reference."""
    right = [Column(words(measure), justify="right") for measure in quality.primary]
    table = Table(
        "", *right, f"model less this, 95 % of {quality.groups:,} groups", "", box=None, pad_edge=False, padding=(0, 1)
    )
    table.add_row(Text("the model", "bold"), *_primary(quality, quality.metrics), "", "")
    for baseline in quality.baselines:
        intervals = (f"{d.value:+.4g} ({d.low:+.4g} to {d.high:+.4g})" for d in baseline.differences)
        beaten = Text("beaten", "green") if baseline.beaten else Text("not beaten", "yellow")
        table.add_row(Text(baseline.name), *_primary(quality, baseline.metrics), ", ".join(intervals), beaten)
    for reference in quality.references:
        if reference.measure in quality.primary:
            cells = [
                format_figure(reference.value) if measure == reference.measure else "" for measure in quality.primary
            ]
            table.add_row(Text(reference.name), *cells, "", Text(reference.source or "these examples", "dim"))
    return table


def _by_source(quality: QualityRecord) -> Table:
    names = [baseline.name for baseline in quality.baselines]
    columns = ["", "examples", "the model", *names]
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 1))
    for source in quality.sources:
        figures = [source.metrics, *(source.baselines[name] for name in names)]
        cells = (", ".join(_primary(quality, each)) for each in figures)
        table.add_row(Text(f"{source.corpus}, {source.label_source}"), f"{source.examples:,}", *cells)
    return table


def _figures(quality: QualityRecord) -> Text:
    """All other figures: of the model, and what to judge them by."""
    ours = (
        f"{words(name)} {format_figure(value)}"
        for name, value in quality.metrics.items()
        if name not in quality.primary
    )
    theirs = (
        f"{words(reference.measure)} {format_figure(reference.value)} ({reference.source or reference.name})"
        for reference in quality.references
        if reference.measure not in quality.primary
    )
    lines = [", ".join(ours), ", ".join(theirs)]
    return Text("\nto judge by: ".join(line for line in lines if line), style="dim")


def _primary(quality: QualityRecord, metrics: Figures) -> list[str]:
    return [format_figure(metrics.get(measure)) for measure in quality.primary]
