"""Results of ``kelly-core bench`` as the screens read them from files: checked once, then plain dictionaries."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from kelly_core.benchmark.machine_load import MachineLoad
from kelly_core.bounds import Count, Micros, Share
from kelly_tui.state_store import StateSchema

_ALL = ConfigDict(extra="allow")


class _Histogram(TypedDict):
    edges_us: list[Micros]
    counts: list[Count]


class _Latency(TypedDict):
    __pydantic_config__ = _ALL  # type: ignore[misc]
    p50_us: Micros
    p95_us: Micros | None
    p99_us: Micros
    max_us: Micros
    histogram: NotRequired[_Histogram | None]


class _Engine(TypedDict):
    __pydantic_config__ = _ALL  # type: ignore[misc]
    models: NotRequired[dict[str, _Latency]]
    chain: NotRequired[_Latency | None]
    error: NotRequired[str | None]


class _Change(TypedDict):
    __pydantic_config__ = _ALL  # type: ignore[misc]
    engine: str
    part: str
    before_us: Micros
    now_us: Micros


class _Load(TypedDict):
    __pydantic_config__ = _ALL  # type: ignore[misc]
    other: Share
    stolen: Share


class _Run(TypedDict):
    __pydantic_config__ = _ALL  # type: ignore[misc]
    engines: dict[str, _Engine]
    time: NotRequired[str]
    load: NotRequired[_Load | None]


class _Result(_Run):
    __pydantic_config__ = _ALL  # type: ignore[misc]
    budget_ms: Annotated[float, Field(gt=0, le=1e9)]
    passed: NotRequired[bool | None]
    missing: NotRequired[list[str]]
    slower: NotRequired[list[_Change]]


_RUN = TypeAdapter(_Run)
BENCHMARKS = StateSchema(_Result)
"""Saved results by the absolute path of the exports' folder."""


def parse_run(line: bytes) -> dict[str, Any] | None:
    """Return a line of the history; None for one that is cut short or makes no sense."""
    try:
        return cast(dict[str, Any], _RUN.validate_json(line))
    except ValidationError:
        return None


def load_of(run: dict[str, Any]) -> MachineLoad:
    """Return the load by other programs during a run or result; none if it was not measured."""
    load = run.get("load") or {"other": 0.0, "stolen": 0.0}
    return MachineLoad(load["other"], load["stolen"])
