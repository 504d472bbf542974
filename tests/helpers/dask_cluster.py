"""A Dask cluster on loopback: a scheduler and workers, each a process that a test may kill; and work for them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
        # Without its nanny a killed worker stays dead.
        arguments = ["worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        self.workers.append(self.stack.enter_context(_process(self.folder, arguments)))


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Cluster]:
    """A cluster that writes its logs into a folder and is gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serving = ["scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with ExitStack() as stack:
        scheduler = stack.enter_context(_process(folder, serving))
        _wait_until_it_answers(port, scheduler)
        one = Cluster(f"tcp://127.0.0.1:{port}", folder, stack, scheduler)
        for _ in range(workers):
            one.add_worker()
        yield one


def _wait_until_it_answers(port: int, scheduler: subprocess.Popen[bytes]) -> None:
    """Wait for a scheduler, which on a busy machine starts later than a client gives up."""
    while scheduler.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


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
