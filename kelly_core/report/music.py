"""Generated music beside the exports, read back from its MIDI files for the report."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kelly_core.composition.score import BEATS_PER_BAR
from kelly_core.data.readers.midi import parse_notes
from kelly_core.data.readers.smf import MARKER, parse_smf
from kelly_core.data.tables import read_regular
from kelly_core.errors import DataError
from kelly_core.music.chord_symbols import parse_chord

MOST_MIDI_BYTES, MOST_PICTURE_BYTES = 256_000, 2_000_000
"""Files up to these sizes are embedded in the page."""
_MOST_TUNES = 4
_MOST_BARS = 64
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Tune:
    """One MIDI file of a folder of exports, as ``kelly-core generate`` writes it.

    Attributes:
        file: its name.
        content: its bytes; None if it cannot be read or is too large to be embedded.
        problem: why ``content`` is missing, "" if it is there.
        seconds: duration up to the end of the last note.
        bars: number of bars.
        bpm: beats a minute at its beginning.
        parts: name and number of notes of each track.
        chords: name of each bar's chord, of the first bars only; empty if the file does not name chords.
        picture_file: name of the picture beside it, "" if there is none.
        picture: bytes of the picture, a PNG file; None if there is none.
        picture_problem: why an existing picture cannot be embedded, else "".
    """

    file: str
    content: bytes | None = None
    problem: str = ""
    seconds: float = 0.0
    bars: int = 0
    bpm: float = 0.0
    parts: tuple[tuple[str, int], ...] = ()
    chords: tuple[str, ...] = ()
    picture_file: str = ""
    picture: bytes | None = None
    picture_problem: str = ""


def find_tunes(folder: Path) -> tuple[Tune, ...]:
    """Return the MIDI files directly in a folder, the first four by name, each with the PNG file of the same name."""
    return tuple(_read_tune(path) for path in sorted(folder.glob("*.mid"))[:_MOST_TUNES])


def _read_tune(path: Path) -> Tune:
    picture = path.with_suffix(".png")
    picture_content, picture_problem = _read_picture(picture) if picture.exists() else (None, "")
    pictured = (picture.name if picture.exists() else "", picture_content, picture_problem)
    try:
        content = read_regular(path, MOST_MIDI_BYTES)
        notes = parse_notes(content, path)
    except DataError as error:
        return Tune(path.name, None, str(error), 0.0, 0, 0.0, (), (), *pictured)
    end = float((notes.onset_beats + notes.duration_beats).max())
    counts = Counter(notes.track.tolist())
    names = [name or f"track {number}" for number, name in enumerate(notes.track_names, start=1)]
    return Tune(
        path.name,
        content,
        "",
        float((notes.onset + notes.duration).max()),
        math.ceil(end / notes.beats_per_bar),
        notes.bpm,
        tuple((name, counts[number]) for number, name in enumerate(names)),
        _chords(content),
        *pictured,
    )


def _read_picture(path: Path) -> tuple[bytes | None, str]:
    try:
        content = read_regular(path, MOST_PICTURE_BYTES)
    except DataError as error:
        return None, str(error)
    return (content, "") if content.startswith(_PNG) else (None, f"{path}: is not a PNG file")


def _chords(content: bytes) -> tuple[str, ...]:
    """Return the chords of the first bars from the file's markers; () unless a chord is marked at the first bar."""
    events = parse_smf(content)
    chords: dict[int, str] = {}
    for event in sorted((event for event in events.meta if event.type == MARKER), key=lambda event: event.tick):
        name = event.data.decode("utf-8", "replace")
        try:
            parse_chord(name)
        except DataError:
            return ()
        chords.setdefault(event.tick // (BEATS_PER_BAR * events.ticks_per_quarter), name)
    bars = min(max(chords, default=-1) + 1, _MOST_BARS)
    return tuple(chords.get(bar, "") for bar in range(bars)) if 0 in chords else ()
