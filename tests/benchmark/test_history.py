"""The history of benchmarks, and the comparison of a run with the one before."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from kelly_core.benchmark.history import FILE, BenchmarkRun, append_run, compare_latencies, last_run
from kelly_core.benchmark.results import BenchmarkReport, BenchmarkResult, EngineResult, Histogram, Latency, MachineLoad
from kelly_core.cli.bench import render
from kelly_core.errors import KellyError
from tests.helpers.json_files import edited


def shown(what: RenderableType) -> str:
    """The text of something printed."""
    console = Console(width=200, force_terminal=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


QUIET, BUSY = MachineLoad(0.02, 0.0), MachineLoad(0.4, 0.0)


def latency(p50_us: float) -> Latency:
    return Latency(p50_us, 2 * p50_us, 3 * p50_us, 4 * p50_us, 2000, Histogram((8.0, 16.0, 32.0), (1999, 1)))


def result(
    p50_us: float, command: str | None = "engine", missing: tuple[str, ...] = (), load: MachineLoad = QUIET
) -> BenchmarkResult:
    chain = None if missing else latency(p50_us)
    engine = EngineResult({"GroovePredictor": latency(7.0)}, chain)
    return BenchmarkResult(10.0, 2000, missing, {"numpy": engine, "external": engine}, load, command)


def latest(folder: Path, *, busy: bool = False) -> BenchmarkRun:
    run = last_run(folder, busy=busy)
    assert run is not None
    return run


def test_a_run_is_one_line_and_is_read_back(tmp_path: Path) -> None:
    assert last_run(tmp_path) is None
    append_run(tmp_path, result(100.0))
    append_run(tmp_path, result(200.0))
    assert len((tmp_path / FILE).read_text().splitlines()) == 2
    last = latest(tmp_path)
    chain = last.engines["numpy"].chain
    assert chain is not None
    assert (chain.p50_us, chain.p99_us, chain.histogram, last.command) == (200.0, 600.0, None, "engine")


def test_runs_of_other_machines_and_invalid_lines_are_skipped(tmp_path: Path) -> None:
    append_run(tmp_path, result(100.0))
    line = (tmp_path / FILE).read_text()
    other = json.dumps({**json.loads(line), "host": platform.node() + "-other"})
    (tmp_path / FILE).write_text(f'{line}{other}\n\n{{"time": 1}}\n{line[:40]}')
    assert latest(tmp_path).host == platform.node()
    # The next one does not become a part of the line that was cut short.
    append_run(tmp_path, result(200.0))
    assert latest(tmp_path).engines["numpy"].chain == replace(latency(200.0), histogram=None)


def test_runs_beside_other_programs_are_kept_but_not_compared(tmp_path: Path) -> None:
    append_run(tmp_path, result(100.0))
    append_run(tmp_path, result(300.0, load=BUSY))
    last = latest(tmp_path)
    assert last.engines["numpy"].chain == replace(latency(100.0), histogram=None)
    assert latest(tmp_path, busy=True).load == BUSY
    disturbed = result(900.0, load=BUSY)
    assert compare_latencies(disturbed, last).changes == ()
    assert "other programs used 40 % of the processor during the benchmark" in shown(
        render(compare_latencies(disturbed, last))
    )
    assert compare_latencies(disturbed, last).to_json()["load"] == {"other": 0.4, "stolen": 0.0, "busy": True}


def test_runs_from_before_the_load_was_measured_count(tmp_path: Path) -> None:
    append_run(tmp_path, result(100.0))
    with edited(tmp_path / FILE) as record:
        del record["load"]
    assert latest(tmp_path).load is None


def test_a_history_that_cannot_be_used_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(KellyError, match="cannot be read"):
        last_run(tmp_path)
    with pytest.raises(KellyError, match="cannot be written"):
        append_run(tmp_path, result(1.0))


def test_only_what_is_half_as_slow_again_counts_as_slower(tmp_path: Path) -> None:
    append_run(tmp_path, result(100.0))
    last = latest(tmp_path)
    assert [change.part for change in compare_latencies(result(150.0), last).changes if change.slower] == []
    changes = compare_latencies(result(151.0), last).changes
    slower = {(change.engine, change.part) for change in changes if change.slower}
    assert slower == {("numpy", "chain"), ("external", "chain")}
    assert {change.engine for change in compare_latencies(result(151.0, command="another"), last).changes} == {"numpy"}
    without_chain = compare_latencies(result(1.0, missing=("EmotionRecognizer",)), last).changes
    assert [change.part for change in without_chain] == ["GroovePredictor"] * 2


def test_text_and_json_report_the_same(tmp_path: Path) -> None:
    append_run(tmp_path, result(100.0))
    report = compare_latencies(result(6000.0), latest(tmp_path))
    document = json.loads(json.dumps(report.to_json()))
    assert BenchmarkReport.from_json(document) == replace(report, changes=tuple(report.slower))
    assert (document["budget_ms"], document["passed"], document["missing"]) == (10.0, False, [])
    numpy = document["engines"]["numpy"]
    assert (numpy["chain"]["p50_us"], numpy["chain"]["p99_us"]) == (6000.0, 18_000.0)
    assert numpy["models"]["GroovePredictor"]["histogram"] == {"edges_us": [8.0, 16.0, 32.0], "counts": [1999, 1]}
    assert {"engine": "numpy", "part": "chain", "before_us": 100.0, "now_us": 6000.0} in document["slower"]
    text = shown(render(report))
    assert "p99 of numpy chain 18.00 ms exceeds the budget of 10 ms" in text
    assert "slower: numpy chain, 100.0 → 6,000.0 µs" in text
    assert "+5900%" in text
    assert "█▁" in text or "█▂" in text


def test_what_is_missing_and_what_failed_is_shown_as_it_is() -> None:
    failed = EngineResult({}, None, "sh: the engine exited with status 1. Its last output: [/nope]")
    some = BenchmarkResult(10.0, 2000, ("MelodyTransformer",), {"external": failed}, QUIET, "sh")
    text = shown(render(BenchmarkReport(some)))
    assert "missing: MelodyTransformer; the chain needs all five" in text
    assert "external failed: sh: the engine exited with status 1. Its last output: [/nope]" in text
    assert "FAILED: an engine failed" in text
    assert "not judged" in shown(render(BenchmarkReport(result(1.0, missing=("MelodyTransformer",)))))
