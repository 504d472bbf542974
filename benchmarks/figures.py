"""What a benchmark gives: figures with their targets, as a table for people and as JSON for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: its unit, "×" for a ratio.
        target: what it should be, in words; "" if it is only reported.
        met: whether it is; None where there is no target.
        note: what a reader should know besides.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None
    note: str = ""

    @classmethod
    def at_least(cls, name: str, value: float, unit: str, wanted: float, note: str = "") -> Figure:
        """A number that should be ``wanted`` or more."""
        return cls(name, value, unit, f"≥ {wanted:g}", value >= wanted, note)

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, wanted: float, note: str = "") -> Figure:
        """A number that should be ``wanted`` or less."""
        return cls(name, value, unit, f"≤ {wanted:g}", value <= wanted, note)


def print_table(figures: Sequence[Figure], title: str = "") -> None:
    """Print figures, each with its target and whether it is met."""
    table = Table("figure", title=title or None)
    for column in ("value", "unit", "target"):
        table.add_column(column, justify="left" if column == "unit" else "right")
    table.add_column("note")
    colors = {True: "green", False: "red", None: ""}
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:,.4g}", figure.unit, figure.target, figure.note)
        table.rows[-1].style = colors[figure.met]
    Console().print(table)


def main(measure: Callable[[], Sequence[Figure]], description: str) -> None:
    """The command line of a benchmark: measure, then print a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    figures = measure()
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures]))
    else:
        print_table(figures, description.splitlines()[0])
