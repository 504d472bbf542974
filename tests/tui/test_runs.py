"""The screen Runs: filters, order, marks, comparison, deletion and what waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Input

from kelly_core.config.loading import load_settings
from kelly_core.runs.event_log import AttemptBegun, LogRecord, RunEnded, encode_record
from kelly_core.runs.queue import enqueue, waiting_runs
from kelly_core.runs.run_dir import RunDirectory, read_labels, read_manifest, short_id, write_manifest
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.screens.runs import Runs
from kelly_tui.screens.train import Train
from kelly_tui.state_store import load_state
from kelly_tui.widgets.bars import CommandLine
from tests.helpers.rendered import has_curves, lines
from tests.tui.conftest import (
    BEGAN,
    WIDE,
    Script,
    Shown,
    cells,
    column,
    details,
    epoch,
    make_run,
    notices,
    trained,
    until,
)


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_export_writes_the_run_under_the_cursor_only(shown: Shown, asked: list[Sequence[str]]) -> None:
    script = Script(["EmotionRecognizer: wrote a.json\n", "GroovePredictor: wrote b.json\n"])
    async with shown("6", size=WIDE, script=script) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        await pilot.press("space", "down", "space")
        await until(pilot, lambda: app.screen.check_action("export", ()))
        await pilot.press("e")
        await until(pilot, lambda: notices(app) == ["2 files written to /home/ada/kelly/models"])
        assert " ".join(asked[-1]).endswith("runs export 2026-09-21-1000-calm-melody")


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_two_marked_runs_are_compared(shown: Shown) -> None:
    async with shown("6", size=WIDE) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        assert column(app, "#runs", 2) == ["running", "finished"]
        await pilot.press("space", "down", "space")
        await until(pilot, lambda: "brave-cadence → calm-melody" in details(app, "#run-details"))
        assert "settings\tthe same" in details(app, "#run-details")
        assert len(app.screen.query_one(CurveChart).series) == 2
        assert "diff 2026-09-21-1100-brave-cadence" in app.screen.query_one(CommandLine).command
        assert column(app, "#runs", 0) == ["◆", "◆"]
        await pilot.press("u")
        assert app.marked == []
        assert column(app, "#runs", 0) == ["●", "●"]


async def test_every_shared_model_can_be_compared(shown: Shown, workplace: Path) -> None:
    models = ["EmotionRecognizer", "GroovePredictor"]
    for number, name in enumerate(["calm-melody", "golden-march", "brave-cadence"]):
        reported = [*trained(models[0]), *trained(models[1], 8), RunEnded("finished")]
        make_run(workplace / "runs", f"2026-09-21-100{number}-{name}", models, reported, created=BEGAN + number)
    other = [*trained("MelodyTransformer"), RunEnded("finished")]
    make_run(workplace / "runs", "2026-09-21-0900-snug-lute", ["MelodyTransformer"], other, created=BEGAN - 1)
    async with shown("6", size=WIDE) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#runs")) == 4)
        assert not app.screen.check_action("model", ())
        await pilot.press("space", "down", "space")
        chart = app.screen.query_one(CurveChart)
        await until(pilot, lambda: chart.border_title == "validation loss of EmotionRecognizer, 1 of 2")
        await pilot.press("m")
        await until(pilot, lambda: chart.border_title == "validation loss of GroovePredictor, 2 of 2")
        assert [len(series.xs) for series in chart.series] == [8, 8]
        await pilot.press("m", "down", "space")
        await until(pilot, lambda: len(chart.series) == 3)
        assert chart.border_title == "validation loss of EmotionRecognizer, 1 of 2"
        assert len({series.color for series in chart.series}) == 3
        assert "settings" not in details(app, "#run-details")
        await pilot.press("u", "space", "down", "space")
        await until(pilot, lambda: chart.border_title == "no model in common")
        assert "No model has curves in two" in str(chart.render())


@pytest.mark.usefixtures("live_run")
async def test_deletion_needs_confirmation_and_is_not_offered_for_a_live_run(
    shown: Shown, finished_run: RunDirectory
) -> None:
    async with shown("6", size=WIDE) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, Runs)
        await until(pilot, lambda: screen.view is not None)
        await pilot.press("d")
        assert app.screen is screen
        await pilot.press("down")
        await until(pilot, lambda: screen.view is not None and screen.view.snapshot.state == "finished")
        await pilot.press("d", "enter")
        assert finished_run.path.exists()
        await pilot.press("d", "right", "enter")
        await until(pilot, lambda: not finished_run.path.exists())
        await until(pilot, lambda: len(cells(app, "#runs")) == 1)


@pytest.mark.usefixtures("live_run")
async def test_enter_attaches_the_chosen_run(shown: Shown, finished_run: RunDirectory) -> None:
    async with shown("6") as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        await pilot.press("down", "enter")
        assert isinstance(app.screen, Train)
        assert app.attached == finished_run.id
        await pilot.press("escape")
        assert isinstance(app.screen, Runs)
        await pilot.press("3", "escape")
        assert isinstance(app.screen, Train)


@pytest.mark.usefixtures("finished_run")
@pytest.mark.parametrize("text", ["groovepredictor", "finished", "calm-melody"])
async def test_the_filter_finds_every_model_and_the_state(shown: Shown, text: str) -> None:
    async with shown("6", "slash") as (app, pilot):
        app.screen.query_one("#filter", Input).value = text
        await until(pilot, lambda: len(cells(app, "#runs")) == 1)


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_runs_are_sorted_filtered_by_fields_pinned_and_tagged(shown: Shown, finished_run: RunDirectory) -> None:
    def names() -> list[str]:
        return column(app, "#runs", 1)

    async with shown("6", size=WIDE) as (app, pilot):
        await until(pilot, lambda: names() == ["brave-cadence", "calm-melody"])
        await pilot.press("O")
        assert names() == ["calm-melody", "brave-cadence"]
        await pilot.press("O", "slash", *"state", "colon", *"finished")
        await until(pilot, lambda: names() == ["calm-melody"])
        await pilot.press(*" stat", "colon")
        await until(pilot, lambda: "no such field" in str(app.screen.query_one("#runs").border_subtitle))
        await pilot.press("escape", "down", "equals_sign")
        await until(pilot, lambda: names() == ["brave-cadence", "calm-melody"] and cells(app, "#runs")[1][0] == "★")
        await pilot.press("up")
        await until(pilot, lambda: "diff 2026-09-21-1000-calm" in app.screen.query_one(CommandLine).command)
        await pilot.press("G", "T")
        await until(pilot, lambda: app.screen.query(Input) and app.screen is not app.screen_stack[0])
        await pilot.press(*"best", "enter")
        await until(pilot, lambda: read_labels(finished_run).tags == ("best",))
        await pilot.press("o")
    async with shown(size=WIDE) as (again, pilot):
        assert again.pinned == finished_run.id
        await until(pilot, lambda: again.run_list.runs)
        await pilot.press("6")
        await until(pilot, lambda: "by run" in str(again.screen.query_one("#runs").border_subtitle))


@pytest.mark.usefixtures("finished_run")
async def test_waiting_trainings_are_listed_and_dropped(
    shown: Shown, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kelly_core.runs.queue.ensure_dispatcher", "kelly_tui.app.ensure_dispatcher"):
        monkeypatch.setattr(name, lambda _runs: None)
    waiting = enqueue(load_settings().settings, ["GroovePredictor"])
    async with shown("6", size=WIDE) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        assert cells(app, "#runs")[0][1:4] == [short_id(waiting.id), "waits, 1.", "GroovePredictor"]
        await pilot.press("g")
        await until(pilot, lambda: "J" in app.screen.active_bindings and "enter" not in app.screen.active_bindings)
        await until(pilot, lambda: "d drops it" in details(app, "#run-details"))
        await pilot.press("3")
        # Keys that come at once, as over a slow connection, are handled in their order.
        for key in ("n", "5", "ctrl+t"):
            app.simulate_key(key)
        await until(pilot, lambda: len(app.waiting) == 2)
        assert app.waiting[1].manifest.models == ("GroovePredictor",)
        assert app.waiting[1].manifest.command[:3] == ("kelly-core", "train", "--queue")
        second = app.waiting[1].id
        await pilot.press("6", "K")
        await pilot.press("J")
        await until(pilot, lambda: [each.id for each in waiting_runs(workplace / "runs")] == [second, waiting.id])
        await pilot.press("d", "right", "enter")
        await until(pilot, lambda: [each.id for each in waiting_runs(workplace / "runs")] == [second])


@pytest.mark.usefixtures("finished_run")
async def test_a_run_is_shown_again_when_a_filter_that_kept_none_is_cleared(shown: Shown) -> None:
    async with shown("6", size=WIDE) as (app, pilot):
        panel = app.screen.query_one("#run-details")
        await until(pilot, lambda: "calm-melody" in str(panel.border_title) and has_curves(app))
        assert "/ Filter" in lines(app)[-1]
        assert "Clear filter" not in lines(app)[-1]
        await pilot.press("slash", *"tag:none")
        await until(pilot, lambda: "No run fits the filter" in details(app, "#run-details"))
        await until(pilot, lambda: "Clear filter" in lines(app)[-1] and "/ Filter" not in lines(app)[-1])
        assert not app.screen.query_one(CurveChart).series
        # The field above the table takes no width from it.
        assert app.screen.query_one("#runs").outer_size.width == 120
        await pilot.press("escape")
        await until(pilot, lambda: "finished" in details(app, "#run-details") and has_curves(app))
        await until(pilot, lambda: "/ Filter" in lines(app)[-1] and "Clear filter" not in lines(app)[-1])


async def test_the_runs_of_a_sweep_are_a_group_that_folds(shown: Shown, workplace: Path) -> None:
    for number, val in enumerate((0.3, 0.1, 0.2)):
        folder = make_run(workplace / "runs", f"groovepredictor-seed{number}", ["GroovePredictor"], [], BEGAN + number)
        manifest = read_manifest(folder)
        output = manifest.settings["output"] | {"dir": f"/data/lr/trials/groovepredictor-seed{number}"}
        write_manifest(folder, replace(manifest, settings=manifest.settings | {"output": output}))
        second = replace(epoch("GroovePredictor", 2, 2, val), best_loss=val)
        events = [*trained("GroovePredictor", 1, of=2), second, RunEnded("finished")]
        records = [LogRecord(BEGAN, float(each), 1, event) for each, event in enumerate(events)]
        folder.events.write_bytes(b"".join(map(encode_record, [LogRecord(BEGAN, 0.0, 1, AttemptBegun()), *records])))
    make_run(workplace / "runs", "2026-09-21-1000-calm-melody", ["GroovePredictor"], trained("GroovePredictor"))

    def names() -> list[str]:
        return column(app, "#runs", 1)

    runs = ["  seed2", "  seed1", "  seed0"]
    async with shown("6", size=WIDE) as (app, pilot):
        await until(pilot, lambda: names() == ["lr: 3 runs", "calm-melody"])
        assert cells(app, "#runs")[0][2] == "3 finished"
        await pilot.press("g")
        # The row of a sweep compares its best runs; tags are for runs only.
        chart = app.screen.query_one(CurveChart)
        await until(pilot, lambda: [each.name for each in chart.series] == ["seed1", "seed2", "seed0"])
        assert "T" not in app.screen.active_bindings
        await pilot.press("enter")
        await until(pilot, lambda: names() == ["lr: 3 runs", *runs, "calm-melody"])
        await pilot.press("down", "space", "down", "space", "z")
        await until(pilot, lambda: names() == ["lr: 3 runs", "calm-melody"])
        assert app.marked == ["groovepredictor-seed2", "groovepredictor-seed1"]
        assert "diff groovepredictor-seed2 groovepredictor-seed1" in app.screen.query_one(CommandLine).command
        await pilot.press("slash", *"sweep", "colon", *"lr", "enter")
        await until(pilot, lambda: names() == ["lr: 3 runs", *runs])
        await pilot.press("escape", "z")
        await until(pilot, lambda: len(names()) == 5)
        # A thread writes what the next application reads.
        await until(pilot, lambda: load_state("screens").get("projects") == app.state.shared["projects"])
    async with shown("6", size=WIDE) as (again, pilot):
        await until(pilot, lambda: len(cells(again, "#runs")) == 5)
