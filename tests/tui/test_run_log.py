"""The log of a run: it follows the end, scrolls and is searched."""

from __future__ import annotations

import pytest
from textual.app import App, ComposeResult

from kelly_tui.dialogs.prompts import TextPrompt
from kelly_tui.widgets.run_log import RunLog
from tests.tui.conftest import Shown, until


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
        await until(pilot, lambda: log.max_scroll_x > 0)


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
        log.show(("Traceback", *log._shown))
        log.search("12:30")
        assert log.lines[log._pointed].startswith("12:30:00")
        log.search("9:00")
        assert log.lines[log._pointed].startswith("12:00:00")
        log.show((*log._shown, "new"))
        await pilot.pause()
        assert not log.is_vertical_scroll_end
        log.action_follow()
        await until(pilot, lambda: log.is_vertical_scroll_end)


@pytest.mark.parametrize("text", ["epoch 40/", "12:40"])
async def test_a_search_waits_for_the_log_to_be_read(text: str) -> None:
    app = LogApp()
    async with app.run_test(size=(80, 24)) as pilot:
        log = app.query_one(RunLog)
        log.show(())
        log.search(text)
        log.show(tuple(f"12:{number:02}:00  epoch {number}/60" for number in range(60)))
        await pilot.pause()
        assert not app._notifications
        assert log._pointed == 40


@pytest.mark.usefixtures("finished_run")
async def test_slash_shows_and_searches_the_log_wherever_the_focus_is(shown: Shown) -> None:
    async with shown("3", size=(80, 24)) as (app, pilot):
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


async def test_a_long_line_of_the_log_is_scrolled_into_view() -> None:
    app = LogApp()
    async with app.run_test(size=(60, 20)) as pilot:
        log = app.query_one(RunLog)
        log.show((f"12:00:00  {'x' * 100} end",))
        log.focus()
        await until(pilot, lambda: log.max_scroll_x > 0)
        await pilot.press("number_sign", *"l" * 60)
        await until(pilot, lambda: log.scroll_x > 0 and log.render_line(0).text.rstrip().endswith(" end"))
        await pilot.press(*"h" * 60)
        await until(pilot, lambda: log.render_line(0).text.startswith("   1 12:00:00"))
