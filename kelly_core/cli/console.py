"""Output of commands: text and progress for a terminal, JSON for programs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from kelly_core.formatting import printable, printable_lines
from kelly_core.io.json import dumps

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

    # At run time this import would load NumPy, which the help and the completion of commands do not need.
    from kelly_core.features.extraction import Progress as ProgressCallback

_MAX_LOG_WIDTH = 200
FIRST_STEPS = (
    "There is no corpus. `kelly-core datasets get --all` downloads the public ones, `kelly-core datasets get NAME` one "
    "of them; `make demo` shows everything on a small corpus made from rules."
)
"""Instructions for the case that there is no corpus to train on."""


class SafeConsole(Console):
    """Console that escapes control characters in text from data and file names.

    A string is printed as one line, also in a table cell: its line feeds are escaped. ``Text`` can have several lines.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as Rich does, and escape control characters in all text; Rich adds its control codes later."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable_lines(text), style, control)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as ``Text`` of one line."""
        return super().render_str(printable(text), **options)


def console(*, stderr: bool = False) -> Console:
    """Return a console without markup, because paths and names may contain [brackets] and :colons:.

    In a file or a pipe, tables are not wrapped unless COLUMNS sets a width.
    """
    made = SafeConsole(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = _MAX_LOG_WIDTH
    return made


def print_result(content: RenderableType, style: str = "") -> None:
    """Print the result of a command on standard output; text is not wrapped."""
    console().print(content, style=style, soft_wrap=isinstance(content, str | Text))


def print_status(text: str | Text, style: str = "") -> None:
    """Print a line that is not part of the result on standard error."""
    console(stderr=True).print(text, style=style, soft_wrap=True)


def print_error(subject: str, problem: str) -> None:
    """Print an error on standard error, after its subject."""
    print_status(Text.assemble((f"{subject}: ", "bold red"), printable(problem)))


def print_json(content: object, indent: int | None = 2) -> None:
    """Print JSON on standard output; numbers that are not finite become null."""
    typer.echo(dumps(content, indent=indent))


def progress_bars(*columns: ProgressColumn) -> Progress:
    """Return progress bars on standard error, with ``columns`` before the remaining time.

    Bars appear only on a terminal, and disappear at the end because results are printed as lines.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    shown = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), *columns, TimeRemainingColumn())
    return Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)


@contextmanager
def feature_progress(name: str) -> Iterator[ProgressCallback]:
    """Context manager for a progress bar on standard error, which appears on a terminal when features are computed.

    Messages are printed as lines above the bar, also without a terminal.
    """
    from rich.progress import MofNCompleteColumn

    task: TaskID | None = None
    printed = ""
    with progress_bars(MofNCompleteColumn()) as bars:

        def advance(done: int, total: int, note: str = "") -> None:
            nonlocal task, printed
            if note and note != printed:
                printed = note
                bars.console.print(f"features of {name}: {note}", soft_wrap=True)
            if task is None:
                task = bars.add_task(f"features of {name}", total=total)
            bars.update(task, completed=done)

        yield advance
