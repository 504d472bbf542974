"""The user's cache and state folders, according to the conventions of the operating system.

Linux: ``$XDG_CACHE_HOME`` and ``$XDG_STATE_HOME``, or ``~/.cache`` and ``~/.local/state``. macOS: ``~/Library/Caches``
and ``~/Library/Application Support``. The folders are not created here.
"""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path, user_state_path

from kelly_core.errors import KellyError

_NAME = "kelly"


def user_cache_dir() -> Path:
    """Return the folder for files that can be computed again.

    It begins with ``~`` if no home folder is known. The code that expands it raises the error; with another setting it
    may not be expanded at all.
    """
    try:
        return user_cache_path(_NAME)
    except RuntimeError:
        return Path("~/.cache") / _NAME


def user_state_dir() -> Path:
    """Return the folder for data that the program keeps between two starts.

    Raises:
        KellyError: no home folder is known.
    """
    try:
        return user_state_path(_NAME)
    except RuntimeError as error:
        raise KellyError("no home folder is known", hint="Set HOME or XDG_STATE_HOME") from error
