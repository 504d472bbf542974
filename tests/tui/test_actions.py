"""Keys, labels and start options that depend on the state of the program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from textual._compositor import Compositor
from textual.app import App, ComposeResult
from textual.widgets import Input, Label, Select, Static
from typer import Typer
from typer.testing import CliRunner

from kelly_core.config.loading import load_settings
from kelly_core.events import BatchDone, ModelEnded, ModelResult, ModelStarted, TrainingWarning
from kelly_core.io.locks import FileLock
from kelly_core.runs.event_log import AttemptBegun, FeaturesRead, LogRecord, RunEnded, RunEvent, StateChanged, encode
from kelly_core.runs.queue import enqueue, waiting_runs
from kelly_core.runs.run_dir import RunDirectory, read_labels, read_manifest, short_id, write_manifest
from kelly_core.spec import MODELS, model_spec
from kelly_tui.app import KellyApp
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.cli import tui
from kelly_tui.dialogs.confirm import ConfirmDialog
from kelly_tui.dialogs.help import HelpDialog
from kelly_tui.dialogs.jump import jump_targets
from kelly_tui.dialogs.new_training import NewTrainingDialog, TrainingRequest
from kelly_tui.dialogs.preview import _titled
from kelly_tui.dialogs.run_picker import RunPicker
from kelly_tui.dialogs.text_prompt import TextPrompt
from kelly_tui.folder_stamp import folder_stamp
from kelly_tui.screens.export_files import exports_in
from kelly_tui.screens.models import Models
from kelly_tui.screens.train import Train
from kelly_tui.screens.validate import Validate
from kelly_tui.state_store import save_state
from kelly_tui.widgets.bars import CommandLine
from kelly_tui.widgets.details_panel import DetailsPanel
from kelly_tui.widgets.record_table import RecordTable
from kelly_tui.widgets.run_log import RunLog
from kelly_tui.widgets.settings_form import usable_losses
from tests.helpers.rendered import has_curves, lines
from tests.tui.conftest import BEGAN, Script, epoch, make_run, trained, until
from tests.tui.test_screens import cells

MakeApp = Callable[..., KellyApp]


async def test_estimate_key_works_in_an_input_field(make_app: MakeApp) -> None:
    asked: list[Sequence[str]] = []
    app = make_app(lambda command: (asked.append(command), Script([]))[1])
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog) and app.screen.query("#epochs"))
        app.screen.query_one("#epochs", Input).focus()
        await pilot.press("ctrl+e")
        await until(pilot, lambda: any("--estimate" in command for command in asked))


async def test_digits_choose_the_models_of_a_training(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog) and app.screen.query("#order"))
        await pilot.press("2", "5", "4", "5")
        words = "train --detach --model MelodyTransformer --model DynamicsEngine"
        await until(pilot, lambda: words in str(app.screen.query_one("#order", Static).content))


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


async def test_quitting_asks_about_unsaved_settings(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2", "e", "7", "escape", "1", "q")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        assert app.is_running
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: not app.is_running)


async def test_keys_that_arrive_together_reach_what_the_first_of_them_opens(
    make_app: MakeApp, finished_run: RunDirectory
) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.run_list.runs)
        # As over a slow connection: a screen and its filter, a dialog and its field, the filter again, and the end.
        opened = [
            "6",
            "slash",
            *"calm",
            "enter",
            "T",
            *"best",
            "enter",
            "slash",
            "x",
            "escape",
            "2",
            "e",
            "7",
            "escape",
        ]
        for key in opened:
            app.simulate_key(key)
        await until(pilot, lambda: app.current_mode == "models" and app.screen.unsaved_text)
        assert read_labels(finished_run).tags == ("best",)
        for key in ["q", "right", "enter", "6", "slash", "x"]:
            app.simulate_key(key)
        await until(pilot, lambda: not app.is_running)


async def test_what_keys_that_arrive_together_change_is_drawn_once(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await pilot.pause()
        drawn = 0
        render = Compositor.render_update

        def counted(self: Compositor, *arguments: object, **named: object) -> object:
            nonlocal drawn
            drawn += 1
            return render(self, *arguments, **named)

        monkeypatch.setattr(Compositor, "render_update", counted)
        for key in [*10 * "jk", *"jjj"]:
            app.simulate_key(key)
        await until(pilot, lambda: app.screen.query_one("#models", RecordTable).cursor_row == 3)
        await pilot.pause()
        assert 1 <= drawn <= 6


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_one_key_clears_all_marks_of_runs(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        await pilot.press("space", "down", "space", "u")
        assert app.marked == []
        assert [row[0] for row in cells(app, "#runs")] == ["●", "●"]


@pytest.mark.usefixtures("finished_run")
@pytest.mark.parametrize("text", ["groovepredictor", "finished", "calm-melody"])
async def test_the_filter_finds_every_model_and_the_state(make_app: MakeApp, text: str) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("6", "slash")
        app.screen.query_one("#filter", Input).value = text
        await until(pilot, lambda: len(cells(app, "#runs")) == 1)


async def test_a_read_only_session_is_marked(make_app: MakeApp) -> None:
    app = make_app(read_only=True)
    async with app.run_test() as pilot:
        await pilot.pause()
        assert "read-only" in str(app.screen.query_one("#live", Label).content)


class LogApp(App[None]):
    """A log alone, as high as the window."""

    def compose(self) -> ComposeResult:
        yield RunLog(id="log")


async def test_the_log_follows_again_after_a_resize_and_after_scrolling_to_the_end() -> None:
    app = LogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(RunLog)
        lines = tuple(f"{number} {'x' * 200}" for number in range(60))
        log.show(lines)
        await pilot.resize_terminal(80, 10)
        await until(pilot, lambda: log.size.height <= 10 and log.is_vertical_scroll_end)
        log.scroll_home(animate=False, immediate=True)
        await until(pilot, lambda: log.scroll_y == 0)
        log.show((*lines, "new"))
        await pilot.pause()
        assert log.scroll_y == 0
        log.scroll_end(animate=False, immediate=True)
        await until(pilot, lambda: log.is_vertical_scroll_end)
        log.show((*lines, "new", "newer"))
        await until(pilot, lambda: log.is_vertical_scroll_end)
        assert log.max_scroll_x > 0


@pytest.mark.parametrize("height", [10, 40])
async def test_the_log_shows_the_end_of_another_run(height: int) -> None:
    app = LogApp()
    async with app.run_test(size=(80, height)) as pilot:
        log = app.query_one(RunLog)
        log.show(tuple(f"first {number}" for number in range(400)))
        await pilot.pause()
        log.scroll_home(animate=False, immediate=True)
        await pilot.pause()
        other = tuple(f"other {number}" for number in range(50))
        log.show(other)
        await pilot.pause()
        log.show((*other, "new"))
        await until(pilot, lambda: log.scroll_y > 0 and log.is_vertical_scroll_end)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_only_losses_that_a_model_can_use_are_offered(spec: object) -> None:
    assert model_spec(spec.name).loss in usable_losses(spec)  # type: ignore[attr-defined,arg-type]
    assert len({usable_losses(each) for each in MODELS}) > 1


def test_a_picture_is_drawn_with_the_shades_that_are_asked_for() -> None:
    assert "░" not in "".join(part if isinstance(part, str) else part[0] for part in _titled("t", [[0.0, 1.0]], "ab"))


def test_files_that_are_no_exports_are_left_out(tmp_path: Path) -> None:
    for name, text in {
        "sweep.json": '{"points": []}', "list.json": "[1]", "other.json": '{"layers": [], "in_shape": []}',
        "emotionrecognizer.json": '{"damaged": 1}', "torn.json": "",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    assert [file.path.name for file in exports_in(tmp_path)[0]] == [
        "emotionrecognizer.json",
        "other.json",
        "torn.json",
    ]


@pytest.mark.parametrize(("arguments", "words"), [(["--theme", "pink"], "kelly-dark"), ([], "needs a terminal")])
def test_what_cannot_start_is_refused_with_code_2(arguments: list[str], words: str) -> None:
    program = Typer()
    program.command()(tui)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2
    assert words in result.output


async def test_the_commands_of_a_demo_find_its_runs(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ordered: list[TrainingRequest] = []
    monkeypatch.setattr(KellyApp, "start_training", lambda _app, order: ordered.append(order))
    app = make_app(demo=True)
    runs = app.session.settings.runs.dir
    make_run(runs, "2026-09-21-1000-calm-melody", ["EmotionRecognizer"], trained("EmotionRecognizer", 4, of=9))
    lock = FileLock.acquire(runs / "2026-09-21-1000-calm-melody" / "heartbeat")
    assert lock is not None
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "attach" in app.screen.query_one(CommandLine).command)
        command = app.screen.query_one(CommandLine).command
        assert command == f"KELLY_RUNS_DIR={runs} kelly-core runs attach 2026-09-21-1000-calm-melody"
        await pilot.press("q", "enter")
        await until(pilot, lambda: not app.is_running)
    lock.release()
    assert f"KELLY_RUNS_DIR={runs} kelly-core runs attach calm-melody" in capsys.readouterr().err
    assert ordered[0].command[-3:] == ("--use-synthetic", "--output", str(app.session.settings.output.dir))


async def test_a_corpus_whose_files_have_changed_is_not_called_ready(make_app: MakeApp, workplace: Path) -> None:
    folder = workplace / "datasets" / "chords"
    folder.mkdir(parents=True)
    (folder / "chord_progressions.json").write_text("[]")
    report = {
        "files": 1, "examples": 3, "skipped": {}, "label_sources": {}, "splits": {}, "problem": "", "seconds": None,
    }  # fmt: skip
    save_state(
        "datasets",
        {
            name: report | {"folder": path, "stamp": folder_stamp(folder)}
            for name, path in (("a", str(folder)), ("b", "/other/datasets/maestro"))
        },
    )
    app = make_app()

    def state() -> list[str]:
        return [row[1] for row in cells(app, "#corpora")][2:4]

    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: state() == ["ready", "missing"])
        (folder / "chord_progressions.json").write_text("[1]")
        await pilot.press("r")
        await until(pilot, lambda: state() == ["changed", "missing"])
        await pilot.press("down", "down")
        await until(
            pilot, lambda: "p reads them again" in app.screen.query_one("#details", DetailsPanel).value_to_copy()
        )


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


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_runs_are_sorted_filtered_by_fields_pinned_and_tagged(
    make_app: MakeApp, finished_run: RunDirectory
) -> None:
    app = make_app()

    def names() -> list[str]:
        return [row[1] for row in cells(app, "#runs")]

    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
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
    again = make_app()
    assert again.pinned == finished_run.id
    async with again.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: again.run_list.runs)
        await pilot.press("6")
        await until(pilot, lambda: "by run" in str(again.screen.query_one("#runs").border_subtitle))


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


async def test_the_log_is_searched() -> None:
    """The key for the next match is the log's only while something is searched."""
    app = LogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(RunLog)
        log.show(tuple(f"12:{number:02}:00  epoch {number}/60" for number in range(60)))
        log.focus()
        log.search("EPOCH 1")
        assert log._pointed is not None
        found = {log.lines[log._pointed]}
        for _ in range(10):
            log.action_match(1)
            found.add(log.lines[log._pointed])
        assert len(found) == 11
        assert app.screen.active_bindings["n"].binding.action == "match(1)"
        await pilot.press("escape")
        assert "n" not in app.screen.active_bindings
        log.show(("Traceback", *log._told))
        log.search("12:30")
        assert log.lines[log._pointed].startswith("12:30:00")
        log.search("9:00")
        assert log.lines[log._pointed].startswith("12:00:00")
        log.show((*log._told, "new"))
        await pilot.pause()
        assert not log.is_vertical_scroll_end
        log.action_follow()
        await until(pilot, lambda: log.is_vertical_scroll_end)


