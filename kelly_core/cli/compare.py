"""``kelly-core compare``: show the differences between two exports of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from kelly_core.cli.console import print_json, print_result
from kelly_core.cli.options import JsonOption
from kelly_core.formatting import MISSING

if TYPE_CHECKING:
    from kelly_core.export.diff import ArrayDifference, ExportDiff


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Export to compare with.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another export of the same model.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two exports of a model: weights by layer, outputs for golden inputs, metrics and metadata.

    Examples:
      kelly-core compare old/groovepredictor.json models/groovepredictor.json
      kelly-core compare a/groovepredictor.json b/groovepredictor.json --json
    """
    from kelly_core.export.diff import compare_exports
    from kelly_core.export.reader import read_export

    comparison = compare_exports(read_export(old), read_export(new))
    if as_json:
        print_json({"old": str(old), "new": str(new), **_as_json(comparison)})
    else:
        print_result(_report(comparison))


def _as_json(comparison: ExportDiff) -> dict[str, Any]:
    def pairs(entries: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
        return {key: {"old": before, "new": after} for key, (before, after) in entries.items()}

    return {
        "model": comparison.model,
        "same_network": comparison.same_network,
        "weights": {name: asdict(difference) for name, difference in comparison.weights.items()},
        "golden": {name: asdict(difference) for name, difference in comparison.outputs.items()},
        "metrics": pairs(comparison.metrics),
        "metadata": pairs(comparison.metadata),
    }


def _report(comparison: ExportDiff) -> Group:
    verdict = "the networks are the same, bit for bit" if comparison.same_network else "the networks differ"
    outputs = {f"for the golden inputs of {whose}": value for whose, value in comparison.outputs.items()}
    return Group(
        Text(f"{comparison.model}: {verdict}", style="bold"),
        _differences("weights", comparison.weights),
        _differences("outputs", outputs) if outputs else Text("neither file has golden inputs", style="dim"),
        _pairs("metrics", comparison.metrics),
        _pairs("metadata that differ", comparison.metadata),
    )


def _differences(title: str, differences: Mapping[str, ArrayDifference]) -> Table:
    columns = (Column(name, justify="right") for name in ("largest", "RMS", "RMS / old RMS"))
    table = Table(title, *columns, box=None, pad_edge=False)
    for name, difference in differences.items():
        relative = f"{difference.rms / difference.old_rms:.2%}" if difference.old_rms else MISSING
        table.add_row(name, f"{difference.largest:.3g}", f"{difference.rms:.3g}", relative)
    return table


def _pairs(title: str, pairs: Mapping[str, tuple[Any, Any]]) -> Table:
    columns = (Column(name, overflow="fold") for name in (title, "old", "new"))
    table = Table(*columns, box=None, pad_edge=False)
    for key, values in pairs.items():
        table.add_row(key, *map(_shown, values))
    return table


def _shown(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, float):
        return f"{value:.5g}"
    return value if isinstance(value, str) else json.dumps(value)
