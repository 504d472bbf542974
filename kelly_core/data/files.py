"""Files of a corpus: search in its folder, and selection by official tables.

An official table is recognized by its name or columns and matched to files; it assigns a split to each file.
"""

from __future__ import annotations

import logging
import os
import posixpath
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

from kelly_core.corpora import RULES_FILE
from kelly_core.data.readers import midi
from kelly_core.data.split_tables import (
    CLIP_TABLE,
    SPLIT,
    CorpusNames,
    OfficialTable,
    TableRow,
    is_clip,
    is_split_table,
    most_held_out,
    read_official_table,
)
from kelly_core.data.splits import TEST
from kelly_core.errors import DataError
from kelly_core.formatting import first_names, printable

_log = logging.getLogger(__name__)

_LISTED = 5

BROKEN_LINK = "broken link"
UNREADABLE_FOLDER = "folder that cannot be read"
TEST_REASON = "official test split, kept out of training"
UNLISTED_REASON = "not in the official table"
_NO_SPLIT_REASON = "without a known split in the official table"

_TABLE_SUFFIXES = tuple(
    f"{ending}{gzip}"
    for ending in (".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".ndjson")
    for gzip in ("", ".gz")
)
"""Endings of files that are searched first for official splits."""
_AUDIO, _SCORES = (".wav", ".mp3", ".flac", ".ogg", ".m4a"), (".xml", ".mxl", ".musicxml", ".krn", ".abc", ".lab")
_OTHER_KINDS = frozenset((*_AUDIO, *_SCORES, ".mid", ".midi", ".png", ".jpg", ".pdf", ".npy", ".npz", ".zip", ".md"))
"""Endings of files that are not tables. Any other file may be a copy of a table, such as ``table.csv.bak``."""
_KNOWN_NAMES = ("maestro-v*.csv", "maestro-v*.json", "e-gmd*.csv")
"""File names of official tables. Other tables are recognized by their columns, or else by their values."""

_MAX_SEARCHED = 512
"""Maximum files without a known name whose columns are read. Some corpora contain one small JSON file per song."""

T = TypeVar("T")
SkippedFiles = dict[str, list[str]]
"""Names of unused files, folders and entries, by reason."""


def find_files(
    root: Path,
    suffixes: Collection[str],
    is_skipped: Callable[[str], bool] = lambda _folder: False,
    skipped: SkippedFiles | None = None,
    also: Callable[[str], bool] = lambda _name: False,
) -> list[str]:
    """Return the files below ``root`` with one of the (lower-case) suffixes, sorted by the parts of their paths.

    Hidden files and the ``__MACOSX`` folders of archives from macOS are left out. Links to folders are followed; a
    folder that is reached twice is read once, so circular links end. Broken links and unreadable folders are left out
    with a warning.

    Args:
        root: the corpus folder.
        suffixes: endings with their dot; the case of the file names does not matter.
        is_skipped: returns True for the path, relative to ``root``, of a folder to skip.
        skipped: receives the broken links and unreadable folders.
        also: returns True for the name of a file to include regardless of its ending.

    Returns:
        The path of each file relative to ``root``, with forward slashes. For a large corpus these strings take most of
        the memory; a ``Path`` would take four times as many bytes.

    Raises:
        DataError: the folder is missing or cannot be read.
    """
    if not root.is_dir():
        raise DataError("no such folder", where=root)
    if not os.access(root, os.R_OK | os.X_OK):
        raise DataError("the folder cannot be read", where=root, hint="Change its permissions")
    unusable: SkippedFiles = {}
    found = list(_walk(root, tuple(suffixes), is_skipped, also, unusable))
    # Files of linked folders are found last. With NUL in place of slashes, paths sort by their parts.
    found.sort(key=lambda name: name.replace("/", "\0"))
    for reason, names in unusable.items():
        warn_skipped(root, reason, names)
        if skipped is not None:
            skipped[reason] = list(dict.fromkeys([*skipped.get(reason, ()), *names]))
    return found


def has_files(root: Path, suffixes: Collection[str]) -> bool:
    """Return True if ``find_files`` would find any file with one of the suffixes below ``root``."""
    return any(True for _ in _walk(root, tuple(suffixes), lambda _folder: False, lambda _name: False, {}))


def _walk(
    root: Path,
    suffixes: tuple[str, ...],
    is_skipped: Callable[[str], bool],
    also: Callable[[str], bool],
    unusable: SkippedFiles,
) -> Iterator[str]:
    """Yield the files below ``root`` as ``find_files`` describes, those of linked folders last."""
    visited: set[tuple[int, int]] = set()
    # An explicit stack: folders may be nested deeper than Python's recursion limit.
    stack: list[tuple[str, os.DirEntry[str]]] = []
    # Linked folders are read after all others, so that the real folder is found before a link to it.
    links = deque([(str(root), "")])
    while stack or links:
        if stack:
            below, entry = stack.pop()
            folder, name = entry.path, below + entry.name
            is_real_folder = entry.is_dir(follow_symlinks=False)
            if entry.name.startswith(".") or entry.name == "__MACOSX" or (is_real_folder and is_skipped(name)):
                continue
            if entry.is_symlink() and is_folder(entry):
                links.append((folder, f"{name}/"))
                continue
            if not is_real_folder:
                has_suffix = entry.name.lower().endswith(suffixes)
                if (has_suffix or also(entry.name)) and is_file(entry):
                    yield name
                # Report only broken links that may have led to a wanted file or a folder.
                elif entry.is_symlink() and (has_suffix or "." not in entry.name) and not Path(folder).exists():
                    unusable.setdefault(BROKEN_LINK, []).append(name)
                continue
            inner = f"{name}/"
        else:
            folder, inner = links.popleft()
        try:
            status = os.stat(folder)  # noqa: PTH116, folders are strings here
            # A folder with two names is read once.
            if (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                stack += [(inner, each) for each in sorted(entries, key=lambda each: each.name, reverse=True)]
        except OSError:
            unusable.setdefault(UNREADABLE_FOLDER, []).append(inner)


def merge_skipped(*parts: Mapping[str, Sequence[str]]) -> SkippedFiles:
    """Return the names of all parts by reason, each name once per reason."""
    reasons = dict.fromkeys(reason for part in parts for reason in part)
    return {reason: list(dict.fromkeys(name for part in parts for name in part.get(reason, ()))) for reason in reasons}


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True if an entry is a folder or a link to one; False for a link to itself."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return True if an entry is a regular file or a link to one; False for a link to itself."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def spread_evenly(items: Sequence[T], most: int) -> list[T]:
    """Return at most ``most`` items, evenly spread over the sequence; 0 keeps all."""
    if not most or len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def is_made_by_rules(path: Path) -> bool:
    """Return True if ``RULES_FILE``, in a corpus's folder or next to its only file, marks it as generated by rules."""
    return ((path if path.is_dir() else path.parent) / RULES_FILE).is_file()


def warn_skipped(path: Path, what: str, names: Sequence[str]) -> None:
    """Log how many entries of a file are left out, and the first of them; log nothing if ``names`` is empty."""
    if names:
        first = first_names(names, _LISTED)
        _log.warning("%s: %s left out: %s: %s", printable(str(path)), len(names), what, first)


@dataclass(frozen=True)
class Selection:
    """Files to read, and the official tables' entries for them.

    Attributes:
        files: files to read, by path in the corpus.
        rows: table row of each file, by path in the corpus; empty without a table.
        skipped: names of the files left out by reason.
        found: number of files in the folder, without tables.
        tables: the official tables that were used, by path in the corpus.
        other_tables: all CSV and JSON files of the folder, by path in the corpus.
        warnings: warnings about the split to show to the user, one sentence each.
    """

    files: list[str]
    rows: dict[str, TableRow]
    skipped: SkippedFiles
    found: int
    tables: list[str]
    other_tables: list[str]
    warnings: list[str]

    def official(self, names: Sequence[str]) -> list[str | None]:
        """Return the official split of each file, None for a file that no table covers."""
        return [self.rows[name][SPLIT] if name in self.rows else None for name in names]


def select_files(
    root: Path,
    *,
    known_tables: Sequence[str] = (),
    table: str = "",
    advice: str = "",
    unfit: Callable[[str, TableRow | None], str] = lambda _name, _row: "",
    max_files: int = 0,
    include_test: bool = False,
) -> Selection:
    """Choose the MIDI files of a corpus by its official tables.

    Only files found below ``root`` are chosen; paths in a table are only compared, never opened.

    Args:
        root: the corpus folder.
        known_tables: file names of the corpus's official tables, as patterns.
        table: the only table to use, relative to ``root``; "" searches for tables at any depth.
        advice: what to do if there is no table, for a corpus whose table lists all files; "" if a table is optional and
            lists only the files of its own folder.
        unfit: returns the reason why a file (its path in the corpus, its row) is unusable, or "".
        max_files: choose at most this number, evenly spread; 0 chooses all.
        include_test: also choose the official test files. They follow all other files and do not change the selection
            or order of the others.

    Raises:
        DataError: the folder cannot be read, or all existing official tables are damaged.
    """
    skipped: SkippedFiles = {}
    everything = find_files(root, midi.SUFFIXES, skipped=skipped, also=_may_be_table)
    endings = tuple(midi.SUFFIXES)
    found = [name for name in everything if name.lower().endswith(endings)]
    others = [name for name in everything if not name.lower().endswith(endings)]
    tables, warnings = _read_official_tables(root, others, found, known_tables, table)
    rows, ambiguous = _match_rows(found, tables)
    warnings += ambiguous
    sides: dict[str | None, list[str]] = {}
    for name in found:
        row = rows.get(name)
        reason = unfit(name, row) or _why_skipped(row, name, tables, bool(advice), include_test)
        if reason:
            skipped.setdefault(reason, []).append(name)
        else:
            sides.setdefault(row[SPLIT] if row else None, []).append(name)
    tested = sides.pop(TEST, [])
    files = _in_proportion(sides, max_files) + spread_evenly(tested, max_files)
    if not tables and (missing := _missing_table_warning(found, advice)):
        warnings.append(missing)
    used = [each.path for each in tables]
    return Selection(files, rows, skipped, len(found), used, list(filter(_is_table_name, others)), warnings)


def _match_rows(files: Sequence[str], tables: Sequence[OfficialTable]) -> tuple[dict[str, TableRow], list[str]]:
    """Return the row of each file that a table names, and warnings on tables that name no file or disagree."""
    rows: dict[str, TableRow] = {}
    naming: set[str] = set()
    conflicts: list[str] = []
    for name in files:
        own = {table.path: row for table in tables if (row := table.row(name)) is not None}
        naming |= own.keys()
        if len({row[SPLIT] for row in own.values()}) > 1:
            conflicts.append(name)
        if (row := most_held_out(own.values())) is not None:
            rows[name] = row
    warnings = [
        f"{table.path}: none of its {len(table.rows):,} rows names a file in the folder"
        for table in tables
        if files and not table.by_clip and table.path not in naming
    ]
    if conflicts:
        shown = first_names(conflicts, _LISTED)
        warnings.append(f"tables give {len(conflicts):,} files different splits; the most held-out one counts: {shown}")
    return rows, warnings


def _why_skipped(
    row: TableRow | None, name: str, tables: Sequence[OfficialTable], whole: bool, include_test: bool
) -> str:
    if row is not None and not row[SPLIT]:
        return _NO_SPLIT_REASON
    if row is not None:
        return TEST_REASON if row[SPLIT] == TEST and not include_test else ""
    covered = any(table.covers(name) or (whole and not table.by_clip) for table in tables)
    return UNLISTED_REASON if covered else ""


def _in_proportion(sides: Mapping[str | None, list[str]], most: int) -> list[str]:
    """Return at most ``most`` files (0: all), evenly spread over each side in proportion, at least one per side."""
    total = sum(map(len, sides.values()))
    if not most or total <= most:
        return sorted((name for names in sides.values() for name in names), key=lambda name: name.split("/"))
    largest = sorted(sides.values(), key=len)
    chosen: list[str] = []
    for position, names in enumerate(largest):
        sides_left = len(largest) - position - 1
        files_left = sum(map(len, largest[position:]))
        free = most - len(chosen)
        # The smallest side comes first, so that rounding never leaves it without a file.
        share = min(max(1, round(free * len(names) / files_left)), max(0, free - sides_left))
        chosen += spread_evenly(names, share) if share else []
    return sorted(chosen, key=lambda name: name.split("/"))


def _missing_table_warning(found: Sequence[str], advice: str) -> str:
    """Return a warning for a corpus whose official split has no table; "" for any other corpus."""
    if not advice and any(map(is_clip, found)):
        advice = "Put EMOPIA's split/train_clip.csv, val_clip.csv and test_clip.csv into the folder"
    if not advice:
        return ""
    return f"no table of official splits: split by seed, so official test files may be trained on. {advice}"


def no_usable_example(skipped: Mapping[str, Sequence[str]], root: Path) -> DataError:
    """Return the error for a corpus without any usable example, with the reasons."""
    reasons = "; ".join(f"{len(names)} × {reason}" for reason, names in skipped.items())
    hint = "Unpack the archive with its folders: names alone are not matched" if UNLISTED_REASON in skipped else None
    return DataError(f"no usable example ({reasons or 'no files'})", where=root, hint=hint)


def _read_official_tables(
    root: Path, tables: Sequence[str], files: Sequence[str], known: Sequence[str], only: str
) -> tuple[list[OfficialTable], list[str]]:
    """Read every official table of a corpus: those with a known name, and others with the expected columns.

    Args:
        root: the corpus folder.
        tables: files below it that may be tables, by path in the corpus.
        files: MIDI files of the corpus, by path in the corpus.
        known: file names of the corpus's official tables, as patterns, in addition to those for all corpora.
        only: the only table to read, relative to ``root``; "" searches for tables.

    Returns:
        The tables sorted by path, and one sentence on each table that is left out, has damaged rows, or is ambiguous.

    Raises:
        DataError: ``only`` is missing or damaged, or all existing tables are damaged.
    """
    if only and not (root / only).is_file():
        raise DataError("the official table does not exist", where=root / only)
    names = CorpusNames(files)
    candidates = [only] if only else [name for name in tables if _has_known_name(name, known)]
    others = [] if only else [name for name in tables if not _has_known_name(name, known)]
    others.sort(key=lambda name: (not _is_table_name(name), name.count("/")))
    candidates += [name for name in others[:_MAX_SEARCHED] if is_split_table(root / name, names)]
    warnings: list[str] = []
    if len(others) > _MAX_SEARCHED and not candidates:
        skipped = len(others) - _MAX_SEARCHED
        warnings.append(f"{skipped:,} of {len(others):,} possible tables were not searched for official splits")
    found: list[OfficialTable] = []
    damaged: list[DataError] = []
    for name in sorted(candidates):
        try:
            found.append(read_official_table(root, name, names))
        except DataError as error:
            damaged.append(error)
    if damaged and not found:
        raise damaged[0]
    warnings += [problem for table in found for problem in table.problems()]
    return found, [*warnings, *(f"damaged table of official splits left out: {error}" for error in damaged)]


def _has_known_name(name: str, known: Sequence[str]) -> bool:
    file = name.rpartition("/")[2].lower()
    return bool(CLIP_TABLE.match(file)) or any(fnmatch(file, pattern) for pattern in (*_KNOWN_NAMES, *known))


def _is_table_name(name: str) -> bool:
    """Return True if a file has the ending of a CSV or JSON table."""
    return name.lower().endswith(_TABLE_SUFFIXES)


def _may_be_table(name: str) -> bool:
    """Return True unless the ending of a file belongs to another kind of file."""
    return posixpath.splitext(name.lower())[1] not in _OTHER_KINDS
