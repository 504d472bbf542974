"""Songs of a MIDI corpus rendered as recordings, each next to a copy of its MIDI file, with the corpus's quadrants."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from kelly_core.arrays import Floats
from kelly_core.composition.synthesizer import render_samples
from kelly_core.data.files import find_files
from kelly_core.data.label_tables import LABEL_FILE
from kelly_core.data.labels import read_known_labels
from kelly_core.data.readers import midi
from kelly_core.demo.synth import notes_wav_bytes
from kelly_core.errors import DataError
from kelly_core.io.atomic import atomic_write, atomic_write_all
from kelly_core.music.emotion import QUADRANT_AFFECT

_TAIL_SECONDS = 1.0
"""Silence after the last note of a recording that is rendered as sines."""


def recording_stems(names: Sequence[str]) -> dict[str, str]:
    """Return a file name without extension for each song, by its path in the corpus.

    All recordings are in one folder, so a song's folders become part of its name, except those common to all songs.
    """
    parents = [name.rpartition("/")[0] for name in names]
    shared = os.path.commonpath(parents) if parents else ""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        stem = name[len(shared) :].lstrip("/").rpartition(".")[0].replace("/", "_")
        # A recording and its MIDI file are matched by their stem, so each pair needs a different one.
        while stem in taken:
            stem += "_"
        taken.add(stem)
        stems[name] = stem
    return stems


def write_pairs(
    root: Path, stems: Mapping[str, str], output: Path, seconds: float, instruments: Path | None
) -> list[DataError]:
    """Write a recording and a copy of each MIDI file below ``root``; return the errors of files that were skipped."""
    import soundfile

    skipped: list[DataError] = []
    for name, stem in stems.items():
        try:
            samples, sample_rate = render_recording(root / name, seconds, instruments)
        except DataError as error:
            skipped.append(error)
            continue
        stream = io.BytesIO()
        soundfile.write(stream, samples, sample_rate, format="FLAC", subtype="PCM_16")
        pair = {f"{stem}.flac": stream.getvalue(), f"{stem}{Path(name).suffix}": (root / name).read_bytes()}
        atomic_write_all({output / file: content for file, content in pair.items()}, error_type=DataError)
    return skipped


def write_quadrants(root: Path, stems: Mapping[str, str], output: Path) -> None:
    """Write ``label.csv`` with the quadrants of the songs in the corpus below ``root``, if it has any."""
    known = read_known_labels(root, find_files(root, {".csv"}))
    quadrants = {affect: quadrant for quadrant, affect in QUADRANT_AFFECT.items()}
    labels = [(stem, label[0]) for name, stem in stems.items() if (label := known.find(name)) is not None]
    rows = [(stem, quadrants[affect]) for stem, affect in labels if affect in quadrants]
    table = io.StringIO()
    csv.writer(table).writerows([("ID", "4Q"), *rows])
    if rows:
        atomic_write(output / LABEL_FILE, table.getvalue().encode(), error_type=DataError)


def render_recording(path: Path, seconds: float, soundfont: Path | None) -> tuple[Floats, int]:
    """Return mono audio [n], -1..1, of the first seconds of a MIDI file, and its sample rate.

    Args:
        path: the MIDI file.
        seconds: maximum length.
        soundfont: SoundFont for fluidsynth; None renders the pitched notes as sines of one timbre.

    Raises:
        DataError: the file contains no note, or fluidsynth produces no audio.
    """
    notes = midi.read_notes(path)
    if soundfont is not None:
        return render_samples(path, seconds, soundfont)
    import soundfile

    end = float((notes.onset + notes.duration).max()) + _TAIL_SECONDS
    with soundfile.SoundFile(io.BytesIO(notes_wav_bytes(notes, min(seconds, end)))) as file:
        return file.read(dtype="float32", always_2d=True)[:, 0], file.samplerate
