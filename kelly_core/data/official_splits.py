"""Official tables of corpora: found by their columns, matched to files, and the split that they give each file."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from kelly_core.data.split_tables import (
    CLIP_TABLE,
    FILE,
    SPLIT,
    CorpusNames,
    TableRow,
    is_clip,
    is_split_table,
    most_held_out,
    path_key,
    read_split_rows,
)
from kelly_core.errors import DataError
from kelly_core.formatting import first_names

TABLE_SUFFIXES = frozenset(
    f"{ending}{gzip}"
    for ending in (".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".ndjson")
    for gzip in ("", ".gz")
)
"""Endings of files that are searched first for official splits."""
_AUDIO, _SCORES = (".wav", ".mp3", ".flac", ".ogg", ".m4a"), (".xml", ".mxl", ".musicxml", ".krn", ".abc", ".lab")
_OTHER_KINDS = frozenset((*_AUDIO, *_SCORES, ".mid", ".midi", ".png", ".jpg", ".pdf", ".npy", ".npz", ".zip", ".md"))
"""Endings of files that are no tables. Any other name may be that of a copy, such as ``table.csv.bak``."""
KNOWN_NAMES = ("maestro-v*.csv", "maestro-v*.json", "e-gmd*.csv")
"""File names of official tables. Other tables are recognized by their columns, or else by their values."""

_SHOWN_ROWS = 5
_CLIP_FOLDER = "split"
_MAX_SEARCHED = 512
"""Files without a known name whose columns are looked at. Some corpora hold one small JSON file per song."""


@dataclass(frozen=True)
class OfficialTable:
    """One official table.

    Attributes:
        path: the table, relative to the corpus folder.
        folder: the folder that its rows belong to, relative to the corpus folder: "" or a path that ends in "/".
        rows, by_clip, damaged, notes: as in ``SplitRows``.
        conflicts: files that several rows name with different splits.
    """

    path: str
    folder: str
    rows: Sequence[TableRow]
    by_clip: bool = False
    damaged: Sequence[int] = ()
    notes: Sequence[str] = ()
    conflicts: list[str] = field(init=False, repr=False, compare=False, default_factory=list)
    _exact: dict[str, TableRow] = field(init=False, repr=False, compare=False, default_factory=dict)
    _tails: dict[str, TableRow] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            key = path_key(row[FILE])
            if self.by_clip:
                self._add(self._exact, key.rpartition("/")[2], row)
                continue
            self._add(self._exact, path_key(self.folder + row[FILE]), row)
            # A name without a folder may belong to several files: Groove repeats 13 names, three of them across splits.
            if "/" in key:
                _add_row(self._tails, key, row)

    def _add(self, rows: dict[str, TableRow], key: str, row: TableRow) -> None:
        if key in rows and rows[key][SPLIT] != row[SPLIT]:
            self.conflicts.append(row[FILE])
        _add_row(rows, key, row)

    def row(self, file: str) -> TableRow | None:
        """Return the row of a file, given by its path in the corpus, or None if no row names it.

        The path below the table's folder counts first, then a row's whole path as the end of the file's path.
        """
        key = path_key(file)
        if self.by_clip:
            return self._exact.get(key.rpartition("/")[2])
        if key in self._exact:
            return self._exact[key]
        parts = key.split("/")
        tails = ("/".join(parts[start:]) for start in range(len(parts) - 1))
        return next((self._tails[tail] for tail in tails if tail in self._tails), None)

    def covers(self, file: str) -> bool:
        """Return True if the table should name the file, because it is in its folder or is a clip of EMOPIA."""
        return file.startswith(self.folder) or (self.by_clip and is_clip(file))


def read_official_tables(
    root: Path, tables: Sequence[str], names: CorpusNames, known: Sequence[str] = (), file: str = ""
) -> tuple[list[OfficialTable], list[str]]:
    """Read every official table of a corpus.

    Args:
        root: the corpus folder.
        tables: files below it that may be tables, by path in the corpus.
        names: the corpus's own files.
        known: file names of the corpus's own table, as patterns, besides those that all corpora share.
        file: the only table to read, relative to ``root``; "" looks for tables.

    Returns:
        The tables by path, and one sentence on each damaged table that is left out, has damaged rows, or is ambiguous.

    Raises:
        DataError: ``file`` is missing or damaged, or tables are there and all of them are damaged.
    """
    if file and not (root / file).is_file():
        raise DataError("the official table is not there", where=root / file)
    found: list[OfficialTable] = []
    damaged: list[DataError] = []
    candidates, warnings = ([file], []) if file else _candidates(root, tables, names, (*KNOWN_NAMES, *known))
    for name in candidates:
        try:
            found.append(OfficialTable(name, _folder(name), *read_split_rows(root / name, names)))
        except DataError as error:
            damaged.append(error)
    if damaged and not found:
        raise damaged[0]
    warnings += _problems(found)
    return found, [*warnings, *(f"damaged table of official splits left out: {error}" for error in damaged)]


def _problems(tables: Sequence[OfficialTable]) -> list[str]:
    """One sentence on the damaged rows of each table, on its conflicts, and on what is ambiguous in it."""
    found = []
    for table in tables:
        if table.damaged:
            rows = first_names([f"row {number}" for number in table.damaged], _SHOWN_ROWS)
            problem = f"{len(table.damaged)} rows without a midi_filename or a known split left out"
            found.append(f"{table.path}: {problem}: {rows}")
        found += [f"{table.path}: {note}" for note in table.notes]
        if table.conflicts:
            files = first_names(table.conflicts, _SHOWN_ROWS)
            problem = f"{len(table.conflicts)} rows give a file another split than an earlier row"
            found.append(f"{table.path}: {problem}; the most held-out one counts: {files}")
    return found


def _candidates(
    root: Path, tables: Sequence[str], names: CorpusNames, known: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Files that are official tables by name or by contents, and a warning if not all could be looked at."""
    found: list[str] = []
    others: list[str] = []
    for name in tables:
        file = name.rpartition("/")[2].lower()
        by_name = CLIP_TABLE.match(file) or any(fnmatch(file, pattern) for pattern in known)
        (found if by_name else others).append(name)
    others.sort(key=lambda name: (not is_table_name(name), name.count("/")))
    found += [name for name in others[:_MAX_SEARCHED] if is_split_table(root / name, names)]
    left_out = len(others) - _MAX_SEARCHED
    if left_out <= 0 or found:
        return sorted(found), []
    return [], [f"{left_out:,} of {len(others):,} possible tables were not searched for official splits"]


def is_table_name(name: str) -> bool:
    """Return True if a file has the ending of a CSV or JSON table."""
    return name.lower().endswith(tuple(TABLE_SUFFIXES))


def may_be_table(name: str) -> bool:
    """Return True unless the ending of a file is that of another kind."""
    return posixpath.splitext(name.lower())[1] not in _OTHER_KINDS


def _folder(name: str) -> str:
    """Return the folder that a table's rows belong to; EMOPIA's tables are in a folder of their own below it."""
    folder, _, file = name.rpartition("/")
    above, _, last = folder.rpartition("/")
    if CLIP_TABLE.match(file.lower()) and last.lower() == _CLIP_FOLDER:
        folder = above
    return f"{folder}/" if folder else ""


def _add_row(rows: dict[str, TableRow], key: str, row: TableRow) -> None:
    rows[key] = most_held_out([rows[key], row]) or row if key in rows else row
