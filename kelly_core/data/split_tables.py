"""Official split tables: recognized by content in any CSV or JSON layout, and matched to files."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from kelly_core.data.splits import TEST, TRAIN, VALIDATION
from kelly_core.data.tables import (
    HEADER_BYTES,
    MUSIC_ENDING,
    header_of,
    is_json_text,
    plain_column,
    read_beginning,
    read_document,
    table_rows,
)
from kelly_core.errors import DataError
from kelly_core.formatting import first_names

TableRow = Mapping[str, str]
"""One row by lower-case column name; ``midi_filename`` and ``split`` are always present."""

FILE, SPLIT = "midi_filename", "split"
SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
NO_SPLIT = ""
"""Split of a row that names a file but no known split."""
_HELD_OUT = (NO_SPLIT, TRAIN, VALIDATION, TEST)
"""Splits in increasing priority if rows conflict."""
CLIP_TABLE = re.compile(r"(train|val|test)_clip(?![a-z])")
"""Beginning of the name of one of EMOPIA's tables, in lower case."""
_SPLIT_WORD = re.compile(rf"\b({'|'.join(SPLITS)})\b", re.IGNORECASE)
_MIDI_ENDING = re.compile(r"\.midi?$")
_CLIP_ID = re.compile(r"q[1-4]_.+_\d+")
_ABSOLUTE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*:/")
"""Beginning of an absolute path or of a URL."""
_SLASHES = re.compile(r"[\\/]+")
_MAX_SEARCHED_BYTES = 16 * 2**20
"""Maximum size of a table recognized by its values; E-GMD's has 10 MB. JSON can have its last column near the end."""
_NESTED = 3
"""Maximum depth of objects around the rows of a JSON table."""
_MAX_WRAPPED = 32
"""Maximum entries of an object around the rows of a JSON table."""
_MAX_COLUMNS = 256
_LISTED = 5
_CLIP_FOLDER = "split"
_MAX_COMPARED = 1000
"""Number of rows at the beginning of a table whose values are used to recognize its columns."""
_MIN_NAMED_SHARE = 0.5
"""Minimum share of names without ending in a column that match files; a table may also list missing files."""


@dataclass(frozen=True)
class CorpusNames:
    """Files of a corpus, by path.

    Attributes:
        files: paths in the corpus.
    """

    files: Sequence[str]

    @cached_property
    def stems(self) -> frozenset[str]:
        """Names without folder and ending, normalized for comparison."""
        return frozenset(path_key(file).rpartition("/")[2] for file in self.files)


def path_key(path: str) -> str:
    """Return a path normalized for comparison.

    The comparison ignores case, the ending of a MIDI or audio file, the Unicode form of accents, the kind of slashes
    and percent-encoding.
    """
    parts = posixpath.normpath(with_slashes(unquote(path))).split("/")
    plain = "/".join(part.strip() for part in parts if part not in ("", ".", ".."))
    return MUSIC_ENDING.sub("", unicodedata.normalize("NFC", unicodedata.normalize("NFD", plain).casefold()))


def with_slashes(path: str) -> str:
    """Return a path with single forward slashes."""
    return _SLASHES.sub("/", path)


def is_clip(file: str) -> bool:
    """Return True if a file is named like a clip of EMOPIA, ``Q<quadrant>_<song>_<number>``."""
    return _CLIP_ID.fullmatch(path_key(file).rpartition("/")[2]) is not None


def most_held_out(rows: Collection[TableRow]) -> TableRow | None:
    """Return the row whose split has priority: test before validation before train; None if there are no rows."""
    return max(rows, key=lambda row: _HELD_OUT.index(row[SPLIT]), default=None)


