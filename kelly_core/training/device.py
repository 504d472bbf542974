"""Where to compute."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from kelly_core.errors import TrainingError


def available_devices() -> list[str]:
    """Kinds of device that this machine and this build of PyTorch have, the fastest first."""
    devices = []
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def resolve_device(name: str) -> torch.device:
    """The device called "auto", "cpu", "cuda" or "mps"; "auto" takes the fastest there is.

    Raises:
        TrainingError: there is no such device here.
    """
    devices = available_devices()
    if name == "auto":
        return torch.device(devices[0])
    if name not in devices:
        raise TrainingError(f"no device {name!r} here", hint=f"There is {', '.join(devices)}")
    return torch.device(name)


@contextmanager
def cpu_workers(threads: int) -> Iterator[Executor]:
    """Threads that compute parts of a batch side by side, for a while; in each of them PyTorch computes alone.

    Steps of networks as small as these are too short to be shared out operation by operation: a part each keeps the
    cores busy for longer, and slows down less beside other processes.

    Denormal numbers are taken for zero, in these threads and in the calling one. The moments of a weight whose gradient
    has died (a ReLU that never fires) decay into denormals and stay there, where a step of Adam takes 13 times as long.

    Args:
        threads: how many; 0 takes one for each core.
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
    """Both settings hold for the calling thread only."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
