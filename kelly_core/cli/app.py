"""The command ``kelly-core``: its subcommands, and how errors reach a person."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from kelly_core import __version__
from kelly_core.cli import (
    bench,
    compare,
    config,
    datasets,
    deploy,
    export,
    features,
    generate,
    runs,
    sweep,
    train,
    validate,
    verify,
)
from kelly_core.errors import KellyError

app = typer.Typer(
    name="kelly-core",
    help="Train, export and validate the five neural networks of the Kelly MIDI Companion.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("train")(train.train)
app.command("sweep")(sweep.sweep)
app.add_typer(runs.app, name="runs")
app.command("validate")(validate.validate)
app.command("export")(export.export)
app.command("bench")(bench.bench)
app.command("compare")(compare.compare)
app.command("features")(features.features)
app.command("generate")(generate.generate)
app.command("deploy")(deploy.deploy)
app.add_typer(datasets.app, name="datasets")
app.command("config")(config.config)
app.command("verify")(verify.verify)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kelly-core {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Train, export and validate the five neural networks of the Kelly MIDI Companion."""


def main() -> None:
    """Run the command line; a user's mistake ends with a message and an exit code, never a traceback."""
    try:
        app()
    except KellyError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