@pytest.mark.usefixtures("finished_run")
async def test_slash_shows_and_searches_the_log_wherever_the_focus_is(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3")
        log = app.screen.query_one(RunLog)
        await until(pilot, lambda: log.line_count)
        assert not log.display
        await pilot.press("slash")
        await until(pilot, lambda: isinstance(app.screen, TextPrompt))
        await pilot.press(*"epoch", "enter")
        await until(pilot, lambda: log.display and log.has_focus and log._pointed is not None)
        first = log._pointed
        await pilot.press("n")
        await until(pilot, lambda: log._pointed != first)
        assert "epoch" in log.lines[log._pointed]


async def test_keys_of_the_settings_file_replace_those_of_actions(make_app: MakeApp, workplace: Path) -> None:
    text = (workplace / "config.toml").read_text().replace("keys = []", 'keys = ["app.help=f1", "datasets.rescan=u"]')
    (workplace / "config.toml").write_text(text)
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog))


@pytest.mark.usefixtures("finished_run")
async def test_waiting_trainings_are_listed_and_dropped(
    make_app: MakeApp, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kelly_core.runs.queue.ensure_dispatcher", "kelly_tui.app.ensure_dispatcher"):
        monkeypatch.setattr(name, lambda _runs: None)
    waiting = enqueue(load_settings().settings, ["GroovePredictor"])
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(cells(app, "#runs")) == 2)
        assert cells(app, "#runs")[0][1:4] == [short_id(waiting.id), "waits, 1.", "GroovePredictor"]
        await pilot.press("g")
        await until(pilot, lambda: "J" in app.screen.active_bindings and "enter" not in app.screen.active_bindings)
        await until(pilot, lambda: "d drops it" in app.screen.query_one("#run-details", DetailsPanel).value_to_copy())
        await pilot.press("3")
        # Keys that come at once, as over a slow connection, are handled in their order.
        for key in ("n", "5", "ctrl+t"):
            app.simulate_key(key)
        await until(pilot, lambda: len(app.waiting) == 2)
        assert app.waiting[1].record.models == ("GroovePredictor",)
        assert app.waiting[1].record.command[:3] == ("kelly-core", "train", "--queue")
        second = app.waiting[1].id
        await pilot.press("6", "K")
        await pilot.press("J")
        await until(pilot, lambda: [each.id for each in waiting_runs(workplace / "runs")] == [second, waiting.id])
        await pilot.press("d", "right", "enter")
        await until(pilot, lambda: [each.id for each in waiting_runs(workplace / "runs")] == [second])


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


