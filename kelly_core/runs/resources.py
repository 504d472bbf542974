"""Load of the training's machine."""

from __future__ import annotations

from typing import Any

import psutil

from kelly_core.runs.log_records import GpuLoad, HostLoad


class ResourceMonitor:
    """Measures CPU, memory and NVIDIA GPUs if there are any.

    Attributes:
        gpus: names of the GPUs.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._nvml, self._named = _open_gpus()
        self.gpus = tuple(name for name, _ in self._named)
        self._cpu = _cpu_seconds()

    def sample(self) -> HostLoad:
        """Return the load since the last call, without GPUs that do not report theirs, such as partitioned ones."""
        memory = psutil.virtual_memory()
        return HostLoad(
            cpu_percent=self._cpu_percent(),
            process_memory=sum(map(_resident, [self._process, *self._process.children(recursive=True)])),
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            gpus=tuple(load for name, handle in self._named if (load := self._gpu(name, handle))),
        )

    def _cpu_percent(self) -> float:
        """Return the share of all cores since the last call; psutil's own value is per thread."""
        former, self._cpu = self._cpu, _cpu_seconds()
        busy, total = (now - then for now, then in zip(self._cpu, former, strict=True))
        return round(100 * min(1.0, max(0.0, busy / total)), 1) if total > 0 else 0.0

    def _gpu(self, name: str, handle: Any) -> GpuLoad | None:
        try:
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            busy = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu
        except self._nvml.NVMLError:
            return None
        return GpuLoad(name, float(busy), int(memory.used), int(memory.total))


def _cpu_seconds() -> tuple[float, float]:
    """Return the busy and total seconds of all cores since the machine's start."""
    times = psutil.cpu_times()._asdict()
    # On Linux the time of guests is a part of that of users.
    total = sum(seconds for name, seconds in times.items() if not name.startswith("guest"))
    return total - times["idle"] - times.get("iowait", 0.0), total


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _open_gpus() -> tuple[Any, list[tuple[str, Any]]]:
    """Return NVIDIA's library, and name and handle of each GPU; none without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return pynvml, [(pynvml.nvmlDeviceGetName(handle), handle) for handle in handles]
    except pynvml.NVMLError:
        return pynvml, []
