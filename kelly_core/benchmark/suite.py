"""The five models and their chain, timed in every engine there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from kelly_core.benchmark.latency import Latency, measure
from kelly_core.chain import Compute, run_chain
from kelly_core.engines.external import ExternalEngine
from kelly_core.engines.numpy_engine import Layer, NumpyEngine
from kelly_core.engines.weights import Array
from kelly_core.errors import ExportError, KellyError
from kelly_core.export.golden import probe_export
from kelly_core.export.reader import Export, read_export
from kelly_core.spec import MODELS

EngineFactory = Callable[[Sequence[Layer]], Compute]
"""Builds a network in an engine, which then computes frame by frame from zero state on one thread."""

_FRAMES = 64
_NAMES = tuple(spec.name for spec in MODELS)
_BY_STEM = {spec.file_stem: spec for spec in MODELS}


@dataclass(frozen=True)
class EngineResult:
    """What one engine needs: by model, and for the chain where all five are there; ``error`` says why it failed."""

    models: dict[str, Latency]
    chain: Latency | None
    error: str = ""


@dataclass(frozen=True)
class BenchmarkResult:
    """Every engine's figures, which of the five models are missing, and the command behind the engine "external"."""

    budget_ms: float
    calls: int
    missing: tuple[str, ...]
    engines: dict[str, EngineResult]
    command: str | None = None

    @property
    def over_budget(self) -> dict[str, float]:
        """p99 in ms, by engine and part, of each chain that exceeds the budget; without a chain, of each model."""
        return {
            f"{name} {part}": latency.p99_us / 1000
            for name, engine in self.engines.items()
            for part, latency in (engine.models if engine.chain is None else {"chain": engine.chain}).items()
            if latency.p99_us > 1000 * self.budget_ms
        }

    @property
    def passed(self) -> bool | None:
        """Whether no engine failed and none exceeds the budget; None if there is no chain to judge by."""
        if self.over_budget or any(engine.error for engine in self.engines.values()):
            return False
        return None if self.missing else True


def read_models(sources: Sequence[Path]) -> dict[str, Export]:
    """Read exports by model, one of the five or else the file's name; a folder stands for what it holds of the five.

    Raises:
        ExportError: a folder holds none, a file cannot be read, is of one of the five models but of other sizes, or a
            model comes twice.
    """
    models: dict[str, Export] = {}
    for path in [file for source in sources for file in export_files(source)]:
        export = read_export(path)
        named = export.metadata.get("model_name")
        spec = _BY_STEM.get((named if isinstance(named, str) else path.stem).lower())
        name = path.stem if spec is None else spec.name
        if name in models:
            raise ExportError(f"{name} is in {models[name].path} already", where=path)
        sizes = (export.in_size, export.out_size)
        if spec is not None and sizes != (spec.input_size, spec.output_size):
            wanted = f"{spec.input_size} → {spec.output_size}"
            raise ExportError(f"{name} is {sizes[0]} → {sizes[1]}, but must be {wanted}", where=path)
        models[name] = export
    return models


def export_files(source: Path) -> list[Path]:
    """The exports of the five models in a folder, in the models' order; a file stands for itself.

    Raises:
        ExportError: a folder holds none.
    """
    if not source.is_dir():
        return [source]
    files = [source / f"{spec.file_stem}.json" for spec in MODELS]
    found = [file for file in files if file.is_file()]
    if not found:
        raise ExportError("holds no export of any of the five models", where=source)
    return found


def benchmark(
    models: Mapping[str, Export],
    engines: Mapping[str, EngineFactory],
    external: ExternalEngine | None,
    calls: int,
    budget_ms: float,
    progress: Callable[[str], object] = lambda engine: None,
) -> BenchmarkResult:
    """Time every model and the chain in every engine.

    Args:
        models: exports by model name.
        engines: engines in this process, by name, besides NumPy.
        external: the plugin's own engine.
        calls: calls to time, after the warm-up.
        budget_ms: what the chain's p99 may be.
        progress: told the name of each engine before its turn.
    """
    results = {}
    for name, factory in {"numpy": _numpy, **engines}.items():
        progress(name)
        results[name] = _time_engine(models, factory, calls)
    if external is not None:
        progress("external")
        results["external"] = _ask_engine(models, external, calls)
    missing = tuple(name for name in _NAMES if name not in models)
    return BenchmarkResult(budget_ms, calls, missing, results, None if external is None else external.command)


def _numpy(layers: Sequence[Layer]) -> Compute:
    return NumpyEngine(layers).step


def _time_engine(models: Mapping[str, Export], factory: EngineFactory, calls: int) -> EngineResult:
    try:
        computes = {name: factory(export.layers) for name, export in models.items()}
    except KellyError as error:
        return EngineResult({}, None, str(error))
    frames = {name: probe_export(export, _FRAMES) for name, export in models.items()}
    with threadpool_limits(limits=1):
        latencies = {name: measure(compute, frames[name], calls) for name, compute in computes.items()}
        return EngineResult(latencies, _time_chain(computes, frames, calls))


def _time_chain(computes: Mapping[str, Compute], frames: Mapping[str, Array], calls: int) -> Latency | None:
    if not set(_NAMES) <= computes.keys():
        return None
    return measure(partial(run_chain, computes), frames[_NAMES[0]], calls)


def _ask_engine(models: Mapping[str, Export], engine: ExternalEngine, calls: int) -> EngineResult:
    """What an engine measures of itself; it runs one model at a time, so the chain's figures are the models' sums."""
    latencies: dict[str, Latency] = {}
    for name, export in models.items():
        try:
            figures = engine.bench(export.path, calls)
        except KellyError as error:
            return EngineResult(latencies, None, str(error))
        latencies[name] = Latency(figures.p50_us, None, figures.p99_us, figures.max_us, figures.n, None)
    if not set(_NAMES) <= latencies.keys():
        return EngineResult(latencies, None)
    parts = [latencies[name] for name in _NAMES]
    return EngineResult(
        latencies,
        replace(
            parts[0],
            p50_us=round(sum(part.p50_us for part in parts), 3),
            p99_us=round(sum(part.p99_us for part in parts), 3),
            max_us=round(sum(part.max_us for part in parts), 3),
        ),
    )
