"""Official tables of corpora: found by their columns, matched to files, and the split that they give each file."""

from __future__ import annotations

import json
import posixpath
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from kelly_core.data.files import (
    HEADER_BYTES,
    MAX_TABLE_BYTES,
    LeftOut,
    find_files,
    plain_column,
    read_beginning,
    read_json,
    read_table,
    spread,
    table_columns,
)
from kelly_core.data.splits import BY_SEED, OFFICIAL, PARTLY_OFFICIAL, TEST, TRAIN, VALIDATION, has_both_sides
from kelly_core.errors import DataError

TABLE_SUFFIXES = frozenset(
    f"{ending}{gzip}"
    for ending in (".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".ndjson")
    for gzip in ("", ".gz")
)
KNOWN_NAMES = ("maestro-v*.csv", "maestro-v*.json", "e-gmd*.csv")
"""File names of official tables. Other tables are recognized by their columns, or else by their values."""

TableRow = Mapping[str, str]
"""One row by lower-case column name; ``midi_filename`` and ``split`` are always there."""

_FILE, _SPLIT, _CLIP = "midi_filename", "split", "clip_name"
_SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
_NO_SPLIT = ""
"""Split of a row that names a file without a split that is known."""
_HELD_OUT = (_NO_SPLIT, TRAIN, VALIDATION, TEST)
"""Splits in increasing order of how much a conflict between tables is decided for them."""
_SHOWN_ROWS = 5
_CLIP_SPLITS = {"train_clip.csv": TRAIN, "val_clip.csv": VALIDATION, "test_clip.csv": TEST}
_CLIP_FOLDER = "split"
_CLIP_ID = re.compile(r"Q[1-4]_.+_\d+", re.IGNORECASE)
_MIDI_ENDING = re.compile(r"\.midi?$")
_SPLIT_WORD = re.compile(rf"\b({'|'.join(_SPLITS)})\b", re.IGNORECASE)
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
_MAX_SEARCHED = 512
"""Tables without a known name whose columns are looked at. Some corpora hold one small JSON file per song."""
_JSON_LINES = (".jsonl", ".ndjson")
_MAX_JSON_BYTES = 16 * 2**20
"""In a JSON table of columns the names of the last columns are near the end of the file."""


@dataclass(frozen=True)
class OfficialTable:
    """One official table.

    Attributes:
        path: the table, relative to the corpus folder.
        folder: the folder that its rows belong to, relative to the corpus folder: "" or a path that ends in "/".
        rows: its entry for each file.
        by_clip: rows name clips of EMOPIA, which are found by their ID, instead of paths.
        damaged: numbers of the rows without a file name or a known split.
    """

    path: str
    folder: str
    rows: Sequence[TableRow]
    by_clip: bool = False
    damaged: Sequence[int] = ()
    _exact: dict[str, TableRow] = field(init=False, repr=False, compare=False, default_factory=dict)
    _tails: dict[str, TableRow] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            key = _path_key(row[_FILE])
            if self.by_clip:
                _add_row(self._exact, key.rpartition("/")[2], row)
                continue
            _add_row(self._exact, _path_key(self.folder + row[_FILE]), row)
            # A name without a folder may belong to several files: Groove repeats 13 names, three of them across splits.
            if "/" in key:
                _add_row(self._tails, key, row)

    def row(self, file: str) -> TableRow | None:
        """Return the row of a file, given by its path in the corpus, or None if no row names it.

        The path below the table's folder counts first, then a row's whole path as the end of the file's path.
        """
        key = _path_key(file)
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


def is_clip(file: str) -> bool:
    """Return True if a file is named like a clip of EMOPIA, ``Q<quadrant>_<song>_<number>``."""
    return _CLIP_ID.fullmatch(file.rpartition("/")[2].rpartition(".")[0]) is not None


def most_held_out(rows: Collection[TableRow]) -> TableRow | None:
    """Return the row whose split is furthest from training: test before validation before train; None without rows."""
    return max(rows, key=lambda row: _HELD_OUT.index(row[_SPLIT]), default=None)


def read_official_tables(
    root: Path, names: Sequence[str], known: Sequence[str] = (), file: str = ""
) -> tuple[list[OfficialTable], list[str]]:
    """Read every official table of a corpus.

    Args:
        root: the corpus folder.
        names: CSV and JSON files below it, by path in the corpus.
        known: file names of the corpus's own table, as patterns, besides those that all corpora share.
        file: the only table to read, relative to ``root``; "" looks for tables.

    Returns:
        The tables by path, and one sentence on each damaged table that is left out or has damaged rows.

    Raises:
        DataError: ``file`` is missing or damaged, or tables are there and all of them are damaged.
    """
    if file:
        if not (root / file).is_file():
            raise DataError("the official table is not there", where=root / file)
        table = _read(root, file)
        return [table], _damaged_rows([table])
    tables: list[OfficialTable] = []
    damaged: list[DataError] = []
    candidates, warnings = _candidates(root, names, (*KNOWN_NAMES, *known))
    for name in candidates:
        try:
            tables.append(_read(root, name))
        except DataError as error:
            damaged.append(error)
    if damaged and not tables:
        raise damaged[0]
    warnings += _damaged_rows(tables)
    return tables, [*warnings, *(f"damaged table of official splits left out: {error}" for error in damaged)]


def _damaged_rows(tables: Sequence[OfficialTable]) -> list[str]:
    """One sentence on each table with damaged rows."""
    return [
        f"{table.path}: {len(table.damaged)} rows without a midi_filename or a known split left out: "
        + ", ".join(f"row {number}" for number in table.damaged[:_SHOWN_ROWS])
        for table in tables
        if table.damaged
    ]


def _candidates(root: Path, names: Sequence[str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files that are official tables by name or by columns, and a warning if not all could be looked at."""
    names = [name for name in names if "__MACOSX" not in name.split("/")]
    found: list[str] = []
    others: list[str] = []
    for name in names:
        file = name.rpartition("/")[2].lower()
        by_name = _is_clip_table(name) or any(fnmatch(file, pattern) for pattern in known)
        (found if by_name else others).append(name)
    others.sort(key=lambda name: name.count("/"))
    found += [name for name in others[:_MAX_SEARCHED] if _has_columns(root / name)]
    left_out = len(others) - _MAX_SEARCHED
    if left_out <= 0 or found:
        return sorted(found), []
    return [], [f"{left_out:,} of {len(others):,} CSV and JSON files were not searched for official splits"]


def _is_clip_table(name: str) -> bool:
    folder, _, file = name.lower().rpartition("/")
    return file in _CLIP_SPLITS and folder.rpartition("/")[2] == _CLIP_FOLDER


def _has_columns(path: Path) -> bool:
    """Return True if a file holds both columns of an official table. One that cannot be read has none."""
    try:
        if not _is_json(path) and {_FILE, _SPLIT} <= {plain_column(column) for column in table_columns(path)}:
            return True
        start = read_beginning(path, _MAX_JSON_BYTES if _is_json(path) else HEADER_BYTES).lower()
        if _is_json(path) and all(f'"{column}"' in start for column in (_FILE, _SPLIT)):
            return True
        # Most other files hold no such words and need not be parsed.
        if ".mid" not in start or not _SPLIT_WORD.search(start):
            return False
        return any({_FILE, _SPLIT} <= row.keys() for row in _table_rows(path))
    except DataError:
        return False


def _is_json(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith((".json", *_JSON_LINES))


def _table_rows(path: Path) -> list[dict[str, str]]:
    return _with_known_columns(_json_rows(path) if _is_json(path) else [_lower(row) for row in read_table(path)])


def _with_known_columns(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Name the columns of files and of splits as MAESTRO does if their values show which columns they are."""
    columns = dict.fromkeys(column for row in rows for column in row)
    file, split = (
        name if name in columns else next((column for column in columns if _all_fit(rows, column, fits)), "")
        for name, fits in ((_FILE, _names_midi), (_SPLIT, _SPLITS.__contains__))
    )
    if not file or not split:
        return rows
    return [{**row, _FILE: row.get(file, ""), _SPLIT: row.get(split, "")} for row in rows]


def _all_fit(rows: Sequence[Mapping[str, str]], column: str, fits: Callable[[str], bool]) -> bool:
    values = [value for row in rows if (value := row.get(column, "").lower())]
    return bool(values) and all(map(fits, values))


def _names_midi(value: str) -> bool:
    return _MIDI_ENDING.search(value) is not None


def _read(root: Path, name: str) -> OfficialTable:
    path = root / name
    folder = name.rpartition("/")[0]
    if _is_clip_table(name):
        split = _CLIP_SPLITS[name.lower().rpartition("/")[2]]
        rows = [{_FILE: row.get(_CLIP, ""), _SPLIT: split} for row in map(_lower, read_table(path))]
        checked, damaged = _checked(rows, path)
        return OfficialTable(name, _as_prefix(folder.rpartition("/")[0]), checked, by_clip=True, damaged=damaged)
    checked, damaged = _checked(_table_rows(path), path)
    return OfficialTable(name, _as_prefix(folder), checked, damaged=damaged)


def _as_prefix(folder: str) -> str:
    return f"{folder}/" if folder else ""


def _lower(row: Mapping[str, Any]) -> dict[str, str]:
    return {plain_column(column): "" if value is None else str(value).strip() for column, value in row.items()}


def _json_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a JSON table.

    It is a list of rows, {any name: list of rows}, {row number: row}, {column: {row number: value}} as MAESTRO has it,
    {file: split}, {split: list of files}, or one row a line.
    """
    document = _json_document(path)
    entries = _entries(document, path) if isinstance(document, dict) else document
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DataError("must hold a list of rows or {column: {row: value}}", where=path)
    return [_lower(entry) for entry in entries]


def _entries(document: dict[str, Any], path: Path) -> list[Any]:
    if _FILE in map(plain_column, document):
        return _rows_of_columns(document, path)
    values = list(document.values())
    if all(isinstance(value, str) for value in values):
        # Their values must show that these are files and splits: a file on one song has such a form, too.
        return [{"key": key, "value": value} for key, value in document.items()]
    lists = {name: value for name, value in document.items() if isinstance(value, list)}
    by_split = {name: files for name, files in lists.items() if name.lower() in _SPLITS}
    if by_split:
        return [
            {**(entry if isinstance(entry, dict) else {"key": entry}), "value": split}
            for split, files in by_split.items()
            for entry in files
        ]
    return next(iter(lists.values())) if len(lists) == 1 else values


def _json_document(path: Path) -> object:
    if not path.name.lower().removesuffix(".gz").endswith(_JSON_LINES):
        return read_json(path)
    try:
        text = read_beginning(path, MAX_TABLE_BYTES)
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not one JSON object a line ({error})", where=path) from error


def _rows_of_columns(columns: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    tables = {name: dict(enumerate(column)) if isinstance(column, list) else column for name, column in columns.items()}
    if not all(isinstance(column, dict) for column in tables.values()):
        raise DataError("must hold a list of rows or {column: {row: value}}", where=path)
    numbers = {number: None for column in tables.values() for number in column}
    return [{name: column.get(number, "") for name, column in tables.items()} for number in numbers]


def _checked(rows: Sequence[dict[str, str]], path: Path) -> tuple[list[TableRow], list[int]]:
    """Return the rows with the two columns that choosing needs in one spelling, and the numbers of damaged rows.

    A row that names a file has ``_NO_SPLIT`` if its own is not known: the file may be one of the test split. Empty rows
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
        split = _SPLITS.get(row.get(_SPLIT, "").lower(), _NO_SPLIT)
        if not row.get(_FILE) or not split:
            damaged.append(number)
        if row.get(_FILE):
            checked.append({**row, _FILE: row[_FILE].replace("\\", "/"), _SPLIT: split})
    folder = _common_folder([row[_FILE] for row in checked])
    checked = [{**row, _FILE: row[_FILE].removeprefix(folder)} for row in checked]
    if damaged and not any(row[_SPLIT] for row in checked):
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


def _path_key(path: str) -> str:
    """A path as it is compared: neither case, nor the ending .mid or .midi, nor the form of accents counts."""
    parts = [part for part in posixpath.normpath(path).split("/") if part not in ("", ".", "..")]
    return _MIDI_ENDING.sub("", unicodedata.normalize("NFC", "/".join(parts)).casefold())


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
        return [self.rows[name]["split"] if name in self.rows else None for name in names]

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
    everything = find_files(root, {*suffixes, *TABLE_SUFFIXES}, left_out=skipped)
    endings = tuple(suffixes)
    found = [name for name in everything if name.lower().endswith(endings)]
    others = [name for name in everything if not name.lower().endswith(endings)]
    tables, warnings = read_official_tables(root, others, known_tables, table)
    sides: dict[str | None, list[str]] = {}
    rows: dict[str, TableRow] = {}
    for name in found:
        row = _row(tables, name)
        reason = unfit(name, row) or _why_skipped(row, name, tables, whole, include_test)
        if reason:
            skipped.setdefault(reason, []).append(name)
            continue
        sides.setdefault(row["split"] if row else None, []).append(name)
        if row is not None:
            rows[name] = row
    tested = sides.pop(TEST, [])
    files = _in_proportion(sides, max_files) + spread(tested, max_files)
    if not tables and (missing := _missing_table_warning(found, advice)):
        warnings.append(missing)
    return Selection(files, rows, skipped, len(found), [each.path for each in tables], others, warnings)


def _row(tables: Sequence[OfficialTable], name: str) -> TableRow | None:
    return most_held_out([row for table in tables if (row := table.row(name)) is not None])


def _why_skipped(
    row: TableRow | None, name: str, tables: Sequence[OfficialTable], whole: bool, include_test: bool
) -> str:
    if row is not None and not row["split"]:
        return _NO_SPLIT_REASON
    if row is not None:
        return TEST_REASON if row["split"] == TEST and not include_test else ""
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