async def test_exports_of_two_trainings_are_compared(
    make_app: MakeApp, finished_run: RunDirectory, workplace: Path
) -> None:
    exports = [workplace / folder / "models" / "groovepredictor.json" for folder in (".", "elsewhere")]
    for export in exports:
        export.parent.mkdir(parents=True)
        export.write_text("{}")
    (workplace / "elsewhere" / "models" / "dynamicsengine.json").write_text("{}")
    (workplace / "other" / "models").mkdir(parents=True)
    (workplace / "other" / "models" / "dynamicsengine.json").write_text("{}")
    run = make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", ["DynamicsEngine"], [], BEGAN + 1)
    run.record.write_text(run.record.read_text().replace("/home/ada/kelly", str(workplace / "other")))
    manifest = finished_run.record.read_text().replace("/home/ada/kelly", str(workplace / "elsewhere"))
    finished_run.record.write_text(manifest)
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.run_list.runs)
        await pilot.press("4")
        await until(pilot, lambda: cells(app, "#exports"))
        await pilot.press("space", "o")
        await until(pilot, lambda: "elsewhere" in str(app.screen.query_one("#exports").border_title))
        await pilot.press("space")
        await until(
            pilot,
            lambda: (
                app.screen.query_one(CommandLine).command
                == f"kelly-core compare models/groovepredictor.json {workplace}/elsewhere/models/groovepredictor.json"
            ),
        )


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


