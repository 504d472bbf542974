"""Exports for Validate: the files of a folder, and the checks and metadata of one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from kelly_core.errors import KellyError
from kelly_core.export.provenance import PREVIOUS_ENDING, Provenance, provenance_of
from kelly_core.export.quality_record import QualityRecord, recorded_quality
from kelly_core.formatting import format_loss, format_metric
from kelly_core.io.atomic import open_regular
from kelly_core.runs.overview import Curves
from kelly_core.spec import MODELS
from kelly_core.training.history import read_history
from kelly_tui.formatting import LabeledRow
from kelly_tui.themes import ThemeColors

_NO_QUALITY = "no record: a training that runs to its end writes one"
MODEL_OF = {spec.file_stem: spec.name for spec in MODELS}
"""Model by the file name of its export, without the extension."""


@dataclass(frozen=True)
class ExportFile:
    """An export on disk; ``stamp`` identifies the version that was checked."""

    path: Path
    bytes: int
    stamp: int

    @classmethod
    def at(cls, path: Path) -> ExportFile:
        """Return the export with its current stamp."""
        status = path.stat()
        return cls(path, status.st_size, status.st_mtime_ns)


def exports_in(folder: Path) -> tuple[list[ExportFile], str]:
    """Return the exports of a folder sorted by name, and the error if the folder cannot be read, otherwise ""."""
    try:
        if not folder.is_dir():
            return [], f"The folder {folder} does not exist yet. A training writes its exports there."
        # ``glob`` would find nothing in a folder without read permission, and raise no error.
        documents = sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.is_file())
        return [ExportFile.at(path) for path in documents if _may_be_export(path)], ""
    except OSError as error:
        return [], f"{folder} cannot be looked into ({error.strerror})"


def _may_be_export(path: Path) -> bool:
    """Return False for a backup of an export, and for JSON without an export's keys, such as the results of a sweep.

    A file named after a model, or one that is empty or not JSON, is listed: it may be a damaged export.
    """
    if path.name.endswith(PREVIOUS_ENDING):
        return False
    if path.stem in MODEL_OF:
        return True
    with open_regular(path) as file:
        content = file.read().lstrip()
    if b'"layers"' in content or b'"in_shape"' in content:
        return True
    return not content.startswith((b"{", b"[")) or content.rstrip() == b"{}"


def losses_of(export: Path) -> Curves:
    """Return the losses per epoch that are stored beside an export; empty if they cannot be read."""
    curves = Curves()
    with suppress(KellyError):
        history = read_history(export.parent / "history" / f"{export.stem}_history.json")
        for row in history.rows if history is not None else ():
            curves.epochs.append(row["epoch"])
            curves.train_loss.append(row["train_loss"])
            curves.val_loss.append(row["val_loss"])
            curves.note_best(len(curves.epochs) - 1)
    return curves


def check_rows(result: dict[str, Any], colors: ThemeColors, *, only_failed: bool) -> Iterator[LabeledRow]:
    """Yield the checks of a saved result (see ``CHECKED_EXPORTS``), with a note on each that has changed.

    Args:
        result: the checks, and those of the previous validation.
        colors: colors of the theme.
        only_failed: leave out checks that passed.
    """
    previous = {check["name"]: check["passed"] for check in result.get("former") or ()}
    for check in result["checks"]:
        if check["passed"] and only_failed:
            continue
        mark = ("✓", colors.good) if check["passed"] else ("✗", f"bold {colors.bad}")
        name = Text.assemble(mark, (f" {check['name']}", colors.muted if check["passed"] else colors.text))
        news = "" if previous.get(check["name"], check["passed"]) == check["passed"] else "  new since last time"
        yield name, Text.assemble(check["detail"], (news, colors.accent))


def metadata_rows(content: dict[str, Any], colors: ThemeColors) -> Iterator[LabeledRow]:
    """Yield the metadata that the worker for exports read from a file: sizes, layers, data, verdict and metrics."""
    yield "sizes", f"{content['input_size']} in, {content['output_size']} out"
    yield "layout", content["layout"]
    for number, layer in enumerate(content.get("layers", ())):
        yield "" if number else "layers", layer
    metadata = content["metadata"]
    if isinstance(metadata.get("trained_on"), dict):
        yield from _data_rows(provenance_of(metadata))
    quality = recorded_quality(metadata)
    if quality is None:
        yield "quality", Text(_NO_QUALITY, colors.muted)
    else:
        yield from _quality_rows(quality, colors)


def _data_rows(data: Provenance) -> Iterator[LabeledRow]:
    yield "trained on", f"{'synthetic ' if data.synthetic else ''}{data.corpus}"
    if data.train_examples is not None and data.validation_examples is not None:
        yield "examples", f"{data.train_examples:,} to train, {data.validation_examples:,} to validate"
    for corpus, text in data.licenses.items():
        yield "licence", f"{corpus}: {text}"


def _quality_rows(quality: QualityRecord, colors: ThemeColors) -> Iterator[LabeledRow]:
    yield "quality", Text(quality.summary(), colors.good if quality.trained else colors.warning)
    yield "judged by", f"{quality.examples:,} {quality.split} examples, {quality.groups:,} groups"
    if not quality.baselines:
        yield "baselines", Text("none to compare with", colors.muted)
    for reference in quality.references:
        yield reference.name, f"{reference.measure} {format_loss(reference.value)}"
    for name, value in quality.metrics.items():
        label = Text(name, colors.text if name in quality.primary else colors.muted)
        yield label, format_metric(value)
