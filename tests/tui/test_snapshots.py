"""Snapshots of each screen at the two usual sizes.

``pytest tests/tui/test_snapshots.py --snapshot-update`` accepts changed screens; look at each SVG before committing it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from kelly_core.corpora import CORPORA
from kelly_tui.app import KellyApp
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.screens.train import Train
from kelly_tui.state_store import save_state
from tests.helpers.rendered import has_curves, lines
from tests.tui.conftest import MakeApp, Script, cells, save_benchmark, until

SIZES = [(80, 24), (120, 40)]

pytestmark = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


def test_datasets(snap_compare: Any, make_app: MakeApp, size: tuple[int, int]) -> None:
    app = make_app()

    async def ready(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: all(_is_shown(f"{name} ", "missing", app) for name in CORPORA))

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
    save_state(
        "validation", {str(Path(name).absolute()): {"stamp": path.stat().st_mtime_ns, "checks": checks, "former": None}}
    )

    def script(_command: Sequence[str]) -> Script:
        return Script([json.dumps({"file": name} | facts)])

    app = make_app(script)

    async def ready(pilot: Pilot[None]) -> None:
        await pilot.press("4")
        await until(
            pilot, lambda: cells(app, "#exports") and cells(app, "#exports")[0][6 if size[0] > 90 else 5] == "stateless"
        )

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


def _is_shown(name: str, state: str, app: KellyApp) -> bool:
    """True if a line has both; a table takes its widths only after it took its rows."""
    return any(name in line and state in line for line in lines(app))
