"""What the screens remember from one start to the next, in the user's state folder."""

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
    """What was remembered under a name; {} where there is nothing, or nothing that can be read."""
    try:
        with open_regular(state_dir() / f"{name}.json") as file:
            content = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def save_state(name: str, content: dict[str, Any]) -> str:
    """Keep something under a name; returns why that failed, "" if it did not."""
    try:
        text = json.dumps(content)
        atomic_write(state_dir() / f"{name}.json", lambda file: file.write(text.encode()))
    except KellyError as error:
        return str(error)
    return ""
