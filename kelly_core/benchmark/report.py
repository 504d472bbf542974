"""Results of a benchmark as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kelly_core.benchmark.history import Change, Run
from kelly_core.benchmark.latency import Histogram, Latency
from kelly_core.benchmark.suite import BenchmarkResult, EngineResult

_BARS = " ▁▂▃▄▅▆▇█"
_WHOLE_US = 100


def to_json(result: BenchmarkResult, last: Run | None, changes: Sequence[Change]) -> dict[str, Any]:
    """Return the result as JSON values, with what is slower than in the last run on this machine."""
    return {
        "budget_ms": result.budget_ms,
        "passed": result.passed,
        "calls": result.calls,
        "missing": list(result.missing),
        "command": result.command,
        "load": asdict(result.load) | {"busy": result.load.busy},
        "engines": {
            name: {
                "chain": None if engine.chain is None else asdict(engine.chain),
                "models": {model: asdict(latency) for model, latency in engine.models.items()},
                "error": engine.error or None,
            }
            for name, engine in result.engines.items()
        },
        "last_run": None if last is None else last.time,
        "slower": [asdict(change) for change in changes if change.slower],
    }


def render(result: BenchmarkResult, last: Run | None, changes: Sequence[Change]) -> Group:
    """A table of µs with a row a part; then what is missing, failed or became slower, and the verdict."""
    since = {(change.engine, change.part): change for change in changes}
    table = Table("µs", *(Column(name, justify="right") for name in ("p50", "p95", "p99", "max")), box=None)
    table.add_column("spread", no_wrap=True)
    table.add_column("since", justify="right")
    for name, engine in result.engines.items():
        table.add_row(Text(name, style="bold"))
        for part, latency in _parts(engine):
            table.add_row(Text(f"  {part}"), *_figures(latency), _change(since.get((name, part))))
    return Group(table, "", *_notes(result, last, changes), _verdict(result))


def _parts(engine: EngineResult) -> list[tuple[str, Latency]]:
    chain = [] if engine.chain is None else [("chain", engine.chain)]
    return [*chain, *engine.models.items()]


def _figures(latency: Latency) -> list[str]:
    times = (latency.p50_us, latency.p95_us, latency.p99_us, latency.max_us)
    return [*map(_figure, times), "" if latency.histogram is None else _bars(latency.histogram)]


def _figure(time_us: float | None) -> str:
    return "" if time_us is None else f"{time_us:,.1f}" if time_us < _WHOLE_US else f"{time_us:,.0f}"


def _bars(histogram: Histogram) -> str:
    """A bar a bin; heights are logarithmic, or the few slow calls would not show."""
    heights = [math.log1p(count) / math.log1p(max(histogram.counts)) for count in histogram.counts]
    return "".join(_BARS[math.ceil(height * (len(_BARS) - 1))] for height in heights)


def _change(change: Change | None) -> Text:
    if change is None or not change.before_us:
        return Text("")
    return Text(f"{change.now_us / change.before_us - 1:+.0%}", style="bold red" if change.slower else "")


def _notes(result: BenchmarkResult, last: Run | None, changes: Sequence[Change]) -> list[RenderableType]:
    notes = [
        Text(f"{name} failed: {engine.error}", style="bold red")
        for name, engine in result.engines.items()
        if engine.error
    ]
    if result.missing:
        notes.append(Text(f"missing: {', '.join(result.missing)}; the chain needs all five", style="yellow"))
    if result.engines.get("external", EngineResult({}, None)).chain is not None:
        notes.append(Text("external times itself, model by model; its chain is the sum", style="dim"))
    notes.append(
        Text(f"{result.calls:,} calls each on one thread; spread: how many took how long, log-log", style="dim")
    )
    if result.load.busy:
        note = f"{result.load.description} meanwhile: these figures are not compared, and trends leave them out"
        notes.append(Text(f"{note}. Run it again when nothing else runs.", style="bold yellow"))
    notes += [
        Text(f"slower: {each.engine} {each.part}, {each.before_us:,.1f} → {each.now_us:,.1f} µs", style="bold red")
        for each in changes
        if each.slower
    ]
    if last is not None:
        notes.append(Text(f"since: the median against the last run on this machine, {last.time}", style="dim"))
    return list(notes)


def _verdict(result: BenchmarkResult) -> Text:
    budget = f"the budget of {result.budget_ms:g} ms"
    match result.passed:
        case True:
            return Text(f"passed: every chain's p99 is within {budget}", style="green")
        case None:
            return Text(f"not judged: {budget} is the chain's", style="yellow")
        case False:
            over = [f"p99 of {part} {p99_ms:,.2f} ms exceeds {budget}" for part, p99_ms in result.over_budget.items()]
            return Text(f"FAILED: {', '.join(over) or 'an engine failed'}", style="bold red")
