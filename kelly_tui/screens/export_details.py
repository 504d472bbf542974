"""What Validate says of one export: its checks, and what its metadata records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from kelly_core.export.quality_record import QualityRecord, recorded_quality
from kelly_core.formatting import MISSING, format_loss
from kelly_tui.themes import ThemeColors

LabeledRow = tuple[str | Text, str | Text]

_NO_QUALITY = "no record: a training that runs to its end writes one"


def check_rows(result: dict[str, Any], colors: ThemeColors, *, only_failed: bool) -> Iterator[LabeledRow]:
    """Yield the checks of a kept result (see ``CHECKED_EXPORTS``), with a note where one differs from the time before.

    Args:
        result: checks, and those of the time before.
        colors: of the theme.
        only_failed: leave out what passed.
    """
    former = {check["name"]: check["passed"] for check in result.get("former") or ()}
    for check in result["checks"]:
        if check["passed"] and only_failed:
            continue
        mark = ("✓", colors.good) if check["passed"] else ("✗", f"bold {colors.bad}")
        name = Text.assemble(mark, (f" {check['name']}", colors.muted if check["passed"] else colors.text))
        news = "" if former.get(check["name"], check["passed"]) == check["passed"] else "  new since last time"
        yield name, Text.assemble(check["detail"], (news, colors.accent))


def metadata_rows(content: dict[str, Any], colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield what the worker for exports found in a file: sizes, layers, data, verdict and metrics."""
    yield "sizes", f"{content['input_size']} in, {content['output_size']} out"
    yield "layout", content["layout"]
    for number, layer in enumerate(content.get("layers", ())):
        yield "" if number else "layers", layer
    metadata = content["metadata"]
    trained = metadata.get("trained_on")
    if isinstance(trained, dict):
        yield from _data_rows(trained)
    quality = recorded_quality(metadata)
    if quality is None:
        yield "quality", Text(_NO_QUALITY, colors.muted)
    else:
        yield from _quality_rows(quality, colors)


def _data_rows(trained: dict[str, Any]) -> Iterator[LabeledRow]:
    kind = "synthetic " if trained.get("synthetic") else ""
    yield "trained on", f"{kind}{trained.get('dataset')}"
    counts = [trained.get(f"{split}_examples") for split in ("train", "validation")]
    if all(isinstance(count, int) for count in counts):
        yield "examples", f"{counts[0]:,} to train, {counts[1]:,} to validate"
    licenses = trained.get("licences")
    for name, text in licenses.items() if isinstance(licenses, dict) else ():
        yield "licence", f"{name}: {text}"


def _quality_rows(quality: QualityRecord, colors: ThemeColors) -> Iterator[LabeledRow]:
    yield "quality", Text(quality.summary(), colors.good if quality.trained else colors.warning)
    yield "judged by", f"{quality.examples:,} {quality.split} examples, {quality.groups:,} groups"
    if not quality.baselines:
        yield "baselines", Text("none to compare with", colors.muted)
    for reference in quality.references:
        yield reference.name, f"{reference.measure} {format_loss(reference.value)}"
    for name, value in quality.metrics.items():
        label = Text(name, colors.text if name in quality.primary else colors.muted)
        yield label, MISSING if value is None else f"{value:.4g}"
