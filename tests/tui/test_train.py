"""The screen Train: a run is followed, drawn, changed and stopped."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from textual.widgets import Button, Input, Static

from kelly_core import events
from kelly_core.events import BatchDone, ModelEnded, ModelResult, ModelStarted, TrainingWarning
from kelly_core.runs.event_log import FeaturesRead, LogRecord, RunEnded, RunEvent, StateChanged, encode
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.dialogs.runs import RunPicker, StopDialog
from kelly_tui.screens.train import Train
from kelly_tui.screens.validate import Validate
from kelly_tui.widgets.bars import CommandLine
from kelly_tui.widgets.run_log import RunLog
from tests.helpers.rendered import lines
from tests.tui.conftest import BEGAN, MakeApp, Script, cells, details, make_run, trained, until


@pytest.mark.usefixtures("finished_run")
async def test_a_run_is_followed_and_its_curves_are_drawn(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
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
        assert "log, last 20" in str(chart.border_subtitle)
        assert app.screen.query_one(CommandLine).command.endswith("attach 2026-09-21-1000-calm-melody")


async def test_a_live_run_is_asked_to_stop_after_the_epoch(make_app: MakeApp, live_run: RunDirectory) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("3")
        await until(pilot, lambda: app.screen.check_action("stop", ()))
        await pilot.press("s")
        await pilot.press("right", "enter")
        await until(pilot, live_run.control.exists)
        request = json.loads(live_run.control.read_text())
        assert (request["kind"], request["after_epochs"], request["at_once"]) == ("stop", 1, False)


async def test_a_live_run_is_asked_to_stop_after_so_many_epochs(make_app: MakeApp, live_run: RunDirectory) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("3")
        await until(pilot, lambda: app.screen.check_action("stop", ()))
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
        await until(pilot, live_run.control.exists)
        assert json.loads(live_run.control.read_text())["after_epochs"] == 12


async def test_a_model_in_trouble_is_sent_back_after_asking(make_app: MakeApp, live_run: RunDirectory) -> None:
    reported = events.TrainingWarning("EmotionRecognizer", "overfitting", "overfitting, since epoch 6")
    with live_run.events.open("ab") as log:
        log.write(encode(LogRecord(BEGAN, 20.0, 1, reported)))
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("3")
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
        await until(pilot, live_run.control.exists)
        request = json.loads(live_run.control.read_text())
        assert (request["kind"], request["model"]) == ("rollback", "EmotionRecognizer")


@pytest.mark.parametrize(("run", "read_only"), [("finished_run", False), ("live_run", True)])
async def test_going_back_is_offered_only_where_it_can_be_done(
    make_app: MakeApp, request: pytest.FixtureRequest, run: str, read_only: bool
) -> None:
    request.getfixturevalue(run)
    app = make_app(read_only=read_only)
    async with app.run_test() as pilot:
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view)
        assert not app.screen.check_action("rollback", ())


@pytest.mark.usefixtures("live_run")
async def test_the_large_chart_shows_any_kind(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("3")
        chart = app.screen.query_one("#loss", CurveChart)
        await until(pilot, lambda: chart.series)
        shown = []
        for _ in range(4):
            await pilot.press("v")
            shown.append([series.name for series in chart.series])
        assert shown == [["baseline", "val"], ["of Adam"], ["frames/s"], ["baseline", "train", "validation"]]


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_other_runs_are_laid_over_this_one(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("3")
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
async def test_a_mark_on_an_unreadable_run_does_not_hide_the_others(
    make_app: MakeApp, finished_run: RunDirectory
) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await until(pilot, lambda: len(app.run_list.runs) == 2)
        app.marked = [finished_run.id]
        finished_run.record.write_text("{")
        await pilot.press("3")
        chart = app.screen.query_one("#loss", CurveChart)
        await until(pilot, lambda: [series.name for series in chart.series] == ["baseline", "train", "validation"])
        await until(pilot, lambda: "This run cannot be read" in [notice.title for notice in app._notifications])


async def test_pause_asks_a_live_run(make_app: MakeApp, live_run: RunDirectory) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("3")
        await until(pilot, lambda: app.screen.check_action("pause", ()))
        await pilot.press("p")
        await until(pilot, live_run.control.exists)
        assert json.loads(live_run.control.read_text())["kind"] == "pause"


async def test_the_pause_key_is_labeled_by_what_it_does(make_app: MakeApp, live_run: RunDirectory) -> None:
    app = make_app()

    def label() -> str:
        active = app.screen.active_bindings.get("p")
        return active.binding.description if active else ""

    async with app.run_test() as pilot:
        await pilot.press("3")
        await until(pilot, lambda: label() == "Pause")
        with live_run.events.open("ab") as file:
            file.write(encode(LogRecord(BEGAN + 7200, 60.0, 1, StateChanged("paused"))))
        await until(pilot, lambda: label() == "Resume")
        await pilot.press("p")
        await until(pilot, live_run.control.exists)
        assert json.loads(live_run.control.read_text())["kind"] == "resume"
        with live_run.events.open("ab") as file:
            file.write(encode(LogRecord(BEGAN + 7201, 61.0, 1, StateChanged("stopping"))))
        await until(pilot, lambda: not label())


async def test_settings_of_a_live_run_are_changed(make_app: MakeApp, live_run: RunDirectory) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: app.screen.check_action("set", ()))
        await pilot.press("S")
        await until(pilot, lambda: app.screen.query(Input))
        await pilot.press(*"patience", "equals_sign", "7", "enter")
        await until(pilot, live_run.control.exists)
    request = json.loads(live_run.control.read_text())
    assert (request["kind"], request["model"], request["patience"]) == ("set", "EmotionRecognizer", 7)


async def test_the_chart_of_a_model_without_a_curve_says_what_the_run_does(
    make_app: MakeApp, live_run: RunDirectory
) -> None:
    app = make_app()

    def report(*reported: RunEvent) -> None:
        with live_run.events.open("ab") as file:
            file.writelines(encode(LogRecord(BEGAN + 7200, 60.0, 1, event)) for event in reported)

    def shown(text: str) -> bool:
        return any(text in line for line in lines(app))

    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3", "j")
        await until(pilot, lambda: shown("GroovePredictor waits until EmotionRecognizer has ended."))
        report(ModelEnded("EmotionRecognizer", "epochs_done", 7, 6, 0.0967))
        await until(pilot, lambda: shown("Preparing the data of GroovePredictor"))
        report(FeaturesRead("groove_midi", 340, 1276))
        await until(pilot, lambda: shown("Reading groove_midi: 340 of 1,276 files"))
        report(ModelStarted("GroovePredictor", "groove_midi", False, 800, 120, 1, 10, "cpu", 0.25))
        await until(pilot, lambda: shown("GroovePredictor begins."))
        report(BatchDone("GroovePredictor", 1, 25, 100))
        await until(pilot, lambda: shown("Epoch 1 of 10: step 25 of 100."))


async def test_a_run_whose_last_model_failed_before_it_began_is_drawn(
    make_app: MakeApp, live_run: RunDirectory
) -> None:
    app = make_app()
    ended = ModelEnded("EmotionRecognizer", "epochs_done", 7, 6, 0.0967)
    with live_run.events.open("ab") as file:
        failed = ModelResult("GroovePredictor", "groove_midi", False, None, None, 0, {}, 1.0, "no groups")
        for event in (ended, failed):
            file.write(encode(LogRecord(BEGAN + 7200, 60.0, 1, event)))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3", "j")
        await until(
            pilot, lambda: any("GroovePredictor: failed before its first epoch." in line for line in lines(app))
        )


async def test_alarms_and_the_end_of_a_run_are_told(
    make_app: MakeApp, live_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, rung = make_app(), list[str]()
    monkeypatch.setattr(app, "_ring", rung.append)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.live_text)

        async def told(event: RunEvent, *texts: str) -> None:
            with live_run.events.open("ab") as file:
                file.write(encode(LogRecord(BEGAN + 7200, 60.0, 1, event)))
            await until(pilot, lambda: [notice.message for notice in app._notifications] == list(texts))

        model = "EmotionRecognizer"
        first, second = f"{model}: no progress", f"{model}: diverged, back to epoch 6"
        await told(TrainingWarning(model, "plateau", "no progress"), first)
        await told(TrainingWarning(model, "rollback", "diverged, back to epoch 6"), first, second)
        await told(RunEnded("failed", "disk full"), first, second, "failed: disk full")
    # Each is told with the bell, or as the settings say.
    assert len(rung) == 3


@pytest.mark.usefixtures("live_run")
async def test_the_cursor_of_the_charts_shows_values_and_the_line_of_the_log(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
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
        shown = [int(epoch) for epoch in str(chart.border_subtitle).rpartition(" ")[2].split("-")]
        assert chart.window is not None
        assert chart.window[0] <= shown[0] < shown[1] <= chart.window[1]
        await pilot.press("0")
        await until(pilot, lambda: chart.window is None and chart.cursor is None)


@pytest.mark.usefixtures("finished_run")
async def test_a_double_click_attaches_a_run_and_the_chart_is_remembered(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(cells(app, "#runs")) == 1)
        await pilot.click("#runs", offset=(2, 2))
        await until(pilot, lambda: len(app.marked) == 1)
        await pilot.double_click("#runs", offset=(10, 2))
        await until(pilot, lambda: isinstance(app.screen, Train))
        await pilot.press("v")
    again = make_app()
    async with again.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: again.screen.query_one("#loss", CurveChart).border_title == "against the baseline")


@pytest.mark.usefixtures("live_run")
async def test_music_and_exports_come_straight_from_a_live_run(make_app: MakeApp) -> None:
    asked: list[Sequence[str]] = []
    app = make_app(lambda command: (asked.append(command), Script(["wrote brave-cadence.mid\n"]))[1])
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: app.screen.check_action("set", ()))
        await pilot.press("M")
        await until(pilot, lambda: app.screen.query(Input))
        await pilot.press("enter")
        await until(pilot, lambda: [notice.message for notice in app._notifications] == ["wrote brave-cadence.mid"])
        assert " ".join(asked[-1]).endswith(
            "runs generate 2026-09-21-1100-brave-cadence --valence 0.4 --arousal 0.2 --output brave-cadence.mid"
        )
        await pilot.press("V")
        await until(pilot, lambda: isinstance(app.screen, Validate))
        assert app.exports == Path("/home/ada/kelly/models")


@pytest.mark.usefixtures("finished_run")
async def test_a_run_without_an_epoch_stays_in_the_legend_of_an_overlay(make_app: MakeApp, workplace: Path) -> None:
    begun = trained("EmotionRecognizer", 0, of=10)
    make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", ["EmotionRecognizer"], [*begun, RunEnded("stopped")])
    app = make_app()
    async with app.run_test(size=(160, 40)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        await pilot.press("space", "down", "space")
        chart = app.screen.query_one(CurveChart)
        await until(pilot, lambda: "brave-cadence (no epoch yet)" in str(chart.border_subtitle))


@pytest.mark.usefixtures("live_run")
async def test_runs_of_the_shown_model_are_offered_first_for_an_overlay(make_app: MakeApp, workplace: Path) -> None:
    for number, model in enumerate(("EmotionRecognizer", "HarmonyPredictor")):
        make_run(workplace / "runs", f"2026-09-21-090{number}-calm-{model[:4].lower()}", [model], [RunEnded("stopped")])
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view)
        assert app.attached.endswith("brave-cadence")
        await pilot.press("w")
        await until(pilot, lambda: app.screen.query("#others"))
        await until(pilot, lambda: len(cells(app, "#others")) == 2)
        assert [row[1] for row in cells(app, "#others")] == ["calm-emot", "calm-harm"]


@pytest.mark.usefixtures("live_run", "finished_run")
async def test_the_palette_finds_a_run_and_train_shows_time_left_and_gain_of_all_models(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
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
