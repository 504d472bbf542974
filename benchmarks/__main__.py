"""All benchmarks, each in a separate process, as one table.

python -m benchmarks [TOPIC …] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks.measurements import Measurement, print_table
from kelly_core.benchmark.suite import measure_load

TOPICS = ("training", "features", "startup", "screens", "parallel")

SECONDS_BEFORE = 1.0
"""Duration in seconds of the measurement of other programs' load before each topic."""


def main() -> int:
    """Run the topics in sequence; return 0 if all of them succeeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"one of {', '.join(TOPICS)} (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the measurements to FILE as JSON")
    options = parser.parse_args()
    if unknown := set(options.topics) - set(TOPICS):
        parser.error(f"unknown topic: {', '.join(sorted(unknown))}")
    console = Console(stderr=True)
    measurements: list[Measurement] = []
    broken = []
    started = time.monotonic()
    for topic in options.topics or TOPICS:
        load = measure_load(SECONDS_BEFORE)
        console.print(f"{topic} …")
        if load.busy:
            console.print(f"{load.description}: affected results are not compared with their targets", style="yellow")
        child = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{topic}", "--json"], stdout=subprocess.PIPE, text=True, check=False
        )
        if child.returncode:
            broken.append(topic)
        else:
            measurements += [Measurement(**measurement) for measurement in json.loads(child.stdout)]
    print_table(measurements, f"{machine()}; {time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(document(measurements))
    if broken:
        console.print(f"failed: {', '.join(broken)}", style="red")
    return 1 if broken else 0


def document(measurements: list[Measurement]) -> str:
    """Return the measurements and a description of the machine as JSON."""
    return (
        json.dumps({"machine": machine(), "figures": [vars(measurement) for measurement in measurements]}, indent=2)
        + "\n"
    )


def machine() -> str:
    """Return a description of the machine in one line."""
    return f"{os.cpu_count()} cores of {processor()}, Python {platform.python_version()}, PyTorch {version('torch')}"


def processor() -> str:
    """Return the name of the processor as the system reports it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