class SplitRows(NamedTuple):
    """Rows of an official table.

    Attributes:
        rows: one for each file that the table names.
        by_clip: True if the rows name clips of EMOPIA, which are matched by ID instead of by path.
        damaged: numbers of the rows without a file name or a known split.
        notes: ambiguities in the table and how they are resolved, one sentence each.
    """

    rows: list[TableRow]
    by_clip: bool
    damaged: list[int]
    notes: list[str]


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

        A row with the path below the table's folder has priority over a row with only the end of the path.
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

    def problems(self) -> Iterator[str]:
        """Yield one sentence for the table's damaged rows, one for each ambiguity, and one for its conflicts."""
        if self.damaged:
            rows = first_names([f"row {number}" for number in self.damaged], _LISTED)
            problem = f"{len(self.damaged)} rows without a midi_filename or a known split left out"
            yield f"{self.path}: {problem}: {rows}"
        yield from (f"{self.path}: {note}" for note in self.notes)
        if self.conflicts:
            files = first_names(self.conflicts, _LISTED)
            problem = f"{len(self.conflicts)} rows give a file another split than an earlier row"
            yield f"{self.path}: {problem}; the most held-out one counts: {files}"


def read_official_table(root: Path, name: str, names: CorpusNames) -> OfficialTable:
    """Read the table with the path ``name`` below ``root``; it raises the errors of ``read_split_rows``."""
    folder, _, file = name.rpartition("/")
    above, _, last = folder.rpartition("/")
    # EMOPIA's tables are in a subfolder of the folder with the files.
    if CLIP_TABLE.match(file.lower()) and last.lower() == _CLIP_FOLDER:
        folder = above
    return OfficialTable(name, f"{folder}/" if folder else "", *read_split_rows(root / name, names))


def _add_row(rows: dict[str, TableRow], key: str, row: TableRow) -> None:
    rows[key] = most_held_out([rows.get(key, row), row]) or row


def is_split_table(path: Path, names: CorpusNames) -> bool:
    """Return True if a file contains both columns of an official table; False if it cannot be read."""
    try:
        is_json = is_json_text(path)
        start = read_beginning(path, _MAX_SEARCHED_BYTES if is_json else HEADER_BYTES).lower()
        header = [] if is_json else header_of(start)
        if "\0" in start:
            return False
        if is_json and all(f'"{column}"' in start for column in (FILE, SPLIT)):
            return True
        if {FILE, SPLIT} <= set(map(plain_column, header)):
            return True
        # Files without the name of a split, or larger than any table of files, are not parsed.
        if not _SPLIT_WORD.search(start) or path.stat().st_size > _MAX_SEARCHED_BYTES:
            return False
        # If the file is longer, the last line may be incomplete. A character has at most four bytes.
        lines = start if len(start) < HEADER_BYTES // 4 else start.rpartition("\n")[0]
        readings = _readings(path) if is_json else map(_plain_rows, _rows_in(table_rows(lines), path, 0))
        return any(_with_known_columns(rows, names) for rows in readings)
    except (DataError, OSError):
        return False


def read_split_rows(path: Path, names: CorpusNames) -> SplitRows:
    """Return the rows of a table.

    A CSV table may have no header. A JSON table is a list of rows, of objects or of lists; {file: split}; {file: row};
    {row number: row}; {split: files}; {column: list} or {column: {row number: value}} as in MAESTRO; one of these
    nested in other objects; or one row per line. The columns of files and of splits are renamed to MAESTRO's names if
    their values identify them. The name of an EMOPIA table begins with the split of its clips.

    Raises:
        DataError: the file cannot be read, is JSON without rows, or no row has a file name and a known split.
    """
    readings = _readings(path)
    first = next(readings)
    if part := CLIP_TABLE.match(path.name.lower()):
        clips = next((column for column in _columns(first) if _all_fit(first, column, is_clip)), "")
        listed = [{FILE: row.get(clips, ""), SPLIT: part[1]} for row in first if any(row.values())]
        checked, damaged = _checked(listed, path)
        return SplitRows(checked, True, damaged, [])
    known = (found for rows in chain([first], readings) if (found := _with_known_columns(rows, names)))
    rows, notes = next(known, (first, []))
    checked, damaged = _checked(rows, path)
    return SplitRows(checked, all(is_clip(row[FILE]) for row in checked), damaged, notes)


