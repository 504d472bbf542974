"""What each screen does when keys are pressed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from textual.widgets import Button, Input, Label, Static

from kelly_core import events
from kelly_core.config.editing import read_values
from kelly_core.export.quality_record import QualityRecord
from kelly_core.formatting import MISSING
from kelly_core.runs.event_log import LogRecord, RunEnded, encode
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui.app import KellyApp
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.dialogs.confirm import ConfirmDialog
from kelly_tui.dialogs.help import HelpDialog
from kelly_tui.dialogs.new_training import NewTrainingDialog
from kelly_tui.dialogs.run_control import StopDialog
from kelly_tui.dialogs.run_picker import RunPicker
from kelly_tui.dialogs.text_prompt import TextPrompt
from kelly_tui.screens.datasets import Datasets
from kelly_tui.screens.models import Models
from kelly_tui.screens.runs import Runs
from kelly_tui.screens.train import Train
from kelly_tui.widgets.bars import CommandLine
from kelly_tui.widgets.details_panel import DetailsPanel
from kelly_tui.widgets.record_table import RecordTable
from kelly_tui.widgets.run_log import RunLog
from tests.tui.conftest import BEGAN, Script, make_run, trained, until

MakeApp = Callable[..., KellyApp]


def cells(app: KellyApp, table: str) -> list[list[str]]:
    listing = app.screen.query_one(table, RecordTable)
    return [[cell.plain for cell in listing.get_row_at(row)] for row in range(listing.row_count)]


def details(app: KellyApp, name: str) -> str:
    part = app.screen.query_one(name)
    assert isinstance(part, DetailsPanel | RunLog)
    return part.value_to_copy()


async def test_number_keys_go_to_the_six_screens(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        for key, name in zip("123456", ["datasets", "models", "train", "validate", "benchmark", "runs"], strict=True):
            await pilot.press(key)
            assert app.current_mode == name
            assert app.screen.query_one(CommandLine).command.startswith("kelly-core ")


async def test_a_missing_corpus_says_how_to_get_it(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await until(pilot, lambda: cells(app, "#corpora") and cells(app, "#corpora")[0][1] == "missing")
        assert "DEAM_audio" in details(app, "#details")
        await pilot.press("p")
        assert isinstance(app.screen, Datasets)
        assert not app.screen._job_queue.current


async def test_a_corpus_is_downloaded_after_agreement_to_its_license(make_app: MakeApp, workplace: Path) -> None:
    asked: list[Sequence[str]] = []
    shown: list[str] = []

    def script(command: Sequence[str]) -> Script:
        asked.append(command)
        (workplace / "datasets/maestro").mkdir(parents=True)
        (workplace / "datasets/maestro/a.midi").write_bytes(b"x")
        line = {"file": "m.zip", "stage": "download", "done": 25_000_000, "total": 50_000_000, "note": ""}
        return Script([json.dumps(line), json.dumps({**line, "note": "sum differs"}), json.dumps({"got": []})])

    app = make_app(script)
    async with app.run_test(size=(120, 40)) as pilot:
        screen = app.screen
        assert isinstance(screen, Datasets)
        await until(pilot, lambda: cells(app, "#corpora") and cells(app, "#corpora")[3][1] == "missing")
        draw = screen._draw
        screen._draw = lambda: (draw(), shown.append(cells(app, "#corpora")[3][1]))[0]  # type: ignore[method-assign]
        await pilot.press("down", "down", "down", "g")
        assert isinstance(app.screen, ConfirmDialog)
        assert "CC BY-NC-SA 4.0" in app.screen._text
        await pilot.press("escape")
        assert not asked
        await pilot.press("g", "right", "enter")
        await until(pilot, lambda: cells(app, "#corpora") and cells(app, "#corpora")[3][1] == "found")
        assert [*asked[0]][2:5] == ["kelly_tui.workers.corpora", "get", "maestro"]
        assert "download 50%" in shown
        assert "sum differs" in [toast.message for toast in app._notifications]


async def test_a_cancelled_download_is_no_error_and_a_source_by_hand_is_explained(
    make_app: MakeApp,
) -> None:
    begun, ended = Event(), Event()

    class Waits(Script):
        def lines(self) -> Iterator[str]:
            begun.set()
            ended.wait()
            yield json.dumps({"error": "killed"})

        def records(self) -> Iterator[dict[str, Any]]:
            yield from map(json.loads, self.lines())

        def cancel(self) -> None:
            super().cancel()
            ended.set()

    app = make_app(lambda _command: Waits([]))
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: cells(app, "#corpora") and cells(app, "#corpora")[0][1] == "missing")
        await pilot.press("g", "right", "enter")
        await until(pilot, begun.is_set)
        await pilot.press("x")
        await until(pilot, lambda: cells(app, "#corpora")[0][1] == "missing")
        assert not [toast for toast in app._notifications if toast.severity == "error"]
        await pilot.press(*["down"] * 6, "g")
        assert any("osf.io/p6vkg" in toast.message for toast in app._notifications)


async def test_preparing_shows_progress_then_the_report(make_app: MakeApp, workplace: Path) -> None:
    folder = workplace / "datasets" / "chords"
    folder.mkdir(parents=True)
    (folder / "chord_progressions.json").write_text("[]")
    report = {
        "name": "chords", "path": "datasets/chords", "found": True, "files": 12, "examples": 345, "licence": "",
        "skipped": {"unknown chord": {"count": 2, "first": ["a/one", "two"]}}, "label_sources": {"estimated": 345},
        "splits": {"train": 300, "validation": 45}, "advice": "", "problem": "", "seconds": 5400.0,
        "split_source": "official", "tables": ["a/info.csv"],
    }  # fmt: skip
    asked: list[Sequence[str]] = []

    def script(command: Sequence[str]) -> Script:
        asked.append(command)
        progress = {"done": 1, "total": 2, "note": "no workers"}
        return Script([json.dumps(progress), json.dumps({"report": report})])

    app = make_app(script)
    async with app.run_test() as pilot:
        await until(pilot, lambda: cells(app, "#corpora") and cells(app, "#corpora")[2][1] == "found")
        await pilot.press("down", "down", "p")
        await until(
            pilot, lambda: cells(app, "#corpora") and cells(app, "#corpora")[2][1:5] == ["ready", "12", "345", "1.50"]
        )
        assert [*asked[0]][2:5] == ["kelly_tui.workers.corpora", "inspect", "chords"]
        assert [toast.message for toast in app._notifications] == ["no workers"]
        assert "2 × unknown chord" in details(app, "#details")
        assert "one, two" in details(app, "#details")
        assert "official" in details(app, "#details")
        assert "a/info.csv" in details(app, "#details")
    again = make_app()
    async with again.run_test() as pilot:
        await until(
            pilot, lambda: cells(again, "#corpora") and cells(again, "#corpora")[2][1:4] == ["ready", "12", "345"]
        )


async def test_a_setting_is_checked_as_typed_and_saved_with_its_comments(make_app: MakeApp, workplace: Path) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2", "e", "7", "x")
        screen = app.screen
        assert isinstance(screen, Models)
        await until(pilot, lambda: screen.query_one("#note-epochs").has_class("-problem"))
        await pilot.press("ctrl+s")
        assert "models.EmotionRecognizer.epochs" not in read_values(workplace / "config.toml")
        await pilot.press("backspace")
        await until(pilot, lambda: not screen.query_one("#note-epochs").has_class("-problem"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "epochs = 7" in (workplace / "config.toml").read_text())
        note = str(screen.query_one("#note-epochs", Label).content)
        assert note.startswith("7 · config.toml, line")


async def test_pasted_garbage_is_refused_in_words(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2", "e")
        app.screen.query_one("#field-epochs", Input).value = "1e999 \x1b[31m rm -rf"
        await until(pilot, lambda: app.screen.query_one("#form-status").has_class("-problem"))
        assert "models.EmotionRecognizer.epochs" in str(app.screen.query_one("#form-status", Label).content)


async def test_someone_else_changed_the_same_setting(make_app: MakeApp, workplace: Path) -> None:
    config = workplace / "config.toml"
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2", "e", "7")
        await until(pilot, lambda: "1 unsaved" in str(app.screen.query_one("#form-status", Label).content))
        config.write_text(config.read_text().replace("# epochs = 50", "epochs = 99", 1))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        assert read_values(config)["models.EmotionRecognizer.epochs"] == 99
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: read_values(config)["models.EmotionRecognizer.epochs"] == 7)


async def test_an_environment_variable_wins_and_cannot_be_edited(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KELLY_MODELS_EMOTIONRECOGNIZER_EPOCHS", "5")
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        assert app.screen.query_one("#field-epochs", Input).disabled
        assert "KELLY_MODELS" in str(app.screen.query_one("#note-epochs", Label).content)


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


@pytest.mark.usefixtures("finished_run")
async def test_going_back_is_offered_only_where_it_can_be_done(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, Train) and app.screen.view)
        assert not app.screen.check_action("rollback", ())


@pytest.mark.usefixtures("live_run")
async def test_a_read_only_session_sends_nothing_back(make_app: MakeApp) -> None:
    app = make_app(read_only=True)
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


async def test_the_new_training_is_the_command_that_is_shown(make_app: MakeApp) -> None:
    app = make_app()
    orders = []
    app.start_training = orders.append  # type: ignore[method-assign, assignment]
    async with app.run_test() as pilot:
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog))
        await pilot.press("space", "down", "space", "ctrl+y")
        app.screen.query_one("#epochs", Input).value = "x"
        await until(pilot, lambda: app.screen.query_one("#order").has_class("-problem"))
        await pilot.press("ctrl+s")
        assert isinstance(app.screen, NewTrainingDialog)
        app.screen.query_one("#epochs", Input).value = "3"
        await until(pilot, lambda: not app.screen.query_one("#order").has_class("-problem"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: orders)
    (order,) = orders
    assert order.models == ("HarmonyPredictor", "DynamicsEngine", "GroovePredictor")
    assert order.command == (
        "kelly-core", "train", "--detach", "--model", "HarmonyPredictor", "--model", "DynamicsEngine", "--model",
        "GroovePredictor", "--epochs", "3", "--use-synthetic",
    )  # fmt: skip
    assert order.typed["training.epochs"] == ("--epochs", 3)


async def test_a_trial_estimates_time_and_memory(make_app: MakeApp) -> None:
    rows = {"models": [{"seconds": 100.0, "memory_bytes": 2_000_000}, {"seconds": 25.0, "memory_bytes": 5_000_000}]}
    asked: list[Sequence[str]] = []

    def script(command: Sequence[str]) -> Script:
        asked.append(command)
        return Script([json.dumps(rows)])

    app = make_app(script)
    async with app.run_test() as pilot:
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog))
        await pilot.press("space", "ctrl+e")
        text = "at most 2:05 for all epochs, 5.0 MB of memory"
        await until(pilot, lambda: str(app.screen.query_one("#estimate", Static).content) == text)
    (command,) = asked
    assert "--estimate" in command
    assert "--detach" not in command


async def test_two_marked_exports_are_compared(make_app: MakeApp, workplace: Path) -> None:
    (workplace / "models").mkdir()
    for name in ("a", "b"):
        (workplace / "models" / f"{name}.json").write_text("{}")
    asked: list[Sequence[str]] = []

    def script(command: Sequence[str]) -> Script:
        asked.append(command)
        return Script(["weights differ"] if "compare" in command else [])

    app = make_app(script)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: len(cells(app, "#exports")) == 2)
        await pilot.press("space", "down", "space")
        await until(pilot, lambda: details(app, "#checks") == "weights differ")
        assert app.screen.query_one(CommandLine).command == "kelly-core compare models/a.json models/b.json"
        assert [*asked[-1]][-2:] == ["models/a.json", "models/b.json"]


async def test_exports_that_cannot_be_compared_lead_to_those_of_other_folders(
    make_app: MakeApp, workplace: Path
) -> None:
    (workplace / "models").mkdir()
    for name in ("a", "b"):
        (workplace / "models" / f"{name}.json").write_text("{}")
    app = make_app(lambda command: Script(["error: a holds X"], "error") if "compare" in command else Script([]))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: len(cells(app, "#exports")) == 2)
        await pilot.press("space", "down", "space")
        await until(
            pilot, lambda: details(app, "#checks").startswith("error: a holds X\n\nMark two exports of one model")
        )


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_two_marked_runs_are_compared(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        assert [row[2] for row in cells(app, "#runs")] == ["running", "finished"]
        await pilot.press("space", "down", "space")
        await until(pilot, lambda: "brave-cadence → calm-melody" in details(app, "#run-details"))
        assert "settings\tthe same" in details(app, "#run-details")
        assert len(app.screen.query_one(CurveChart).series) == 2
        assert "diff 2026-09-21-1100-brave-cadence" in app.screen.query_one(CommandLine).command


async def test_every_shared_model_can_be_compared(make_app: MakeApp, workplace: Path) -> None:
    models = ["EmotionRecognizer", "GroovePredictor"]
    for number, name in enumerate(["calm-melody", "golden-march", "brave-cadence"]):
        reported = [*trained(models[0]), *trained(models[1], 8), RunEnded("finished")]
        make_run(workplace / "runs", f"2026-09-21-100{number}-{name}", models, reported, created=BEGAN + number)
    other = [*trained("MelodyTransformer"), RunEnded("finished")]
    make_run(workplace / "runs", "2026-09-21-0900-snug-lute", ["MelodyTransformer"], other, created=BEGAN - 1)
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
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
async def test_deleting_asks_first_and_is_not_offered_for_a_live_run(
    make_app: MakeApp, finished_run: RunDirectory
) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
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


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_the_filter_keeps_what_matches(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        await pilot.press("slash", *"calm")
        await until(pilot, lambda: [row[1] for row in cells(app, "#runs")] == ["calm-melody"])
        await pilot.press("escape")
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)


@pytest.mark.usefixtures("live_run")
async def test_enter_attaches_the_chosen_run(make_app: MakeApp, finished_run: RunDirectory) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        await pilot.press("down", "enter")
        assert isinstance(app.screen, Train)
        assert app.attached == finished_run.id
        await pilot.press("escape")
        assert isinstance(app.screen, Runs)
        await pilot.press("3", "escape")
        assert isinstance(app.screen, Train)


async def test_validation_shows_what_failed(make_app: MakeApp, workplace: Path) -> None:
    (workplace / "models").mkdir()
    (workplace / "models" / "odd.json").write_text("{}")
    facts = {"file": "models/odd.json", "layout": "rtneural", "input_size": 1, "output_size": 2, "parameters": 3,
             "metadata": {"state": "stateful", "metrics": {"val_loss": 0.5, "baseline_loss": 1.0}}}  # fmt: skip
    quality = QualityRecord("validation", "trained", ("loss",), 64, 64, {}, epsilon=0.012, epsilon_limit=0.05)
    facts["metadata"]["quality"] = quality.to_json()  # type: ignore[index]
    checks = [
        {"name": "readable", "passed": True, "detail": "yes"},
        {"name": "parity", "passed": False, "detail": "no"},
    ]

    def script(command: Sequence[str]) -> Script:
        report = {"passed": False, "files": [{"file": "models/odd.json", "checks": checks}]}
        return Script([json.dumps(report, indent=1) if "validate" in command else json.dumps(facts)])

    app = make_app(script)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, lambda: cells(app, "#exports") and cells(app, "#exports")[0][4] == "3")
        assert cells(app, "#exports")[0][2] == "not checked"
        assert quality.summary() in details(app, "#checks")
        assert cells(app, "#exports")[0][6:9] == ["stateful", "0.5000", "+50%"]
        await pilot.press("v")
        await until(pilot, lambda: cells(app, "#exports")[0][2:4] == ["1 failed", "failed"])
        assert "✗ parity" in details(app, "#checks")
        await pilot.press("f")
        assert "readable" not in details(app, "#checks")


LATENCY = {"p50_us": 100.0, "p95_us": 110.0, "p99_us": 5000.0, "max_us": 6000.0, "n": 2000,
           "histogram": {"edges_us": [64.0, 128.0, 256.0], "counts": [10, 1]}}  # fmt: skip
RESULT = {
    "budget_ms": 10.0, "passed": True, "calls": 2000, "missing": [], "command": None, "last_run": None, "slower": [],
    "engines": {"numpy": {"chain": LATENCY, "models": {"EmotionRecognizer": LATENCY}, "error": None}},
}  # fmt: skip


async def test_a_benchmark_is_shown_against_the_budget(make_app: MakeApp) -> None:
    app = make_app(lambda _command: Script(["timing numpy …\n", *json.dumps(RESULT, indent=1).splitlines()]))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("5")
        assert "Press b" in details(app, "#spread")
        await pilot.press("b")
        await until(pilot, lambda: len(cells(app, "#latencies")) == 2)
        assert cells(app, "#latencies")[0][:4] == ["numpy", "chain", "100", "110"]
        assert cells(app, "#latencies")[0][7].endswith("50.0%")
        assert "passed · budget 10 ms" in str(app.screen.query_one("#latencies").border_subtitle)


async def test_a_benchmark_is_compared_with_the_last_and_times_the_engine_that_is_named(
    make_app: MakeApp, workplace: Path
) -> None:
    (workplace / "models").mkdir()
    before = {name: value / 2 if name == "p50_us" else value * 2 for name, value in LATENCY.items() if "us" in name}
    runs = [
        {"time": time, "host": "here", "command": None, "engines": {"numpy": {"chain": chain, "models": {}}}}
        for time, chain in (("2026-01-01", LATENCY), ("2026-01-02", before), ("2026-01-03", LATENCY))
    ]
    (workplace / "models" / "benchmarks.jsonl").write_text("\n".join(map(json.dumps, runs)))
    slower = {"engine": "numpy", "part": "chain", "before_us": 50.0, "now_us": 100.0}
    asked: list[Sequence[str]] = []

    def script(command: Sequence[str]) -> Script:
        asked.append(command)
        return Script(json.dumps(RESULT | {"last_run": "2026-01-02", "slower": [slower]}, indent=1).splitlines())

    app = make_app(script)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("5")
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
    again = make_app()
    async with again.run_test(size=(120, 40)) as pilot:
        await pilot.press("5")
        await until(pilot, lambda: "2026-01-04" in details(again, "#spread"))
        assert details(again, "#spread").count("busy machine") == 1
        assert "engine x" in again.screen.query_one(CommandLine).command


async def test_help_describes_the_screen_and_its_keys(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpDialog)
        text = " ".join(str(part.content) for part in app.screen.query(Static))
        assert "five corpora" in text
        assert "Look again which corpora are here" in text
        await pilot.press("escape")
        assert isinstance(app.screen, Datasets)


async def test_the_command_is_copied(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("y")
        assert app.clipboard == "kelly-core datasets"
        await pilot.press("c")
        assert app.clipboard.startswith("deam\t")
