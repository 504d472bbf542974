"""Files of a corpus: finding them without ever leaving its folder, choosing by official tables, naming the others."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kelly_core.corpora import RULES_FILE
from kelly_core.data.official_splits import OfficialTable, is_table_name, may_be_table, read_official_tables
from kelly_core.data.split_tables import SPLIT, CorpusNames, TableRow, is_clip, most_held_out
from kelly_core.data.splits import TEST
from kelly_core.errors import DataError
from kelly_core.formatting import first_names, printable

_log = logging.getLogger(__name__)

_LISTED = 5

BROKEN_LINK = "link to nothing"
UNREADABLE_FOLDER = "folder that cannot be read"
TEST_REASON = "official test split, kept out of training"
UNLISTED_REASON = "not in the official table"
_NO_SPLIT_REASON = "without a known split in the official table"

T = TypeVar("T")
LeftOut = dict[str, list[str]]
"""Names of what is not used, by reason."""


def find_files(
    root: Path,
    suffixes: Collection[str],
    is_skipped: Callable[[str], bool] = lambda _folder: False,
    left_out: LeftOut | None = None,
    also: Callable[[str], bool] = lambda _name: False,
) -> list[str]:
    """Return the files below ``root`` with one of the (lower-case) suffixes, sorted by the parts of their paths.

    Hidden files, and the ``__MACOSX`` folders that archives from macOS bring, are left out. Links to folders are
    followed; a folder that is reached twice is read once, so links in a circle end. Broken links and folders that may
    not be read are left out with a warning.

    Args:
        root: the corpus folder.
        suffixes: endings with their dot; the files' own case does not matter.
        is_skipped: returns True for a folder, by its path relative to ``root``, that is not to be read at all.
        left_out: receives the broken links and unreadable folders.
        also: returns True for the name of a file that is to be found whatever its ending.

    Returns:
        The path of each relative to ``root``, with forward slashes. Most of the memory of a large corpus is in these
        strings; a string takes a quarter of the bytes of a ``Path``.

    Raises:
        DataError: the folder is missing or may not be read.
    """
    if not root.is_dir():
        raise DataError("no such folder", where=root)
    if not os.access(root, os.R_OK | os.X_OK):
        raise DataError("the folder may not be read", where=root, hint="Change its permissions")
    walk = _Walk(tuple(suffixes), is_skipped, also)
    found = list(walk.files(root))
    if walk.linked:
        # A linked folder is read after all others, so that it does not take the place of the real one.
        found.sort(key=lambda name: name.split("/"))
    for reason, names in ((UNREADABLE_FOLDER, walk.unreadable), (BROKEN_LINK, walk.broken)):
        warn_left_out(root, reason, names)
        if names and left_out is not None:
            left_out[reason] = list(dict.fromkeys([*left_out.get(reason, ()), *names]))
    return found


def merge_left_out(*parts: Mapping[str, Sequence[str]]) -> LeftOut:
    """Return the names of all parts by reason, each name once a reason."""
    reasons = dict.fromkeys(reason for part in parts for reason in part)
    return {reason: list(dict.fromkeys(name for part in parts for name in part.get(reason, ()))) for reason in reasons}


def has_files(root: Path, suffixes: Collection[str]) -> bool:
    """Return True if any file below ``root`` that ``find_files`` would find has one of the suffixes."""
    return any(True for _ in _Walk(tuple(suffixes)).files(root))


class _Walk:
    """One walk through a folder, by ``files``.

    Attributes:
        linked: paths of the links to folders that were followed.
        unreadable, broken: paths of folders that cannot be read, and of links to nothing.
    """

    def __init__(
        self,
        suffixes: tuple[str, ...],
        is_skipped: Callable[[str], bool] = lambda _folder: False,
        also: Callable[[str], bool] = lambda _name: False,
    ) -> None:
        self.linked: list[str] = []
        self.unreadable: list[str] = []
        self.broken: list[str] = []
        self._suffixes = suffixes
        self._is_skipped = is_skipped
        self._also = also
        self._links: deque[tuple[str, str]] = deque()
        self._visited: set[tuple[int, int]] = set()

    def files(self, root: Path) -> Iterator[str]:
        """Paths of files below ``root``: those of its own folders in order, then those of linked folders."""
        yield from self._folder(root, "")
        while self._links:
            path, below = self._links.popleft()
            self.linked.append(below)
            yield from self._folder(path, below)

    def _folder(self, folder: Path | str, below: str) -> Iterator[str]:
        # A stack of our own: folders may be nested deeper than Python's calls.
        stack = [(below, iter(self._entries(folder, below)))]
        while stack:
            below, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
            elif entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            elif entry.is_dir(follow_symlinks=False):
                inner = f"{below}{entry.name}/"
                if self._is_skipped(inner[:-1]):
                    continue
                stack.append((inner, iter(self._entries(entry.path, inner))))
            elif entry.is_symlink() and is_folder(entry):
                self._links.append((entry.path, f"{below}{entry.name}/"))
            elif (entry.name.lower().endswith(self._suffixes) or self._also(entry.name)) and is_file(entry):
                yield below + entry.name
            elif entry.is_symlink() and self._concerns(entry.name) and not Path(entry.path).exists():
                self.broken.append(below + entry.name)

    def _entries(self, folder: Path | str, below: str) -> list[os.DirEntry[str]]:
        """Entries of a folder in order; none if it was read before or cannot be read."""
        try:
            status = os.stat(folder)  # noqa: PTH116, folders are strings here
            # Two names of one folder hold the same files.
            if (status.st_dev, status.st_ino) in self._visited:
                return []
            self._visited.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as found:
                return sorted(found, key=lambda entry: entry.name)
        except OSError:
            self.unreadable.append(below)
            return []

    def _concerns(self, name: str) -> bool:
        """Return True if a link of this name may have led to a wanted file or to a folder."""
        return name.lower().endswith(self._suffixes) or "." not in name


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Return True if an entry is a folder or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Return True if an entry is a regular file or a link to one; a link to itself is none."""
    try:
        return entry.is_file()
    except OSError:  # a link to itself
        return False


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most ``most`` items, evenly spread over the sequence; 0 keeps all."""
    if not most or len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]


def is_made_by_rules(path: Path) -> bool:
    """Return True if a corpus is marked as made by rules: ``RULES_FILE`` is in its folder, or beside its one file."""
    return ((path if path.is_dir() else path.parent) / RULES_FILE).is_file()


def warn_left_out(path: Path, what: str, names: Sequence[str]) -> None:
    """Log how many entries of a file are left out, and the first of them; nothing if ``names`` is empty."""
    if names:
        first = first_names(names, _LISTED)
        _log.warning("%s: %s left out: %s: %s", printable(str(path)), len(names), what, first)


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
        shown = first_names(conflicts, _LISTED)
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


def require_usable(files: Sequence[str], skipped: Mapping[str, Sequence[str]], root: Path) -> None:
    """Raise if nothing in a corpus is usable.

    Raises:
        DataError: no file gave an example; the message names the reasons.
    """
    if not files:
        reasons = "; ".join(f"{len(names)} × {reason}" for reason, names in skipped.items())
        hint = (
            "Unpack the archive with its folders: names alone are not matched" if UNLISTED_REASON in skipped else None
        )
        raise DataError(f"no usable example ({reasons or 'no files'})", where=root, hint=hint)
