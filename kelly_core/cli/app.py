"""The command ``kelly-core``: its subcommands, and how errors reach a person."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand

from kelly_core import __version__
from kelly_core.ascii import replace_unencodable
from kelly_core.cli.help import HelpGroup, use_help_classes
from kelly_core.errors import KellyError

COMMANDS = {
    "train": "Train models, keep checkpoints, and export the best weights as RTNeural files.",
    "sweep": "Train with many settings and seeds, each trial a run of its own, and export the best.",
    "runs": "Trainings, live or ended: list, watch, steer, compare.",
    "validate": "Check exports: structure, sizes, activations, gates, state, and parity with their checkpoints.",
    "report": "Write all that is known of a folder's exports as one page, and as Markdown.",
    "export": "Write the best weights of checkpoints as files for the plugin.",
    "bench": "Time the exports frame by frame, on one thread, in several engines.",
    "compare": "Compare two exports of a model: weights, outputs, metrics, metadata.",
    "features": "Print the frames that EmotionRecognizer hears: 128 mel bands in dB, two frames a second.",
    "generate": "Write the music that the five models make of audio or of a given emotion, as a MIDI file.",
    "deploy": "Copy the five exports into the plugin's folder, if all of them pass every check; otherwise none.",
    "datasets": "Show which corpora are here and what of them can be used; write a demo corpus.",
    "cache": "Show what the computed features take on the disk, and remove what is not needed.",
    "config": "Show the effective settings and where each comes from.",
    "verify": "Build the five networks and check their layers, sizes and parameter counts against the specs.",
}
"""What the list of commands says of each; the module of that name holds a function or an ``app`` of that name."""


class _Commands(HelpGroup):
    """Imports a command when it is to run, and none of them for the list of commands."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=line) for name, line in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the arguments name, and the rest of them."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else _load(name), rest


def _load(name: str) -> Any:
    module = import_module(f"kelly_core.cli.{name}")
    commands: typer.Typer | None = getattr(module, "app", None)
    if commands is None:
        commands = typer.Typer(add_completion=False)
        commands.command(name)(getattr(module, name))
    use_help_classes(commands)
    return typer.main.get_command(commands)


app = typer.Typer(
    name="kelly-core",
    cls=_Commands,
    help="Train, export and validate the five neural networks of the Kelly MIDI Companion.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    replace_unencodable(sys.stdout, sys.stderr)
    try:
        app()
    except KellyError as error:
        _fail(str(error), error.exit_code)
    except (MemoryError, RuntimeError, ImportError, SystemError) as fault:
        from kelly_core.memory_limits import as_memory_error

        problem = as_memory_error(fault)
        if problem is None:
            raise
        _fail(str(problem), problem.exit_code)
    except OSError as fault:
        # Of files that the program knows of it speaks in its own words; this is standard output, most of the time.
        place = f"{fault.filename}: " if fault.filename else ""
        _fail(f"{place}{fault.strerror or fault}", 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(problem: str, exit_code: int) -> NoReturn:
    from kelly_core.cli.console import print_error

    print_error("error", problem)
    sys.exit(exit_code)
