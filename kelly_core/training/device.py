"""Choice of the device, and the threads of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from kelly_core.errors import TrainingError


def available_devices() -> list[str]:
    """Return the kinds of device that this machine and this build of PyTorch have, the fastest first."""
    devices = []
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def resolve_device(name: str) -> torch.device:
    """Return the device called "auto", "cpu", "cuda" or "mps"; "auto" is the fastest one available.

    Raises:
        TrainingError: this machine does not have the device.
    """
    devices = available_devices()
    if name == "auto":
        return torch.device(devices[0])
    if name not in devices:
        raise TrainingError(f"no device {name!r} here", hint=f"Available: {', '.join(devices)}")
    return torch.device(name)


@contextmanager
def cpu_workers(threads: int) -> Iterator[Executor]:
    """Context manager for threads that compute the micro-batches of a batch; PyTorch uses one thread in each of them.

    Steps of networks this small are too short for parallel operations. A micro-batch per thread keeps the cores busy
    for longer and slows down less while other processes compute.

    Denormal numbers are flushed to zero in these threads and in the calling thread. The moments of a weight whose
    gradient is always zero (a ReLU that never fires) decay into denormals, which make a step of Adam take 13 times as
    long.

    Args:
        threads: number of threads; 0 is one per core.
    """
    cores = torch.get_num_threads()
    _compute_alone()
    try:
        with ThreadPoolExecutor(threads or cores, "part", _compute_alone) as pool:
            yield pool
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(cores)


def _compute_alone() -> None:
    """Use one thread and flush denormals; both settings apply to the calling thread only."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
