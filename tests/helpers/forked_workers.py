"""Processes of runs at the price of a fork: one process imports torch once, and forks a worker for each run.

Everything but the start of the interpreter is as in a real worker: its own session, inherited locks, real signals,
a real ``kill -9``.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from kelly_core.runs.run_dir import RunDirectory, read_manifest

_ENOUGH = 2**16
_MAX_HANDLES = 8
_PR_SET_PDEATHSIG = 1


class Forker:
    """Starts workers; put ``spawn`` in place of ``kelly_core.runs.launch.spawn``.

    Attributes:
        largest_file: limit of a worker's files in bytes, None for no limit.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.largest_file: int | None = None
        self._one_at_a_time = threading.Lock()

    def spawn(self, folder: RunDirectory, handles: Sequence[int]) -> int:
        """Start the worker of a run and give it the run's locks; its process id."""
        order = {
            "folder": str(folder.path),
            "environment": dict(os.environ),
            "largest_file": self.largest_file,
            "umask": _umask(),
        }
        with self._one_at_a_time:
            socket.send_fds(self._connection, [json.dumps(order).encode()], list(handles))
            return int(self._connection.recv(_ENOUGH))


@contextlib.contextmanager
def forker() -> Iterator[Forker]:
    """The process that forks, for as long as the context lasts."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.helpers.forked_workers", str(theirs.fileno())]
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(command, cwd=root, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        yield Forker(ours)
    finally:
        ours.close()
        process.wait()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _serve(connection: socket.socket) -> None:
    for module in ("kelly_core.runs.worker", "kelly_core.training.pipeline"):
        importlib.import_module(module)
    # Children are not waited for, so that a killed one does not stay behind.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, handles, _, _ = socket.recv_fds(connection, _ENOUGH, _MAX_HANDLES)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            connection.close()
            _work(json.loads(message), handles[-1])
        for handle in handles:
            os.close(handle)
        connection.send(str(pid).encode())


def _work(order: dict[str, object], lease: int) -> None:
    """The forked process: never returns."""
    status = 1
    try:
        from kelly_core.runs import worker

        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        _end_with_parent()
        folder = RunDirectory(Path(str(order["folder"])))
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(read_manifest(folder).working_folder)
        os.umask(int(str(order["umask"])))
        console = os.open(folder.console, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(console, 1)
        os.dup2(console, 2)
        if order["largest_file"] is not None:
            limit = int(str(order["largest_file"]))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        worker.work(folder, lease)
        status = 0
    except BaseException:  # noqa: BLE001 - a forked child must never return into the test runner
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _end_with_parent() -> None:
    """Have the system kill this process when the one that forks ends, however that ends: tests leave no run behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
