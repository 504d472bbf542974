"""Build the blocks on the quality of one model: baselines, intervals, sources and all metrics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kelly_core.export.quality_record import (
    Baseline,
    ChainQuality,
    MetricDifference,
    Metrics,
    QualityRecord,
    display_name,
)
from kelly_core.formatting import MISSING, format_metric
from kelly_core.report.document import (
    Component,
    Forest,
    Heading,
    NumberCell,
    Rows,
    Table,
    TextCell,
)


def build_quality_section(quality: QualityRecord | None) -> Iterator[Component]:
    """Yield the blocks of a quality record."""
    yield Heading("Quality")
    if quality is None:
        text = "The file has no quality record: kelly-core train measures it, --split measures it again."
        yield TextCell(text, "warn")
        return
    yield TextCell(quality.summary() + ".", "good" if quality.trained else "warn")
    yield TextCell(f"Measured on {quality.examples:,} {quality.split} examples in {quality.groups:,} groups.")
    yield from (TextCell(note + ".") for note in quality.notes)
    if quality.baselines:
        yield _baseline_table(quality)
    if whiskers := tuple(quality.whiskers()):
        yield Forest(whiskers)
    if quality.references:
        yield _references(quality)
    if quality.sources:
        yield _by_source(quality)
    yield _metrics_table(quality)


def build_chain_section(chain: ChainQuality | None) -> Iterator[Component]:
    """Yield the blocks on the model's quality on audio, downstream of the recognizer; nothing if not measured."""
    if chain is None:
        return
    yield Heading("Quality from audio")
    yield TextCell(chain.summary() + ".", "good" if chain.marginal.beaten else "warn")
    rows: Rows = tuple(
        (
            TextCell(display_name(difference.measure)),
            *_numbers(difference.measure, [chain.metrics, chain.marginal.metrics]),
            NumberCell(_interval(difference)),
            *_numbers(difference.measure, [chain.control or {}]),
        )
        for difference in chain.marginal.differences
    )
    columns = ("measure", "the chain", chain.marginal.name, "model minus this, 95 %", "context given (control)")
    yield Table(columns, rows)
    if chain.control is not None:
        yield TextCell("The control is given the musical context of the scored notes: it does not count as quality.")


def difference_text(baseline: Baseline, measure: str) -> str:
    """Return the difference from a baseline in one metric, with its interval."""
    found = [difference for difference in baseline.differences if difference.measure == measure]
    return _interval(found[0]) if found else MISSING


def _interval(difference: MetricDifference) -> str:
    return f"{difference.value:+.3g} ({difference.low:+.3g} to {difference.high:+.3g})"


def _baseline_table(quality: QualityRecord) -> Table:
    """Return a table of all baselines and deciding metrics."""
    rows: list[tuple[TextCell, ...]] = []
    for measure in quality.primary:
        ours = NumberCell(format_metric(quality.metrics.get(measure)))
        rows.append((TextCell("the model"), TextCell(display_name(measure)), ours, *[TextCell("")] * 3))
        rows += [
            (
                TextCell(baseline.name),
                TextCell(display_name(measure)),
                NumberCell(format_metric(baseline.metrics.get(measure))),
                NumberCell(_interval(difference)),
                NumberCell(MISSING if difference.share is None else str(difference.share)),
                _beaten(difference),
            )
            for baseline in quality.baselines
            for difference in baseline.differences
            if difference.measure == measure
        ]
    columns = ("", "metric", "value", "model minus this, 95 %", "as a share of it", "")
    return Table(columns, rows, title="Baselines to beat (smaller is better)")


def _beaten(difference: MetricDifference) -> TextCell:
    if difference.margin:
        text = f"worse by {difference.margin:.0%} or more"
        return TextCell(f"not {text}", "good") if difference.beaten else TextCell(f"perhaps {text}", "warn")
    return TextCell("beaten", "good") if difference.beaten else TextCell("not beaten", "warn")


def _references(quality: QualityRecord) -> Table:
    rows = tuple(
        (
            TextCell(reference.name),
            TextCell(display_name(reference.measure)),
            NumberCell(format_metric(reference.value)),
            NumberCell(format_metric(quality.metrics.get(reference.measure))),
            TextCell(reference.source or "these examples"),
        )
        for reference in quality.references
    )
    return Table(
        ("reference", "metric", "value", "model's", "from"), rows, title="For comparison, not part of the verdict"
    )


def _by_source(quality: QualityRecord) -> Table:
    names = [baseline.name for baseline in quality.baselines]
    rows: Rows = tuple(
        (
            TextCell(f"{source.corpus}, {source.label_source}"),
            NumberCell(f"{source.examples:,}"),
            NumberCell(f"{source.groups:,}"),
            TextCell(display_name(measure)),
            *_numbers(measure, [source.metrics, *(source.baselines.get(name, {}) for name in names)]),
        )
        for source in quality.sources
        for measure in quality.primary
    )
    columns = ("corpus, labels", "examples", "groups", "measure", "the model", *names)
    return Table(columns, rows, title="By corpus and source of the emotion labels")


def _metrics_table(quality: QualityRecord) -> Table:
    """Return a table of all metrics of the model and its baselines."""
    names = [baseline.name for baseline in quality.baselines]
    metrics = [quality.metrics, *(baseline.metrics for baseline in quality.baselines)]
    rows: Rows = tuple((TextCell(display_name(measure)), *_numbers(measure, metrics)) for measure in quality.metrics)
    return Table(("metric", "the model", *names), rows, title="Every metric", aside=True)


def _numbers(measure: str, metrics: Sequence[Metrics]) -> Iterator[NumberCell]:
    return (NumberCell(format_metric(each.get(measure))) for each in metrics)
