"""Progress bar for the features of a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kelly_core.cli.console import console
from kelly_core.formatting import printable

if TYPE_CHECKING:
    # At run time this import would load NumPy, which the help and the completion of commands do not need.
    from kelly_core.features.extraction import Progress as ProgressCallback


@contextmanager
def feature_progress(name: str) -> Iterator[ProgressCallback]:
    """Context manager for a progress bar on standard error; on a terminal it appears when something is computed.

    Messages are printed as lines above it, also if standard error is not a terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    error_console = console(stderr=True)
    with Progress(*columns, console=error_console, transient=True, disable=not error_console.is_terminal) as progress:
        yield _advance(progress, name)


def _advance(progress: Progress, name: str) -> ProgressCallback:
    task: TaskID | None = None
    printed = ""

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal task, printed
        if note and note != printed:
            printed = note
            progress.console.print(f"features of {name}: {printable(note)}", soft_wrap=True)
        if task is None:
            task = progress.add_task(f"features of {name}", total=total)
        progress.update(task, completed=done)

    return advance
