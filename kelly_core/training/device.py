"""Where to compute."""

from __future__ import annotations

from collections.abc import Iterator
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
def cpu_threads(wanted: int, sequences: bool) -> Iterator[None]:
    """Let PyTorch use so many CPU threads for a while, and take denormal numbers for zero.

    The moments of a weight whose gradient has died (a ReLU that never fires) decay into denormals and stay there, where
    a step of Adam takes 13 times as long. PyTorch flushes in the calling thread only.

    Args:
        wanted: threads; 0 takes all for sequences, and one for single frames, whose steps are too short to share.
        sequences: whether the network learns from whole sequences.
    """
    former = torch.get_num_threads()
    torch.set_num_threads(wanted or (former if sequences else 1))
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(former)
