"""Inventory of the datasets folder: missing files of each source, and files and folders that no corpus reads.

A source's member lists, its table, or the published number of files define which files are expected. Folders with
other names, loose files, and packed archives are not read.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from kelly_core.config.schema import DataSettings
from kelly_core.corpora import CORPORA
from kelly_core.data.download.archives import is_archive, read_member_list
from kelly_core.data.download.install import DOWNLOADS, Receipt, installed
from kelly_core.data.download.sources import SOURCES, Source
from kelly_core.data.files import find_files, is_file, is_folder
from kelly_core.data.label_tables import SIDECAR, song_key
from kelly_core.data.tables import read_table
from kelly_core.formatting import printable

_ID_COLUMNS = ("midi_filename", "song_id", "id", "name_song")

_MAX_LISTED_FILES = 500_000
_OTHER_ARCHIVES = (".7z", ".rar")
"""Endings of archives that this program does not unpack."""
_MARKS = (
    ("info.csv", "groove_midi"),
    ("maestro-v", "maestro"),
    ("e-gmd", "groove_midi"),
    ("static_annotations_averaged", "deam"),
    ("memd_audio/", "deam"),
    ("chord_midi.txt", "chords"),
    ("full.lab", "chords"),
    ("chord_progressions.json", "chords"),
    ("chordonomicon", "chords"),
    ("emopia", "emotion_midi"),
    ("pmemo", "emotion_audio"),
    ("clips_45seconds/", "emotion_audio"),
    ("lmd_", "lakh_midi"),
    ("clean_midi", "lakh_midi"),
)
"""Beginnings of names in published archives, in lower case, and their corpus; a final slash marks a folder's name."""
_BY_KIND = {".mid": "lakh_midi", ".midi": "maestro", ".lab": "chords", ".mp3": "deam", ".wav": "emotion_audio"}
_KNOWN_ENDINGS = frozenset((*_BY_KIND, ".csv", ".json", ".flac", ".ogg", ".m4a"))


@dataclass(frozen=True)
class Inventory:
    """Expected and present files of a source.

    Attributes:
        source: its name.
        folder: its folder, whether it exists or not.
        basis: source of the expected list of files.
        expected, found: number of files.
        missing: missing files, by path or ID; empty if only their number is known.
        other_size: files with an unexpected size, as "path: expected, got".
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
    """Compare the files of a source with the expected ones.

    Archives that ``datasets get`` unpacked have a list of members with sizes. Otherwise, the source's table names the
    files; without a table, only the number of files is compared with the published one.

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
        source.name, str(corpus_folder), basis, source.count, len(files), [], _wrong_sizes(source, corpus_folder, files)
    )


def is_complete(source: Source, corpus_folder: Path) -> bool:
    """Return True if a source is complete, regardless of how it was obtained.

    Raises:
        DataError: a folder or a table cannot be read.
    """
    inventory = take_inventory(source, corpus_folder)
    return inventory.found > 0 and inventory.complete


def _wrong_sizes(source: Source, corpus_folder: Path, files: list[str]) -> list[str]:
    """Return files that are downloaded without unpacking and whose size differs from the published one."""
    sizes = {
        archive.file: archive.bytes
        for archive in source.archives
        if archive.bytes and not is_archive(Path(archive.file))
    }
    wrong = []
    for name in files:
        expected = sizes.get(name.rpartition("/")[2])
        if expected is not None and (found := (corpus_folder / name).stat().st_size) != expected:
            wrong.append(f"{name}: expected {expected:,} bytes, got {found:,}")
    return wrong


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
    """Compare files with the IDs in the tables; paths in a table are relative to the table's folder."""
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
    """Yield files that a table names, by path or by ID."""
    for row in read_table(table):
        cells = {column.lower(): text for column, text in row.items()}
        if name := next((cells[column] for column in _ID_COLUMNS if cells.get(column)), ""):
            yield name.replace("\\", "/")


@dataclass(frozen=True)
class Unclaimed:
    """A file or folder that no corpus reads.

    Attributes:
        path: its path.
        corpus: the corpus that it may belong to, "" if there is no guess.
        text: one sentence with the recommended action, safe to show.
    """

    path: str
    corpus: str
    text: str


def find_unclaimed(datasets: DataSettings) -> list[Unclaimed]:
    """Return packed archives in the datasets folder and its corpora, folders without the name of a corpus, and files
    next to the corpus folders.
    """
    folders = {name: datasets.folder(name) for name in CORPORA}
    claimed = {folder.absolute() for folder in folders.values()}
    found = list(_archives(datasets.dir, folders))
    for entry in _entries(datasets.dir):
        path = datasets.dir / entry.name
        holds_claimed = any(path.absolute() in folder.parents for folder in claimed)
        if is_folder(entry) and path.absolute() not in claimed and not holds_claimed:
            found += _unclaimed_folder(path)
    found += _loose_files(datasets, claimed)
    return [replace(each, text=printable(each.text)) for each in found]


