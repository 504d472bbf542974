"""A model's quality for people: beside what it must beat, by source, and every figure."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kelly_core.export.quality_record import Figures, QualityRecord, words
from kelly_core.formatting import MISSING


def render_quality(quality: QualityRecord) -> Group:
    """Every figure of a quality record."""
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
            cells = [number(reference.value) if measure == reference.measure else "" for measure in quality.primary]
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
    ours = (f"{words(name)} {number(value)}" for name, value in quality.metrics.items() if name not in quality.primary)
    theirs = (
        f"{words(reference.measure)} {number(reference.value)} ({reference.source or reference.name})"
        for reference in quality.references
        if reference.measure not in quality.primary
    )
    lines = [", ".join(ours), ", ".join(theirs)]
    return Text("\nto judge by: ".join(line for line in lines if line), style="dim")


def _primary(quality: QualityRecord, metrics: Figures) -> list[str]:
    return [number(metrics.get(measure)) for measure in quality.primary]


def number(value: float | None) -> str:
    """A figure with four digits, or a dash."""
    return MISSING if value is None else f"{value:.4g}"
