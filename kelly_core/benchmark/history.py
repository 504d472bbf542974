"""Benchmark history: one JSON line per run in the models' folder, for regression detection."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kelly_core.benchmark.latency import Latency
from kelly_core.benchmark.machine_load import MachineLoad
from kelly_core.benchmark.suite import BenchmarkResult, EngineResult
from kelly_core.errors import KellyError
from kelly_core.io.atomic import open_for_writing, open_regular
from kelly_core.io.json import dumps

FILE = "benchmarks.jsonl"
_MAX_BYTES = 16 * 2**20

SLOWER = 1.5
"""Ratio of medians above which a part counts as slower than in the last run; smaller ratios are measurement noise."""


@dataclass(frozen=True)
class Run:
    """One entry of the history: time, host, command of the external engine, latencies by engine, and other load.

    Entries written before the load was measured have none.
    """

    time: str
    host: str
    command: str | None
    engines: dict[str, EngineResult]
    load: MachineLoad | None = None

    @property
    def busy(self) -> bool:
        """True if other programs disturbed the timing, so that no trend should contain it."""
        return self.load is not None and self.load.busy


@dataclass(frozen=True)
class Change:
    """Median latency of one part ("chain" or a model) in the last run and in this one."""

    engine: str
    part: str
    before_us: float
    now_us: float

    @property
    def slower(self) -> bool:
        """True if this run is slower by more than ``SLOWER``."""
        return self.now_us > SLOWER * self.before_us


_RUN = TypeAdapter(Run)


def last_run(folder: Path, *, anywhere: bool = False, busy: bool = False) -> Run | None:
    """Return the last run on this host, or on any host with ``anywhere``; None if there is none.

    Runs disturbed by other programs count only with ``busy``. Invalid lines, such as a truncated one, are skipped.

    Raises:
        KellyError: the file exists and cannot be read.
    """
    try:
        with open_regular(folder / FILE) as file:
            # The newest lines are last; a first line cut by the seek is invalid and skipped.
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_BYTES))
            lines = file.read(_MAX_BYTES).splitlines()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise KellyError(f"cannot be read: {fault.strerror}", where=folder / FILE) from fault
    runs = (run for run in map(_parse, reversed(lines)) if run is not None)
    return next((run for run in runs if (busy or not run.busy) and (anywhere or run.host == platform.node())), None)


def append_run(folder: Path, result: BenchmarkResult) -> None:
    """Append a result, without its histograms, to the history.

    Raises:
        KellyError: the file cannot be written.
    """
    engines = {name: _without_histograms(engine) for name, engine in result.engines.items()}
    run = Run(datetime.now(UTC).isoformat(timespec="seconds"), platform.node(), result.command, engines, result.load)
    try:
        # A single write in append mode is atomic: two concurrent runs yield two whole lines.
        handle = open_for_writing(folder / FILE, os.O_RDWR | os.O_APPEND)
        with os.fdopen(handle, "ab", buffering=0) as stream:
            size = os.fstat(handle).st_size
            # A truncated last line (no newline) must not swallow this one.
            seam = b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""
            stream.write(seam + dumps(run).encode() + b"\n")
    except OSError as fault:
        raise KellyError(f"cannot be written: {fault.strerror}", where=folder / FILE) from fault


def compare(before: Run, now: BenchmarkResult) -> list[Change]:
    """Return the change of every median that both runs have; of an external engine only if the command is the same.

    There is none if other programs disturbed this run.
    """
    if now.load.busy:
        return []
    former = dict(_medians(before.engines))
    return [
        Change(engine, part, former[engine, part], median)
        for (engine, part), median in _medians(now.engines)
        if (engine, part) in former and (engine != "external" or before.command == now.command)
    ]


def _parse(line: bytes) -> Run | None:
    try:
        return _RUN.validate_json(line)
    except ValidationError:
        return None


def _medians(engines: dict[str, EngineResult]) -> Iterator[tuple[tuple[str, str], float]]:
    for engine, result in engines.items():
        if result.chain is not None:
            yield (engine, "chain"), result.chain.p50_us
        for model, latency in result.models.items():
            yield (engine, model), latency.p50_us


def _without_histograms(result: EngineResult) -> EngineResult:
    def plain(latency: Latency) -> Latency:
        return replace(latency, histogram=None)

    models = {name: plain(latency) for name, latency in result.models.items()}
    return replace(result, models=models, chain=None if result.chain is None else plain(result.chain))
