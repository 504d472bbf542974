"""Seeds of the tests, which one environment variable shifts.

A test must hold for any seed, not for one draw. ``TEST_SEED_OFFSET=3 make test`` runs every test with other
numbers; ``python -m tests.portable`` does so with several offsets.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

OFFSET_VARIABLE = "TEST_SEED_OFFSET"
OFFSET = int(os.environ.get(OFFSET_VARIABLE, "0"))
"""Added to every seed that a test draws from."""


def shifted(seed: int) -> int:
    """Return ``seed`` plus the offset of this test session: use it wherever a test passes a seed on."""
    return seed + OFFSET


def seeded_rng(seed: int) -> np.random.Generator:
    """Return NumPy's generator for a shifted seed."""
    return np.random.default_rng(shifted(seed))


def seeded_torch(seed: int) -> torch.Generator:
    """Return PyTorch's CPU generator for a shifted seed."""
    import torch  # Here, because child processes of tests that need no PyTorch import this module, too.

    return torch.Generator().manual_seed(shifted(seed))
