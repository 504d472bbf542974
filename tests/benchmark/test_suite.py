"""Which models are timed, in which engines, and what is judged; which calls count, their quantiles, and other load."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from threadpoolctl import threadpool_info

from kelly_core.arrays import Floats
from kelly_core.benchmark import suite
from kelly_core.benchmark.results import BenchmarkResult, EngineResult, Latency, MachineLoad
from kelly_core.benchmark.suite import WARM_UP_CALLS, LoadMeter, benchmark, read_models
from kelly_core.chain import Compute
from kelly_core.engines.external import ExternalEngine
from kelly_core.engines.layers import Layer
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import ExportError
from kelly_core.export.reader import Export
from kelly_core.export.writer import write_export
from kelly_core.spec import MODELS
from tests.helpers.chain import write_chain
from tests.helpers.engine_programs import GOOD, engine
from tests.helpers.networks import metadata_of, spec_network, write_tiny
from tests.seeds import seeded_rng

CALLS = 60
NAMES = [spec.name for spec in MODELS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of the five models with random weights."""
    return write_chain(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def models(folder: Path) -> dict[str, Export]:
    return read_models([folder])


def test_a_folder_means_the_five_models_in_it(models: dict[str, Export], folder: Path, tmp_path: Path) -> None:
    assert list(models) == NAMES
    for name in ("groovepredictor", "dynamicsengine"):
        (tmp_path / f"{name}.json").write_bytes((folder / f"{name}.json").read_bytes())
    write_tiny(tmp_path)
    assert list(read_models([tmp_path])) == ["DynamicsEngine", "GroovePredictor"]
    assert list(read_models([tmp_path, tmp_path / "tiny.json"])) == ["DynamicsEngine", "GroovePredictor", "tiny"]


def test_what_cannot_be_timed_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no export of a network"):
        read_models([tmp_path])
    with pytest.raises(ExportError, match=r"contains GroovePredictor, but so does"):
        read_models([folder, folder / "groovepredictor.json"])
    with pytest.raises(ExportError, match="missing"):
        read_models([tmp_path / "missing.json"])
    other = spec_network(MODELS[-1])[:-1]
    write_export(tmp_path / "x.json", other, metadata_of(other, "GroovePredictor"))
    with pytest.raises(ExportError, match="GroovePredictor is 64 → 64, but must be 64 → 32"):
        read_models([tmp_path / "x.json"])


def test_every_model_and_the_chain_are_timed_one_frame_a_call(models: dict[str, Export]) -> None:
    steps: dict[int, int] = {}
    threads: set[int] = set()

    def counting(layers: Sequence[Layer]) -> Compute:
        runtime = NumpyEngine(layers)

        def compute(frame: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
            steps[id(runtime)] = steps.get(id(runtime), 0) + 1
            if steps[id(runtime)] == 1:
                threads.update(pool["num_threads"] for pool in threadpool_info())
            return runtime.step(frame)

        return compute

    result = benchmark(models, {"counting": counting}, None, CALLS, 1e6)
    assert list(result.engines) == ["numpy", "counting"]
    for timed in result.engines.values():
        assert timed.chain is not None
        assert [*timed.models] == NAMES
        for latency in (timed.chain, *timed.models.values()):
            assert latency.n == CALLS
            assert latency.p95_us is not None
            assert 0 < latency.p50_us <= latency.p95_us <= latency.p99_us <= latency.max_us
    assert set(steps.values()) == {2 * (WARM_UP_CALLS + CALLS)}
    assert threads == {1}
    assert result.passed is True


def test_without_all_five_there_is_no_chain_and_no_verdict(models: dict[str, Export]) -> None:
    some = {name: models[name] for name in ("GroovePredictor", "DynamicsEngine")}
    result = benchmark(some, {}, None, CALLS, 1e6)
    assert result.missing == ("EmotionRecognizer", "MelodyTransformer", "HarmonyPredictor")
    assert result.engines["numpy"].chain is None
    assert result.passed is None
    assert benchmark(some, {}, None, CALLS, 1e-9).passed is False


def test_an_external_engine_times_itself_and_its_chain_is_the_sum(models: dict[str, Export], tmp_path: Path) -> None:
    external = ExternalEngine(engine(tmp_path, GOOD))
    result = benchmark({name: models[name] for name in NAMES}, {}, external, CALLS, 1e6)
    assert result.engines["external"].chain == Latency(50.0, None, 102.5, 150.0, CALLS, None)
    assert result.engines["external"].models["GroovePredictor"] == Latency(10.0, None, 20.5, 30.0, CALLS, None)
    assert result.command == external.command


def test_an_engine_that_fails_does_not_keep_the_others_from_their_turn(models: dict[str, Export]) -> None:
    def refuse(_layers: Sequence[Layer]) -> Compute:
        raise ExportError("no such layer")

    some = {"GroovePredictor": models["GroovePredictor"]}
    result = benchmark(some, {"refusing": refuse}, ExternalEngine("false"), CALLS, 1e6)
    assert result.engines["refusing"].error == "no such layer"
    assert "exited with status 1" in result.engines["external"].error
    assert result.engines["numpy"].models
    assert result.passed is False


@pytest.mark.parametrize(("p99_us", "passed"), [(10_000.0, True), (10_000.1, False)])
def test_the_budget_is_compared_with_the_chains_p99(p99_us: float, passed: bool) -> None:
    slow = Latency(1.0, 2.0, 50_000.0, 90_000.0, 2000, None)
    chain = Latency(1.0, 2.0, p99_us, 90_000.0, 2000, None)
    result = BenchmarkResult(
        10.0, 2000, (), {"numpy": EngineResult({"GroovePredictor": slow}, chain)}, MachineLoad(0.0, 0.0)
    )
    assert result.passed is passed
    assert list(result.over_budget) == ([] if passed else ["numpy chain"])


def test_only_the_calls_after_the_warm_up_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that moves on by 1 µs in each call, and by 50 µs in each call of the warm-up."""
    frames = np.arange(6, dtype=np.float32).reshape(3, 2)
    clock, seen = [0], list[float]()

    def call(frame: Floats) -> None:
        seen.append(float(frame[0]))
        clock[0] += 1_000 if len(seen) > suite.WARM_UP_CALLS else 50_000

    monkeypatch.setattr(suite, "perf_counter_ns", lambda: clock[0])
    result = suite.measure(call, frames, 2000)
    assert (result.p50_us, result.max_us, result.n) == (1.0, 1.0, 2000)
    turns = cycle([0.0, 2.0, 4.0])
    assert seen[suite.WARM_UP_CALLS :] == [next(turns) for _ in range(2000)]


def test_quantiles_by_hand() -> None:
    times = seeded_rng(0).permutation(np.arange(1.0, 101.0))
    result = suite.summarize_times(times)
    assert (result.p50_us, result.p95_us, result.p99_us, result.max_us) == (50.5, 95.05, 99.01, 100.0)


def test_the_histogram_counts_every_call_once_between_its_edges() -> None:
    times = np.exp(seeded_rng(1).normal(3, 1.5, 5000))
    histogram = suite.summarize_times(times).histogram
    assert histogram is not None
    assert len(histogram.edges_us) == len(histogram.counts) + 1
    assert np.allclose(np.divide(histogram.edges_us[1:], histogram.edges_us[:-1]), np.sqrt(2), rtol=1e-2)
    for low, high, count in zip(histogram.edges_us, histogram.edges_us[1:], histogram.counts, strict=False):
        assert count == pytest.approx(np.count_nonzero((times >= low) & (times < high)), abs=5)
    assert sum(histogram.counts) == 5000
    assert histogram.counts[0]
    assert histogram.counts[-1]


def test_calls_that_all_take_alike_have_one_bin() -> None:
    histogram = suite.summarize_times(np.full(10, 3.0)).histogram
    assert histogram is not None
    assert histogram.counts == (10,)
    low, high = histogram.edges_us
    assert low <= 3.0 <= high
    assert suite.summarize_times(np.zeros(3)).max_us == 0


CORES = {"user": 0.0, "nice": 0.0, "system": 0.0, "idle": 0.0, "iowait": 0.0, "steal": 0.0, "guest": 0.0}


@pytest.mark.parametrize(
    ("own", "seconds", "load", "busy"),
    [
        # Own work and waiting count as idle.
        (10.0, {"user": 9.5, "system": 0.5, "idle": 8.0, "iowait": 2.0}, MachineLoad(0.0, 0.0), False),
        # The time of guests is within that of users and counts once.
        (10.0, {"user": 13.0, "nice": 1.0, "system": 1.0, "idle": 5.0, "guest": 3.0}, MachineLoad(0.25, 0.0), True),
        (10.0, {"user": 10.0, "idle": 9.0, "steal": 1.0}, MachineLoad(0.0, 0.05), True),
        (0.0, {}, MachineLoad(0.0, 0.0), False),
    ],
)
def test_time_of_others_is_load_by_its_share_of_all_cores(
    monkeypatch: pytest.MonkeyPatch, own: float, seconds: dict[str, float], load: MachineLoad, busy: bool
) -> None:
    times, used = dict(CORES), [0.0]
    cores = SimpleNamespace(_asdict=lambda: dict(times))
    monkeypatch.setattr(psutil, "cpu_times", lambda: cores)
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(cpu_times=lambda: (used[0], 0.0, 0.0, 0.0, 9.0)))
    meter = LoadMeter()
    times.update(seconds)
    used[0] = own
    found = meter.read()
    assert (found, found.busy) == (load, busy)


def test_a_load_is_described_in_words() -> None:
    assert MachineLoad(0.25, 0.0).description == "other programs used 25 % of the processor"
    assert MachineLoad(0.0, 0.05).description.endswith("other guests of the host 5 %")


def test_another_process_is_noticed() -> None:
    spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        meter = LoadMeter()
        # It may take a while to start.
        while meter.read().other <= 0.1 / (psutil.cpu_count() or 1):
            time.sleep(0.1)
    finally:
        spin.kill()
        spin.wait()
