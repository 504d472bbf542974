"""What a benchmark gives: figures with their targets, as a table for people and as JSON for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

from rich.console import Console
from rich.table import Table

from kelly_core.benchmark.machine_load import LoadMeter, MachineLoad

WIDEST_SPREAD = 0.3
"""Range of the rounds as a share of their median above which a figure is not judged."""


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: its unit, "×" for a ratio.
        target: what it should be, in words; "" if it is only reported.
        met: whether it is; None where there is no target, and where the measurement cannot be trusted.
        note: what a reader should know besides.
        spread: range of the rounds as a share of their median; None for a figure of one round.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None
    note: str = ""
    spread: float | None = None

    @property
    def trusted(self) -> bool:
        """False where the rounds differ too much to say whether the target is met."""
        return self.spread is None or self.spread <= WIDEST_SPREAD

    @classmethod
    def at_least(cls, name: str, value: float, unit: str, wanted: float, note: str = "") -> Figure:
        """A number that should be ``wanted`` or more."""
        return cls(name, value, unit, f"≥ {wanted:g}", value >= wanted, note)

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, wanted: float, note: str = "") -> Figure:
        """A number that should be ``wanted`` or less."""
        return cls(name, value, unit, f"≤ {wanted:g}", value <= wanted, note)


def median_at_least(name: str, rounds: Sequence[float], unit: str, wanted: float, note: str = "") -> Figure:
    """The median of several rounds with their spread; judged only if the spread is narrow enough."""
    middle = median(rounds)
    figure = Figure.at_least(name, middle, unit, wanted, note)
    figure = replace(figure, spread=(max(rounds) - min(rounds)) / middle)
    return figure if figure.trusted else replace(figure, met=None, note=f"rounds differ too much to judge; {note}")


def marked(figures: Sequence[Figure], load: MachineLoad) -> list[Figure]:
    """Return figures measured under a load: not judged, with a note, if other programs disturbed them."""
    if not load.busy:
        return list(figures)
    return [replace(figure, met=None, note=f"not judged, {load.description}; {figure.note}") for figure in figures]


def print_table(figures: Sequence[Figure], title: str = "") -> None:
    """Print figures, each with its target and whether it is met; yellow are those that are not judged."""
    table = Table("figure", title=title or None)
    for column in ("value", "spread", "unit", "target"):
        table.add_column(column, justify="left" if column == "unit" else "right")
    table.add_column("note")
    colors = {True: "green", False: "red", None: ""}
    for figure in figures:
        spread = "" if figure.spread is None else f"{figure.spread:.0%}"
        table.add_row(figure.name, f"{figure.value:,.4g}", spread, figure.unit, figure.target, figure.note)
        table.rows[-1].style = "yellow" if figure.target and figure.met is None else colors[figure.met]
    Console().print(table)


def main(measure: Callable[[], Sequence[Figure]], description: str) -> None:
    """The command line of a benchmark: measure, then print a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    meter = LoadMeter()
    figures = marked(measure(), meter.read())
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures]))
    else:
        print_table(figures, description.splitlines()[0])
