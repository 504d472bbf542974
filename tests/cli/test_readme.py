"""The lines of README's tour, of a run's life, and for scripts work in order, as they are typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
SECTIONS = ("A short tour", "The life of a run", "From scripts")
LEFT_OUT = ("source .venv/bin/activate", "kelly-core datasets get")
"""Beginnings of lines that need the virtual environment of a checkout, or the network."""
SMALLER = {
    "datasets demo demo-data": "datasets demo demo-data --songs 8",
    "--epochs 30": "--epochs 1",
    "train --estimate": "train -m groove --estimate",
    "--epochs 60": "--epochs 2",
    "--seeds 3": "--seeds 1",
    # A busy machine may exceed the budget of time, which bench reports by its exit status.
    "kelly-core bench models": "{ kelly-core bench models/groovepredictor.json || test $? -eq 1; }",
    # Networks trained for so short a time may write fewer notes than can be measured.
    "kelly-core features tune.mid": "{ kelly-core features tune.mid || test $? -eq 1; }",
    # One small model, without an end of its own while it is steered.
    "train --epochs 200 --detach": "train -m dynamics --epochs 100000 --early-stopping-patience 0 --detach",
    "--epochs +50": "--epochs +100000",
    "-o out --json": "-o out -m harmony,groove --epochs 1 --json",
    # These watch until Ctrl-C.
    "kelly-core runs attach last": "ctrl-c-after-a-line kelly-core runs attach last",
    "kelly-core runs logs last -f": "{ ctrl-c-after-a-line kelly-core runs logs last -f || test $? -eq 130; }",
}
"""Parts of lines that only set a size are made smaller, and what watches is interrupted."""


INTERRUPTER = """
import signal, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
process.stdout.readline()
process.send_signal(signal.SIGINT)
process.communicate()
sys.exit(process.returncode)
"""
"""Presses Ctrl-C when a program has written its first line: before, it may still be starting."""


def typed_lines() -> list[str]:
    """Return the shell lines of the sections, smaller where that changes a size only."""
    text = README.read_text()
    blocks = [re.findall(r"```\n(.*?)```", text.partition(f"## {title}\n")[2], re.DOTALL)[0] for title in SECTIONS]
    lines = [line for block in blocks for line in block.splitlines() if not line.startswith(LEFT_OUT)]
    kept = [line.partition(" #")[0].rstrip() for line in lines]
    for typed, smaller in SMALLER.items():
        assert any(typed in line for line in kept), f"no line has {typed!r} any more"
        kept = [line.replace(typed, smaller) for line in kept]
    return kept


def write_programs(folder: Path) -> Path:
    """Write the programs that the lines call: ``kelly-core``, and one that presses Ctrl-C."""
    folder.mkdir()
    (folder / "interrupter.py").write_text(INTERRUPTER)
    for name, arguments in (("kelly-core", "-m kelly_core"), ("ctrl-c-after-a-line", f'"{folder}/interrupter.py"')):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        program.chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_line_works_as_typed(tmp_path: Path) -> None:
    programs = write_programs(tmp_path / "bin")
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(README.parent),
        "KELLY_DATASETS_CACHE_DIR": str(tmp_path / "cache"),
        # Sizes, again: ten seconds of each song, and no pictures of losses.
        "KELLY_DATASETS_DEAM_DURATION": "10",
        "KELLY_OUTPUT_PLOTS": "false",
    }
    (tmp_path / "work").mkdir()
    script = "\n".join(["set -e -x", *typed_lines()])
    ended = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path / "work", env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, f"{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    assert "p99" in ended.stdout, "the benchmark"
    for name in ("tune.mid", "tune.png", "plugin/groovepredictor.json", "models/report.html", "sweep/sweep.json"):
        assert (tmp_path / "work" / name).is_file(), name
