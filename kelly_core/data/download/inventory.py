"""Inventory of a source: what should be there by its member lists, its own table or its count, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from kelly_core.data.download.archives import is_archive, read_member_list
from kelly_core.data.download.install import Receipt, installed
from kelly_core.data.download.sources import Source
from kelly_core.data.files import find_files
from kelly_core.data.label_tables import song_key
from kelly_core.data.tables import read_table

_ID_COLUMNS = ("midi_filename", "song_id", "id", "name_song")


@dataclass(frozen=True)
class Inventory:
    """Expected and present files of a source.

    Attributes:
        source: its name.
        folder: its folder, whether it exists or not.
        basis: source of the expected list of files.
        expected, found: number of files.
        missing: files that are not there, by path or ID; empty if only their number is known.
        other_size: files whose size is another one, as "path: expected, got".
    """

    source: str
    folder: str
    basis: str
    expected: int
    found: int
    missing: list[str]
    other_size: list[str]

    @property
    def complete(self) -> bool:
        """True if nothing is missing and every known size is right."""
        return self.found >= self.expected and not self.missing and not self.other_size


def take_inventory(source: Source, corpus_folder: Path) -> Inventory:
    """Compare the files of a source with those it should have.

    Archives that ``datasets get`` unpacked have lists of their members with sizes. Otherwise the source's own table
    names its files, and without one their published number counts.

    Raises:
        DataError: a folder or a table cannot be read.
    """
    receipts = [installed(corpus_folder, archive) for archive in source.archives]
    complete = [receipt for receipt in receipts if receipt is not None]
    if complete and len(complete) == len(receipts):
        return _by_members(source, corpus_folder, complete)
    there = find_files(corpus_folder, {*source.kinds, ".csv"}) if corpus_folder.is_dir() else []
    there = [name for name in there if not source.within or source.within in name.split("/")[:-1]]
    files = [name for name in there if name.lower().endswith(source.kinds)]
    tables = [name for name in there if _is_table(source, name)]
    if files and tables:
        return _by_tables(source, corpus_folder, files, tables)
    basis = f"published number of files ({' or '.join(source.kinds)})"
    return Inventory(
        source.name, str(corpus_folder), basis, source.count, len(files), [], _odd_sizes(source, corpus_folder, files)
    )


def is_complete(source: Source, corpus_folder: Path) -> bool:
    """Return True if all of a source is there, however it came.

    Raises:
        DataError: a folder or a table cannot be read.
    """
    inventory = take_inventory(source, corpus_folder)
    return inventory.found > 0 and inventory.complete


def _odd_sizes(source: Source, corpus_folder: Path, files: list[str]) -> list[str]:
    """Files that are downloaded as they are and have another size than the published one."""
    sizes = {
        archive.file: archive.bytes
        for archive in source.archives
        if archive.bytes and not is_archive(Path(archive.file))
    }
    odd = []
    for name in files:
        expected = sizes.get(name.rpartition("/")[2])
        if expected is not None and (found := (corpus_folder / name).stat().st_size) != expected:
            odd.append(f"{name}: expected {expected:,} bytes, got {found:,}")
    return odd


def _by_members(source: Source, corpus_folder: Path, receipts: Sequence[Receipt]) -> Inventory:
    expected = 0
    missing: list[str] = []
    other: list[str] = []
    for receipt in receipts:
        folder = Path(receipt.folder)
        for size, member in read_member_list(folder):
            expected += 1
            name = member.removeprefix(f"{receipt.top}/") if receipt.top else member
            shown = f"{folder.name}/{name}"
            try:
                found = (folder / name).stat().st_size
            except OSError:
                missing.append(shown)
                continue
            if found != size:
                other.append(f"{shown}: expected {size:,} bytes, got {found:,}")
    basis = f"members of {', '.join(receipt.archive for receipt in receipts)}"
    return Inventory(source.name, str(corpus_folder), basis, expected, expected - len(missing), missing, other)


def _by_tables(source: Source, corpus_folder: Path, files: list[str], tables: list[str]) -> Inventory:
    """Compare files with the IDs of the tables; a table with paths counts from its own folder."""
    stems = {song_key(name.rpartition("/")[2].rpartition(".")[0]) for name in files}
    paths = set(files)
    expected: dict[str, bool] = {}
    for table in tables:
        folder = table[: table.rindex("/") + 1] if "/" in table else ""
        for name in _named(corpus_folder / table):
            is_path = name.lower().endswith(source.kinds)
            expected[name] = folder + name in paths if is_path else song_key(name) in stems
    missing = [name for name, is_there in expected.items() if not is_there]
    found = len(expected) - len(missing)
    return Inventory(source.name, str(corpus_folder), ", ".join(tables), len(expected), found, missing, [])


def _is_table(source: Source, name: str) -> bool:
    return any(fnmatch(name.rpartition("/")[2].lower(), pattern) for pattern in source.tables)


def _named(table: Path) -> Iterator[str]:
    """Files that a table names, by path or by ID."""
    for row in read_table(table):
        cells = {column.lower(): text for column, text in row.items()}
        if name := next((cells[column] for column in _ID_COLUMNS if cells.get(column)), ""):
            yield name.replace("\\", "/")
