"""Checks of a command's output files before it does any work."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kelly_core.errors import ConfigError

MKDIR = "--mkdir"
"""Option that allows a command to create missing folders."""


@dataclass(frozen=True)
class Output:
    """A file that a command is about to write, and the option or argument that names it or its folder."""

    path: Path
    option: str


def check_outputs(outputs: Sequence[Output], inputs: Iterable[Path], *, create_folders: bool = False) -> None:
    """Refuse outputs that would overwrite an input, each other, or anything but a file, and missing folders.

    Files are compared by device and inode, so that symbolic links, hard links and, on a file system that ignores case,
    names in another case count as the same file. Nothing is created or changed.

    Args:
        outputs: files to be written; they may exist.
        inputs: files that the command reads; those that are missing are left to the code that reads them.
        create_folders: allow missing parent folders, which the writing then creates.

    Raises:
        ConfigError: an output cannot be written as requested.
    """
    check_not_inputs(outputs, inputs)
    seen: dict[Path, Output] = {}
    for output in outputs:
        place = Path(os.path.realpath(output.path))
        if place in seen:
            problem = f"{output.path} is also the file of {seen[place].option}"
            raise ConfigError(problem, where=output.option, hint="Name two different files")
        seen[place] = output
        _check_place(output, create_folders)


def check_not_inputs(outputs: Iterable[Output], inputs: Iterable[Path]) -> None:
    """Refuse outputs that are the same file as an input, under whatever name.

    Raises:
        ConfigError: the first output that would overwrite an input.
    """
    read = {identity: path for path in inputs if (identity := _identity(path))}
    for output in outputs:
        path = read.get(_identity(output.path) or (0, 0))
        if path is not None:
            same = "" if path == output.path else f", the same file as {path},"
            problem = f"{output.path}{same} is an input and would be overwritten"
            raise ConfigError(problem, where=output.option, hint="Choose another place for the output")


def _check_place(output: Output, create_folders: bool) -> None:
    """Refuse an output that exists and is not a file, or whose folder is missing or no folder."""
    status = _status(output.path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a pipe or a socket"
        raise ConfigError(f"{output.path} cannot be written: it is {kind}", where=output.option, hint="Name a file")
    folder = next(parent for parent in output.path.absolute().parents if _status(parent) is not None)
    if not folder.is_dir():
        problem = f"{output.path} cannot be written: {folder} is a file, not a folder"
        raise ConfigError(problem, where=output.option, hint="Choose another folder")
    if folder != output.path.absolute().parent and not create_folders:
        problem = f"the folder {output.path.parent} does not exist"
        raise ConfigError(problem, where=output.option, hint=f"Add {MKDIR} to create it")


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at a path, symbolic links followed; None if there is none."""
    status = _status(path)
    return None if status is None else (status.st_dev, status.st_ino)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        # Missing, a broken link, or an invalid name: the code that reads or writes the file reports the reason.
        return None
