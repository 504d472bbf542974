"""Color themes, and the colors of charts and tables in the active theme."""

from __future__ import annotations

from dataclasses import dataclass

from textual.color import Color, ColorParseError
from textual.theme import Theme

_ON_DARK = ("#56B4E9", "#E69F00", "#2FC79B", "#E08FBF", "#F0E442")
_ON_LIGHT = ("#005F9E", "#A85B00", "#00735A", "#A2407C", "#6B6300")
_OF_SIXTEEN = ("#55FFFF", "#FFFFFF", "#55FF55", "#FF55FF", "#FFFF55")
"""Okabe and Ito's colors, which people with color vision deficiency can distinguish: for dark backgrounds, for light
backgrounds, and the nearest of a terminal's 16 colors."""


_MUTED = 0.25
"""Share of the background color in muted text; with a larger share, it is hard to read on the row under the cursor."""


def _series(colors: tuple[str, ...]) -> dict[str, str]:
    return {f"series-{number}": color for number, color in enumerate(colors, 1)}


THEMES = (
    Theme(
        name="kelly-dark",
        primary="#6FB1E0",
        secondary="#8FA3B8",
        accent="#E6B450",
        foreground="#D5DBE3",
        background="#12161C",
        surface="#161B22",
        panel="#222A34",
        success="#6CC08B",
        warning="#E6B450",
        error="#E5736F",
        variables=_series(_ON_DARK),
    ),
    Theme(
        name="kelly-light",
        primary="#1A6093",
        secondary="#54687C",
        accent="#704500",
        foreground="#24292F",
        background="#F4F2EC",
        surface="#FBFAF6",
        panel="#E4E0D6",
        success="#145C34",
        warning="#704500",
        error="#A01F18",
        dark=False,
        variables=_series(_ON_LIGHT) | {"panel-lighten-2": "#B8B1A2"},
    ),
    Theme(
        name="kelly-contrast",
        primary="#7FD4FF",
        secondary="#FFFFFF",
        accent="#FFE14D",
        foreground="#FFFFFF",
        background="#000000",
        surface="#000000",
        panel="#303030",
        success="#5CFF8F",
        warning="#FFE14D",
        error="#FF8A80",
        variables=_series(_ON_DARK) | {"panel-lighten-2": "#8C8C8C"},
    ),
    Theme(
        name="kelly-colourblind",
        primary="#56B4E9",
        secondary="#9FB0C0",
        accent="#F0E442",
        foreground="#DDE1E6",
        background="#14171C",
        surface="#181C22",
        panel="#272D36",
        success="#56B4E9",
        warning="#F0E442",
        error="#E37222",
        variables=_series(_ON_DARK),
    ),
)

ANSI16_THEME = Theme(
    name="kelly-16",
    primary="#55FFFF",
    secondary="#00AAAA",
    accent="#FFFF55",
    foreground="#FFFFFF",
    background="#000000",
    surface="#000000",
    panel="#0000AA",
    success="#55FF55",
    warning="#FFFF55",
    error="#FF5555",
    variables=_series(_OF_SIXTEEN)
    | {"text-muted": "#AAAAAA", "muted": "#AAAAAA"}
    | {"panel-lighten-2": "#555555", "error-darken-2": "#AA0000"},
)
"""Uses only the colors of a 16-color terminal: panels and fields are blue, the focused widget is cyan."""


@dataclass(frozen=True)
class ThemeColors:
    """Colors of the active theme for Rich and the charts; ``series`` are the curves' colors."""

    success: str
    warning: str
    error: str
    accent: str
    muted: str
    text: str
    background: str
    series: tuple[str, ...]

    @classmethod
    def of(cls, variables: dict[str, str]) -> ThemeColors:
        """Return the colors of a theme's variables."""
        text, background = _hex(variables["foreground"], "#C8C8C8"), _hex(variables["surface"], "#101010")
        muted = variables.get("muted") or Color.parse(text).blend(Color.parse(background), _MUTED).hex
        series = tuple(variables.get(f"series-{number}", color) for number, color in enumerate(_ON_DARK, 1))
        success, warning, error, accent = (
            _hex(variables[name], text) for name in ("success", "warning", "error", "accent")
        )
        return cls(success, warning, error, accent, muted, text, background, series)


def _hex(value: str, otherwise: str) -> str:
    """Return a color as ``#RRGGBB``; ``otherwise`` for the terminal's own colors, which have no RGB value."""
    try:
        color = Color.parse(value)
    except ColorParseError:
        return otherwise
    return otherwise if color.ansi is not None else Color(*color.rgb).hex
