"""Official tables of corpora: found by their columns, matched to files, and the split that they give each file."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from kelly_core.data.files import LeftOut, find_files, read_table, spread
from kelly_core.data.split_tables import (
    FILE,
    NO_SPLIT,
    SPLIT,
    SPLITS,
    CorpusNames,
    TableRow,
    clip_column,
    is_clip,
    is_split_table,
    most_held_out,
    path_key,
    read_split_rows,
    with_slashes,
)
from kelly_core.data.splits import BY_SEED, OFFICIAL, PARTLY_OFFICIAL, TEST, has_both_sides
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
_CLIP_TABLE = re.compile(r"(train|val|test)_clip(?![a-z])")
_CLIP_FOLDER = "split"
_ABSOLUTE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:/")
"""Beginning of a path on another machine, or of an address."""
_MAX_SEARCHED = 512
"""Files without a known name whose columns are looked at. Some corpora hold one small JSON file per song."""


@dataclass(frozen=True)
class OfficialTable:
    """One official table.

    Attributes:
        path: the table, relative to the corpus folder.
        folder: the folder that its rows belong to, relative to the corpus folder: "" or a path that ends in "/".
        rows: its entry for each file.
        by_clip: rows name clips of EMOPIA, which are found by their ID, instead of paths.
        damaged: numbers of the rows without a file name or a known split.
        notes: what is ambiguous in it and how it is read, one sentence each.
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
    if file:
        if not (root / file).is_file():
            raise DataError("the official table is not there", where=root / file)
        table = _read(root, file, names)
        return [table], _problems([table])
    found: list[OfficialTable] = []
    damaged: list[DataError] = []
    candidates, warnings = _candidates(root, tables, names, (*KNOWN_NAMES, *known))
    for name in candidates:
        try:
            found.append(_read(root, name, names))
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
        by_name = _CLIP_TABLE.match(file) or any(fnmatch(file, pattern) for pattern in known)
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


def _read(root: Path, name: str, names: CorpusNames) -> OfficialTable:
    path = root / name
    folder, _, file = name.rpartition("/")
    if part := _CLIP_TABLE.match(file.lower()):
        rows = read_table(path)
        clips = clip_column(rows)
        checked, damaged = _checked([{FILE: row.get(clips, ""), SPLIT: part[1]} for row in rows], path)
        above = folder.rpartition("/")[0] if folder.rpartition("/")[2].lower() == _CLIP_FOLDER else folder
        return OfficialTable(name, _as_prefix(above), checked, by_clip=True, damaged=damaged)
    known, notes = read_split_rows(path, names)
    checked, damaged = _checked(known, path)
    by_clip = all(is_clip(row[FILE]) for row in checked)
    return OfficialTable(name, _as_prefix(folder), checked, by_clip=by_clip, damaged=damaged, notes=notes)


