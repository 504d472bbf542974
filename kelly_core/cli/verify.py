"""``kelly-core verify``: build the networks and compare them with their specifications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.options import JsonOption

if TYPE_CHECKING:
    from kelly_core.training.networks import Architecture


def verify(as_json: JsonOption = False) -> None:
    """Build the five networks and compare layers, sizes and parameter counts with their specifications."""
    from kelly_core.training.networks import verify_architectures

    rows = verify_architectures()
    passed = all(row.passed for row in rows)
    if as_json:
        print_json({"passed": passed, "models": rows})
    else:
        print_result(_table(rows))
    raise typer.Exit(0 if passed else 1)


def _table(rows: Sequence[Architecture]) -> Table:
    table = Table("", "model", "layers", "in", "out", "parameters", "by its spec", box=None)
    for row in rows:
        mark = Text("passed", "green") if row.passed else Text("FAILED", "bold red")
        sizes = [str(row.input_size), str(row.output_size)]
        table.add_row(mark, row.model, row.layers, *sizes, f"{row.parameters:,}", f"{row.expected_parameters:,}")
    total = sum(row.parameters for row in rows)
    table.add_row("", "all", "", "", "", f"{total:,}", f"{sum(row.expected_parameters for row in rows):,}")
    return table
