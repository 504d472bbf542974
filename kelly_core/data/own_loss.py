"""Losses that specs name themselves, computed on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kelly_core.spec import load_reference


def own_loss_sums(
    loss: str, outputs: NDArray[np.floating], targets: NDArray[np.floating], weights: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted loss of each example and its size, both [N], by a function of tensors.

    Args:
        loss: reference to the function, see ``training.losses``.
        outputs, targets: [N, T, out].
        weights: [N, T, 1 or out].
    """
    import torch

    # Double precision: sums over many frames lose digits. The copy makes a broadcast array writable for torch.
    tensors = (torch.from_numpy(np.array(array, np.float64)) for array in (outputs, targets, weights))
    with torch.inference_mode():
        totals, sizes = load_reference(loss)(*tensors)
    return totals.numpy(), sizes.numpy()