async def test_ctrl_z_suspends_and_a_dialog_leaves_the_background(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended: list[bool] = []
    monkeypatch.setattr(KellyApp, "action_suspend_process", lambda _app: suspended.append(True))
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("ctrl+z", "question_mark")
        await until(pilot, lambda: suspended and isinstance(app.screen, HelpDialog))
        # Where nothing is painted over the background, its cells are not sent again.
        assert app.screen.styles.background.a == 0


async def test_a_long_line_of_the_log_is_scrolled_into_view() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 20)) as pilot:
        log = app.query_one(RunLog)
        log.show((f"12:00:00  {'x' * 100} end",))
        log.focus()
        await pilot.press("number_sign", *"l" * 60)
        await until(pilot, lambda: log.scroll_x > 0 and log.render_line(0).text.rstrip().endswith(" end"))
        await pilot.press(*"h" * 60)
        await until(pilot, lambda: log.render_line(0).text.startswith("   1 12:00:00"))


async def test_a_model_of_the_palette_has_no_unsaved_change(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        app.choose_model("GroovePredictor")
        app.switch_mode("models")
        await until(pilot, lambda: app.screen.query("#field-dataset"))
        field = app.screen.query_one("#field-dataset", Select)
        await until(pilot, lambda: field.value == "groove_midi")
        await pilot.pause()
        assert isinstance(app.screen, Models)
        assert field.value == "groove_midi"
        assert not app.screen.unsaved_text


async def test_a_letter_jumps_to_a_part_of_the_screen_and_of_a_dialog(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(pilot, lambda: len(jump_targets(app.screen)) > 2)
        await pilot.press("ctrl+o")
        shown = "\n".join(lines(app))
        assert " a " in shown
        assert " s " in shown
        await pilot.press("s")
        assert app.focused is app.screen.query_one("#field-epochs")
        await pilot.press("ctrl+o", "ctrl+o", "ctrl+o", "exclamation_mark")
        assert app.focused is app.screen.query_one("#field-epochs")
        await pilot.press("ctrl+o", "a", "3", "n")
        await until(pilot, lambda: len(jump_targets(app.screen)) > 2)
        await pilot.press("ctrl+o", "d")
        assert app.focused is app.screen.query_one("#device")


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


@pytest.mark.usefixtures("live_run", "finished_run")
async def test_marks_of_the_dialog_are_toggled_by_keys_and_clicks_and_kept_by_escape(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(app.run_list.runs) == 2)
        await pilot.press("3", "w")
        await until(pilot, lambda: isinstance(app.screen, RunPicker) and cells(app, "#others"))
        await pilot.press("space")
        await until(pilot, lambda: cells(app, "#others")[0][0] == "[x]")
        await pilot.click("#others", offset=(2, 1))
        await until(pilot, lambda: cells(app, "#others")[0][0] == "[ ]")
        await pilot.press("space", "enter")
        await until(pilot, lambda: app.marked == [app.run_list.runs[0].id])
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, RunPicker) and cells(app, "#others"))
        assert cells(app, "#others")[0][0] == "[x]"
        await pilot.press("space", "escape")
        await until(pilot, lambda: isinstance(app.screen, Train))
        assert app.marked == [app.run_list.runs[0].id]


