"""Artist or album of each song, from the tables that come with a corpus: songs of one artist sound alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
