"""Results of a benchmark: measurements with their targets, as a table for people and as JSON for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

from rich.table import Table

from kelly_core.benchmark.results import MachineLoad
from kelly_core.benchmark.suite import LoadMeter
from kelly_core.cli.console import print_result

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
        doubt: why the measurement cannot be trusted; "" if it can.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool | None = None
    note: str = ""
    spread: float | None = None
    doubt: str = ""

    @classmethod
    def at_least(cls, name: str, value: float, unit: str, wanted: float, note: str = "") -> Figure:
        """A number that should be ``wanted`` or more."""
        return cls(name, value, unit, f"≥ {wanted:g}", value >= wanted, note)

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, wanted: float, note: str = "") -> Figure:
        """A number that should be ``wanted`` or less."""
        return cls(name, value, unit, f"≤ {wanted:g}", value <= wanted, note)

    def doubted(self, doubt: str) -> Figure:
        """The same number, not judged, with the reason."""
        return replace(self, met=None, doubt=doubt)


def median_at_least(name: str, rounds: Sequence[float], unit: str, wanted: float, note: str = "") -> Figure:
    """The median of several rounds with their spread; judged only if the spread is narrow enough."""
    middle = median(rounds)
    spread = (max(rounds) - min(rounds)) / middle
    figure = replace(Figure.at_least(name, middle, unit, wanted, note), spread=spread)
    return figure if spread <= WIDEST_SPREAD else figure.doubted("its rounds differ too much")


def marked(figures: Sequence[Figure], load: MachineLoad) -> list[Figure]:
    """Return figures measured under a load: not judged, with the reason, if other programs disturbed them."""
    return [figure.doubted(load.description) for figure in figures] if load.busy else list(figures)


def measured(measure: Callable[[], Sequence[Figure]]) -> list[Figure]:
    """Measure, and mark the figures if other programs disturbed them."""
    meter = LoadMeter()
    return marked(measure(), meter.read())


def print_table(figures: Sequence[Figure], title: str = "") -> None:
    """Print figures, each with its target and whether it is met; reasons for what is not judged stand below, once."""
    table = Table("figure", title=title or None)
    for column in ("value", "spread", "unit", "target"):
        table.add_column(column, justify="left" if column == "unit" else "right")
    table.add_column("met")
    table.add_column("note")
    doubts = list(dict.fromkeys(figure.doubt for figure in figures if figure.doubt))
    for figure in figures:
        spread = "" if figure.spread is None else f"{figure.spread:.0%}".replace("%", " %")
        mark = f"({doubts.index(figure.doubt) + 1})" if figure.doubt else ""
        met = {True: "yes", False: "no", None: ""}[figure.met] or (f"not judged {mark}" if figure.target else mark)
        color = {True: "green", False: "red", None: "yellow" if figure.doubt else ""}[figure.met]
        row = (figure.name, f"{figure.value:,.4g}", spread, figure.unit, figure.target, met.strip(), figure.note)
        table.add_row(*row, style=color)
    print_result(table)
    for number, doubt in enumerate(doubts, 1):
        print_result(f"({number}) {doubt}", "yellow")


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
