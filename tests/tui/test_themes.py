"""Text is legible in every theme: contrast as the Web Content Accessibility Guidelines (WCAG 2.2, 1.4.3) measure it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from rich.color import ColorSystem, ColorType

from kelly_tui.app import KellyApp
from kelly_tui.themes import ANSI16_THEME, THEMES
from tests.helpers.rendered import SCREENS, in_front, segments
from tests.tui.conftest import WIDE, Shown, column, save_benchmark, until, write_exports

LEAST_FOR_TEXT = 4.5
LEAST_FOR_SIGNS = 3.0
SIGNS = "●◆▼▲"


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
    """Words and signs in front that are too near their ground."""
    for part in in_front(app):
        text, style = part.text.strip(), part.style
        if not any(sign.isalnum() or sign in SIGNS for sign in text) or not (style and style.color and style.bgcolor):
            continue
        color, ground = (each.downgrade(system).get_truecolor() for each in (style.color, style.bgcolor))
        found = contrast(color, ground)
        if found < (LEAST_FOR_SIGNS if all(sign in SIGNS for sign in text) else LEAST_FOR_TEXT):
            yield text, color.hex, ground.hex, round(found, 1)


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
        for screen in SCREENS:
            await pilot.press(screen)
            await pilot.pause()
            assert list(too_faint(app)) == []
        for keys in (["2", "e"], ["1", "question_mark"], ["3", "n"], ["5", "e"], ["6", "d"]):
            await pilot.press(*keys)
            await pilot.pause()
            assert list(too_faint(app)) == []
            await pilot.press("escape")


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
        for screen in SCREENS:
            await pilot.press(screen)
            await pilot.pause()
            assert list(too_faint(app, ColorSystem.EIGHT_BIT)) == []


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
        header = segments(app)[0]
        await pilot.press("question_mark")
        await until(pilot, lambda: app.screen.query(".dialog"))
        assert [(part.text, part.style and part.style.bgcolor) for part in segments(app)[0]] == [
            (part.text, part.style and part.style.bgcolor) for part in header
        ]
