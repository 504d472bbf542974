"""Choice of a corpus's files by its official tables: the split of each, and which files are not used and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kelly_core.data.dataset import CorpusReport
from kelly_core.data.files import LeftOut, find_files, spread
from kelly_core.data.official_tables import (
    TABLE_SUFFIXES,
    OfficialTable,
    TableRow,
    is_clip,
    most_held_out,
    read_official_tables,
)
from kelly_core.data.splits import BY_SEED, OFFICIAL, PARTLY_OFFICIAL, TEST, TRAIN, VALIDATION

TEST_REASON = "official test split, kept out of training"
UNLISTED_REASON = "not in the official table"


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
        warnings: what a person should know of the split, one sentence each.
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
        """Say where training and validation of the files come from: "official", "by seed", or a part from each."""
        if not self.tables:
            return BY_SEED
        return OFFICIAL if set(self.official(names)) - {TEST} == {TRAIN, VALIDATION} else PARTLY_OFFICIAL

    def report(
        self, name: str, root: Path, used: Sequence[str], skipped: LeftOut, warnings: Sequence[str] = ()
    ) -> CorpusReport:
        """Begin the report of a corpus.

        Args:
            name: the corpus.
            root: its folder.
            used: files that gave examples.
            skipped: names of the files left out by reason, here and later.
            warnings: what a person should know besides the split, one sentence each.
        """
        return CorpusReport(
            name,
            str(root),
            found=True,
            files=self.found,
            skipped=skipped,
            split_source=self.split_source(used),
            tables=self.tables,
            warnings=[*self.warnings, *warnings],
        )


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
        reason = unfit(name, row) or _reason(row, name, tables, whole, include_test)
        if reason:
            skipped.setdefault(reason, []).append(name)
            continue
        sides.setdefault(row["split"] if row else None, []).append(name)
        if row is not None:
            rows[name] = row
    tested = sides.pop(TEST, [])
    files = _in_proportion(sides, max_files) + spread(tested, max_files)
    if not tables and (missing := _missing(found, advice)):
        warnings.append(missing)
    return Selection(files, rows, skipped, len(found), [each.path for each in tables], others, warnings)


def _row(tables: Sequence[OfficialTable], name: str) -> TableRow | None:
    return most_held_out([row for table in tables if (row := table.row(name)) is not None])


def _reason(row: TableRow | None, name: str, tables: Sequence[OfficialTable], whole: bool, include_test: bool) -> str:
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


def _missing(found: Sequence[str], advice: str) -> str:
    """Return a warning for a corpus whose official split has no table; "" for any other corpus."""
    if not advice and any(map(is_clip, found)):
        advice = "Put EMOPIA's split/train_clip.csv, val_clip.csv and test_clip.csv into the folder"
    if not advice:
        return ""
    return f"no table of official splits: split by seed, so official test files may be trained on. {advice}"
