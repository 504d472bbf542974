"""Start of the command line: time to the list of commands, and to the list of cached corpora.

Each command is a new process. The commands alternate, and the median of each is used; a ratio compares medians of one
run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.features import alone, corpora, write_corpus
from benchmarks.measurements import Measurement, main, measured

ROUNDS = 9
TIMES_BARE = 3.0
FILES = 2_000
SECONDS_FOR_DATASETS = 1.0

BARE = (sys.executable, "-c", "import pydantic, typer")
KELLY = (sys.executable, "-c", "from kelly_core.cli.app import main; main()")


def measure() -> list[Measurement]:
    """Return all measurements."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone(write_datasets, folder)
        environment = {
            "KELLY_DATASETS_DIR": str(folder / "datasets"),
            "KELLY_DATASETS_CACHE_DIR": str(folder / "cache"),
        }
        commands = {"bare": BARE, "help": (*KELLY, "--help"), "datasets": (*KELLY, "datasets")}
        seconds = medians(commands, os.environ | environment, folder)
    bare, shown, known = (seconds[name] for name in commands)
    what = "an interpreter that imports pydantic and typer"
    return [
        Measurement(what, 1000 * bare, "ms"),
        Measurement("kelly-core --help", 1000 * shown, "ms"),
        Measurement.at_most("kelly-core --help over the bare interpreter", shown / bare, "×", TIMES_BARE),
        Measurement.at_most(
            f"kelly-core datasets, {FILES:,} files cached",
            known,
            "s",
            SECONDS_FOR_DATASETS,
            f"{known / bare:.1f} times the bare interpreter",
        ),
    ]


def write_datasets(folder: Path) -> None:
    """Create a datasets folder with a Lakh-like corpus of ``FILES`` files."""
    root = corpora(folder / "demo")["lakh_midi"]
    write_corpus(root, folder / "datasets" / "lakh_midi", FILES)


def medians(commands: Mapping[str, Sequence[str]], environment: Mapping[str, str], folder: Path) -> dict[str, float]:
    """Return the median seconds of each command; an untimed round before the first fills all caches."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=True)
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(each[1:]) for name, each in seconds.items()}


if __name__ == "__main__":
    main(partial(measured, measure), __doc__)
