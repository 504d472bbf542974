"""Groups of examples that belong together (songs, artists), and their reproducible split by group."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.data.files import read_table, table_columns
from kelly_core.data.labels import ID_COLUMNS, song_key
from kelly_core.errors import DataError

LEAST_GROUPS = 5
"""Fewer artists than this are no split: one of them alone would be the validation."""

_ARTIST_COLUMNS = ("artist", "artist_name", "artist name", "performer")
_ALBUM_COLUMNS = ("album", "album_name", "album name", "soundtrack")
_NO_ARTIST = frozenset(("", "unknown", "unknown artist", "various", "various artists", "n/a", "nan", "none"))
_NO_BREAK_SPACE = "\xa0"


def read_artists(root: Path, tables: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the artist of each song by ``song_key``, or its album if the artist is not known.

    DEAM's metadata, PMEmo's and the lists of tracks of Soundtracks have such columns. A song that two tables give
    different artists has none, since two songs have its number.

    Args:
        root: the corpus folder.
        tables: CSV files in it, by path relative to ``root``.

    Returns:
        The artists, and a sentence on each table of artists that cannot be read.
    """
    artists: dict[str, str] = {}
    ambiguous: set[str] = set()
    warnings: list[str] = []
    for name in tables:
        try:
            found = _read_table(root / name)
        except DataError as error:
            warnings.append(f"table of artists left out: {error}")
            continue
        for song, artist in found.items():
            if artists.setdefault(song, artist) != artist:
                ambiguous.add(song)
    return {song: artist for song, artist in artists.items() if song not in ambiguous}, warnings


def group_by_artist(songs: Sequence[str], artists: Sequence[str | None]) -> list[str]:
    """Return the artist of each song as its group, the song itself where that is None.

    With fewer than ``LEAST_GROUPS`` groups all songs are groups of their own.
    """
    groups = [artist or song for song, artist in zip(songs, artists, strict=True)]
    return groups if len(set(groups)) >= LEAST_GROUPS else list(songs)


def _read_table(path: Path) -> dict[str, str]:
    """Return artist or album by ``song_key`` from one table; nothing if it has no such columns."""
    columns = {_plain(column) for column in table_columns(path)}
    if columns.isdisjoint(ID_COLUMNS) or columns.isdisjoint(_ARTIST_COLUMNS + _ALBUM_COLUMNS):
        return {}
    found = {}
    for cells in read_table(path):
        row = {_plain(column): _plain(value) for column, value in cells.items()}
        song = next((row[column] for column in ID_COLUMNS if row.get(column)), "")
        named = (row.get(column, "") for column in (*_ARTIST_COLUMNS, *_ALBUM_COLUMNS))
        artist = next((name for name in named if name not in _NO_ARTIST), "")
        if song and artist:
            found[song_key(song)] = artist
    return found


def _plain(text: str) -> str:
    """Return a cell without quotes and outer spaces, in lower case; DEAM's tables have both in some rows."""
    return text.replace(_NO_BREAK_SPACE, " ").strip(" \t\"'").casefold()


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
