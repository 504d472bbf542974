"""The command ``kelly-core``: its subcommands and error messages."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand

from kelly_core import __version__
from kelly_core.cli.help import HelpGroup, UsageError, use_help_classes
from kelly_core.errors import KellyError, as_memory_error
from kelly_core.formatting import printable, replace_unencodable

COMMANDS = {
    "train": "Train models, write checkpoints, and export the best weights as RTNeural files.",
    "sweep": "Train each model with each combination of settings and each seed, and export the best.",
    "runs": "List, watch, control and compare runs. Without a subcommand, list all runs and their states.",
    "validate": "Check exports: structure, sizes, activations, gates, state, and parity with their checkpoints.",
    "report": "Check exports and write report.html, a single self-contained file, and report.md.",
    "export": "Write the best weights of checkpoints, or any sequential PyTorch module, as RTNeural files.",
    "bench": "Time the exports frame by frame on one thread in NumPy, PyTorch, ONNX Runtime and the plugin's engine.",
    "compare": "Compare two exports of a model: weights by layer, outputs for golden inputs, metrics and metadata.",
    "features": "Print the input frames of the emotion model: 128 mel bands in dB, two frames per second.",
    "generate": "Generate music from audio or from a given emotion with the five models, as a MIDI file.",
    "deploy": "Copy the five exports into the plugin's folder if every check passes, otherwise none of them.",
    "datasets": "Show each corpus: files, usable examples, skipped files and the reason, labels, splits, licence.",
    "cache": "Show the disk space of cached features, and delete those that are not needed.",
    "config": "Show the effective settings and the origin of each.",
    "verify": "Build the five networks and compare layers, sizes and parameter counts with their specifications.",
}
"""Name of each command and the first paragraph of its help.

The module of the same name contains a ``typer.Typer`` named ``app`` or a function with the name of the command.
"""


class _Commands(HelpGroup):
    """Group of all commands; the module of a command is imported only when the command runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=line) for name, line in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return name, command and remaining arguments, as click does, and import the command."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else _load(name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command, as click does; with ``--json``, also print usage errors as JSON."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            _print_json_error(error.format_message())
            raise


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
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kelly-core {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """Train, export and validate the five neural networks of the Kelly MIDI Companion."""
    from kelly_core.cli.console import print_status
    from kelly_core.spec import package_problems

    for problem in package_problems():
        print_status(f"warning: {problem}", "yellow")


def main() -> None:
    """Run the command line; expected errors end with a message and an exit code, not with a traceback."""
    _open_standard_streams()
    replace_unencodable(sys.stdout, sys.stderr)
    # Reserved address space, which is released for the error message if memory runs out.
    reserve = bytearray(32 * 2**20)
    try:
        # An explicit name, because usage and completion must not depend on how Python was started.
        app(prog_name="kelly-core")
    except KellyError as error:
        _fail(str(error), error.exit_code)
    except (MemoryError, RuntimeError, ImportError, SystemError) as error:
        reserve.clear()
        problem = as_memory_error(error)
        if problem is None:
            raise
        _fail(str(problem), problem.exit_code)
    except OSError as error:
        # Errors of known files are KellyErrors; this is usually an unreadable folder or a standard output error.
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _open_standard_streams() -> None:
    """Open the null device for each standard stream that is closed.

    Otherwise the next opened file gets the descriptor of the stream. A process that inherits this file, such as the
    lock of an output folder, would use the file as its standard stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def _fail(problem: str, exit_code: int) -> NoReturn:
    from kelly_core.cli.console import print_error

    print_error("error", problem)
    _print_json_error(problem)
    _discard_unwritable_output()
    sys.exit(exit_code)


def _discard_unwritable_output() -> None:
    """Discard unwritable output: Python would write it again at exit, fail, and exit with status 120."""
    try:
        sys.stdout.flush()
    except OSError:
        # The stream keeps its text until it is written, so write it to the null device.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_json_error(problem: str) -> None:
    """Print an error as a JSON document on standard output if ``--json`` was typed."""
    from kelly_core.cli.console import print_json

    # The error may be that standard output cannot be written.
    with suppress(OSError):
        if "--json" in sys.argv:
            print_json({"error": printable(problem)})
