"""Results of the benchmark, the JSON document that ``kelly-core bench --json`` prints, and the history of runs.

The history has one JSON line per run in the models' folder, to detect regressions.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from kelly_core.bounds import Count, Micros, Share
from kelly_core.errors import KellyError
from kelly_core.io.atomic import open_for_writing, open_regular
from kelly_core.io.json import dumps

CHAIN = "chain"
"""Name of the part that is all five models in sequence."""

EXTERNAL = "external"
"""Name of the plugin's own engine."""

SLOWER = 1.5
"""Ratio of medians above which a part counts as slower than in the last run; smaller ratios are measurement noise."""

OTHER_LIMIT = 0.1
"""Share of the cores used by other programs above which timings are not comparable: they share caches and clock."""

STOLEN_LIMIT = 0.02
"""Share of the time that a hypervisor gave to other guests above which a timing is not comparable."""


@dataclass(frozen=True)
class MachineLoad:
    """Shares of the processor time of all cores: used by other programs, and stolen by other guests of the host."""

    other: Share
    stolen: Share

    @property
    def busy(self) -> bool:
        """True if timings made under this load should not be compared with others."""
        return self.other > OTHER_LIMIT or self.stolen > STOLEN_LIMIT

    @property
    def description(self) -> str:
        """The load in words, such as "other programs used 52 % of the processor"."""
        stolen = f", other guests of the host {self.stolen:.0%}" if self.stolen > STOLEN_LIMIT else ""
        return f"other programs used {self.other:.0%} of the processor{stolen}".replace("%", " %")


IDLE = MachineLoad(0.0, 0.0)


@dataclass(frozen=True)
class Histogram:
    """Histogram of call times: ``counts`` [n] between neighboring ``edges_us`` [n + 1], in µs."""

    edges_us: tuple[Micros, ...]
    counts: tuple[Count, ...]


@dataclass(frozen=True)
class Latency:
    """Quantiles of the time of ``n`` calls in µs; None if an external engine does not report the value."""

    p50_us: Micros
    p95_us: Micros | None
    p99_us: Micros
    max_us: Micros
    n: Count = 0
    histogram: Histogram | None = None


@dataclass(frozen=True)
class EngineResult:
    """Latencies in one engine: per model, and of the chain if all five are present; ``error`` says why it failed."""

    models: dict[str, Latency]
    chain: Latency | None = None
    # null in JSON if there is none, see ``to_json``.
    error: Annotated[str, BeforeValidator(lambda error: "" if error is None else error)] = ""

    @property
    def parts(self) -> dict[str, Latency]:
        """Latencies of the chain, if there is one, and of each model."""
        return self.models if self.chain is None else {CHAIN: self.chain} | self.models


@dataclass(frozen=True)
class BenchmarkResult:
    """Latencies in every engine, missing models of the five, other load, and the command of the engine "external"."""

    budget_ms: Annotated[float, Field(gt=0, le=1e9)]
    calls: Count
    missing: tuple[str, ...]
    engines: dict[str, EngineResult]
    load: MachineLoad = IDLE
    command: str | None = None

    @property
    def over_budget(self) -> dict[str, float]:
        """p99 in ms, by engine and part, of every chain (every model if there is no chain) that exceeds the budget."""
        return {
            f"{name} {part}": latency.p99_us / 1000
            for name, engine in self.engines.items()
            for part, latency in (engine.models if engine.chain is None else {CHAIN: engine.chain}).items()
            if latency.p99_us > 1000 * self.budget_ms
        }

    @property
    def passed(self) -> bool | None:
        """True if no engine failed or exceeds the budget; None if there is no chain to compare with the budget."""
        if self.over_budget or any(engine.error for engine in self.engines.values()):
            return False
        chains = [engine.chain for engine in self.engines.values()]
        return True if all(chains) else None


