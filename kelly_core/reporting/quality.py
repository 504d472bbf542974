"""The quality of one model laid out: beside what it must beat, as intervals, by source, and every figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from kelly_core.export.quality import Baseline, Difference, Figures, Quality, words
from kelly_core.reporting.document import Block, Cell, Figure, Forest, Heading, Rows, Table, Whisker, Words
from kelly_core.validation.quality_table import NOTHING, number


def lay_out_quality(quality: Quality | None) -> Iterator[Block]:
    """Everything that a quality record tells."""
    yield Heading("Quality")
    if quality is None:
        told = "The file does not tell how good it is: kelly-core train measures it, --split measures it anew."
        yield Words(told, "warn")
        return
    yield Words(quality.summary() + ".", "good" if quality.trained else "warn")
    yield Words(f"Measured on {quality.examples:,} {quality.split} examples in {quality.groups:,} groups.")
    yield from (Words(note + ".") for note in quality.notes)
    if quality.baselines:
        yield _against(quality)
    forest = Forest(tuple(_whiskers(quality)))
    if forest.whiskers:
        yield forest
    if quality.references:
        yield _references(quality)
    if quality.sources:
        yield _by_source(quality)
    yield _figures(quality)


def best_baseline(quality: Quality, measure: str) -> Baseline | None:
    """The baseline with the smallest figure; None if none has one."""
    known = [baseline for baseline in quality.baselines if baseline.metrics.get(measure) is not None]
    return min(known, key=lambda baseline: baseline.metrics[measure] or 0.0, default=None)


def spread(baseline: Baseline, measure: str) -> str:
    """The difference from a baseline by one measure, with its interval."""
    found = [difference for difference in baseline.differences if difference.measure == measure]
    return _interval(found[0]) if found else NOTHING


def _interval(difference: Difference) -> str:
    return f"{difference.value:+.3g} ({difference.low:+.3g} to {difference.high:+.3g})"


def _against(quality: Quality) -> Table:
    """Every baseline by every measure that decides."""
    rows: list[tuple[Cell, ...]] = []
    for measure in quality.primary:
        ours = Figure(number(quality.metrics.get(measure)))
        rows.append((Words("the model"), Words(words(measure)), ours, *[Words("")] * 3))
        rows += [
            (
                Words(baseline.name),
                Words(words(measure)),
                Figure(number(baseline.metrics.get(measure))),
                Figure(_interval(difference)),
                Figure(NOTHING if difference.share is None else str(difference.share)),
                _beaten(difference),
            )
            for baseline in quality.baselines
            for difference in baseline.differences
            if difference.measure == measure
        ]
    columns = ("", "measure", "figure", "model less this, 95 %", "as a share of it", "")
    return Table(columns, tuple(rows), title="What it must beat (smaller is better)")


def _beaten(difference: Difference) -> Words:
    if difference.margin:
        told = f"worse by {difference.margin:.0%} or more"
        return Words(f"not {told}", "good") if difference.beaten else Words(f"perhaps {told}", "warn")
    return Words("beaten", "good") if difference.beaten else Words("not beaten", "warn")


def _whiskers(quality: Quality) -> Iterator[Whisker]:
    """The differences that can be drawn."""
    for baseline in quality.baselines:
        for difference in baseline.differences:
            share = difference.share
            if share is not None and all(map(math.isfinite, (share.low, share.value, share.high))):
                label = f"{baseline.name}, {words(difference.measure)}"
                yield Whisker(label, share.low, share.value, share.high, difference.beaten)


def _references(quality: Quality) -> Table:
    rows = tuple(
        (
            Words(reference.name),
            Words(words(reference.measure)),
            Figure(number(reference.value)),
            Figure(number(quality.metrics.get(reference.measure))),
            Words(reference.source or "these examples"),
        )
        for reference in quality.references
    )
    return Table(("reference", "measure", "figure", "model's", "from"), rows, title="To judge by, deciding nothing")


def _by_source(quality: Quality) -> Table:
    names = [baseline.name for baseline in quality.baselines]
    rows: Rows = tuple(
        (
            Words(f"{source.corpus}, {source.label_source}"),
            Figure(f"{source.examples:,}"),
            Figure(f"{source.groups:,}"),
            Words(words(measure)),
            *_numbers(measure, [source.metrics, *(source.baselines.get(name, {}) for name in names)]),
        )
        for source in quality.sources
        for measure in quality.primary
    )
    columns = ("corpus, labels", "examples", "groups", "measure", "the model", *names)
    return Table(columns, rows, title="By corpus and source of the emotion labels")


def _figures(quality: Quality) -> Table:
    """Every figure of the model and of every baseline."""
    names = [baseline.name for baseline in quality.baselines]
    figures = [quality.metrics, *(baseline.metrics for baseline in quality.baselines)]
    rows: Rows = tuple((Words(words(measure)), *_numbers(measure, figures)) for measure in quality.metrics)
    return Table(("measure", "the model", *names), rows, title="Every figure", aside=True)


def _numbers(measure: str, figures: Sequence[Figures]) -> Iterator[Figure]:
    return (Figure(number(each.get(measure))) for each in figures)
