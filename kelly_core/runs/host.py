"""What the machine of a training is doing."""

from __future__ import annotations

from typing import Any

import psutil

from kelly_core.runs.records import GpuLoad, HostLoad


class HostMeter:
    """Measures CPU, memory and, where NVIDIA's library finds any, GPUs.

    Attributes:
        gpus: names of the GPUs.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._nvml, self._handles = _open_gpus()
        # The first figure covers no time and is always 0.
        psutil.cpu_percent(None)

    def sample(self) -> HostLoad:
        """Figures since the last call."""
        memory = psutil.virtual_memory()
        return HostLoad(
            cpu_percent=psutil.cpu_percent(None),
            process_memory=sum(map(_resident, [self._process, *self._process.children(recursive=True)])),
            memory_used=memory.total - memory.available,
            memory_total=memory.total,
            gpus=tuple(self._gpu(handle) for handle in self._handles),
        )

    def _gpu(self, handle: Any) -> GpuLoad:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        busy = self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu
        return GpuLoad(self._nvml.nvmlDeviceGetName(handle), float(busy), int(memory.used), int(memory.total))


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _open_gpus() -> tuple[Any, list[Any]]:
    """NVIDIA's library and a handle of each GPU; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return pynvml, []
    return pynvml, handles
