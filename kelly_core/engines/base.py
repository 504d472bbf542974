"""The protocol of every engine in this process."""

from __future__ import annotations

from typing import Protocol

from kelly_core.engines.layers import Array


class Engine(Protocol):
    """A loaded network that keeps its state from frame to frame, starting from zero.

    ``NumpyEngine``, ``TorchEngine`` and ``OnnxEngine`` implement it.
    """

    in_size: int
    out_size: int

    def reset(self) -> None:
        """Set all state to zero."""
        ...

    def step(self, frame: Array) -> Array:
        """Compute one frame, shape [in] → [out], and update the state."""
        ...

    def process(self, frames: Array) -> Array:
        """Compute frames in sequence from the current state, shape [n, in] → [n, out]."""
        ...
