"""The lines of README's tour work in order, as they are typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
LEFT_OUT = ("source .venv/bin/activate", "kelly-core datasets get")
"""Beginnings of lines that need the virtual environment of a checkout, or the network."""
SMALLER = {
    "datasets demo demo-data": "datasets demo demo-data --songs 8",
    "--epochs 30": "--epochs 1",
    "--epochs 60": "--epochs 2",
    "--seeds 3": "--seeds 1",
    # A busy machine may exceed the budget of time, which bench reports by its exit status.
    "kelly-core bench models": "{ kelly-core bench models || test $? -eq 1; }",
}
"""Parts of lines that only set a size are made smaller."""


def tour() -> list[str]:
    """Return the shell lines of the section, smaller where that changes a size only."""
    section = README.read_text().partition("## A short tour\n")[2]
    lines = re.findall(r"```\n(.*?)```", section, re.DOTALL)[0].splitlines()
    kept = [line.partition(" #")[0].rstrip() for line in lines if not line.startswith(LEFT_OUT)]
    for typed, smaller in SMALLER.items():
        assert any(typed in line for line in kept), f"no line of the tour has {typed!r} any more"
        kept = [line.replace(typed, smaller) for line in kept]
    return kept


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_tour_works_as_typed(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "kelly-core"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kelly_core "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(README.parent),
        "KELLY_DATASETS_CACHE_DIR": str(tmp_path / "cache"),
    }
    (tmp_path / "work").mkdir()
    script = "\n".join(["set -e -x", *tour()])
    ended = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path / "work", env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    for name in ("tune.mid", "tune.png", "plugin/groovepredictor.json", "models/report.html", "sweep/sweep.json"):
        assert (tmp_path / "work" / name).is_file(), name
