"""Keys, commands and help that every screen has, in the order typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual._compositor import Compositor
from textual.widgets import Static

from kelly_core.runs.run_dir import RunDirectory, read_labels
from kelly_tui.app import KellyApp
from kelly_tui.dialogs.help import HelpDialog
from kelly_tui.dialogs.jump import jump_targets
from kelly_tui.screens.datasets import Datasets
from kelly_tui.widgets.bars import CommandLine
from kelly_tui.widgets.record_table import RecordTable
from tests.helpers.rendered import lines
from tests.tui.conftest import WIDE, Shown, notices, until


async def test_number_keys_go_to_the_six_screens(shown: Shown) -> None:
    async with shown() as (app, pilot):
        for key, name in zip("123456", ["datasets", "models", "train", "validate", "benchmark", "runs"], strict=True):
            await pilot.press(key)
            assert app.current_mode == name
            assert app.screen.query_one(CommandLine).command.startswith("kelly-core ")


async def test_help_describes_the_screen_and_its_keys(shown: Shown) -> None:
    async with shown("question_mark") as (app, pilot):
        assert isinstance(app.screen, HelpDialog)
        text = " ".join(str(part.content) for part in app.screen.query(Static))
        assert "five corpora" in text
        assert "Check again which corpora are here" in text
        await pilot.press("escape")
        assert isinstance(app.screen, Datasets)


async def test_the_command_is_copied(shown: Shown) -> None:
    async with shown("y") as (app, pilot):
        assert app.clipboard == "kelly-core datasets"
        await until(pilot, lambda: app.screen.query_one(RecordTable).row_count)
        await pilot.press("c")
        await until(pilot, lambda: app.clipboard.startswith("deam\t"))


async def test_ctrl_c_shows_the_keys_that_quit(shown: Shown) -> None:
    async with shown("ctrl+c") as (app, _):
        assert notices(app) == ["^q or q quits."]


async def test_keys_that_arrive_together_go_to_what_the_first_one_opens(
    shown: Shown, finished_run: RunDirectory
) -> None:
    async with shown(size=WIDE) as (app, pilot):
        await until(pilot, lambda: app.run_list.runs)
        # As over a slow connection: a screen and its filter, a dialog and its field, the filter again, and the end.
        opened = [*"6/calm", "enter", "T", *"best", "enter", *"/x", "escape", *"2e7", "escape"]
        for key in opened:
            app.simulate_key({"/": "slash"}.get(key, key))
        await until(pilot, lambda: app.current_mode == "models" and app.screen.unsaved_text)
        assert read_labels(finished_run).tags == ("best",)
        for key in ["q", "right", "enter", "6", "slash", "x"]:
            app.simulate_key(key)
        await until(pilot, lambda: not app.is_running)


async def test_changes_by_keys_that_arrive_together_are_drawn_once(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shown("2", size=WIDE) as (app, pilot):
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


async def test_keys_of_the_settings_file_replace_those_of_actions(shown: Shown, workplace: Path) -> None:
    text = (workplace / "config.toml").read_text().replace("keys = []", 'keys = ["app.help=f1", "datasets.rescan=u"]')
    (workplace / "config.toml").write_text(text)
    async with shown("f1") as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, HelpDialog))


async def test_ctrl_z_suspends_and_a_dialog_leaves_the_background(
    shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    suspended: list[bool] = []
    monkeypatch.setattr(KellyApp, "action_suspend_process", lambda _app: suspended.append(True))
    async with shown("ctrl+z", "question_mark") as (app, pilot):
        await until(pilot, lambda: suspended and isinstance(app.screen, HelpDialog))
        # Where nothing is painted over the background, its cells are not sent again.
        assert app.screen.styles.background.a == 0


async def test_a_letter_jumps_to_a_part_of_the_screen_and_of_a_dialog(shown: Shown) -> None:
    async with shown("2", size=(80, 24)) as (app, pilot):
        await until(pilot, lambda: len(jump_targets(app.screen)) > 2)
        await pilot.press("ctrl+o")
        text = "\n".join(lines(app))
        assert " a " in text
        assert " s " in text
        await pilot.press("s")
        assert app.focused is app.screen.query_one("#field-epochs")
        await pilot.press("ctrl+o", "ctrl+o", "ctrl+o", "exclamation_mark")
        assert app.focused is app.screen.query_one("#field-epochs")
        await pilot.press("ctrl+o", "a", "3", "n")
        await until(pilot, lambda: len(jump_targets(app.screen)) > 2)
        await pilot.press("ctrl+o", "d")
        assert app.focused is app.screen.query_one("#device")


async def test_a_change_between_layout_and_drawing_is_drawn(shown: Shown) -> None:
    async with shown("3") as (app, pilot):
        await pilot.pause()
        table = app.screen.query_one("#training")
        app.screen._refresh_layout()
        # As after the message of a change that comes before the layout is drawn.
        table._repaint_regions.add(table.size.region)
        app.screen._dirty_widgets.add(table)
        await until(pilot, lambda: not app.screen._dirty_widgets)
        assert not table._repaint_regions
