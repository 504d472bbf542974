"""The screen Train: a run is followed, drawn, changed and stopped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from textual.widgets import Button, Input, Static

from kelly_core import events
from kelly_core.events import BatchDone, ModelEnded, ModelResult, ModelStarted, TrainingWarning
from kelly_core.runs.event_log import FeaturesRead, RunEnded, RunEvent, StateChanged
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.dialogs.runs import RunPicker, StopDialog
from kelly_tui.screens.train import Train
from kelly_tui.screens.validate import Validate
from kelly_tui.widgets.bars import CommandLine
from kelly_tui.widgets.run_log import RunLog
from tests.helpers.rendered import lines, shows
from tests.tui.conftest import (
    WIDE,
    Script,
    Shown,
    cells,
    details,
    make_run,
    notices,
    report,
    request_of,
    trained,
    until,
)


@pytest.mark.usefixtures("finished_run")
async def test_a_run_is_followed_and_its_curves_are_drawn(shown: Shown) -> None:
    async with shown("3", size=WIDE) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#training")) == 2)
        row = cells(app, "#training")[0]
        assert row[0] == "● EmotionRecognizer"
        assert row[1:3] == ["finished", "10/10"]
        assert "wrote models/emotionrecognizer.json" in details(app, "#log")
        chart = app.screen.query_one("#loss", CurveChart)
        assert [series.name for series in chart.series] == ["baseline", "train", "validation"]
        assert chart.series[2].mark == 5
        await pilot.press("o")
        assert [series.name for series in chart.series] == ["EmotionRecognizer", "GroovePredictor"]
        await pilot.press("l", "z")
        await until(pilot, lambda: "log, last 20" in str(chart.border_subtitle))
        assert app.screen.query_one(CommandLine).command.endswith("attach 2026-09-21-1000-calm-melody")


async def test_a_live_run_is_asked_to_stop_after_the_epoch_or_after_several(
    shown: Shown, live_run: RunDirectory
) -> None:
    async with shown("3") as (app, pilot):
        await until(pilot, lambda: app.screen.check_action("stop", ()))
        await pilot.press("s")
        await pilot.press("right", "enter")
        request = await request_of(pilot, live_run)
        assert (request["kind"], request["after_epochs"], request["at_once"]) == ("stop", 1, False)
        live_run.control.unlink()
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, StopDialog))
        await pilot.press("up", "backspace")
        button = app.screen.query_one("#later", Button)
        await until(pilot, lambda: button.disabled)
        await pilot.press("enter")
        assert isinstance(app.screen, StopDialog)
        await pilot.press("1", "2")
        await until(pilot, lambda: str(button.label) == "After 12 epochs")
        await pilot.press("enter")
        assert (await request_of(pilot, live_run))["after_epochs"] == 12


async def test_a_model_in_trouble_is_sent_back_after_asking(shown: Shown, live_run: RunDirectory) -> None:
    reported = events.TrainingWarning("EmotionRecognizer", "overfitting", "overfitting, since epoch 6")
    report(live_run, reported)
    async with shown("3") as (app, pilot):
        await until(pilot, lambda: app.screen.check_action("rollback", ()))
        assert cells(app, "#training")[0][1] == "overfitting"
        alarm = str(app.screen.query_one("#alarm", Static).content)
        assert alarm == "EmotionRecognizer: overfitting, since epoch 6 [b rolls back]"
        # The model under the cursor is not in training; the one that is goes back.
        await pilot.press("down", "b")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter", "b")
        assert not live_run.control.exists()
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        request = await request_of(pilot, live_run)
        assert (request["kind"], request["model"]) == ("rollback", "EmotionRecognizer")


@pytest.mark.parametrize(("run", "read_only"), [("finished_run", False), ("live_run", True)])
async def test_going_back_is_offered_only_where_it_can_be_done(
    shown: Shown, request: pytest.FixtureRequest, run: str, read_only: bool
) -> None:
    request.getfixturevalue(run)
    async with shown("3", read_only=read_only) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view)
        assert not app.screen.check_action("rollback", ())


@pytest.mark.usefixtures("live_run")
async def test_the_large_chart_shows_any_kind(shown: Shown) -> None:
    async with shown("3") as (app, pilot):
        chart = app.screen.query_one("#loss", CurveChart)
        await until(pilot, lambda: chart.series)
        kinds = []
        for _ in range(4):
            await pilot.press("v")
            kinds.append([series.name for series in chart.series])
        assert kinds == [["baseline", "val"], ["of Adam"], ["frames/s"], ["baseline", "train", "validation"]]


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_other_runs_are_laid_over_this_one(shown: Shown) -> None:
    async with shown("3") as (app, pilot):
        chart = app.screen.query_one("#loss", CurveChart)
        await until(pilot, lambda: chart.series)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, RunPicker))
        await pilot.press("space", "enter")
        await until(pilot, lambda: [series.name for series in chart.series] == ["brave-cadence", "calm-melody"])
        colors = [series.color for series in chart.series]
        assert len(set(colors)) == 2
        # The marks are those of Runs, and a mark taken away there is away here.
        await pilot.press("6")
        await until(pilot, lambda: [row[0] for row in cells(app, "#runs")] == ["●", "◆"])
        await pilot.press("down", "space", "3")
        await until(pilot, lambda: [series.name for series in chart.series] == ["baseline", "train", "validation"])


@pytest.mark.usefixtures("live_run")
async def test_a_mark_on_an_unreadable_run_does_not_hide_the_others(shown: Shown, finished_run: RunDirectory) -> None:
    async with shown() as (app, pilot):
        await until(pilot, lambda: len(app.run_list.runs) == 2)
        app.marked = [finished_run.id]
        finished_run.manifest.write_text("{")
        await pilot.press("3")
        chart = app.screen.query_one("#loss", CurveChart)
        await until(pilot, lambda: [series.name for series in chart.series] == ["baseline", "train", "validation"])
        await until(pilot, lambda: "This run cannot be read" in [notice.title for notice in app._notifications])


async def test_the_pause_key_is_labeled_by_what_it_does(shown: Shown, live_run: RunDirectory) -> None:
    def label() -> str:
        active = app.screen.active_bindings.get("p")
        return active.binding.description if active else ""

    async with shown("3") as (app, pilot):
        await until(pilot, lambda: label() == "Pause")
        await pilot.press("p")
        assert (await request_of(pilot, live_run))["kind"] == "pause"
        live_run.control.unlink()
        report(live_run, StateChanged("paused"))
        await until(pilot, lambda: label() == "Resume")
        await pilot.press("p")
        assert (await request_of(pilot, live_run))["kind"] == "resume"
        report(live_run, StateChanged("stopping"))
        await until(pilot, lambda: not label())


async def test_settings_of_a_live_run_are_changed(shown: Shown, live_run: RunDirectory) -> None:
    async with shown("3", size=WIDE) as (app, pilot):
        await until(pilot, lambda: app.screen.check_action("set", ()))
        await pilot.press("S")
        await until(pilot, lambda: app.screen.query(Input))
        await pilot.press(*"patience", "equals_sign", "7", "enter")
        request = await request_of(pilot, live_run)
    assert (request["kind"], request["model"], request["patience"]) == ("set", "EmotionRecognizer", 7)


async def test_the_chart_of_a_model_without_a_curve_shows_the_activity_of_the_run(
    shown: Shown, live_run: RunDirectory
) -> None:
    async with shown("3", size=WIDE) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#training")) == 2)
        await pilot.press("j")
        await until(pilot, lambda: shows(app, "GroovePredictor waits until EmotionRecognizer has ended."))
        report(live_run, ModelEnded("EmotionRecognizer", "epochs_done", 7, 6, 0.0967))
        await until(pilot, lambda: shows(app, "Preparing the data of GroovePredictor"))
        report(live_run, FeaturesRead("groove_midi", 340, 1276))
        await until(pilot, lambda: shows(app, "Reading groove_midi: 340 of 1,276 files"))
        report(live_run, ModelStarted("GroovePredictor", "groove_midi", False, 800, 120, 1, 10, "cpu", 0.25))
        await until(pilot, lambda: shows(app, "GroovePredictor begins."))
        report(live_run, BatchDone("GroovePredictor", 1, 25, 100))
        await until(pilot, lambda: shows(app, "Epoch 1 of 10: step 25 of 100."))


async def test_a_run_whose_last_model_failed_before_it_began_is_drawn(shown: Shown, live_run: RunDirectory) -> None:
    failed = ModelResult("GroovePredictor", "groove_midi", False, None, None, 0, {}, 1.0, "no groups")
    report(live_run, ModelEnded("EmotionRecognizer", "epochs_done", 7, 6, 0.0967), failed)
    async with shown("3", size=WIDE) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#training")) == 2)
        await pilot.press("j")
        await until(pilot, lambda: shows(app, "GroovePredictor: failed before its first epoch."))


async def test_warnings_and_the_end_of_a_run_are_reported(
    shown: Shown, live_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    async with shown(size=WIDE) as (app, pilot):
        monkeypatch.setattr(app, "_notify_terminal", rung.append)
        await until(pilot, lambda: app.live_text)

        async def told(event: RunEvent, *texts: str) -> None:
            report(live_run, event)
            await until(pilot, lambda: notices(app) == list(texts))

        model = "EmotionRecognizer"
        first, second = f"{model}: no progress", f"{model}: diverged, back to epoch 6"
        await told(TrainingWarning(model, "plateau", "no progress"), first)
        await told(TrainingWarning(model, "rollback", "diverged, back to epoch 6"), first, second)
        await told(RunEnded("failed", "disk full"), first, second, "failed: disk full")
    # Each is told with the bell, or as the settings say.
    assert len(rung) == 3


@pytest.mark.usefixtures("live_run")
async def test_the_cursor_of_the_charts_shows_values_and_the_line_of_the_log(shown: Shown) -> None:
    async with shown("3", size=WIDE) as (app, pilot):
        chart = app.screen.query_one("#loss", CurveChart)
        await until(pilot, lambda: chart.series and chart.up_to_date)
        assert chart._plot.canvas is not None
        await pilot.hover(chart, offset=(chart._plot.canvas.margin + 1, 3))
        await until(pilot, lambda: str(chart.tooltip).startswith("epoch 1\n") and "train 0.42" in str(chart.tooltip))
        await pilot.press("shift+left", "shift+left")
        await until(pilot, lambda: chart.cursor == 1)
        await pilot.press("shift+right", "left", "t")
        await until(pilot, lambda: chart.cursor == 6 and chart.smooth and chart.up_to_date)
        assert "validation 0.0967" in str(chart.border_subtitle)
        assert app.screen.query_one("#baseline", CurveChart).cursor == 6
        log = app.screen.query_one(RunLog)
        assert log._pointed is not None
        assert "epoch 6/" in log.lines[log._pointed]
        await pilot.press("plus")
        await until(pilot, lambda: chart.window is not None and chart.up_to_date)
        epochs = [int(epoch) for epoch in str(chart.border_subtitle).rpartition(" ")[2].split("-")]
        assert chart.window is not None
        assert chart.window[0] <= epochs[0] < epochs[1] <= chart.window[1]
        await pilot.press("0")
        await until(pilot, lambda: chart.window is None and chart.cursor is None)


@pytest.mark.usefixtures("finished_run")
async def test_a_double_click_attaches_a_run_and_the_chart_is_remembered(shown: Shown) -> None:
    async with shown("6", size=WIDE) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#runs")) == 1)
        await pilot.click("#runs", offset=(2, 2))
        await until(pilot, lambda: len(app.marked) == 1)
        await pilot.double_click("#runs", offset=(10, 2))
        await until(pilot, lambda: isinstance(app.screen, Train))
        await pilot.press("v")
    async with shown("3", size=WIDE) as (again, pilot):
        await until(pilot, lambda: again.screen.query_one("#loss", CurveChart).border_title == "against the baseline")


@pytest.mark.usefixtures("live_run")
async def test_music_and_exports_come_straight_from_a_live_run(shown: Shown, asked: list[Sequence[str]]) -> None:
    async with shown("3", size=WIDE, script=Script(["wrote brave-cadence.mid\n"])) as (app, pilot):
        await until(pilot, lambda: app.screen.check_action("set", ()))
        await pilot.press("M")
        await until(pilot, lambda: app.screen.query(Input))
        await pilot.press("enter")
        await until(pilot, lambda: notices(app)[1:] == ["wrote brave-cadence.mid"])
        assert " ".join(asked[-1]).endswith(
            "runs generate 2026-09-21-1100-brave-cadence --valence 0.4 --arousal 0.2 --output brave-cadence.mid"
        )
        await pilot.press("V")
        await until(pilot, lambda: isinstance(app.screen, Validate))
        assert app.exports == Path("/home/ada/kelly/models")


@pytest.mark.usefixtures("finished_run")
async def test_a_run_without_an_epoch_stays_in_the_legend_of_an_overlay(shown: Shown, workplace: Path) -> None:
    begun = trained("EmotionRecognizer", 0, of=10)
    make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", ["EmotionRecognizer"], [*begun, RunEnded("stopped")])
    async with shown("6", size=(160, 40)) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        await pilot.press("space", "down", "space")
        chart = app.screen.query_one(CurveChart)
        await until(pilot, lambda: "brave-cadence (no epoch yet)" in str(chart.border_subtitle))


@pytest.mark.usefixtures("live_run")
async def test_runs_of_the_shown_model_are_offered_first_for_an_overlay(shown: Shown, workplace: Path) -> None:
    for number, model in enumerate(("EmotionRecognizer", "HarmonyPredictor")):
        make_run(workplace / "runs", f"2026-09-21-090{number}-calm-{model[:4].lower()}", [model], [RunEnded("stopped")])
    async with shown("3", size=WIDE) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view)
        assert app.attached.endswith("brave-cadence")
        await pilot.press("w")
        await until(pilot, lambda: app.screen.query("#others"))
        await until(pilot, lambda: len(cells(app, "#others")) == 2)
        assert [row[1] for row in cells(app, "#others")] == ["calm-emot", "calm-harm"]


@pytest.mark.usefixtures("live_run", "finished_run")
async def test_the_palette_finds_a_run_and_train_shows_time_left_and_gain_of_all_models(shown: Shown) -> None:
    async with shown(size=WIDE) as (app, pilot):
        await until(pilot, lambda: len(app.run_list.runs) == 2)
        await pilot.press("colon")
        await until(pilot, lambda: app.screen.query(Input))
        await pilot.press(*"brave")
        await until(pilot, lambda: "Run brave-cadence" in "\n".join(lines(app)))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.attached.endswith("brave-cadence"))
        table = app.screen.query_one("#training")
        await until(pilot, lambda: " · gain +" in str(table.border_title))
        assert re.search(r"model 1 of 2 .* 35% · ETA \d+ s · gain \+\d+%", str(table.border_title))
