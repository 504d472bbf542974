"""Going from screen to screen costs no more than what differs, and nothing that differs is missed."""

from __future__ import annotations

from asyncio.events import Handle
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.css.stylesheet import Stylesheet
from textual.widgets._footer import FooterKey

from kelly_core.runs.event_log import RunEnded
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui.widgets.record_table import RecordTable
from kelly_tui.widgets.settings_form import SettingsForm
from tests.helpers.rendered import SCREENS
from tests.tui.conftest import WIDE, Shown, report, until


async def test_layout_and_drawing_are_turns_of_their_own(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    turn, laid_out, together = 0, -1, []
    run, reflow, draw = Handle._run, Compositor.reflow, Compositor.render_update

    def count(handle: Handle) -> None:
        nonlocal turn
        turn += 1
        run(handle)

    def note_layout(*arguments: Any) -> object:
        nonlocal laid_out
        laid_out = turn
        return reflow(*arguments)

    def note_drawing(*arguments: Any, **options: Any) -> object:
        together.append(laid_out == turn)
        return draw(*arguments, **options)

    monkeypatch.setattr(Handle, "_run", count)
    monkeypatch.setattr(Compositor, "reflow", note_layout)
    monkeypatch.setattr(Compositor, "render_update", note_drawing)
    async with shown("3", "6"):
        assert together
        assert not any(together)


async def test_rules_are_read_once(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    read, reparse = [], Stylesheet.reparse
    monkeypatch.setattr(Stylesheet, "reparse", lambda sheet: (read.append(sheet), reparse(sheet)))
    async with shown() as (app, pilot):
        before = len(read)
        await pilot.press(*SCREENS, *SCREENS)
        assert len(read) == before
        app.theme = "kelly-light"
        await pilot.pause()
        assert len(read) == before + 1


async def test_a_screen_that_missed_a_change_of_colors_has_them_when_it_is_shown(shown: Shown) -> None:
    async with shown("2", "1", theme="kelly-dark") as (app, pilot):
        app.theme = "kelly-light"
        await pilot.pause()
        await pilot.press("2")
        listing = app.screen.query_one("#models", RecordTable)
        assert app.current_mode == "models"
        assert listing.styles.background.hex == "#FBFAF6"
        assert listing.get_component_styles("datatable--header").background.hex == "#FBFAF6"


async def test_a_window_resized_meanwhile_fits_when_it_is_shown(shown: Shown) -> None:
    async with shown("2", "1", size=(160, 50)) as (app, pilot):
        await pilot.resize_terminal(80, 24)
        await pilot.press("2")
        await pilot.pause()
        assert app.screen.size == app.size == (80, 24)
        assert app.screen.has_class("-narrow", "-low")
        assert app.screen.query_one(SettingsForm).display


async def test_the_line_of_keys_is_made_again_only_for_other_keys(shown: Shown, live_run: RunDirectory) -> None:
    def keys() -> list[FooterKey]:
        return list(app.screen.query(FooterKey))

    async with shown("3", size=WIDE) as (app, pilot):
        await until(pilot, lambda: "Stop" in [key.description for key in keys()])
        before = keys()
        await pilot.press("1", "3")
        await pilot.pause()
        assert keys() == before
        report(live_run, RunEnded("finished"))
        await until(pilot, lambda: "Resume" in [key.description for key in keys()])
        assert "Stop" not in [key.description for key in keys()]
