"""The command ``kelly-tui``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kelly_core import __version__
from kelly_core.ascii import replace_unencodable
from kelly_tui.session import Options


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kelly-tui {__version__}")
        raise typer.Exit


def _check_theme(name: str) -> None:
    """Refuse a theme that does not exist."""
    from textual.theme import BUILTIN_THEMES

    from kelly_tui.themes import ANSI16_THEME, THEMES

    known = [each.name for each in (*THEMES, ANSI16_THEME)] + sorted(BUILTIN_THEMES)
    if name not in known:
        raise typer.BadParameter(f"{name!r} is not a theme. Use one of: {', '.join(known)}", param_hint="--theme")


def tui(
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file, TOML or JSON.", show_default="config.toml")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Begin with a training on synthetic data.")] = False,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Only watch; write no file at all, nor what the screens save_state.")
    ] = False,
    mouse: Annotated[bool, typer.Option("--mouse/--no-mouse", help="Take mouse events from the terminal.")] = True,
    ascii_only: Annotated[
        bool,
        typer.Option("--ascii", help="Draw with ASCII only.", show_default="as the terminal's encoding needs"),
    ] = False,
    theme: Annotated[
        str, typer.Option("--theme", help="kelly-dark, kelly-light, kelly-contrast, kelly-colourblind or another.")
    ] = "",
    version: Annotated[  # noqa: ARG001 - handled by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Watch and steer Kelly's trainings from the terminal. NO_COLOR is respected."""
    if theme:
        _check_theme(theme)
    if demo and read_only:
        raise typer.BadParameter("--demo starts a training, which --read-only forbids")
    if not (sys.__stdin__ and sys.__stdin__.isatty() and sys.__stderr__ and sys.__stderr__.isatty()):
        typer.echo(
            "kelly-tui needs a terminal: standard input and standard error must be one. "
            "Start it in a terminal, or use kelly-core in scripts.",
            err=True,
        )
        raise typer.Exit(2)
    from kelly_tui.app import run

    plain = ascii_only or "utf" not in (sys.stdout.encoding or "").lower()
    run(Options(config=config, read_only=read_only, demo=demo, ascii=plain, theme=theme), mouse=mouse)


def main() -> None:
    """Run the program."""
    replace_unencodable(sys.stdout, sys.stderr)
    app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
    app.command()(tui)
    app()
