"""Measure POP909 with ``kelly_core.music.piece_statistics``, and print the constant ``POP909`` of that module.

    python tools/measure_pop909.py POP909 --songs 200

POP909 is the folder of the published data set, with one folder per song that contains NNN.mid and beat_midi.txt.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from kelly_core.data.readers.midi import read_notes
from kelly_core.music.notes import BEATS_PER_BAR, Notes
from kelly_core.music.piece_statistics import PieceStatistics, measure_piece

_SHARE_OF_FULL_BARS = 0.9
_BEYOND_BEATS = 64
"""Beats by which the annotation is extended at both ends."""


def main() -> None:
    """Print low, median and high of each measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--songs", type=int, default=200, help="Number of songs from 001 on")
    arguments = parser.parse_args()
    rows = []
    for number in range(1, arguments.songs + 1):
        song = arguments.folder / f"{number:03d}"
        notes = _on_annotated_beats(read_notes(song / f"{song.name}.mid"), np.loadtxt(song / "beat_midi.txt"))
        if notes is not None:
            rows.append(measure_piece(notes))
    print(f"# {len(rows)} of {arguments.songs} songs are in 4/4")
    for name, values in zip(PieceStatistics._fields, np.array(rows).T, strict=True):
        low, median, high = np.nanquantile(values, [0.1, 0.5, 0.9])
        print(f'"{name}": Reference({low:.2f}, {median:.2f}, {high:.2f}),  # mean {np.nanmean(values):.2f}')


def _on_annotated_beats(notes: Notes, annotation: np.ndarray) -> Notes | None:
    """Return the notes with onsets in annotated beats, where bars begin at multiples of four; None if the song is not
    in 4/4.
    """
    times, downbeats = annotation[:, 0], np.flatnonzero(annotation[:, 2] == 1)
    if np.mean(np.diff(downbeats) == BEATS_PER_BAR) < _SHARE_OF_FULL_BARS:
        return None
    beyond = np.arange(1, _BEYOND_BEATS + 1)
    before = times[0] - (times[1] - times[0]) * beyond[::-1]
    after = times[-1] + (times[-1] - times[-2]) * beyond
    grid = np.concatenate([before, times, after])
    beats = np.arange(len(grid)) - _BEYOND_BEATS - downbeats[0]
    onset = np.interp(notes.onset, grid, beats)
    release = np.interp(notes.onset + notes.duration, grid, beats)
    first_bar = np.floor(onset.min() / BEATS_PER_BAR) * BEATS_PER_BAR
    return replace(notes, onset_beats=onset - first_bar, duration_beats=release - onset)


if __name__ == "__main__":
    main()
