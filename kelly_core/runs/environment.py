"""Environment of a training: versions, machine, commit."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import kelly_core
from kelly_core.errors import RunError
from kelly_core.io.atomic import atomic_write
from kelly_core.io.json import dumps
from kelly_core.runs.run_dir import RunDirectory

_PACKAGES = ("torch", "numpy", "av", "soundfile", "pydantic")
_SECONDS_FOR_GIT = 10


def write_environment(folder: RunDirectory, attempt: int, gpus: Sequence[str]) -> None:
    """Write the environment of an attempt, GPUs by name, in place of the previous attempt's.

    Raises:
        RunError: the file cannot be written.
    """
    text = dumps({"attempt": attempt} | describe_environment(gpus), indent=2)
    atomic_write(folder.environment, lambda file: file.write(text.encode()), error=RunError)


def describe_environment(gpus: Sequence[str]) -> dict[str, Any]:
    """Return versions, machine with GPUs, and commit."""
    return {
        "kelly_core": kelly_core.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "cpu_cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": list(gpus),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of the checkout, marked if files differ from it; None for an installed package."""
    root = Path(kelly_core.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS_FOR_GIT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
