"""Text is legible in every theme: contrast as the Web Content Accessibility Guidelines (WCAG 2.2, 1.4.3) measure it.

In a terminal with sixteen colors the codes that it gets are looked at, as xterm and the Linux console show them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from rich.color import ColorSystem, ColorType
from rich.style import Style
from textual.pilot import Pilot

from kelly_tui.app import KellyApp
from kelly_tui.display import LEGIBLE
from kelly_tui.themes import ANSI16_THEME, THEMES
from kelly_tui.widgets.record_table import RecordTable
from tests.helpers.rendered import SCREENS, in_front, segments
from tests.tui.conftest import WIDE, Shown, column, save_benchmark, until, write_exports

MIN_TEXT_CONTRAST = 4.5
MIN_SIGN_CONTRAST = 3.0
SIGNS = "●◆▼▲"
DIALOGS = (["2", "e", "7", "x"], ["1", "question_mark"], ["3", "n"], ["3", "s"], ["5", "e"], ["6", "d"])
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


def luminance(red: int, green: int, blue: int) -> float:
    """Relative luminance, 0 to 1, of a color in sRGB."""
    parts = [part / 255 for part in (red, green, blue)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: tuple[int, int, int], second: tuple[int, int, int]) -> float:
    """From 1, the same, to 21, black on white."""
    dark, bright = sorted((luminance(*first), luminance(*second)))
    return (bright + 0.05) / (dark + 0.05)


def too_faint(app: KellyApp, system: ColorSystem = ColorSystem.TRUECOLOR) -> Iterator[tuple[str, str, str, float]]:
    """Words and signs in front that are too near their background."""
    for part in in_front(app):
        text, style = part.text.strip(), part.style
        if not any(sign.isalnum() or sign in SIGNS for sign in text) or not (style and style.color and style.bgcolor):
            continue
        color, background = (each.downgrade(system).get_truecolor() for each in (style.color, style.bgcolor))
        found = contrast(color, background)
        if found < (MIN_SIGN_CONTRAST if all(sign in SIGNS for sign in text) else MIN_TEXT_CONTRAST):
            yield text, color.hex, background.hex, round(found, 1)


def codes(style: Style) -> tuple[int, int, bool]:
    """Numbers of the color and of its background, and whether it is bold, as a terminal reads the style."""
    sign, background, bold = 15, 0, False
    (reported,) = re.findall(r"^\x1b\[([\d;]*)m", style.render("x", color_system=ColorSystem.STANDARD)) or ["0"]
    for code in map(int, reported.split(";")):
        bold |= code == 1
        for first, shift in ((30, 0), (90, 8)):
            sign = code - first + shift if first <= code < first + 8 else sign
            background = code - first - 10 + shift if first + 10 <= code < first + 18 else background
    return sign, background, bold


def too_faint_of_sixteen(app: KellyApp) -> Iterator[tuple[str, int, int]]:
    """Words in front that are too near their background in one of the palettes."""
    for part in in_front(app):
        if not any(sign.isalnum() for sign in part.text) or part.style is None:
            continue
        sign, background, bold = codes(part.style)
        shown = {sign, sign + 8 if bold and sign < 8 else sign}
        if any(
            contrast(colors[one], colors[background]) < MIN_TEXT_CONTRAST for colors in (XTERM, LINUX) for one in shown
        ):
            yield part.text.strip(), sign, background


async def faint_anywhere(
    app: KellyApp, pilot: Pilot[None], too_faint: Callable[[KellyApp], Iterator[object]], dialogs: Sequence[list[str]]
) -> list[object]:
    """Return what is too faint on the screens and in these dialogs."""
    found: list[object] = []
    for keys in (*SCREENS, *dialogs):
        await pilot.press(*keys)
        await pilot.pause()
        found += too_faint(app)
        if keys in dialogs:
            await pilot.press("escape")
    return found


@pytest.fixture
def sixteen(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 - it sets COLORTERM
    monkeypatch.delenv("COLORTERM")
    monkeypatch.setenv("TERM", "linux")


def test_all_pairs_are_legible() -> None:
    for background, signs in LEGIBLE.items():
        # The console has no bright grounds.
        assert background < 8
        for sign in signs:
            assert min(contrast(colors[sign], colors[background]) for colors in (XTERM, LINUX)) >= MIN_TEXT_CONTRAST


def test_contrast_by_hand() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((118, 118, 118), (255, 255, 255)) == pytest.approx(4.54, abs=0.01)


@pytest.mark.usefixtures("finished_run", "live_run")
@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
async def test_all_text_is_legible(shown: Shown, workplace: Path, theme: str) -> None:
    write_exports(workplace, "odd")
    save_benchmark()
    async with shown(size=WIDE, theme=theme) as (app, pilot):
        await until(pilot, lambda: app.current_mode == "train" and app.live_text)
        await pilot.press("1")
        await until(pilot, lambda: column(app, "#corpora", 1)[:1] == ["missing"])
        assert await faint_anywhere(app, pilot, too_faint, DIALOGS) == []


@pytest.mark.usefixtures("finished_run", "live_run", "sixteen")
@pytest.mark.parametrize("theme", ["", "kelly-light"])
async def test_all_text_is_legible_in_sixteen_colors(shown: Shown, theme: str) -> None:
    save_benchmark()
    async with shown(size=WIDE, theme=theme) as (app, pilot):
        assert app.theme == (theme or ANSI16_THEME.name)
        await until(pilot, lambda: app.live_text)
        # While a run is live, the program opens with the Train screen.
        await pilot.press("1")
        await until(pilot, lambda: column(app, "#corpora", 2)[:1] == ["–"])
        assert await faint_anywhere(app, pilot, too_faint_of_sixteen, DIALOGS) == []


@pytest.mark.usefixtures("finished_run")
@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
async def test_the_nearest_of_256_colors_are_legible_too(
    shown: Shown, monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    monkeypatch.delenv("COLORTERM")
    monkeypatch.setenv("TERM", "xterm-256color")
    save_benchmark()
    async with shown(size=WIDE, theme=theme) as (app, pilot):
        await until(pilot, lambda: app.run_list.runs)
        assert await faint_anywhere(app, pilot, partial(too_faint, system=ColorSystem.EIGHT_BIT), ()) == []


async def test_the_chosen_option_is_seen_without_colors(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with shown("ctrl+p", *"runs", size=(100, 30)) as (app, pilot):

        def reversed_texts() -> list[str]:
            return [part.text for part in chain(*segments(app)) if part.style and part.style.reverse]

        # The cursor of the field is reversed, too.
        await until(pilot, lambda: any(len(text.strip()) > 1 for text in reversed_texts()))


async def test_the_theme_of_sixteen_colors_has_no_other_on_any_terminal(shown: Shown) -> None:
    async with shown(size=(100, 30), theme=ANSI16_THEME.name) as (app, pilot):
        for screen in SCREENS:
            await pilot.press(screen)
            await pilot.pause()
            styles = [part.style for part in chain(*segments(app)) if part.style]
            colors = [color for style in styles for color in (style.color, style.bgcolor) if color]
            assert {color.type for color in colors} == {ColorType.STANDARD}

        def header() -> list[tuple[str, object]]:
            return [(part.text, part.style and part.style.bgcolor) for part in segments(app)[0]]

        before = header()
        await pilot.press("question_mark")
        await until(pilot, lambda: app.screen.query(".dialog") and header() == before)


async def test_a_placeholder_takes_the_colors_of_another_theme(shown: Shown) -> None:
    async with shown("5", theme="kelly-dark") as (app, pilot):

        def color() -> object:
            parts = [part for part in chain(*segments(app)) if "has been timed yet" in part.text]
            return parts[0].style and parts[0].style.color if parts else None

        await until(pilot, color)
        before = color()
        app.theme = "kelly-light"
        await until(pilot, lambda: color() != before)


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
