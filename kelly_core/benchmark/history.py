"""Benchmark history: one JSON line per run in the models' folder, for regression detection."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from kelly_core.benchmark.results import (
    EXTERNAL,
    BenchmarkReport,
    BenchmarkResult,
    Change,
    EngineResult,
    Latency,
    MachineLoad,
)
from kelly_core.errors import KellyError
from kelly_core.io.atomic import open_for_writing, open_regular
from kelly_core.io.json import dumps

FILE = "benchmarks.jsonl"
_MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class BenchmarkRun:
    """One entry of the history: time, host, command of the external engine, latencies by engine, and other load.

    ``load`` is None in entries of early versions, which did not measure it.
    """

    time: str
    host: str
    command: str | None
    engines: dict[str, EngineResult]
    load: MachineLoad | None = None

    @property
    def busy(self) -> bool:
        """True if other programs disturbed the timing; trends must exclude such runs."""
        return self.load is not None and self.load.busy


_RUN = TypeAdapter(BenchmarkRun)


def read_runs(folder: Path, limit: int = _MAX_BYTES) -> Iterator[BenchmarkRun]:
    """Yield the runs of the history, the newest first; skip invalid lines, such as a truncated line.

    Args:
        folder: the models' folder.
        limit: number of bytes to read at the end of the file.

    Raises:
        KellyError: the file exists and cannot be read.
    """
    try:
        with open_regular(folder / FILE) as file:
            # The newest lines are last. A first line truncated by the seek is invalid and skipped.
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            lines = file.read(limit).splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise KellyError(f"cannot be read: {error.strerror}", where=folder / FILE) from error
    for line in reversed(lines):
        try:
            run = _RUN.validate_json(line)
        except ValidationError:
            continue
        yield run


def last_run(folder: Path, *, anywhere: bool = False, busy: bool = False) -> BenchmarkRun | None:
    """Return the last run on this host, or on any host with ``anywhere``; None if there is none.

    Runs disturbed by other programs count only with ``busy``.

    Raises:
        KellyError: the file exists and cannot be read.
    """
    runs = read_runs(folder)
    return next((run for run in runs if (busy or not run.busy) and (anywhere or run.host == platform.node())), None)


def append_run(folder: Path, result: BenchmarkResult) -> None:
    """Append a result, without its histograms, to the history.

    Raises:
        KellyError: the file cannot be written.
    """
    engines = {name: _without_histograms(engine) for name, engine in result.engines.items()}
    run = BenchmarkRun(
        datetime.now(UTC).isoformat(timespec="seconds"), platform.node(), result.command, engines, result.load
    )
    try:
        # A single write in append mode is atomic: two concurrent runs write two complete lines.
        handle = open_for_writing(folder / FILE, os.O_RDWR | os.O_APPEND)
        with os.fdopen(handle, "ab", buffering=0) as stream:
            size = os.fstat(handle).st_size
            # This line must not be appended to a truncated last line (without newline).
            seam = b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""
            stream.write(seam + dumps(run).encode() + b"\n")
    except OSError as error:
        raise KellyError(f"cannot be written: {error.strerror}", where=folder / FILE) from error


def compare_latencies(result: BenchmarkResult, last: BenchmarkRun | None) -> BenchmarkReport:
    """Compare the medians that a result and the last run share; compare none if other programs disturbed this run."""
    if last is None or result.load.busy:
        return BenchmarkReport(result, None if last is None else last.time)
    changes = [
        Change(name, part, former[part].p50_us, latency.p50_us)
        for name, engine in result.engines.items()
        for former in [comparable(last, result, name)]
        for part, latency in engine.parts.items()
        if part in former
    ]
    return BenchmarkReport(result, last.time, tuple(changes))


def comparable(before: BenchmarkRun, now: BenchmarkResult, engine: str) -> dict[str, Latency]:
    """Return the earlier latencies of an engine by part; {} for an external engine with another command."""
    same = engine != EXTERNAL or before.command == now.command
    return before.engines[engine].parts if same and engine in before.engines else {}


def _without_histograms(result: EngineResult) -> EngineResult:
    def plain(latency: Latency) -> Latency:
        return replace(latency, histogram=None)

    models = {name: plain(latency) for name, latency in result.models.items()}
    return replace(result, models=models, chain=None if result.chain is None else plain(result.chain))
