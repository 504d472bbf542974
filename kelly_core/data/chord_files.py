"""Chord progressions in the layouts of public corpora, as entries of ``chord_progressions.json``.

POP909 (``chord_midi.txt``), McGill Billboard (``full.lab`` or ``salami_chords.txt``), ``.lab`` files of any name,
Chordonomicon (CSV, read as a stream) and text with bar lines, as in iReal Pro and lead sheets. An import can also
estimate the chords of MIDI files.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from kelly_core.data.files import SkippedFiles, find_files
from kelly_core.data.lead_sheets import (
    HEADER,
    NO_CHORDS,
    Entry,
    append_chord,
    are_chords,
    bars_of,
    ireal_songs,
    is_lead_sheet,
    name_of_file,
    read_lead_sheet,
    song_name,
)
from kelly_core.data.readers import midi
from kelly_core.data.tables import decode_text, finite_text, read_regular, read_table, table_columns
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.io.atomic import open_for_reading
from kelly_core.music.chords import CHORD_BEATS, CHORD_NAMES, estimate_chords

_log = logging.getLogger(__name__)

_MAX_TEXT_BYTES = 4 * 2**20
_LAB_NAMES = ("full.lab", "majmin7inv.lab", "majmin7.lab", "majmininv.lab", "majmin.lab")
"""Label files of one Billboard entry, the most detailed first."""
_POP909_NAMES = ("chord_midi.txt", "chord_audio.txt")
_SALAMI = "salami_chords.txt"
_INDEX = re.compile(r"billboard-.*index\.csv")
_SECTION = re.compile(r"<[^<>]*>")
_SKIPPED_FOLDERS = frozenset(("versions", "__macosx"))
_TEXT_ENDINGS = (".txt", ".ireal", ".html", ".htm")
_CHORD_COLUMN = "chords"
_UNREADABLE_INDEX = "index of Billboard that cannot be read, so entries of one song are not grouped"
_MAX_LINE = 2**20
_MAX_ROW_LINES = 10
"""Maximum lines of a row of CSV text."""


@dataclass(frozen=True)
class ChordFile:
    """Songs of one kind in a folder.

    Attributes:
        kind: name of the layout.
        paths: the files, below the corpus folder.
        count: function that counts the songs.
        entries: function that reads them one by one; an item is a song or the reason why it cannot be read.
    """

    kind: str
    paths: Sequence[str]
    count: Callable[[], int] = field(repr=False)
    entries: Callable[[], Iterator[Entry | DataError]] = field(repr=False)


def find_chord_files(root: Path, skipped: SkippedFiles | None = None) -> list[ChordFile]:
    """Return the files of every known layout below a folder; ``root`` may also be a single file.

    Args:
        root: the folder or the file.
        skipped: receives the broken links, and the folders and tables that cannot be read.

    Raises:
        DataError: the folder cannot be read.
    """
    if root.is_file():
        root, names = root.parent, [root.name]
    else:
        names = find_files(root, {*_TEXT_ENDINGS, ".lab", ".csv"}, _is_skipped, skipped)
    found = [
        _by_folder("POP909", root, names, _POP909_NAMES, _read_pop909),
        _billboard(root, names, skipped),
        _label_files(root, names),
        *_chordonomicon(root, names),
        _text_files(root, names),
    ]
    return [files for files in found if files.paths]


def find_songs_of_notes(root: Path) -> list[ChordFile]:
    """Return the MIDI files below a folder, or the single file, whose chords are estimated from their notes.

    Raises:
        DataError: the folder cannot be read.
    """
    if root.is_file():
        root, names = root.parent, [root.name] if root.suffix.lower() in midi.SUFFIXES else []
    else:
        names = find_files(root, midi.SUFFIXES, _is_skipped)
    file = ChordFile("MIDI", names, lambda: len(names), partial(_read_each, root, names, _estimate_from_notes))
    return [file] if names else []


def _estimate_from_notes(path: Path, name: str) -> Entry:
    """Return one chord per two beats, and the lengths in beats; equal adjacent chords are merged."""
    notes = midi.read_notes(path).pitched()
    chords: list[str] = []
    durations: list[float] = []
    for chord in estimate_chords(notes).tolist() if len(notes) else []:
        append_chord(chords, durations, CHORD_NAMES[chord], CHORD_BEATS)
    return {"source": name_of_file(name), "chords": chords, "durations": durations}


def is_chord_source(root: Path) -> bool:
    """Return True if a folder contains any file of a known layout."""
    return bool(find_chord_files(root))


def _is_skipped(folder: str) -> bool:
    return folder.rpartition("/")[2].lower() in _SKIPPED_FOLDERS


def _by_folder(
    kind: str, root: Path, names: Sequence[str], wanted: Sequence[str], read: Callable[[Path, str], Entry]
) -> ChordFile:
    """Return, for each folder, the first of the wanted files that exists."""
    best: dict[str, tuple[int, str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if file.lower() in wanted:
            rank = wanted.index(file.lower())
            best[folder] = min(best.get(folder, (len(wanted), "")), (rank, name))
    paths = [name for _, name in best.values()]
    return ChordFile(kind, paths, lambda: len(paths), partial(_read_each, root, paths, read))


def _read_each(root: Path, paths: Sequence[str], read: Callable[[Path, str], Entry]) -> Iterator[Entry | DataError]:
    for name in paths:
        try:
            entry = read(root / name, name)
        except DataError as error:
            yield error
        else:
            yield entry if entry["chords"] else DataError("no chords", where=root / name)


def _read_pop909(path: Path, name: str) -> Entry:
    folder = name.rpartition("/")[0].rpartition("/")[2]
    return {"source": printable(f"POP909/{folder}"), **_read_lab(path)}


def _read_lab(path: Path) -> Entry:
    """Return chords and seconds of lines ``start end label``; merge equal adjacent chords, skip comments (``#``)."""
    chords: list[str] = []
    durations: list[float] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = line.split()
        start, end = (finite_text(cell) for cell in (*cells[:2], "", "")[:2])
        if len(cells) != 3 or start is None or end is None or end < start:
            raise DataError(f"line {number} is not a start, an end and a chord", where=path)
        if cells[2] in NO_CHORDS or end == start:
            continue
        append_chord(chords, durations, cells[2], end - start)
    return {"chords": chords, "durations": durations}


def _billboard(root: Path, names: Sequence[str], skipped: SkippedFiles | None) -> ChordFile:
    songs = _billboard_songs(root, names, skipped)

    def read(path: Path, name: str) -> Entry:
        folder = name.rpartition("/")[0].rpartition("/")[2]
        entry = _read_salami(path) if path.name.lower() == _SALAMI else _read_lab(path)
        # Names of folders have four digits, numbers in the index have no leading zeros.
        number = folder.lstrip("0")
        return {**entry, "source": songs.get(number) or entry.get("source") or printable(f"Billboard/{folder}")}

    return _by_folder("Billboard", root, names, (*_LAB_NAMES, _SALAMI), read)


def _label_files(root: Path, names: Sequence[str]) -> ChordFile:
    """Return the ``.lab`` files outside Billboard's folders, one song per file, as in Isophonics' collections."""
    labels = [name for name in names if name.lower().endswith(".lab")]
    billboard = {name.rpartition("/")[0] for name in labels if name.rpartition("/")[2].lower() in _LAB_NAMES}
    paths = [name for name in labels if name.rpartition("/")[0] not in billboard]
    return ChordFile("labels", paths, lambda: len(paths), partial(_read_each, root, paths, _read_label_file))


def _read_label_file(path: Path, name: str) -> Entry:
    """Return chords and seconds of a song; refuse labels that are not chords, such as beats and sections."""
    entry = _read_lab(path)
    if not are_chords(entry["chords"]):
        raise DataError("its labels are not chords", where=path)
    return {"source": name_of_file(name), **entry}


def _billboard_songs(root: Path, names: Sequence[str], skipped: SkippedFiles | None) -> dict[str, str]:
    """Return artist and title by entry number: 150 of the 890 entries repeat the song of another entry."""
    songs: dict[str, str] = {}
    for name in names:
        if not _INDEX.fullmatch(name.rpartition("/")[2].lower()):
            continue
        try:
            rows = read_table(root / name)
        except DataError as error:
            _log.warning("%s: %s", _UNREADABLE_INDEX, printable(str(error)))
            if skipped is not None:
                skipped.setdefault(_UNREADABLE_INDEX, []).append(name)
            continue
        for row in rows:
            if row.get("title"):
                songs[row.get("id", "").lstrip("0")] = song_name(row.get("artist", ""), row["title"])
    return songs


def _read_salami(path: Path) -> Entry:
    """Return the chords of a Billboard annotation; each line has a time, section marks, and bars between ``|``."""
    headers: dict[str, str] = {}
    lines: list[tuple[float, list[list[str]]]] = []
    for line in _text(path).splitlines():
        if match := HEADER.fullmatch(line.strip()) if line.startswith("#") else None:
            headers[match[1].lower()] = match[2].strip()
            continue
        start, _, rest = line.partition("\t")
        time = finite_text(start)
        if time is not None:
            lines.append((time, bars_of(rest)))
    chords: list[str] = []
    durations: list[float] = []
    for (time, bars), (until, _) in pairwise(lines):
        # The bars of a line share its time evenly, and the chords of a bar share the bar's time.
        for bar in bars:
            for chord in bar:
                if chord not in NO_CHORDS and until > time:
                    append_chord(chords, durations, chord, (until - time) / len(bars) / len(bar))
    song = song_name(headers.get("artist", ""), headers["title"]) if headers.get("title") else ""
    return {"source": song, "chords": chords, "durations": durations}


def _chordonomicon(root: Path, names: Sequence[str]) -> Iterator[ChordFile]:
    for name in names:
        if name.lower().endswith(".csv") and _CHORD_COLUMN in {column.lower() for column in _columns(root / name)}:
            yield ChordFile(
                "Chordonomicon", [name], partial(_count_rows, root / name), partial(_read_rows, root / name)
            )


def _columns(path: Path) -> list[str]:
    try:
        return table_columns(path)
    except DataError:
        # An unreadable file is treated as any other file without chords.
        return []


def _count_rows(path: Path) -> int:
    return sum(1 for _ in _rows(path))


def _rows(path: Path) -> Iterator[dict[str, str] | None]:
    """Yield rows of a CSV file by lower-case column name, one in memory at a time; None for a row that is not CSV."""
    header: list[str] = []
    delimiter = ""
    for text in _row_texts(path):
        delimiter = delimiter or max(",;\t", key=text.count)
        try:
            row = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            row = []
        if header:
            yield dict(zip(header, row, strict=False)) if row else None
        elif _CHORD_COLUMN in (names := [name.strip("\ufeff ").lower() for name in row]):
            header = names
        else:
            # A line above the header, which may have another delimiter.
            delimiter = ""


def _row_texts(path: Path) -> Iterator[str]:
    """Yield the text of each row of a CSV file; a row has several lines if a quoted cell contains line breaks.

    If a quote is not closed within ``_MAX_ROW_LINES`` lines, only its own line is damaged.
    """
    with open_for_reading(path, DataError) as binary:
        # A longer line is not a row: it is read in pieces, each of which is rejected or has no chords.
        file = io.TextIOWrapper(binary, "utf-8", "replace")
        lines = iter(lambda: file.readline(_MAX_LINE), "")
        plain = (line.replace("\0", "") for line in lines)
        pending: deque[str] = deque()
        while first := pending.popleft() if pending else next(plain, ""):
            row = [first]
            quotes = first.count('"')
            while (
                quotes % 2 and len(row) < _MAX_ROW_LINES and (more := pending.popleft() if pending else next(plain, ""))
            ):
                row.append(more)
                quotes += more.count('"')
            if quotes % 2:
                pending.extendleft(reversed(row[1:]))
                row = [first]
            if text := "".join(row).strip("\r\n"):
                yield text


def _read_rows(path: Path) -> Iterator[Entry | DataError]:
    for number, row in enumerate(_rows(path), start=2):
        if row is None:
            yield DataError("not CSV text", where=f"{path.name} row {number}")
            continue
        name = row.get("id", "") or f"row {number}"
        text = row.get(_CHORD_COLUMN, "")
        chords = [chord for chord in _SECTION.sub(" ", text).split() if chord not in NO_CHORDS]
        if not chords:
            yield DataError("no chords", where=f"{path.name} row {number}")
            continue
        # Several rows may be versions of one song of a catalog.
        yield {"source": f"Chordonomicon/{row.get('spotify_song_id') or name}", "chords": chords}


def _text_files(root: Path, names: Sequence[str]) -> ChordFile:
    """Return text files with bars, one song per file, and files with iReal Pro links."""
    taken = (*_POP909_NAMES, _SALAMI)
    paths = [
        name for name in names if name.lower().endswith(_TEXT_ENDINGS) and name.rpartition("/")[2].lower() not in taken
    ]
    songs = {name: count for name in paths if (count := _count_songs(root / name))}
    return ChordFile("text", list(songs), lambda: sum(songs.values()), partial(_read_texts, root, list(songs)))


def _count_songs(path: Path) -> int:
    try:
        text = _text(path)
    except DataError:
        # An unreadable text is treated as a text without chords.
        return 0
    return len(ireal_songs(text, path.name)) or int(is_lead_sheet(text))


def _read_texts(root: Path, names: Sequence[str]) -> Iterator[Entry | DataError]:
    for name in names:
        try:
            text = _text(root / name)
        except DataError as error:
            yield error
            continue
        yield from ireal_songs(text, name) or [read_lead_sheet(text, name)]


def _text(path: Path) -> str:
    return decode_text(read_regular(path, _MAX_TEXT_BYTES))


def write_progressions(files: Sequence[ChordFile], stream: BinaryIO, most: int = 0) -> tuple[int, list[DataError]]:
    """Write songs as a ``chord_progressions.json``, one at a time.

    Args:
        files: the songs.
        stream: receives the JSON text.
        most: maximum number of songs, evenly spread; 0 writes all.

    Returns:
        Number of songs, and the reasons why others are left out.
    """
    written = 0
    skipped: list[DataError] = []
    for _, entry in spread_entries(files, most):
        if isinstance(entry, DataError):
            skipped.append(entry)
            continue
        if "durations" in entry:
            entry = {**entry, "durations": [round(duration, 6) for duration in entry["durations"]]}
        stream.write(((",\n" if written else "[\n") + json.dumps(entry)).encode())
        written += 1
    stream.write(b"\n]\n" if written else b"[]\n")
    return written, skipped


def spread_entries(files: Sequence[ChordFile], most: int) -> Iterator[tuple[str, Entry | DataError]]:
    """Yield layout and content of at most ``most`` entries (0: all), evenly spread over all files."""
    total = sum(file.count() for file in files) if most else 0
    wanted = {i * total // most for i in range(most)} if total > most else None
    entries = ((file.kind, entry) for file in files for entry in file.entries())
    yield from (entry for number, entry in enumerate(entries) if wanted is None or number in wanted)
