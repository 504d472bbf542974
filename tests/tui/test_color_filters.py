"""In a terminal with sixteen colors everything is legible: contrast of the codes that it gets, as it shows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.style import Style

from kelly_tui.app import KellyApp
from kelly_tui.display import LEGIBLE
from kelly_tui.themes import ANSI16_THEME
from kelly_tui.widgets.record_table import RecordTable
from tests.helpers.rendered import SCREENS, in_front, segments
from tests.tui.conftest import WIDE, Shown, column, save_benchmark, until
from tests.tui.test_themes import LEAST_FOR_TEXT, contrast

XTERM = (
    (0, 0, 0), (205, 0, 0), (0, 205, 0), (205, 205, 0), (0, 0, 238), (205, 0, 205), (0, 205, 205), (229, 229, 229),
    (127, 127, 127), (255, 0, 0), (0, 255, 0), (255, 255, 0), (92, 92, 255), (255, 0, 255), (0, 255, 255),
    (255, 255, 255),
)  # fmt: skip
LINUX = (
    (0, 0, 0), (170, 0, 0), (0, 170, 0), (170, 85, 0), (0, 0, 170), (170, 0, 170), (0, 170, 170), (170, 170, 170),
    (85, 85, 85), (255, 85, 85), (85, 255, 85), (255, 255, 85), (85, 85, 255), (255, 85, 255), (85, 255, 255),
    (255, 255, 255),
)  # fmt: skip


def codes(style: Style) -> tuple[int, int, bool]:
    """Numbers of the color and of its ground, and whether it is bold, as a terminal reads the style."""
    sign, ground, bold = 15, 0, False
    (reported,) = re.findall(r"^\x1b\[([\d;]*)m", style.render("x", color_system=ColorSystem.STANDARD)) or ["0"]
    for code in map(int, reported.split(";")):
        bold |= code == 1
        for first, shift in ((30, 0), (90, 8)):
            sign = code - first + shift if first <= code < first + 8 else sign
            ground = code - first - 10 + shift if first + 10 <= code < first + 18 else ground
    return sign, ground, bold


def too_faint(app: KellyApp) -> Iterator[tuple[str, int, int]]:
    """Words in front that are too near their ground in one of the palettes."""
    for part in in_front(app):
        if not any(sign.isalnum() for sign in part.text) or part.style is None:
            continue
        sign, ground, bold = codes(part.style)
        shown = {sign, sign + 8 if bold and sign < 8 else sign}
        if any(contrast(colors[one], colors[ground]) < LEAST_FOR_TEXT for colors in (XTERM, LINUX) for one in shown):
            yield part.text.strip(), sign, ground


@pytest.fixture
def sixteen(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it sets COLORTERM
    monkeypatch.delenv("COLORTERM")
    monkeypatch.setenv("TERM", "linux")


def test_all_pairs_are_legible() -> None:
    for ground, signs in LEGIBLE.items():
        # The console has no bright grounds.
        assert ground < 8
        for sign in signs:
            assert min(contrast(colors[sign], colors[ground]) for colors in (XTERM, LINUX)) >= LEAST_FOR_TEXT


@pytest.mark.usefixtures("workplace", "finished_run", "live_run", "sixteen")
@pytest.mark.parametrize("theme", ["", "kelly-light"])
async def test_all_text_is_legible(shown: Shown, theme: str) -> None:
    save_benchmark()
    async with shown(size=WIDE, theme=theme) as (app, pilot):
        assert app.theme == (theme or ANSI16_THEME.name)
        await until(pilot, lambda: app.live_text)
        # While a run is live, the program opens with the Train screen.
        await pilot.press("1")
        await until(pilot, lambda: column(app, "#corpora", 2)[:1] == ["–"])
        for screen in SCREENS:
            await pilot.press(screen)
            await pilot.pause()
            assert list(too_faint(app)) == []
        for keys in (["2", "e", "7", "x"], ["1", "question_mark"], ["3", "n"], ["3", "s"], ["5", "e"], ["6", "d"]):
            await pilot.press(*keys)
            await pilot.pause()
            assert list(too_faint(app)) == []
            await pilot.press("escape")


@pytest.mark.usefixtures("sixteen")
@pytest.mark.parametrize("theme", ["", "kelly-light"])
async def test_the_cursor_can_be_seen(shown: Shown, theme: str) -> None:
    async with shown("2", "down", theme=theme) as (app, pilot):
        await pilot.pause()
        names = column(app, "#models", 0)
        styles = {
            part.text.strip(): part.style for line in segments(app) for part in line if part.text.strip() in names
        }
        looks = {name: (codes(style)[1], style.reverse) for name, style in styles.items()}
        chosen = looks.pop(names[app.screen.query_one("#models", RecordTable).cursor_row])
        assert len(looks) == len(names) - 1
        assert chosen not in looks.values()
