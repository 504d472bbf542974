"""Benchmark of the models and of their chain in every available engine, and other load during the benchmark."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter_ns, sleep

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from kelly_core.arrays import Doubles, Floats
from kelly_core.benchmark.results import (
    EXTERNAL,
    IDLE,
    BenchmarkResult,
    EngineResult,
    Histogram,
    Latency,
    MachineLoad,
)
from kelly_core.chain import Compute, run_chain
from kelly_core.engines.external import ExternalEngine
from kelly_core.engines.layers import Layer
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import ExportError, KellyError
from kelly_core.export.golden import probe_export
from kelly_core.export.provenance import without_previous
from kelly_core.export.reader import Export, read_export, read_strict_json
from kelly_core.music.context import ContextMean
from kelly_core.spec import CHAIN_MODELS, MODELS

WARM_UP_CALLS = 200
_BINS_PER_OCTAVE = 2


def measure(call: Callable[[Floats], object], frames: Floats, calls: int) -> Latency:
    """Time ``calls`` single calls, cycling through the frames [T, in], after an untimed warm-up."""
    for index in range(WARM_UP_CALLS):
        call(frames[index % len(frames)])
    # Allocated in advance: a growing list would allocate memory between the timed calls.
    nanoseconds = np.empty(calls)
    for index in range(calls):
        frame = frames[index % len(frames)]
        start = perf_counter_ns()
        call(frame)
        nanoseconds[index] = perf_counter_ns() - start
    return summarize_times(nanoseconds / 1000)


def summarize_times(times_us: Doubles) -> Latency:
    """Return quantiles and histogram of times [n] in µs, n ≥ 1."""
    p50, p95, p99 = (round(float(quantile), 3) for quantile in np.quantile(times_us, [0.5, 0.95, 0.99]))
    return Latency(p50, p95, p99, round(float(times_us.max()), 3), len(times_us), _histogram(times_us))


def _histogram(times_us: Doubles) -> Histogram:
    """Return a histogram with half-octave bins; the bin edges are the same in every run."""
    # At least 1 ns, the resolution of the clock: a time of 0 has no logarithm.
    octave = np.log2(np.maximum(times_us, 1e-3))
    bins = np.floor(_BINS_PER_OCTAVE * octave).astype(int)
    lowest, highest = int(bins.min()), int(bins.max())
    edges = 2.0 ** (np.arange(lowest, highest + 2) / _BINS_PER_OCTAVE)
    return Histogram(tuple(np.round(edges, 3).tolist()), tuple(np.bincount(bins - lowest).tolist()))


EngineFactory = Callable[[Sequence[Layer]], Compute]
"""Build a network in an engine; the result computes one frame per call on one thread, starting from zero state."""

_FRAMES = 64
_NAMES = tuple(spec.name for spec in CHAIN_MODELS)
_BY_STEM = {spec.file_stem: spec for spec in MODELS}


def read_models(sources: Sequence[Path]) -> dict[str, Export]:
    """Read exports by model name (else the stem of the file); a folder provides its exports of the models.

    Raises:
        ExportError: a folder contains no export, a file cannot be read or its sizes differ from those of its model, or
            a model occurs twice.
    """
    models: dict[str, Export] = {}
    for path in without_previous([file for source in sources for file in export_files(source)]):
        export = read_export(path)
        named = export.metadata.get("model_name")
        spec = _BY_STEM.get((named if isinstance(named, str) else path.stem).lower())
        name = path.stem if spec is None else spec.name
        if name in models:
            raise ExportError(f"contains {name}, but so does {models[name].path}", where=path)
        sizes = (export.in_size, export.out_size)
        if spec is not None and sizes != (spec.input_size, spec.output_size):
            wanted = f"{spec.input_size} → {spec.output_size}"
            raise ExportError(f"{name} is {sizes[0]} → {sizes[1]}, but must be {wanted}", where=path)
        models[name] = export
    return models


def export_files(source: Path) -> list[Path]:
    """Return the exports of the models in a folder, in the order of the models; else all its exports.

    If ``source`` is a file, return only this file.

    Raises:
        ExportError: a folder contains no export.
    """
    if not source.is_dir():
        return [source]
    files = [source / f"{spec.file_stem}.json" for spec in MODELS]
    found = [file for file in files if file.is_file()] or list(filter(_is_export, sorted(source.glob("*.json"))))
    if not found:
        raise ExportError("contains no export of a network", where=source)
    return found


def missing_models(names: Collection[str]) -> tuple[str, ...]:
    """Return the models of the five that are missing from ``names``; () if ``names`` has only other networks."""
    return tuple(name for name in _NAMES if name not in names) if set(_NAMES) & set(names) else ()


def _is_export(path: Path) -> bool:
    """Return True if a JSON file has layers; the other JSON files of an output folder do not."""
    try:
        return isinstance(read_strict_json(path).get("layers"), list)
    except ExportError:
        return False


def benchmark(
    models: Mapping[str, Export],
    engines: Mapping[str, EngineFactory],
    external: ExternalEngine | None,
    calls: int,
    budget_ms: float,
    progress: Callable[[str], object] = lambda _engine: None,
) -> BenchmarkResult:
    """Time every model and the chain in every engine.

    Args:
        models: exports by model name.
        engines: engines in this process besides NumPy, by name.
        external: the plugin's own engine.
        calls: number of timed calls.
        budget_ms: maximum p99 of the chain in ms.
        progress: called with the name of each engine before it is timed.
    """
    results, meter = {}, LoadMeter()
    for name, factory in {"numpy": lambda layers: NumpyEngine(layers).step, **engines}.items():
        progress(name)
        results[name] = _time_engine(models, factory, calls)
    if external is not None:
        progress(EXTERNAL)
        results[EXTERNAL] = _time_external_engine(models, external, calls)
    missing = missing_models(models)
    command = None if external is None else external.command
    return BenchmarkResult(budget_ms, calls, missing, results, meter.read(), command)


def _time_engine(models: Mapping[str, Export], factory: EngineFactory, calls: int) -> EngineResult:
    try:
        computes = {name: factory(export.layers) for name, export in models.items()}
    except KellyError as error:
        return EngineResult({}, None, str(error))
    frames = {name: probe_export(export, _FRAMES) for name, export in models.items()}
    # The plugin computes a frame on one thread; BLAS would use all cores.
    with threadpool_limits(limits=1):
        latencies = {name: measure(compute, frames[name], calls) for name, compute in computes.items()}
        return EngineResult(latencies, _time_chain(computes, frames, calls))


def _time_chain(computes: Mapping[str, Compute], frames: Mapping[str, Floats], calls: int) -> Latency | None:
    if not set(_NAMES) <= computes.keys():
        return None
    return measure(partial(run_chain, computes, mean=ContextMean()), frames[_NAMES[0]], calls)


def _time_external_engine(models: Mapping[str, Export], engine: ExternalEngine, calls: int) -> EngineResult:
    """Return the measurements of an external engine; it times one model at a time, so the chain is their sum."""
    latencies: dict[str, Latency] = {}
    for name, export in models.items():
        try:
            timing = engine.bench(export.path, calls)
        except KellyError as error:
            return EngineResult(latencies, None, str(error))
        latencies[name] = Latency(timing.p50_us, None, timing.p99_us, timing.max_us, timing.n, None)
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


class LoadMeter:
    """Measures the load of other programs since its creation or the last reading.

    Child processes count as other programs until they have ended and were waited for.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = self._times()

    def read(self) -> MachineLoad:
        """Return the load since the last reading; zero if less than a clock tick has passed."""
        previous, self._before = self._before, self._times()
        total, busy, own, stolen = (now - then for now, then in zip(self._before, previous, strict=True))
        if total <= 0:
            return IDLE
        return MachineLoad(_share((busy - own) / total), _share(stolen / total))

    def _times(self) -> tuple[float, float, float, float]:
        """Return seconds of all cores: total, used, used by this process and its ended children, and stolen."""
        cores = psutil.cpu_times()._asdict()
        stolen = cores.get("steal", 0.0)
        # On Linux, user time includes guest time.
        total = sum(seconds for name, seconds in cores.items() if not name.startswith("guest"))
        busy = total - cores["idle"] - cores.get("iowait", 0.0) - stolen
        # User and system time of this process and its children. On Linux, the tuple continues with I/O wait time.
        return total, busy, sum(self._process.cpu_times()[:4]), stolen


def measure_load(seconds: float) -> MachineLoad:
    """Wait for ``seconds``, and return the load of other programs in this time."""
    meter = LoadMeter()
    sleep(seconds)
    return meter.read()


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)