@dataclass(frozen=True)
class Change:
    """Median latency of one part ("chain" or a model) in the last run and in this one."""

    engine: str
    part: str
    before_us: Micros
    now_us: Micros

    @property
    def slower(self) -> bool:
        """True if this run is slower by more than ``SLOWER``."""
        return self.now_us > SLOWER * self.before_us


@dataclass(frozen=True)
class BenchmarkReport:
    """A result compared with the last run on the same machine.

    Attributes:
        result: the latencies.
        last_run: time of the run that it is compared with, None if there is none.
        changes: change of every median that both have; in a report read from JSON, only of the parts that are slower.
    """

    result: BenchmarkResult
    last_run: str | None = None
    changes: tuple[Change, ...] = ()

    @property
    def slower(self) -> list[Change]:
        """Parts that became slower."""
        return [change for change in self.changes if change.slower]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        result = self.result
        return {
            "budget_ms": result.budget_ms,
            "passed": result.passed,
            "calls": result.calls,
            "missing": list(result.missing),
            "command": result.command,
            "load": asdict(result.load) | {"busy": result.load.busy},
            "engines": {
                name: asdict(engine) | {"error": engine.error or None} for name, engine in result.engines.items()
            },
            "last_run": self.last_run,
            "slower": [asdict(change) for change in self.slower],
        }

    @classmethod
    def from_json(cls, document: object) -> BenchmarkReport:
        """Read what ``to_json`` returned.

        Raises:
            ValueError: the document has another form.
        """
        if not isinstance(document, dict):
            raise ValueError("a benchmark result is not a JSON object")
        result: BenchmarkResult = _adapter(BenchmarkResult).validate_python(document)
        last_run: str | None = _adapter(str | None).validate_python(document.get("last_run"))
        changes: tuple[Change, ...] = _adapter(tuple[Change, ...]).validate_python(document.get("slower", ()))
        return cls(result, last_run, changes)


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


FILE = "benchmarks.jsonl"
_MAX_BYTES = 16 * 2**20


@dataclass(frozen=True)
class BenchmarkRun:
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


def read_runs(folder: Path, limit: int = _MAX_BYTES) -> Iterator[BenchmarkRun]:
    """Yield the runs of the history, the newest first; invalid lines, such as a truncated one, are skipped.

    Args:
        folder: the models' folder.
        limit: bytes to read, from the end of the file.

    Raises:
        KellyError: the file exists and cannot be read.
    """
    try:
        with open_regular(folder / FILE) as file:
            # The newest lines are last; a first line cut by the seek is invalid and skipped.
            file.seek(max(0, os.fstat(file.fileno()).st_size - limit))
            lines = file.read(limit).splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise KellyError(f"cannot be read: {error.strerror}", where=folder / FILE) from error
    for line in reversed(lines):
        try:
            run = _adapter(BenchmarkRun).validate_json(line)
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
        # A single write in append mode is atomic: two concurrent runs yield two whole lines.
        handle = open_for_writing(folder / FILE, os.O_RDWR | os.O_APPEND)
        with os.fdopen(handle, "ab", buffering=0) as stream:
            size = os.fstat(handle).st_size
            # This line must not be appended to a truncated last line (without newline).
            seam = b"\n" if size and os.pread(handle, 1, size - 1) != b"\n" else b""
            stream.write(seam + dumps(run).encode() + b"\n")
    except OSError as error:
        raise KellyError(f"cannot be written: {error.strerror}", where=folder / FILE) from error


def compare_latencies(result: BenchmarkResult, last: BenchmarkRun | None) -> BenchmarkReport:
    """Compare every median that a result and the last run have; none if other programs disturbed this run."""
    if last is None or result.load.busy:
        return BenchmarkReport(result, None if last is None else last.time)
    changes = [
        Change(name, part, previous[part].p50_us, latency.p50_us)
        for name, engine in result.engines.items()
        for previous in [comparable(last, result, name)]
        for part, latency in engine.parts.items()
        if part in previous
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
