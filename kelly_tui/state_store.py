"""State that the screens keep between sessions, in the user's state folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from kelly_core.errors import KellyError
from kelly_core.io.atomic import atomic_write, open_regular

_MAX_BYTES = 2**20


def state_dir() -> Path:
    """``$XDG_STATE_HOME/kelly``, by default ``~/.local/state/kelly``."""
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "kelly"


def load_state(name: str) -> dict[str, Any]:
    """Return the state saved under a name; {} if there is none or it cannot be read."""
    try:
        with open_regular(state_dir() / f"{name}.json") as file:
            content = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def save_state(name: str, content: dict[str, Any]) -> str:
    """Save state under a name; return the error, "" if there is none."""
    try:
        text = json.dumps(content)
        atomic_write(state_dir() / f"{name}.json", lambda file: file.write(text.encode()))
    except KellyError as error:
        return str(error)
    return ""
