"""Earlier runs beside the models, one line each, so that a regression shows."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kelly_core.benchmark.latency import Latency
from kelly_core.benchmark.suite import BenchmarkResult, EngineResult
from kelly_core.errors import KellyError
from kelly_core.io.atomic import open_regular

FILE = "benchmarks.jsonl"
_MAX_BYTES = 16 * 2**20

SLOWER = 1.5
"""Ratio of medians from which a part counts as slower than in the last run; less is the machine's own unrest."""


@dataclass(frozen=True)
class Run:
    """One line of the file: when and on which machine, the external engine's command, and the figures."""

    time: str
    host: str
    command: str | None
    engines: dict[str, EngineResult]


@dataclass(frozen=True)
class Change:
    """The median of one part, "chain" or a model, in the last run and in this one."""

    engine: str
    part: str
    before_us: float
    now_us: float

    @property
    def slower(self) -> bool:
        """Whether it is a regression."""
        return self.now_us > SLOWER * self.before_us


_RUN = TypeAdapter(Run)


def last_run(folder: Path, *, anywhere: bool = False) -> Run | None:
    """The last run on this machine, or ``anywhere``; None if there is none.

    Lines that are no run, such as one cut short, are passed over.

    Raises:
        KellyError: the file is there and cannot be read.
    """
    try:
        with open_regular(folder / FILE) as file:
            # The newest lines are last; where a line is cut in two, it is passed over.
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_BYTES))
            lines = file.read(_MAX_BYTES).splitlines()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise KellyError(f"cannot be read: {fault.strerror}", where=folder / FILE) from fault
    runs = (run for run in map(_parse, reversed(lines)) if run is not None)
    return next((run for run in runs if anywhere or run.host == platform.node()), None)


def append_run(folder: Path, result: BenchmarkResult) -> None:
    """Add a result to the file, without its histograms.

    Raises:
        KellyError: the file cannot be written.
    """
    engines = {name: _without_histograms(engine) for name, engine in result.engines.items()}
    run = Run(datetime.now(UTC).isoformat(timespec="seconds"), platform.node(), result.command, engines)
    try:
        # One write in append mode, so that two runs at a time give two whole lines.
        handle = os.open(folder / FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        with os.fdopen(handle, "ab", buffering=0) as stream:
            size = os.fstat(handle).st_size
            # A line that was cut short must not take this one into it.
            seam = b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""
            stream.write(seam + _RUN.dump_json(run) + b"\n")
    except OSError as fault:
        raise KellyError(f"cannot be written: {fault.strerror}", where=folder / FILE) from fault


def compare(before: Run, now: BenchmarkResult) -> list[Change]:
    """Medians of what both runs timed; an external engine only if it is the same command."""
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