def _entries(folder: Path) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            visible = [each for each in entries if not each.name.startswith(".") and each.name != DOWNLOADS]
    except OSError:
        # The code that opens the corpora reports a folder that cannot be read.
        return []
    return sorted(visible, key=lambda entry: entry.name)


def _archives(folder: Path, corpora: dict[str, Path]) -> Iterator[Unclaimed]:
    """Yield packed archives in the folder and in the corpus folders, except archives that are already unpacked."""
    by_file = {archive.file: (source, archive) for source in SOURCES.values() for archive in source.archives}
    for place in dict.fromkeys((folder, *corpora.values())):
        for entry in _entries(place):
            path = place / entry.name
            if not is_file(entry) or not (is_archive(path) or entry.name.lower().endswith(_OTHER_ARCHIVES)):
                continue
            source, archive = by_file.get(entry.name, (None, None))
            if source is None or archive is None:
                yield Unclaimed(str(path), "", f"{path} is packed: unpack it into the folder of its corpus")
            elif installed(corpora[source.corpus], archive) is None:
                hint = f"unpack it into {corpora[source.corpus]}, or run kelly-core datasets get {source.name}"
                yield Unclaimed(str(path), source.corpus, f"{path} is packed: {hint}")


def _loose_files(datasets: DataSettings, claimed: set[Path]) -> Iterator[Unclaimed]:
    """Yield files that are in the datasets folder itself, grouped by the corpus that they may belong to."""
    by_guess: dict[str, list[str]] = {}
    for entry in _entries(datasets.dir):
        ending = Path(entry.name).suffix.lower()
        path = datasets.dir / entry.name
        if ending in _KNOWN_ENDINGS and entry.name != SIDECAR and is_file(entry) and path.absolute() not in claimed:
            marked = [corpus for mark, corpus in _MARKS if entry.name.lower().startswith(mark)]
            # Only the corpus of chords can consist of a single JSON file.
            guess = marked[0] if marked else "chords" if ending == ".json" else _BY_KIND.get(ending, "")
            by_guess.setdefault(guess, []).append(entry.name)
    for guess, names in by_guess.items():
        first = datasets.dir / names[0]
        what, them = (f"{first} and {len(names) - 1:,} more are", "them") if len(names) > 1 else (f"{first} is", "it")
        hint = f". To use {them} for {guess}, move {them} into {datasets.folder(guess)}" if guess else ""
        yield Unclaimed(str(first), guess, f"{what} not in the folder of a corpus and will not be read{hint}")


def _unclaimed_folder(path: Path) -> Iterator[Unclaimed]:
    counts: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    for name in _names(path):
        counts[Path(name).suffix.lower()] += 1
        marks.update(corpus for mark, corpus in _MARKS if _is_marked(name.lower(), mark))
    known = {ending: count for ending, count in counts.items() if ending in _KNOWN_ENDINGS}
    if not known:
        return
    ending, count = max(known.items(), key=lambda item: item[1])
    guess = _guess_corpus(path.name, marks, ending)
    hint = f": is this {guess}? Rename it to {guess}, or set [datasets.{guess}] path" if guess else ""
    yield Unclaimed(str(path), guess, f"{path} contains {count:,} {ending} files{hint}")


def _is_marked(name: str, mark: str) -> bool:
    return any(f"{part}/".startswith(mark) for part in name.split("/"))


def _names(path: Path) -> Iterator[str]:
    """Yield files below a folder, with the folder's own name first."""
    seen = 0
    for folder, folders, files in os.walk(path):
        folders.sort()
        below = os.path.relpath(folder, path.parent)
        for file in files:
            seen += 1
            if seen > _MAX_LISTED_FILES:
                return
            if not file.startswith("."):
                yield f"{below}/{file}"


def _guess_corpus(name: str, marks: Counter[str], ending: str) -> str:
    """Guess the corpus of a folder by the names in it, else by its name, else by the file type."""
    if marks:
        return marks.most_common(1)[0][0]
    spelled = name.lower().replace("-", "_").replace(" ", "_")
    near = [corpus for corpus in CORPORA if spelled in corpus or corpus in spelled]
    near += difflib.get_close_matches(spelled, CORPORA, n=1, cutoff=0.7)
    return near[0] if near else _BY_KIND.get(ending, "")
