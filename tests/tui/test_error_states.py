"""Missing, broken or truncated files get a calm screen, and nothing is lost."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.events import Resize
from textual.geometry import Size
from textual.widgets import Label, Static

from kelly_core.corpora import CORPORA
from kelly_core.data.dataset import CorpusReport
from kelly_core.runs.event_log import RunEnded
from kelly_core.runs.run_dir import RunDirectory, read_manifest, write_manifest
from kelly_core.spec import MODELS
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.run_watcher import notice_since
from kelly_tui.screens.datasets import Datasets
from kelly_tui.screens.train import Train
from kelly_tui.screens.validate import Validate
from kelly_tui.state_store import CHECKED_EXPORTS, CORPUS_REPORTS, load_benchmarks, load_state, save_state
from kelly_tui.themes import THEMES
from kelly_tui.widgets.bars import SCREENS as NAMES
from kelly_tui.widgets.record_table import RecordTable
from tests.helpers.mutations import mutated_documents
from tests.helpers.rendered import SCREENS, has_curves, lines, segments, shows
from tests.tui.conftest import (
    RESULT,
    WIDE,
    MakeApp,
    Script,
    Shown,
    beating,
    cells,
    column,
    details,
    epoch,
    make_run,
    notices,
    save_benchmark,
    trained,
    until,
    write_exports,
)
from tests.tui.test_datasets import label_counts


async def test_nothing_at_all(shown: Shown) -> None:
    async with shown() as (app, pilot):
        for key in "123456":
            await pilot.press(key)
        assert "No runs in runs yet" in details(app, "#run-details")
        await pilot.press("enter", "space", "d", "s", "R")
        await pilot.press("4")
        await until(pilot, lambda: "does not exist yet" in details(app, "#checks"))
        await pilot.press("v", "a", "space", "f", "x")
        assert app.is_running


async def test_a_broken_settings_file_is_reported_and_kept(shown: Shown, workplace: Path) -> None:
    (workplace / "config.toml").write_text("[training]\nepochs = -3\n")
    async with shown() as (app, pilot):
        problem = app.screen.query_one("#problem", Static)
        assert problem.display
        assert "config.toml, line 2" in str(problem.content)
        (workplace / "config.toml").write_text("[training]\nepochs = 3\n")
        await pilot.press("2", "1")
        assert not problem.display
        assert app.session.settings.training.epochs == 3


async def test_folders_that_may_not_be_read(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("kelly_tui.app.list_runs", refuse)
    monkeypatch.setattr("kelly_tui.screens.datasets.is_present", refuse)
    async with shown() as (app, pilot):
        await until(pilot, lambda: column(app, "#corpora", 1)[:1] == ["unreadable"])
        assert "Permission denied" in details(app, "#details")
        await until(pilot, lambda: notices(app))
        assert "runs cannot be read" in notices(app)[0]


async def test_a_run_whose_process_is_killed_while_watched(shown: Shown, workplace: Path) -> None:
    reported = trained("EmotionRecognizer", 4, of=10)
    folder = make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", ["EmotionRecognizer"], reported)
    lock = beating(folder)
    async with shown("3") as (app, pilot):
        await until(pilot, lambda: column(app, "#training", 1) == ["running"])
        lock.release()
        await until(pilot, lambda: column(app, "#training", 1) == ["died"])
        assert "last checkpoint" in str(app.screen.query_one("#alarm", Static).content)
        assert app.screen.check_action("resume", ())
        assert not app.screen.check_action("stop", ())


async def test_a_run_deleted_while_watched(shown: Shown, finished_run: RunDirectory) -> None:
    async with shown("3") as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#training")) == 2)
        for path in sorted(finished_run.path.iterdir()):
            path.unlink()
        finished_run.path.rmdir()
        await until(pilot, lambda: app.attached == "" and cells(app, "#training") == [])


async def test_a_damaged_run_is_listed_as_such(shown: Shown, finished_run: RunDirectory) -> None:
    finished_run.manifest.write_text("{")
    async with shown("6") as (app, pilot):
        await until(pilot, lambda: column(app, "#runs", 2) == ["unreadable"])
        await until(pilot, lambda: "damaged" in details(app, "#run-details"))


async def test_names_with_escape_sequences_line_feeds_and_markup_are_escaped(shown: Shown, workplace: Path) -> None:
    # Relative to the working folder, so that no panel wraps it, however long the path of that folder is.
    output = Path("a[/b] [red]\n\x1b[2Jc")
    output.mkdir(parents=True)
    (output / "groovepredictor.json").write_text("{}")
    reported = [*trained("GroovePredictor", 1, of=2), RunEnded("failed", f"no room in {output}")]
    folder = make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", ["GroovePredictor"], reported)
    manifest = read_manifest(folder)
    changed = manifest.settings["output"] | {"dir": str(output)}
    command = ("kelly-core", "train", "-o", str(output))
    write_manifest(folder, replace(manifest, settings=manifest.settings | {"output": changed}, command=command))

    def script(asked: Sequence[str]) -> Script:
        return Script(["wrote it\n"] if "export" in asked else [])

    async with shown("6", size=(160, 40), script=script) as (app, pilot):
        for key, name in (("6", "#run-details"), ("V", "#exports"), ("3", "#log"), ("6", "#run-details")):
            await pilot.press(key)
            await until(pilot, lambda name=name: app.screen.query(name))
            await until(pilot, lambda: shows(app, "a[/b] [red]\\n\\x1b[2Jc"))
            shown_lines = lines(app)
            assert {cell_len(line) for line in shown_lines} == {160}
            assert {line[-1] for line in shown_lines[1:-2]} <= set("╮│╯▃▄▅▆▇█ ")
        await pilot.press("e")
        await until(pilot, lambda: any(text.endswith("a[/b] [red]\\n\\x1b[2Jc") for text in notices(app)))


async def test_losses_that_are_not_numbers_leave_gaps(shown: Shown, workplace: Path) -> None:
    reported = trained("EmotionRecognizer", 4)
    reported[2] = replace(epoch("EmotionRecognizer", 2), val_loss=math.nan, train_loss=math.inf)
    reported.append(RunEnded("failed"))
    make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", ["EmotionRecognizer"], reported)
    async with shown("3", size=WIDE) as (app, pilot):
        await until(pilot, lambda: app.screen.query_one("#loss", CurveChart).series)
        await pilot.press("l")
        assert app.is_running


async def test_a_window_too_small_states_it_and_recovers(shown: Shown) -> None:
    async with shown(size=(40, 10)) as (app, pilot):
        await pilot.pause()
        assert app.screen.query_one("#too-small").display
        assert not app.screen.query_one("#body").display
        for width, height in ((200, 60), (61, 19), (30, 60), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
        assert not app.screen.query_one("#too-small").display
        assert app.screen.query_one("#body").display


@pytest.mark.usefixtures("finished_run")
@pytest.mark.parametrize("keys", ["123456", "2e", "3n", "3l", "4 v", "5e", "6/", "6 m", "62e", "2y3y4y5y6y"])
async def test_keys_that_come_before_their_screen(shown: Shown, keys: str) -> None:
    async with shown(size=WIDE) as (app, pilot):
        for number, key in enumerate(keys):
            app.simulate_key({" ": "space", "/": "slash", "?": "question_mark"}.get(key, key))
            if number == len(keys) // 2:
                app.post_message(Resize(Size(80, 24), Size(80, 24)))
        last = SCREENS.index([key for key in keys if key in SCREENS][-1])
        await until(pilot, lambda: app.current_mode == NAMES[last] and app.screen_stack[0].is_mounted)
        await pilot.pause()
        assert app.screen_stack[0].has_class("-narrow", "-low")


@pytest.mark.parametrize(("keys", "asked_for"), [(["enter"], ""), (["right", "enter"], '"after_epochs": 1')])
async def test_quitting_needs_confirmation_while_a_run_is_live(
    shown: Shown, live_run: RunDirectory, keys: list[str], asked_for: str
) -> None:
    async with shown() as (app, pilot):
        await until(pilot, lambda: app.live_text)
        await pilot.press("q")
        assert isinstance(app.screen, ConfirmDialog)
        await pilot.press("escape")
        assert app.is_running
        await pilot.press("q", *keys)
        await until(pilot, lambda: not app.is_running)
    assert live_run.control.exists() == bool(asked_for)
    assert not asked_for or asked_for in live_run.control.read_text()


async def test_what_happened_since_is_reported(shown: Shown, workplace: Path) -> None:
    reported = trained("EmotionRecognizer", 4, of=10)
    folder = make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", ["EmotionRecognizer"], reported)
    lock = beating(folder)
    async with shown() as (_, pilot):
        await until(pilot, lambda: load_state("screens").get("runs"))
    lock.release()
    async with shown() as (again, pilot):
        await until(pilot, lambda: list(again._notifications))
        (notice,) = again._notifications
        assert notice.title.startswith("Since you left")
        assert "brave-cadence died" in notice.message


async def test_read_only_is_marked_and_offers_no_change(shown: Shown, live_run: RunDirectory) -> None:
    async with shown("3", read_only=True) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, Train)
        await until(pilot, lambda: screen.view is not None)
        assert "read-only" in str(screen.query_one("#live", Label).content)
        await pilot.press("s", "p", "n", "R")
        assert app.screen is screen
        assert not live_run.control.exists()


async def test_saved_states_of_any_content_are_drawn(shown: Shown, make_app: MakeApp, workplace: Path) -> None:
    """Entries that do not fit are left out; what remains can be drawn."""
    exports = write_exports(workplace, *(spec.file_stem for spec in MODELS))
    report = CorpusReport("deam", "deam", found=True, files=3, examples=9, seconds=9.0, warnings=["odd"])
    skipped = {"too short": {"count": 2, "first": ["a.wav", "b.wav"]}}
    counts = {"splits": {"train": 9}, "label_sources": {"static": 9}, "joins": {"deam": 9}, "skipped": skipped}
    example = {"index": 0, "group": "a", "label_source": "static", "split": "train", "input": ["01", "40"]}
    counts |= {"test_files": 2, "labels": label_counts(), "shown": [example | {"target": ["0123"]}]}
    checks = [{"name": "parity with x", "passed": True, "detail": "same"}]
    stamp = exports[0].stat().st_mtime_ns
    states = {
        "datasets": {
            name: asdict(report) | counts | {"folder": str((workplace / "datasets" / name).absolute())}
            for name in CORPORA
        },
        "validation": {str(path): {"stamp": stamp, "checks": checks, "former": checks} for path in exports},
        "benchmark": {str((workplace / "models").absolute()): RESULT},
        "screens": {"theme": "nord", "runs": {"folder": str(workplace / "runs"), "states": {"a": "died"}, "time": 1.0}},
    }
    for name, content in states.items():
        save_state(name, content)
    async with shown("4", size=WIDE) as (app, pilot):
        await until(pilot, lambda: cells(app, "#exports"))
        validate = app.screen
        await pilot.press("1")
        datasets = app.screen
        assert isinstance(validate, Validate)
        assert isinstance(datasets, Datasets)
        assert len(datasets._reports) == len(CORPORA)
        assert len(validate._results) == len(MODELS)
        for changed in itertools.islice(mutated_documents(states, seed=12), 60):
            for name in states:
                save_state(name, changed.get(name, {}) if isinstance(changed.get(name), dict) else {})
            datasets._reports = CORPUS_REPORTS.load("datasets")
            datasets._found = dict.fromkeys(CORPORA, True)
            validate._benchmarks = load_benchmarks()
            validate._results = CHECKED_EXPORTS.load("validation")
            datasets.draw()
            assert list(datasets._details("deam"))
            validate.draw()
            notice_since(load_state("screens"), app.run_list, app.runs_folder)
            make_app()
        await pilot.pause()


@pytest.mark.usefixtures("live_run")
async def test_read_only_writes_no_file(shown: Shown, workplace: Path) -> None:
    write_exports(workplace, "odd")
    checks = [{"name": "readable", "passed": True, "detail": ""}]
    report = {"passed": True, "files": [{"file": "models/odd.json", "checks": checks}]}

    def script(command: Sequence[str]) -> Script:
        return Script([json.dumps(report)] if "validate" in command else [])

    def on_disk() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in workplace.rglob("*") if path.is_file()}

    before = on_disk()
    async with shown(size=WIDE, script=script, read_only=True) as (app, pilot):
        await until(pilot, lambda: app.live_text)
        for key in ("1", "p", "P", "v", "2", "e", "7", "ctrl+s", "escape", "5", "b", "3", "n", "6", "d", "e"):
            await pilot.press(key)
        await pilot.press("4")
        await until(pilot, lambda: cells(app, "#exports"))
        await pilot.press("v")
        await until(pilot, lambda: cells(app, "#exports")[0][2] == "passed")
        app.theme = "kelly-light"
    assert on_disk() == before


async def test_a_change_before_leaving_is_kept_though_its_thread_has_not_begun(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shown() as (app, pilot):
        monkeypatch.setattr(app.state, "_in_thread", lambda _write: None)
        app.theme = "kelly-light"
        await pilot.pause()
    assert load_state("screens")["theme"] == "kelly-light"


@pytest.mark.usefixtures("finished_run")
async def test_every_theme_draws_every_screen(shown: Shown, make_app: MakeApp) -> None:
    async with shown("3", size=WIDE) as (app, pilot):
        await until(pilot, lambda: app.screen.query_one(CurveChart).series)
        for theme in app.available_themes:
            app.theme = theme
            await pilot.pause()
        for key, theme in zip("123456", [*(theme.name for theme in THEMES), "ansi-dark", "nord"], strict=True):
            app.theme = theme
            await pilot.press(key)
        await until(pilot, lambda: load_state("screens").get("theme") == app.theme)
    assert make_app().theme == app.theme


@pytest.mark.usefixtures("finished_run", "live_run")
async def test_ascii_draws_nothing_else(shown: Shown, workplace: Path) -> None:
    (export,) = write_exports(workplace, "groß→")
    checks = [{"name": "quality record", "passed": False, "detail": "97% missing: ε 0.970"}]
    kept = {"stamp": export.stat().st_mtime_ns, "checks": checks, "former": None}
    save_state("validation", {str(export): kept})
    save_benchmark()

    def look() -> None:
        assert [line for line in lines(app) if not line.isascii()] == []

    async with shown(size=WIDE, ascii=True) as (app, pilot):
        for keys in ([], ["question_mark"], ["ctrl+p"]):
            for screen in SCREENS:
                await pilot.press(screen)
                await until(pilot, lambda: has_curves(app))
                await pilot.press(*keys)
                look()
                if keys:
                    await pilot.press("escape")
        await pilot.press("4")
        await until(pilot, lambda: shows(app, "97% missing: e 0.970"))
        for keys in (
            ["1", "v"], ["3", "n"], ["3", "s"], ["3", "w"], ["3", "b"], ["5", "e"], ["6", "d"], ["6", "y"],
            ["6", "down", "R"], ["2", "e", *4 * ["tab"], "enter"],
        ):  # fmt: skip
            await pilot.press(*keys)
            await pilot.pause()
            look()
            await pilot.press("escape")
        await pilot.resize_terminal(50, 12)
        await pilot.pause()
        assert "60 x 18" in " ".join(lines(app))
        look()


@pytest.mark.usefixtures("finished_run")
async def test_without_colors(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with shown() as (app, pilot):
        for screen in SCREENS:
            await pilot.press(screen)
            await pilot.pause()
            styles = [piece.style for line in segments(app) for piece in line if piece.style]
            assert {color.name for style in styles for color in (style.color, style.bgcolor) if color} <= {"default"}
            # Without colors the row under the cursor and the screen's name are reported by reversed text.
            reversed_text = [
                piece.text.strip() for line in segments(app) for piece in line if piece.style and piece.style.reverse
            ]
            assert any(app.current_mode.title() in text for text in reversed_text)
            listing = app.screen.query(RecordTable).first()
            if listing.row_count:
                assert any(listing.get_row_at(listing.cursor_row)[1].plain in text for text in reversed_text)
        # So are the title of the part that has the focus and the place in its field.
        await pilot.press("2", "e")
        field = app.screen.query_one("#field-epochs")
        await until(pilot, lambda: field.has_focus)
        assert field.get_component_rich_style("input--cursor").reverse
        settings = app.screen.query_one("#settings")
        assert "reverse" in str(settings.styles.border_title_style)
        assert "reverse" not in str(app.screen.query_one("#models").styles.border_title_style)
