"""Official tables of a corpus: which split and group each file belongs to, and which files are of no use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kelly_core.data.files import find_files, spread
from kelly_core.data.splits import TEST, TRAIN, VALIDATION
from kelly_core.errors import DataError

TEST_REASON = "official test split, kept out of training"
_UNLISTED_REASON = "not in the official table"

Row = Mapping[str, str]


@dataclass(frozen=True)
class Selection:
    """Files to read, and what the official table says of each.

    Attributes:
        files: what to read, by path in the corpus.
        rows: the table's row by path in the corpus; empty where there is no table.
        skipped: names of the files left out by reason.
        found: files in the folder.
    """

    files: list[str]
    rows: dict[str, Row]
    skipped: dict[str, list[str]]
    found: int

    def official(self, names: Sequence[str]) -> list[str | None]:
        """Official split of each file, None where there is no table."""
        return [self.rows[name]["split"] if name in self.rows else None for name in names]


def select_files(
    root: Path,
    suffixes: frozenset[str],
    table: Sequence[Row],
    unfit: Callable[[str, Row | None], str] = lambda name, row: "",
    max_files: int = 0,
    include_test: bool = False,
) -> Selection:
    """Choose the files of a corpus by its official table.

    Only files found below ``root`` are ever chosen; paths in the table are names to compare with, never opened. A file
    moved out of its folder is recognised by its name.

    Args:
        root: the corpus folder.
        suffixes: endings of the files.
        table: rows with the columns ``midi_filename`` and ``split``; empty where there is none.
        unfit: gives the reason why a file (its path in the corpus, its row) is of no use, or "".
        max_files: choose so many, evenly spread; 0 chooses all.
        include_test: choose the official test files, too. They come after all others, whose order, choice and number
            they leave as they were.

    Raises:
        DataError: the folder cannot be read.
    """
    found = find_files(root, suffixes)
    by_name = {row["midi_filename"].rsplit("/", 1)[-1]: row for row in table}
    by_path = {row["midi_filename"]: row for row in table}
    chosen: list[str] = []
    tested: list[str] = []
    rows: dict[str, Row] = {}
    skipped: dict[str, list[str]] = {}
    for name in found:
        row = by_path.get(name) or by_name.get(name.rpartition("/")[2])
        reason = unfit(name, row) or _reason(row, bool(table), include_test)
        if reason:
            skipped.setdefault(reason, []).append(name)
            continue
        (tested if row is not None and row["split"] == TEST else chosen).append(name)
        if row is not None:
            rows[name] = row
    return Selection(spread(chosen, max_files) + spread(tested, max_files), rows, skipped, len(found))


def _reason(row: Row | None, has_table: bool, include_test: bool) -> str:
    if row is None:
        return _UNLISTED_REASON if has_table else ""
    return TEST_REASON if row["split"] == TEST and not include_test else ""


def check_table(rows: Sequence[Row], path: Path) -> Sequence[Row]:
    """Require the two columns that choosing needs, with values that make sense.

    Raises:
        DataError: a column is missing or a split is unknown.
    """
    for number, row in enumerate(rows, start=2):
        if not row.get("midi_filename") or row.get("split") not in {TRAIN, VALIDATION, TEST}:
            raise DataError(f"row {number} needs a midi_filename and a split (train, validation or test)", where=path)
    return rows
