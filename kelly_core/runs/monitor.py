"""Monitor thread of a run's process (heartbeat, requests, machine load, summary), and description of the machine."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import kelly_core
from kelly_core.errors import KellyError, RunError
from kelly_core.io.atomic import IsOwned, atomic_write
from kelly_core.io.json import dumps
from kelly_core.runs.control import Inbox, RunController
from kelly_core.runs.event_log import EventLogger, GpuLoad, HostLoad, Revived, print_line
from kelly_core.runs.run import SILENT_SECONDS, Run
from kelly_core.runs.run_dir import RunDirectory

_SECONDS_BETWEEN_REQUESTS = 0.25
_SECONDS_BETWEEN_BEATS = 1.0
_SECONDS_BETWEEN_LOADS = 5.0


class RunMonitor:
    """Context manager that monitors a run in a thread while it trains.

    ``is_owned`` returns False once the output folder no longer belongs to this run.
    """

    def __init__(
        self, run: Run, logger: EventLogger, controller: RunController, meter: ResourceMonitor, is_owned: IsOwned
    ) -> None:
        self._run, self._logger, self._controller, self._meter = run, logger, controller, meter
        self._is_owned = is_owned
        self._inbox = Inbox(run.folder.control, run.manifest.attempts)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run_loop, name="run monitor", daemon=True)
        self._last_beat = time.monotonic()
        self._last_load = self._last_beat
        self._reported_problems: set[str] = set()

    def __enter__(self) -> RunMonitor:
        self._beat(self._last_beat)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self._write_summary()

    def _run_loop(self) -> None:
        while not self._done.wait(_SECONDS_BETWEEN_REQUESTS):
            try:
                self._tick(time.monotonic())
            except (OSError, KellyError) as error:
                self._report_problem(str(error))
            except Exception as error:  # noqa: BLE001 - see below
                # If this thread ended, no request could stop the training.
                self._report_problem(f"unexpected {type(error).__name__}: {error}")

    def _tick(self, now: float) -> None:
        # If another run owns a new folder of the same name, exports of this run would overwrite its exports.
        if not self._is_owned():
            self._controller.fail(_output_lost(self._run))
        for request in self._inbox.read():
            self._controller.handle(request)
        # A signal handler must not acquire the lock of the log, so this thread logs the stop that the handler recorded.
        self._controller.report_signals()
        if now - self._last_beat >= _SECONDS_BETWEEN_BEATS:
            self._beat(now)
        if now - self._last_load >= _SECONDS_BETWEEN_LOADS:
            self._last_load = now
            self._logger.log(self._meter.sample())

    def _beat(self, now: float) -> None:
        silent, self._last_beat = now - self._last_beat, now
        # The modification time is the heartbeat; the content, which names the owner, does not change.
        os.utime(self._run.folder.heartbeat)
        if silent > SILENT_SECONDS:
            self._logger.log(Revived(silent))
        self._write_summary()

    def _write_summary(self) -> None:
        news = False
        while self._run.poll():
            news = True
        if news:
            self._run.summarize()

    def _report_problem(self, problem: str) -> None:
        """Report a problem once and continue, because the training does not depend on the monitor."""
        if problem not in self._reported_problems:
            self._reported_problems.add(problem)
            print_line(problem)


def _output_lost(run: Run) -> str:
    """Return the problem of a run whose output folder was removed or replaced."""
    hint = f"`kelly-core runs resume {run.id}` trains again into a folder of that name"
    return str(RunError("was removed or replaced while the run trained into it", where=run.manifest.output, hint=hint))


class ResourceMonitor:
    """Measures the load of CPU, memory and, if present, NVIDIA GPUs.

    Attributes:
        gpus: names of the GPUs.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._nvml, self._named = _open_gpus()
        self.gpus = tuple(name for name, _ in self._named)
        self._cpu = _cpu_seconds()

    def sample(self) -> HostLoad:
        """Return the load since the last call, without GPUs that report no load, such as partitioned ones."""
        # Total minus available instead of ``used``, to exclude caches that the system can free.
        memory = psutil.virtual_memory()
        return HostLoad(
            cpu_percent=self._cpu_percent(),
            process_memory=sum(map(_resident, [self._process, *self._process.children(recursive=True)])),
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            gpus=tuple(load for name, handle in self._named if (load := self._gpu(name, handle))),
        )

    def _cpu_percent(self) -> float:
        """Return CPU use in percent of all cores since the last call; psutil measures per calling thread."""
        previous, self._cpu = self._cpu, _cpu_seconds()
        busy, total = (now - then for now, then in zip(self._cpu, previous, strict=True))
        return round(100 * min(1.0, max(0.0, busy / total)), 1) if total > 0 else 0.0

    def _gpu(self, name: str, handle: Any) -> GpuLoad | None:
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            busy = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu
        except self._nvml.NVMLError:
            return None
        return GpuLoad(name, float(busy), int(memory.used), int(memory.total))


def _cpu_seconds() -> tuple[float, float]:
    """Return the busy and total seconds of all cores since the machine started."""
    times = psutil.cpu_times()._asdict()
    # On Linux the user time includes the guest time.
    total = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
    return total - times["idle"] - times.get("iowait", 0.0), total


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def count_gpus() -> int:
    """Return the number of NVIDIA GPUs."""
    return len(_open_gpus()[1])


def _open_gpus() -> tuple[Any, list[tuple[str, Any]]]:
    """Return NVIDIA's library, and the name and handle of each GPU; no GPUs without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return pynvml, [(pynvml.nvmlDeviceGetName(handle), handle) for handle in handles]
    except pynvml.NVMLError:
        return pynvml, []


_PACKAGES = ("torch", "numpy", "av", "soundfile", "pydantic")
_SECONDS_FOR_GIT = 10


def write_environment(folder: RunDirectory, attempt: int, gpus: Sequence[str]) -> None:
    """Replace the environment file with the environment of an attempt; ``gpus`` are names.

    Raises:
        RunError: the file cannot be written.
    """
    text = dumps({"attempt": attempt} | describe_environment(gpus), indent=2)
    atomic_write(folder.environment, text.encode(), error_type=RunError)


def describe_environment(gpus: Sequence[str]) -> dict[str, Any]:
    """Return the versions, the commit, and the machine with its GPUs."""
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
    """Return the commit of the checkout, marked as dirty if files differ; None for an installed package."""
    root = Path(kelly_core.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS_FOR_GIT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return described.stdout.strip() if described.returncode == 0 else None
