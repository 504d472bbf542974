"""Snapshots of each screen at the two usual sizes.

``pytest tests/tui/test_snapshots.py --snapshot-update`` accepts changed screens; look at each SVG before committing it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from kelly_core.corpora import CORPORA
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.screens.train import Train
from kelly_tui.state_store import save_state
from kelly_tui.widgets.record_table import RecordTable
from tests.helpers.rendered import has_curves, shows
from tests.tui.conftest import MakeApp, Script, cells, save_benchmark, until

SIZES = [(80, 24), (120, 40)]

pytestmark = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


def test_datasets(snap_compare: Any, make_app: MakeApp, size: tuple[int, int]) -> None:
    app = make_app()

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: all(shows(app, f"{name} ", "missing") for name in CORPORA))

    assert snap_compare(app, terminal_size=size, run_before=ready)


def test_models(snap_compare: Any, make_app: MakeApp, size: tuple[int, int]) -> None:
    async def ready(pilot: Pilot[None]) -> None:
        await pilot.press("2", "down")

    assert snap_compare(make_app(), terminal_size=size, run_before=ready)


@pytest.mark.usefixtures("live_run")
def test_train(snap_compare: Any, make_app: MakeApp, size: tuple[int, int]) -> None:
    app = make_app()

    async def ready(pilot: Pilot[None]) -> None:
        app._greeted = True
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view and app.live_text)
        await until(pilot, lambda: has_curves(app))

    assert snap_compare(app, terminal_size=size, run_before=ready)


def test_validate(snap_compare: Any, make_app: MakeApp, workplace: Path, size: tuple[int, int]) -> None:
    path = workplace / "models" / "groovepredictor.json"
    path.parent.mkdir()
    path.write_text("{}" + " " * 5000)
    metadata = {"state": "stateless", "metrics": {"val_loss": 0.5, "baseline_loss": 1.0}}
    facts = {"layout": "rtneural", "input_size": 64, "output_size": 32, "parameters": 18656, "metadata": metadata}
    checks = [
        {"name": "readable", "passed": True, "detail": "a JSON object"},
        {"name": "parity with the checkpoint", "passed": False, "detail": "differs by 0.25 at frame 3"},
    ]
    name = "models/groovepredictor.json"
    kept = {"stamp": path.stat().st_mtime_ns, "checks": checks, "former": None}
    save_state("validation", {str(Path(name).absolute()): kept})
    app = make_app(Script([json.dumps({"file": name} | facts)]))

    async def ready(pilot: Pilot[None]) -> None:
        await pilot.press("4")
        await until(pilot, lambda: "stateless" in app.screen.query_one(RecordTable).value_to_copy())

    assert snap_compare(app, terminal_size=size, run_before=ready)


def test_benchmark(snap_compare: Any, make_app: MakeApp, size: tuple[int, int]) -> None:
    save_benchmark()

    async def ready(pilot: Pilot[None]) -> None:
        await pilot.press("5")

    assert snap_compare(make_app(), terminal_size=size, run_before=ready)


@pytest.mark.usefixtures("finished_run", "live_run")
def test_runs(snap_compare: Any, make_app: MakeApp, size: tuple[int, int]) -> None:
    app = make_app()

    async def ready(pilot: Pilot[None]) -> None:
        app._greeted = True
        await pilot.press("6")
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        await pilot.press("down")
        await until(pilot, lambda: len(app.screen.query_one(CurveChart).series) == 2 and has_curves(app))

    assert snap_compare(app, terminal_size=size, run_before=ready)