def _checked(rows: Sequence[dict[str, str]], path: Path) -> tuple[list[TableRow], list[int]]:
    """Return the rows with normalized file names and splits, and the numbers of damaged rows.

    A row that names a file without a known split gets ``NO_SPLIT``: the file may belong to the test split. Empty rows
    are left out.

    Raises:
        DataError: no row has a file name and a known split.
    """
    if not any(any(row.values()) for row in rows):
        raise DataError("has no rows", where=path, hint="Copy the official table again")
    checked: list[TableRow] = []
    damaged: list[int] = []
    # Row 1 of the file is its header.
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
    """Return the common folder of a table's absolute paths, with its "/"; "" if a path is relative.

    Only the parts below this folder are compared, because the paths may be from another machine.
    """
    if not files or not all(map(_ABSOLUTE.match, files)):
        return ""
    try:
        return f"{posixpath.commonpath([posixpath.dirname(file) for file in files]).rstrip('/')}/"
    except ValueError:  # some paths begin with a drive, others with a slash
        return ""


def _columns(rows: Sequence[TableRow]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _with_known_columns(
    rows: Sequence[dict[str, str]], names: CorpusNames
) -> tuple[list[dict[str, str]], list[str]] | None:
    """Return the rows with both columns renamed, and notes; None if no columns of files and of splits are found."""
    sample = rows[:_MAX_COMPARED]
    columns = _columns(sample)
    splits = [SPLIT] if SPLIT in columns else [each for each in columns if _all_fit(sample, each, SPLITS.__contains__)]
    files = [FILE] if FILE in columns else _file_columns(sample, columns, names) if splits else []
    if not files or not splits:
        return None
    notes = []
    if any(len({SPLITS.get(row.get(column, "").lower()) for column in splits}) > 1 for row in rows):
        notes.append(f"columns {', '.join(splits)} give different splits; the most held-out one in each row counts")
    if len(files) > 1:
        notes.append(f"columns {', '.join(files)} name files; all of them count")
    known = [{**row, FILE: row.get(file, ""), SPLIT: _split_cell(row, splits)} for file in files for row in rows]
    return known, notes


def _split_cell(row: TableRow, columns: Sequence[str]) -> str:
    """Return the cell of the most held-out split, or the first cell if no cell contains a known split."""
    cells = [row.get(column, "") for column in columns]
    return max(cells, key=lambda cell: _HELD_OUT.index(SPLITS.get(cell.lower(), NO_SPLIT)))


def _file_columns(rows: Sequence[TableRow], columns: Sequence[str], names: CorpusNames) -> list[str]:
    """Return the columns of MIDI files, else of audio files, else the one that names most files of the corpus."""
    for fits in (_MIDI_ENDING.search, MUSIC_ENDING.search):
        if found := [column for column in columns if _all_fit(rows, column, fits)]:
            return found
    named = {column: _named_files(rows, column, names) for column in columns}
    best = max(named, key=lambda column: named[column], default="")
    return [best] if best and named[best] > _MIN_NAMED_SHARE * len(rows) else []


def _named_files(rows: Sequence[TableRow], column: str, names: CorpusNames) -> int:
    """Return the number of different files of the corpus that a column names."""
    keys = {path_key(row.get(column, "")) for row in rows}
    return sum(key.rpartition("/")[2] in names.stems for key in keys)


def _all_fit(rows: Sequence[TableRow], column: str, fits: Callable[[str], object]) -> bool:
    """Return True if a column has non-empty cells and ``fits`` accepts all of them."""
    filled = False
    for row in rows:
        if value := row.get(column, "").lower():
            if not fits(value):
                return False
            filled = True
    return filled


def _readings(path: Path) -> Iterator[list[dict[str, str]]]:
    """Yield the rows of a file in each possible interpretation, at least one.

    Raises:
        DataError: the file cannot be read, or is JSON without rows.
    """
    document = read_document(path)
    found = False
    for rows in _rows_in(document, path, _NESTED):
        found = True
        yield _plain_rows(rows)
    if not found:
        raise _no_rows(path)


def _plain_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the rows with plain column names and text cells; [] if they have too many columns for a table."""
    if any(len(row) > _MAX_COLUMNS for row in rows[:_MAX_COMPARED]):
        return []
    return [
        {plain_column(column): "" if value is None else str(value).strip() for column, value in row.items()}
        for row in rows
    ]


def _no_rows(path: Path) -> DataError:
    return DataError("must contain a list of rows or {column: {row: value}}", where=path)


def _rows_in(document: object, path: Path, depth: int) -> Iterator[list[dict[str, Any]]]:
    if isinstance(document, dict):
        yield from _object_readings(document, path)
        if depth and len(document) <= _MAX_WRAPPED:
            for value in document.values():
                yield from _rows_in(value, path, depth - 1)
    elif isinstance(document, list):
        if all(isinstance(each, dict) for each in document):
            yield _with_first_row(document)
        elif all(isinstance(each, list) for each in document):
            yield from _list_readings(document)


def _with_first_row(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a table without a header by column number, including the row that was read as the header."""
    header = list(rows[0]) if rows else []
    cells = [cell.lower() for cell in header]
    if not any(map(MUSIC_ENDING.search, cells)) or not any(cell in SPLITS for cell in cells):
        return rows
    return [dict(zip(map(str, range(len(row))), row, strict=True)) for row in (header, *(row.values() for row in rows))]


def _object_readings(document: dict[str, Any], path: Path) -> Iterator[list[dict[str, Any]]]:
    values = list(document.values())
    if FILE in map(plain_column, document):
        yield _rows_of_columns(document, path)
    elif all(isinstance(value, str) for value in values):
        # The values must identify files and splits, because a file about one song may have the same form.
        yield [{"key": key, "value": value} for key, value in document.items()]
    else:
        if any(name.lower() in SPLITS for name in document):
            yield [row for name, files in document.items() if name.lower() in SPLITS for row in _files_of(files, name)]
        if all(isinstance(value, dict) for value in values):
            yield [{"key": key, **row} for key, row in document.items()]
        if all(isinstance(value, dict) for value in values) or all(isinstance(value, list) for value in values):
            yield _rows_of_columns(document, path)


def _list_readings(rows: list[list[Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a list of lists, first read without a header, then with one."""
    yield [{str(number): cell for number, cell in enumerate(row)} for row in rows]
    header, *others = rows or [[]]
    yield [dict(zip(map(str, header), row, strict=False)) for row in others]


def _files_of(files: object, split: str) -> Iterator[dict[str, Any]]:
    """Yield a row for each file of a split: a list of names or of rows, {name: row}, or {any name: list of names}."""
    if isinstance(files, dict):
        lists = [value for value in files.values() if isinstance(value, list)]
        if lists:
            for each in lists:
                yield from _files_of(each, split)
            return
        files = [{"key": key, **(row if isinstance(row, dict) else {})} for key, row in files.items()]
    for entry in files if isinstance(files, list) else []:
        yield {SPLIT: split, **(entry if isinstance(entry, dict) else {"key": entry})}


def _rows_of_columns(columns: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    tables = {name: dict(enumerate(column)) if isinstance(column, list) else column for name, column in columns.items()}
    if not all(isinstance(column, dict) for column in tables.values()):
        raise _no_rows(path)
    numbers = {number: None for column in tables.values() for number in column}
    return [{name: column.get(number, "") for name, column in tables.items()} for number in numbers]
