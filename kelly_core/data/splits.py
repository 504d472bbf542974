"""Reproducible split of examples into training and validation by group."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kelly_core.errors import DataError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
OFFICIAL, BY_SEED, PARTLY_OFFICIAL = "official", "by seed", "official and by seed"
"""Source of a corpus's splits."""
LEAST_JUDGES = 10
"""Validation groups that judge or choose, at least: with fewer the interval of a difference means little."""


def split_groups(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.str_]:
    """Assign every example to train or validation so that no group is on both sides.

    The groups are ranked by a hash of seed and name, so the order of files on disk does not matter.

    Args:
        groups: one name an example.
        fraction: share of the groups that validate, 0..1 exclusive; at least one group does.
        seed: another seed gives another split.

    Raises:
        DataError: fewer than two groups, so nothing could be held out.
    """
    names = sorted(set(groups), key=lambda name: _rank(name, seed))
    if len(names) < 2:
        raise DataError(f"{len(names)} group of examples cannot be split into training and validation")
    held_out = set(names[: min(max(1, round(fraction * len(names))), len(names) - 1)])
    return np.array([VALIDATION if group in held_out else TRAIN for group in groups])


def judging_part(groups: Sequence[str]) -> NDArray[np.bool_] | None:
    """Choose the half of the validation groups that judges, while the other half chooses the epoch.

    The groups are ranked by a hash of their names, so the halves depend neither on the seed nor on the order of files.

    Args:
        groups: group of each validation example.

    Returns:
        Whether each example judges; None with fewer than 20 groups, too few to be divided.
    """
    names = sorted(set(groups), key=lambda name: _rank(f"judging\0{name}", 0))
    if len(names) < 2 * LEAST_JUDGES:
        return None
    judges = set(names[: len(names) // 2])
    return np.array([group in judges for group in groups])


def _rank(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
