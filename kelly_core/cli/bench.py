"""``kelly-core bench``: measure the latency per frame of each model and of the chain."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kelly_core.benchmark import BUDGET_MS
from kelly_core.cli.console import print_json, print_result, print_status
from kelly_core.cli.help import CHECKS_PANEL, option
from kelly_core.cli.options import EngineOption, JsonOption, Output, check_not_inputs
from kelly_core.errors import KellyError
from kelly_core.formatting import format_change, format_micros, printable

if TYPE_CHECKING:
    from kelly_core.benchmark.results import BenchmarkReport, BenchmarkResult, Change, Histogram, Latency
    from kelly_core.benchmark.suite import EngineFactory

_BARS = " ▁▂▃▄▅▆▇█"
_MIN_CALLS = 2_000
"""Minimum number of calls; with fewer, the 99th percentile is not reliable."""

_MAX_CALLS = 10_000_000


SourcesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILES", help="Exports, or the folder that contains them.")
]
CallsOption = Annotated[
    int,
    option(
        CHECKS_PANEL,
        f"Timed calls per model and engine, after a warm-up (calls; default {_MIN_CALLS:,}).",
        min=_MIN_CALLS,
        max=_MAX_CALLS,
        metavar="N",
    ),
]
BudgetOption = Annotated[
    float,
    option(
        CHECKS_PANEL,
        f"Limit for the 99th percentile of a frame's time through the chain (ms; default {BUDGET_MS:g}).",
        metavar="MS",
    ),
]


def bench(
    sources: SourcesArgument,
    engine: EngineOption = None,
    calls: CallsOption = _MIN_CALLS,
    budget_ms: BudgetOption = BUDGET_MS,
    as_json: JsonOption = False,
) -> None:
    """Time the exports frame by frame on one thread in NumPy, PyTorch, ONNX Runtime and the plugin's engine.

    The results of a folder are added to its benchmarks.jsonl and compared with the latest ones of this machine. The
    exit status is 1 if an engine fails or the 99th percentile of the chain exceeds the budget.

    Examples:
      kelly-core bench models
      kelly-core bench models --engine ./plugin_engine --json
      kelly-core bench models/groovepredictor.json --calls 20000
    """
    from kelly_core.benchmark.history import FILE, append_run, compare_latencies, last_run
    from kelly_core.benchmark.suite import benchmark, export_files, read_models
    from kelly_core.engines.external import ExternalEngine

    if not 0 < budget_ms < math.inf:
        raise typer.BadParameter(f"{budget_ms:g} is not a time", param_hint="--budget-ms")
    folder = sources[0] if len(sources) == 1 and sources[0].is_dir() else None
    if folder is not None:
        check_not_inputs([Output(folder / FILE, "SOURCES")], export_files(folder))
    external = None if engine is None else ExternalEngine(engine)
    models = read_models(sources)
    last = None if folder is None else last_run(folder)
    # No spinner: its animation thread would disturb the timing.
    result = benchmark(
        models, _engines(), external, calls, budget_ms, lambda name: print_status(f"timing {name} …", "dim")
    )
    report = compare_latencies(result, last)
    if as_json:
        print_json(report.to_json())
    else:
        print_result(render(report))
    if folder is not None:
        try:
            append_run(folder, result)
        except KellyError as error:
            # Only a warning, because the result has been printed.
            print_status(f"not added to the history: {error}", "yellow")
    raise typer.Exit(1 if result.passed is False else 0)


def _engines() -> dict[str, EngineFactory]:
    """Return the installed engines besides NumPy."""
    from kelly_core.engines.torch_engine import TorchEngine

    engines: dict[str, EngineFactory] = {"torch": lambda layers: TorchEngine(layers).step}
    if find_spec("onnx") and find_spec("onnxruntime"):
        from kelly_core.engines.onnx_engine import OnnxEngine, build_onnx

        engines["onnxruntime"] = lambda layers: OnnxEngine(build_onnx(layers, {})).step
    return engines


def render(report: BenchmarkReport) -> Group:
    """Return a table in µs with a row per part, notes on missing, failed or slower parts, and the verdict."""
    since = {(change.engine, change.part): change for change in report.changes}
    table = Table("µs", *(Column(name, justify="right") for name in ("p50", "p95", "p99", "max")), box=None)
    table.add_column("spread", no_wrap=True)
    table.add_column("since", justify="right")
    for name, engine in report.result.engines.items():
        table.add_row(Text(name, style="bold"))
        for part, latency in engine.parts.items():
            table.add_row(Text(f"  {part}"), *_time_cells(latency), _change(since.get((name, part))))
    return Group(table, "", *_notes(report), _verdict(report.result))


def _time_cells(latency: Latency) -> list[str]:
    times = (latency.p50_us, latency.p95_us, latency.p99_us, latency.max_us)
    cells = ["" if time is None else format_micros(time) for time in times]
    return [*cells, "" if latency.histogram is None else _bars(latency.histogram)]


def _bars(histogram: Histogram) -> str:
    """Return a bar for each bin; logarithmic heights make the few slow calls visible."""
    heights = [math.log1p(count) / math.log1p(max(histogram.counts)) for count in histogram.counts]
    return "".join(_BARS[math.ceil(height * (len(_BARS) - 1))] for height in heights)


def _change(change: Change | None) -> Text:
    if change is None or not change.before_us:
        return Text("")
    return Text(format_change(change.now_us / change.before_us - 1), style="bold red" if change.slower else "")


def _notes(report: BenchmarkReport) -> list[RenderableType]:
    result = report.result
    notes = [
        Text(f"{name} failed: {printable(engine.error)}", style="bold red")
        for name, engine in result.engines.items()
        if engine.error
    ]
    if result.missing:
        notes.append(Text(f"missing: {', '.join(result.missing)}; the chain needs all five", style="yellow"))
    if "external" in result.engines and result.engines["external"].chain is not None:
        notes.append(Text("external times itself, model by model; its chain is the sum", style="dim"))
    notes.append(
        Text(f"{result.calls:,} calls each on one thread; spread: histogram of the times, log-log", style="dim")
    )
    if result.load.busy:
        note = f"{result.load.description} during the benchmark: these times are not compared, and trends exclude them"
        notes.append(Text(f"{note}. Run it again when nothing else runs.", style="bold yellow"))
    notes += [
        Text(f"slower: {each.engine} {each.part}, {each.before_us:,.1f} → {each.now_us:,.1f} µs", style="bold red")
        for each in report.slower
    ]
    if report.last_run is not None:
        notes.append(Text(f"since: the median against the last run on this machine, {report.last_run}", style="dim"))
    return list(notes)


def _verdict(result: BenchmarkResult) -> Text:
    budget = f"the budget of {result.budget_ms:g} ms"
    match result.passed:
        case True:
            return Text(f"passed: every chain's p99 is within {budget}", style="green")
        case None:
            return Text(f"not judged: {budget} applies only to the chain", style="yellow")
        case False:
            over = [f"p99 of {part} {p99_ms:,.2f} ms exceeds {budget}" for part, p99_ms in result.over_budget.items()]
            return Text(f"FAILED: {', '.join(over) or 'an engine failed'}", style="bold red")
