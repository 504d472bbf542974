"""State that the screens keep between sessions, in the user's state folder."""

from __future__ import annotations

import json
from typing import Any

from kelly_core.errors import KellyError
from kelly_core.io.atomic import atomic_write, open_regular
from kelly_core.io.json import dumps
from kelly_core.io.user_dirs import user_state_dir

_MAX_BYTES = 2**20


def load_state(name: str) -> dict[str, Any]:
    """Return the state saved under a name; {} if there is none or it cannot be read."""
    try:
        with open_regular(user_state_dir() / f"{name}.json") as file:
            content = json.loads(file.read(_MAX_BYTES))
    except (KellyError, OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def save_state(name: str, content: dict[str, Any]) -> str:
    """Save state under a name; return the error, "" if there is none."""
    try:
        text = dumps(content)
        atomic_write(user_state_dir() / f"{name}.json", lambda file: file.write(text.encode()))
    except KellyError as error:
        return str(error)
    return ""
