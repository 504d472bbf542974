"""Results of a benchmark: measurements with their targets, as a table or as JSON."""

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

MAX_SPREAD = 0.3
"""Range of the rounds, as a share of their median, above which a measurement is not compared with its target."""


@dataclass(frozen=True)
class Measurement:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: its unit, "×" for a ratio.
        target: required value as text; "" if there is none.
        met: True if the target is reached; None without a target, or if the measurement cannot be trusted.
        note: additional information.
        spread: range of the rounds as a share of their median; None for a measurement of one round.
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
    def at_least(cls, name: str, value: float, unit: str, wanted: float, note: str = "") -> Measurement:
        """Return a number that should be ``wanted`` or more."""
        return cls(name, value, unit, f"≥ {wanted:g}", value >= wanted, note)

    @classmethod
    def at_most(cls, name: str, value: float, unit: str, wanted: float, note: str = "") -> Measurement:
        """Return a number that should be ``wanted`` or less."""
        return cls(name, value, unit, f"≤ {wanted:g}", value <= wanted, note)

    def doubted(self, doubt: str) -> Measurement:
        """Return the same number, not compared with its target, with the reason."""
        return replace(self, met=None, doubt=doubt)


def median_at_least(name: str, rounds: Sequence[float], unit: str, wanted: float, note: str = "") -> Measurement:
    """Return the median and spread of several rounds; compared with the target only if the spread is small enough."""
    middle = median(rounds)
    spread = (max(rounds) - min(rounds)) / middle
    measurement = replace(Measurement.at_least(name, middle, unit, wanted, note), spread=spread)
    return measurement if spread <= MAX_SPREAD else measurement.doubted("the rounds differ too much")


def marked(measurements: Sequence[Measurement], load: MachineLoad) -> list[Measurement]:
    """Return the measurements; if other programs disturbed them, not compared with their targets, with the reason."""
    return [measurement.doubted(load.description) for measurement in measurements] if load.busy else list(measurements)


def measured(measure: Callable[[], Sequence[Measurement]]) -> list[Measurement]:
    """Return measurements, marked if other programs disturbed them."""
    meter = LoadMeter()
    return marked(measure(), meter.read())


def print_table(measurements: Sequence[Measurement], title: str = "") -> None:
    """Print measurements with their targets and results, and the reasons why some are not compared with a target."""
    table = Table("measurement", title=title or None)
    for column in ("value", "spread", "unit", "target"):
        table.add_column(column, justify="left" if column == "unit" else "right")
    table.add_column("met")
    table.add_column("note")
    doubts = list(dict.fromkeys(measurement.doubt for measurement in measurements if measurement.doubt))
    for measurement in measurements:
        spread = "" if measurement.spread is None else f"{measurement.spread:.0%}".replace("%", " %")
        mark = f"({doubts.index(measurement.doubt) + 1})" if measurement.doubt else ""
        met = {True: "yes", False: "no", None: ""}[measurement.met] or (
            f"not judged {mark}" if measurement.target else mark
        )
        color = {True: "green", False: "red", None: "yellow" if measurement.doubt else ""}[measurement.met]
        row = (
            measurement.name,
            f"{measurement.value:,.4g}",
            spread,
            measurement.unit,
            measurement.target,
            met.strip(),
            measurement.note,
        )
        table.add_row(*row, style=color)
    print_result(table)
    for number, doubt in enumerate(doubts, 1):
        print_result(f"({number}) {doubt}", "yellow")


def main(measure: Callable[[], Sequence[Measurement]], description: str) -> None:
    """Run the command line of a benchmark: measure, then print a table, or JSON with ``--json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    measurements = measure()
    if options.json:
        print(json.dumps([asdict(measurement) for measurement in measurements]))
    else:
        print_table(measurements, description.splitlines()[0])
