"""A Dask cluster on loopback: a scheduler and workers, each a process that a test may kill; and work for them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kelly_core.errors import DataError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cluster:
    """The scheduler and its address, and the workers' processes."""

    address: str
    folder: Path
    stack: ExitStack
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self) -> None:
        """Start one more worker, of one thread."""
        # Without its nanny a killed worker stays dead. With a share of a small memory as its limit it might pause.
        arguments = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
        self.workers.append(self.stack.enter_context(_process(self.folder, arguments)))


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """A cluster that writes its logs into a folder and is gone afterwards."""
    file = folder / "scheduler.json"
    # It takes any free port; one that was chosen here another program might take first.
    serving = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    with ExitStack() as stack:
        scheduler = stack.enter_context(_process(folder, serving))
        one = Cluster(_address(file, scheduler), folder, stack, scheduler)
        for _ in range(workers):
            one.add_worker()
        yield one


def _address(file: Path, scheduler: subprocess.Popen[bytes]) -> str:
    """Wait for a scheduler to write its address, which on a busy machine takes longer than a client waits for it."""
    while scheduler.poll() is None:
        # The file may be missing, or be half written.
        with suppress(FileNotFoundError, ValueError):
            return str(json.loads(file.read_text())["address"])
        time.sleep(0.05)
    raise AssertionError(f"the scheduler has ended: {file.with_name('cluster.log').read_text()}")


@contextmanager
def _process(folder: Path, arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
    with (folder / "cluster.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def square(number: int) -> int:
    """The square of a number, if it is not negative."""
    if number < 0:
        raise DataError("no number", where=str(number))
    return number * number


def die_sometimes(folder: Path, number: int) -> int:
    """The square of a number; kills its process when it first meets 5, 50 and 51."""
    mark = folder / str(number)
    if number in (5, 50, 51) and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(number)


def die(_number: int) -> None:
    """Kills its process."""
    os.kill(os.getpid(), signal.SIGKILL)
