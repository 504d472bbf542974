"""The screen Benchmark: latency compared with the budget and the last run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from textual.widgets._toast import Toast

from kelly_core.formatting import MISSING
from kelly_tui.dialogs.prompts import TextPrompt
from kelly_tui.widgets.bars import CommandLine
from tests.tui.conftest import LATENCY, RESULT, WIDE, Script, Shown, cells, details, until


async def test_a_benchmark_is_shown_against_the_budget(shown: Shown) -> None:
    script = Script(["timing numpy …\n", *json.dumps(RESULT, indent=1).splitlines()])
    async with shown("5", size=WIDE, script=script) as (app, pilot):
        assert "Press b" in details(app, "#spread")
        await pilot.press("b")
        await until(pilot, lambda: len(cells(app, "#latencies")) == 2)
        assert cells(app, "#latencies")[0][:4] == ["numpy", "chain", "100", "110"]
        assert cells(app, "#latencies")[0][7].endswith("50.0%")
        assert "passed · budget 10 ms" in str(app.screen.query_one("#latencies").border_subtitle)


async def test_an_engine_that_cannot_be_run_is_named(shown: Shown) -> None:
    problem = "there is no engine '[x]' that can be run"
    script = Script([f"error: {problem}", "{", f'"error": "{problem}"', "}"], "error")
    async with shown("5", "b", size=WIDE, notifications=True, script=script) as (app, pilot):
        await until(pilot, lambda: app.screen.query(Toast))
        # Brackets are not markup.
        assert problem in str(app.screen.query_one(Toast).render())


async def test_a_benchmark_is_compared_with_the_last_and_times_the_engine_that_is_named(
    shown: Shown, workplace: Path, asked: list[Sequence[str]]
) -> None:
    (workplace / "models").mkdir()
    before = {name: value / 2 if name == "p50_us" else value * 2 for name, value in LATENCY.items() if "us" in name}
    runs = [
        {"time": time, "host": "here", "command": None, "engines": {"numpy": {"chain": chain, "models": {}}}}
        for time, chain in (("2026-01-01", LATENCY), ("2026-01-02", before), ("2026-01-03", LATENCY))
    ]
    (workplace / "models" / "benchmarks.jsonl").write_text("\n".join(map(json.dumps, runs)))
    slower = {"engine": "numpy", "part": "chain", "before_us": 50.0, "now_us": 100.0}
    script = Script(json.dumps(RESULT | {"last_run": "2026-01-02", "slower": [slower]}, indent=1).splitlines())
    async with shown("5", size=WIDE, script=script) as (app, pilot):
        await until(pilot, lambda: "last timed at 2026-01-03" in details(app, "#spread"))
        await pilot.press("e")
        await until(pilot, lambda: isinstance(app.screen, TextPrompt))
        await pilot.press(*"engine", "space", "x", "enter", "b")
        await until(pilot, lambda: len(cells(app, "#latencies")) == 2 and cells(app, "#latencies")[0][6] != MISSING)
        assert [row[6] for row in cells(app, "#latencies")] == ["+100%  -50%", MISSING]
        assert list(asked[-1][-4:]) == ["models", "--engine", "engine x", "--json"]
        assert app.screen.query_one(CommandLine).command == "kelly-core bench models --engine 'engine x'"
    # A run that other programs disturbed is listed with a mark.
    disturbed = runs[-1] | {"time": "2026-01-04", "load": {"other": 0.5, "stolen": 0.0}}
    (workplace / "models" / "benchmarks.jsonl").write_text("\n".join(map(json.dumps, [*runs, disturbed])))
    async with shown("5", size=WIDE) as (again, pilot):
        await until(pilot, lambda: "2026-01-04" in details(again, "#spread"))
        assert details(again, "#spread").count("busy machine") == 1
        assert "engine x" in again.screen.query_one(CommandLine).command
