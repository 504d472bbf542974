"""``kelly-core train --estimate``: time and memory of a training before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.progress import feature_progress
from kelly_core.config.schema import Settings
from kelly_core.formatting import format_bytes, format_duration
from kelly_core.spec import ModelSpec

if TYPE_CHECKING:
    from kelly_core.training.estimate import Estimate


def show_estimates(settings: Settings, specs: Sequence[ModelSpec], as_json: bool) -> None:
    """Train each model for a few seconds in this process, and print time and memory for the requested epochs."""
    from kelly_core.data.catalog import open_dataset
    from kelly_core.training.estimate import estimate
    from kelly_core.training.session import training_settings

    estimates = []
    for spec in specs:
        corpus = settings.models[spec.name].dataset
        with feature_progress(corpus) as progress:
            dataset = open_dataset(corpus, settings, progress)
        estimates.append(estimate(spec, dataset, training_settings(settings, spec)))
    if as_json:
        print_json({"models": estimates})
    else:
        print_result(_table(estimates))


def _table(estimates: Sequence[Estimate]) -> Table:
    columns = ("model", "epochs", "steps", "an epoch", "in all", "memory", "on the GPU")
    table = Table(*columns, box=None, pad_edge=False)
    for row in estimates:
        gpu = format_bytes(row.device_memory_bytes or None)
        times = [f"{row.seconds_per_epoch:.2f} s", format_duration(row.seconds)]
        table.add_row(row.model, str(row.epochs), f"{row.steps:,}", *times, format_bytes(row.memory_bytes), gpu)
    table.add_row("all", "", "", "", format_duration(sum(row.seconds for row in estimates)))
    return table