def _as_prefix(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _checked(rows: Sequence[dict[str, str]], path: Path) -> tuple[list[TableRow], list[int]]:
    """Return the rows with the two columns that choosing needs in one spelling, and the numbers of damaged rows.

    A row that names a file has ``NO_SPLIT`` if its own is not known: the file may be one of the test split. Empty rows
    are left out.

    Raises:
        DataError: no row has a file name and a known split.
    """
    if not any(any(row.values()) for row in rows):
        raise DataError("has no rows", where=path, hint="Copy the official table again")
    checked: list[TableRow] = []
    damaged: list[int] = []
    for number, row in enumerate(rows, start=2):
        if not any(row.values()):
            continue
        split = SPLITS.get(row.get(SPLIT, "").lower(), NO_SPLIT)
        if not row.get(FILE) or not split:
            damaged.append(number)
        if row.get(FILE):
            checked.append({**row, FILE: with_slashes(row[FILE]), SPLIT: split})
    folder = _common_folder([row[FILE] for row in checked])
    checked = [{**row, FILE: row[FILE].removeprefix(folder)} for row in checked]
    if damaged and not any(row[SPLIT] for row in checked):
        problem = f"row {damaged[0]} needs a midi_filename and a split (train, validation or test)"
        raise DataError(problem, where=path)
    return checked, damaged


def _common_folder(files: Sequence[str]) -> str:
    """Folder of another machine above all files of a table, with its "/"; "" if a path is relative.

    What is below it is compared, because the corpus has another folder here.
    """
    if not files or not all(map(_ABSOLUTE.match, files)):
        return ""
    try:
        return f"{posixpath.commonpath([posixpath.dirname(file) for file in files]).rstrip('/')}/"
    except ValueError:  # some paths begin with a drive, others with a slash
        return ""


def _add_row(rows: dict[str, TableRow], key: str, row: TableRow) -> None:
    rows[key] = most_held_out([rows[key], row]) or row if key in rows else row


TEST_REASON = "official test split, kept out of training"
UNLISTED_REASON = "not in the official table"
_NO_SPLIT_REASON = "without a known split in the official table"


@dataclass(frozen=True)
class Selection:
    """Files to read, and the official tables' entries for them.

    Attributes:
        files: files to read, by path in the corpus.
        rows: the tables' row by path in the corpus; empty without a table.
        skipped: names of the files left out by reason.
        found: number of files in the folder, tables not counted.
        tables: the official tables that were used, by path in the corpus.
        other_tables: all CSV and JSON files of the folder, by path in the corpus.
        warnings: about the split, for the user, one sentence each.
    """

    files: list[str]
    rows: dict[str, TableRow]
    skipped: LeftOut
    found: int
    tables: list[str]
    other_tables: list[str]
    warnings: list[str]

    def official(self, names: Sequence[str]) -> list[str | None]:
        """Official split of each file, None for a file that no table covers."""
        return [self.rows[name][SPLIT] if name in self.rows else None for name in names]

    def split_source(self, names: Sequence[str]) -> str:
        """Return the origin of training and validation files: "official", "by seed", or a part from each."""
        if not self.tables:
            return BY_SEED
        return OFFICIAL if has_both_sides(self.official(names)) else PARTLY_OFFICIAL


def select_files(
    root: Path,
    suffixes: Collection[str],
    *,
    known_tables: Sequence[str] = (),
    table: str = "",
    whole: bool = False,
    advice: str = "",
    unfit: Callable[[str, TableRow | None], str] = lambda _name, _row: "",
    max_files: int = 0,
    include_test: bool = False,
) -> Selection:
    """Choose the files of a corpus by its official tables.

    Only files found below ``root`` are ever chosen; paths in a table are names to compare with, never opened.

    Args:
        root: the corpus folder.
        suffixes: endings of the files.
        known_tables: file names of the corpus's own tables, as patterns.
        table: the only table to use, relative to ``root``; "" looks for tables at any depth.
        whole: a table lists the whole corpus, not only its own folder.
        advice: what to do if there is no table, "" if the corpus may well have none.
        unfit: gives the reason why a file (its path in the corpus, its row) is unusable, or "".
        max_files: choose at most this number, evenly spread; 0 chooses all.
        include_test: choose the official test files, too. They come after all others, whose order, choice and number
            they leave as they were.

    Raises:
        DataError: the folder cannot be read, or there are official tables and all of them are damaged.
    """
    skipped: LeftOut = {}
    everything = find_files(root, suffixes, left_out=skipped, also=may_be_table)
    endings = tuple(suffixes)
    found = [name for name in everything if name.lower().endswith(endings)]
    others = [name for name in everything if not name.lower().endswith(endings)]
    tables, warnings = read_official_tables(root, others, CorpusNames(found), known_tables, table)
    sides: dict[str | None, list[str]] = {}
    rows: dict[str, TableRow] = {}
    naming: set[str] = set()
    conflicts: list[str] = []
    for name in found:
        own = {each.path: row for each in tables if (row := each.row(name)) is not None}
        naming |= own.keys()
        if len({row[SPLIT] for row in own.values()}) > 1:
            conflicts.append(name)
        row = most_held_out(own.values())
        reason = unfit(name, row) or _why_skipped(row, name, tables, whole, include_test)
        if reason:
            skipped.setdefault(reason, []).append(name)
            continue
        sides.setdefault(row[SPLIT] if row else None, []).append(name)
        if row is not None:
            rows[name] = row
    warnings += [
        f"{each.path}: none of its {len(each.rows):,} rows names a file in the folder"
        for each in tables
        if found and not each.by_clip and each.path not in naming
    ]
    if conflicts:
        shown = first_names(conflicts, _SHOWN_ROWS)
        warnings.append(f"tables give {len(conflicts):,} files different splits; the most held-out one counts: {shown}")
    tested = sides.pop(TEST, [])
    files = _in_proportion(sides, max_files) + spread(tested, max_files)
    if not tables and (missing := _missing_table_warning(found, advice)):
        warnings.append(missing)
    used = [each.path for each in tables]
    return Selection(files, rows, skipped, len(found), used, list(filter(is_table_name, others)), warnings)


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
    """At most ``most`` files (0: all), evenly spread over each side, in proportion and at least one of each side."""
    total = sum(map(len, sides.values()))
    if not most or total <= most:
        return sorted((name for names in sides.values() for name in names), key=lambda name: name.split("/"))
    largest = sorted(sides.values(), key=len)
    chosen: list[str] = []
    for position, names in enumerate(largest):
        sides_left = len(largest) - position - 1
        files_left = sum(map(len, largest[position:]))
        free = most - len(chosen)
        # The smallest side comes first, so that rounding never takes the last place from it.
        share = min(max(1, round(free * len(names) / files_left)), max(0, free - sides_left))
        chosen += spread(names, share) if share else []
    return sorted(chosen, key=lambda name: name.split("/"))


def _missing_table_warning(found: Sequence[str], advice: str) -> str:
    """Return a warning for a corpus whose official split has no table; "" for any other corpus."""
    if not advice and any(map(is_clip, found)):
        advice = "Put EMOPIA's split/train_clip.csv, val_clip.csv and test_clip.csv into the folder"
    if not advice:
        return ""
    return f"no table of official splits: split by seed, so official test files may be trained on. {advice}"
