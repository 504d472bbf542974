"""Results of the benchmark, and the JSON document that ``kelly-core bench --json`` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter

from kelly_core.bounds import Count, Micros, Share

CHAIN = "chain"
"""Name of the part that consists of all five models in sequence."""

EXTERNAL = "external"
"""Name of the plugin's own engine."""

SLOWER = 1.5
"""Ratio of medians above which a part counts as slower than in the last run; smaller ratios are measurement noise."""

OTHER_LIMIT = 0.1
"""Share of the cores used by other programs above which shared caches and clock rates make timings incomparable."""

STOLEN_LIMIT = 0.02
"""Share of the time used by other guests of the hypervisor above which timings are not comparable."""


@dataclass(frozen=True)
class MachineLoad:
    """Shares of the processor time of all cores: used by other programs, and stolen by other guests of the host."""

    other: Share
    stolen: Share

    @property
    def busy(self) -> bool:
        """True if timings under this load must not be compared with others."""
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
    """Latencies in one engine: per model, and of the chain if all five are present; ``error`` is "" on success."""

    models: dict[str, Latency]
    chain: Latency | None = None
    # null in JSON if there is no error, see ``to_json``.
    error: Annotated[str, BeforeValidator(lambda error: "" if error is None else error)] = ""

    @property
    def parts(self) -> dict[str, Latency]:
        """Latencies of the chain, if present, and of each model."""
        return self.models if self.chain is None else {CHAIN: self.chain} | self.models


@dataclass(frozen=True)
class BenchmarkResult:
    """Latencies in every engine, names of missing models, other load, and the command of the engine "external"."""

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
        last_run: time of the run that the result is compared with; None if there is no such run.
        changes: change of each median that both runs have; a report read from JSON has only the parts that are slower.
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
        """Read a document that ``to_json`` returned.

        Raises:
            ValueError: the document is invalid.
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