@pytest.mark.usefixtures("finished_run")
async def test_a_run_is_shown_again_after_a_filter_that_kept_none(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        details = app.screen.query_one("#run-details", DetailsPanel)
        await until(pilot, lambda: "calm-melody" in str(details.border_title) and has_curves(app))
        await pilot.press("slash", *"tag:none")
        await until(pilot, lambda: "No run fits the filter" in details.value_to_copy())
        assert not app.screen.query_one(CurveChart).series
        # The field above the table takes no width from it.
        assert app.screen.query_one("#runs").outer_size.width == 120
        await pilot.press("escape")
        await until(pilot, lambda: "finished" in details.value_to_copy() and has_curves(app))


async def test_a_change_between_layout_and_drawing_is_drawn(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        await pilot.press("3")
        await pilot.pause()
        table = app.screen.query_one("#training")
        app.screen._refresh_layout()
        # As after the message of a change that comes before the layout is drawn.
        table._repaint_regions.add(table.size.region)
        app.screen._dirty_widgets.add(table)
        await until(pilot, lambda: not app.screen._dirty_widgets)
        assert not table._repaint_regions


async def test_only_an_answer_that_cannot_be_undone_looks_dangerous(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.push_screen(ConfirmDialog("Leave?", "", [("leave", "Leave running"), ("", "Cancel")]))
        await until(pilot, lambda: app.screen.query("#leave"))
        assert not app.screen.query(".-error")


@pytest.mark.parametrize(("key", "answer"), [("y", "delete"), ("n", ""), ("escape", "")])
async def test_y_and_n_answer_a_question(make_app: MakeApp, key: str, answer: str) -> None:
    app, answers = make_app(), list[str | None]()
    async with app.run_test() as pilot:
        app.push_screen(ConfirmDialog("Delete?", "", [("", "Keep it"), ("delete", "Delete")]), answers.append)
        await until(pilot, lambda: app.screen.query("#delete"))
        await pilot.press(key)
        await until(pilot, lambda: answers == [answer])


async def test_y_and_n_have_no_use_beside_three_answers(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.push_screen(ConfirmDialog("Leave?", "", [("leave", "Leave"), ("epoch", "Stop"), ("", "Cancel")]))
        await until(pilot, lambda: app.screen.query("#leave"))
        await pilot.press("y", "n")
        assert isinstance(app.screen, ConfirmDialog)


@pytest.mark.usefixtures("finished_run")
async def test_the_footer_offers_to_clear_a_filter_only_while_there_is_one(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 30)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: lines(app)[-1].rstrip().endswith("q Quit"))
        assert "Clear filter" not in lines(app)[-1]
        await pilot.press("slash")
        await until(pilot, lambda: "Clear filter" in lines(app)[-1] and "/ Filter" not in lines(app)[-1])
        await pilot.press("escape")
        await until(pilot, lambda: "/ Filter" in lines(app)[-1] and "Clear filter" not in lines(app)[-1])


async def test_the_runs_of_a_sweep_are_a_group_that_folds(make_app: MakeApp, workplace: Path) -> None:
    for number, val in enumerate((0.3, 0.1, 0.2)):
        folder = make_run(workplace / "runs", f"groovepredictor-seed{number}", ["GroovePredictor"], [], BEGAN + number)
        record = read_manifest(folder)
        output = record.settings["output"] | {"dir": f"/data/lr/trials/groovepredictor-seed{number}"}
        write_manifest(folder, replace(record, settings=record.settings | {"output": output}))
        events = [
            *trained("GroovePredictor", 1, of=2),
            replace(epoch("GroovePredictor", 2, 2, val), best_loss=val),
            RunEnded("finished"),
        ]
        records = [LogRecord(BEGAN, float(each), 1, event) for each, event in enumerate(events)]
        folder.events.write_bytes(b"".join(map(encode, [LogRecord(BEGAN, 0.0, 1, AttemptBegun()), *records])))
    make_run(workplace / "runs", "2026-09-21-1000-calm-melody", ["GroovePredictor"], trained("GroovePredictor"))
    app = make_app()

    def names() -> list[str]:
        return [row[1] for row in cells(app, "#runs")]

    runs = ["  groovepredictor-seed2", "  groovepredictor-seed1", "  groovepredictor-seed0"]
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: names() == ["lr: 3 runs", "calm-melody"])
        assert cells(app, "#runs")[0][2] == "3 finished"
        await pilot.press("g")
        # The row of a sweep compares its best runs; tags are for runs only.
        await until(
            pilot,
            lambda: (
                [view.snapshot.id for view in app.screen._compared]
                == ["groovepredictor-seed1", "groovepredictor-seed2", "groovepredictor-seed0"]
            ),
        )
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
    again = make_app()
    async with again.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        await until(pilot, lambda: len(cells(again, "#runs")) == 5)
