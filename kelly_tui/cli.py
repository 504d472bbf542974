"""The command ``kelly-tui``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from kelly_core import __version__
from kelly_core.cli.help import option, use_help_classes
from kelly_core.cli.options import ConfigOption
from kelly_core.formatting import replace_unencodable
from kelly_tui.session import Options

_SESSION_PANEL = "Session"
_DISPLAY_PANEL = "Display"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kelly-tui {__version__}")
        raise typer.Exit


def _theme_names() -> list[str]:
    """Return the names of Kelly's themes, then the names of Textual's."""
    from textual.theme import BUILTIN_THEMES

    from kelly_tui.themes import ANSI16_THEME, THEMES

    return [*(theme.name for theme in (*THEMES, ANSI16_THEME)), *sorted(BUILTIN_THEMES)]


def _complete_theme(incomplete: str) -> list[str]:
    return [name for name in _theme_names() if name.startswith(incomplete)]


DemoOption = Annotated[bool, option(_SESSION_PANEL, "Start a training on generated data and show it.", "--demo")]
ReadOnlyOption = Annotated[
    bool,
    option(_SESSION_PANEL, "Watch only: start, control and write nothing, not even the screens' state.", "--read-only"),
]
ThemeOption = Annotated[
    str,
    option(
        _DISPLAY_PANEL,
        "Color theme: kelly-dark, kelly-light, kelly-contrast, kelly-colourblind or one of Textual's "
        "(default the one chosen last, or one that suits the terminal).",
        metavar="NAME",
        autocompletion=_complete_theme,
    ),
]
MouseOption = Annotated[
    bool, option(_DISPLAY_PANEL, "Take mouse events from the terminal (default --mouse).", "--mouse/--no-mouse")
]
AsciiOnlyOption = Annotated[
    bool,
    option(_DISPLAY_PANEL, "Draw with ASCII characters only (default if the output encoding is not UTF).", "--ascii"),
]


def tui(
    config: ConfigOption = None,
    demo: DemoOption = False,
    read_only: ReadOnlyOption = False,
    theme: ThemeOption = "",
    mouse: MouseOption = True,
    ascii_only: AsciiOnlyOption = False,
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Watch and control Kelly's trainings in the terminal. If NO_COLOR is set, no colors are used.

    Examples:
      kelly-tui
      kelly-tui --demo
      kelly-tui --read-only --theme kelly-contrast
    """
    if theme and theme not in (known := _theme_names()):
        raise typer.BadParameter(f"{theme!r} is not a theme. Use one of: {', '.join(known)}", param_hint="--theme")
    if demo and read_only:
        raise typer.BadParameter("--demo starts a training, which --read-only forbids")
    if not (sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()):
        typer.echo(
            "kelly-tui needs a terminal: standard input and standard error must be one. "
            "Start it in a terminal, or use kelly-core in scripts.",
            err=True,
        )
        raise typer.Exit(2)
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        # The colors of a terminal without a description are unknown.
        os.environ["NO_COLOR"] = "1"
    from kelly_tui.app import run

    plain = ascii_only or "utf" not in (sys.stdout.encoding or "").lower()
    run(Options(config=config, read_only=read_only, demo=demo, ascii=plain, theme=theme), mouse=mouse)


def main() -> None:
    """Run the program."""
    replace_unencodable(sys.stdout, sys.stderr)
    app = typer.Typer(name="kelly-tui", context_settings={"help_option_names": ["-h", "--help"]})
    app.command()(tui)
    use_help_classes(app)
    app(prog_name="kelly-tui")
