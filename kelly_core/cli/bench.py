"""``kelly-core bench``: latency of a frame, by model and through the chain."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kelly_core.benchmark import BUDGET_MS
from kelly_core.cli.console import print_json, print_result, print_status
from kelly_core.cli.help import CHECKS_PANEL
from kelly_core.cli.options import EngineOption, JsonOption
from kelly_core.errors import KellyError
from kelly_core.io.outputs import Output, check_not_inputs

if TYPE_CHECKING:
    from kelly_core.benchmark.suite import BenchmarkResult, EngineFactory

_MIN_CALLS = 2_000
"""Minimum number of calls; with fewer, the 99th percentile is not reliable."""


def bench(
    sources: Annotated[list[Path], typer.Argument(metavar="FILES", help="Exports, or the folder that contains them.")],
    engine: EngineOption = None,
    calls: Annotated[
        int,
        typer.Option(
            "--calls",
            min=_MIN_CALLS,
            metavar="N",
            help=f"Timed calls per model and engine, after a warm-up (calls; default {_MIN_CALLS:,}).",
            rich_help_panel=CHECKS_PANEL,
        ),
    ] = _MIN_CALLS,
    budget_ms: Annotated[
        float,
        typer.Option(
            "--budget-ms",
            metavar="MS",
            help=f"Limit for the 99th percentile of a frame's time through the chain (ms; default {BUDGET_MS:g}).",
            rich_help_panel=CHECKS_PANEL,
        ),
    ] = BUDGET_MS,
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
    from kelly_core.benchmark.history import FILE, compare, last_run
    from kelly_core.benchmark.report import render, to_json
    from kelly_core.benchmark.suite import benchmark, export_files, read_models
    from kelly_core.engines.external import ExternalEngine

    if not 0 < budget_ms < math.inf:
        raise typer.BadParameter(f"{budget_ms:g} is not a time", param_hint="--budget-ms")
    folder = sources[0] if len(sources) == 1 and sources[0].is_dir() else None
    if folder is not None:
        check_not_inputs([Output(folder / FILE, "SOURCES")], export_files(folder))
    external = None if engine is None else ExternalEngine(engine)
    models, last = read_models(sources), None if folder is None else last_run(folder)
    # No spinner: the thread that turns it would disturb what is timed.
    result = benchmark(
        models, _engines(), external, calls, budget_ms, lambda name: print_status(f"timing {name} …", "dim")
    )
    changes = [] if last is None else compare(last, result)
    if as_json:
        print_json(to_json(result, last, changes))
    else:
        print_result(render(result, last, changes))
    if folder is not None:
        _append_to_history(folder, result)
    raise typer.Exit(1 if result.passed is False else 0)


def _append_to_history(folder: Path, result: BenchmarkResult) -> None:
    """Append to the history; a folder that cannot be written is only a warning, because the result is printed."""
    from kelly_core.benchmark.history import append_run

    try:
        append_run(folder, result)
    except KellyError as error:
        print_status(f"not added to the history: {error}", "yellow")


def _engines() -> dict[str, EngineFactory]:
    """Return the installed engines besides NumPy."""
    from kelly_core.engines.torch_engine import TorchEngine

    engines: dict[str, EngineFactory] = {"torch": lambda layers: TorchEngine(layers).step}
    if find_spec("onnx") and find_spec("onnxruntime"):
        from kelly_core.engines.onnx_engine import OnnxEngine, build_onnx

        engines["onnxruntime"] = lambda layers: OnnxEngine(build_onnx(layers, {})).step
    return engines
