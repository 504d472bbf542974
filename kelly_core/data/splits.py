"""Groups of files, and the reproducible split of groups into training and validation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kelly_core.errors import DataError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
OFFICIAL, BY_SEED, PARTLY_OFFICIAL = "official", "by seed", "official and by seed"
"""Source of a corpus's splits."""
MIN_JUDGING_GROUPS = 10
"""Minimum validation groups to judge, or to choose the epoch; with fewer, intervals of differences are meaningless."""
MIN_SPLIT_GROUPS = 5
"""Minimum number of artists to split by; with fewer, one artist would make up the validation split."""
_CLIP = re.compile(r"Q[1-4]_(?P<song>.+)_\d+")
"""Name of a clip of EMOPIA."""


def song_of_clip(file: str) -> str:
    """Return the song that a clip ``Q<quadrant>_<song>_<number>`` was cut from; return any other file unchanged."""
    # Creating a Path for each of Lakh's files would take seconds.
    clip = _CLIP.fullmatch(file.rpartition("/")[2].rsplit(".", 1)[0])
    return clip["song"] if clip else file


def group_by_artist(songs: Sequence[str], artists: Sequence[str | None]) -> list[str]:
    """Return the artist of each song as its group, or the song itself if the artist is None.

    With fewer than ``MIN_SPLIT_GROUPS`` groups, each song is a separate group.
    """
    groups = [artist or song for song, artist in zip(songs, artists, strict=True)]
    return groups if len(set(groups)) >= MIN_SPLIT_GROUPS else list(songs)


def has_both_sides(official: Sequence[str | None]) -> bool:
    """Return True if the official split covers every file and has both training and validation files."""
    return set(official) - {TEST} == {TRAIN, VALIDATION}


def split_source(official: Sequence[str | None], tables: Sequence[str]) -> str:
    """Return the origin of training and validation files: "official", "by seed", or "official and by seed"."""
    if not tables:
        return BY_SEED
    return OFFICIAL if has_both_sides(official) else PARTLY_OFFICIAL


def assign_splits(
    groups: Sequence[str], official: Sequence[str | None], fraction: float, seed: int
) -> NDArray[np.str_]:
    """Return the split of each file: the official one, or a seeded split by group for files that have none.

    Official test and validation files keep their split. Validation files are drawn from the official training files
    only if there are no official validation files.

    Args:
        groups: group of each file.
        official: official split of each file, None for a file that has none.
        fraction: share of the groups in validation if the split is not official, 0..1 exclusive.
        seed: seed of that split.

    Raises:
        DataError: there are fewer than two groups to draw from, or no file is left to train on.
    """
    drawn = {None} if VALIDATION in official else {None, TRAIN}
    ours = np.array([split in drawn for split in official], bool)
    splits = np.array([split or TRAIN for split in official], dtype=object)
    held_out = {group for group, split in zip(groups, official, strict=True) if split == VALIDATION}
    pool = [group for group, mine in zip(groups, ours, strict=True) if mine]
    # A group with an official validation file is completely in validation.
    free = [group for group in pool if group not in held_out]
    if VALIDATION not in official or len(set(free)) > 1:
        drawn_splits = split_groups(free, fraction, seed)
        held_out |= {group for group, split in zip(free, drawn_splits, strict=True) if split == VALIDATION}
    splits[ours] = [VALIDATION if group in held_out else TRAIN for group in pool]
    if TRAIN not in splits:
        raise DataError("official tables leave no file to train on", hint="Add files of the official training split")
    return splits.astype(np.str_)


def split_groups(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.str_]:
    """Assign every example to training or validation so that no group is in both.

    The groups are ranked by a hash of seed and name, so the order of files on disk does not matter.

    Args:
        groups: group name of each example.
        fraction: share of the groups in validation, 0..1 exclusive; at least one group.
        seed: seed of the split.

    Raises:
        DataError: fewer than two groups, so nothing could be held out.
    """
    names = sorted(set(groups), key=lambda name: _rank(name, seed))
    if len(names) < 2:
        raise DataError(f"{len(names)} group of examples cannot be split into training and validation")
    # At least one group in each split, regardless of the fraction.
    held_out = set(names[: min(max(1, round(fraction * len(names))), len(names) - 1)])
    return np.array([VALIDATION if group in held_out else TRAIN for group in groups])


def judging_part(groups: Sequence[str]) -> NDArray[np.bool_] | None:
    """Choose the half of the validation groups that is used to judge; the other half is used to choose the epoch.

    The groups are ranked by a hash of their names, so the halves do not depend on the seed or the order of files.

    Args:
        groups: group of each validation example.

    Returns:
        True for each example used to judge; None with fewer than 20 groups, which are too few to divide.
    """
    names = sorted(set(groups), key=lambda name: _rank(f"judging\0{name}", 0))
    if len(names) < 2 * MIN_JUDGING_GROUPS:
        return None
    judges = set(names[: len(names) // 2])
    return np.array([group in judges for group in groups])


def _rank(name: str, seed: int) -> bytes:
    # A hash instead of a shuffle: adding or removing a group changes the split of few other groups.
    return hashlib.blake2b(f"{seed}\0{name}".encode("utf-8", "surrogateescape"), digest_size=8).digest()
