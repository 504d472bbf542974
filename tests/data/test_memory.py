"""The memory that a corpus of many files takes."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kelly_core.data import corpus_dataset, create_dataset
from kelly_core.data.chord_files import find_chord_files, write_progressions
from kelly_core.data.corpora import lakh_midi
from kelly_core.features.extraction import Features
from kelly_core.music.context import NAMES

EXAMPLES = 4
BYTES_PER_FILE = 1000
BYTES_PER_SONG = 350


def features(path: Path) -> Features:
    return {
        "steps": np.full((EXAMPLES, 64, 16), len(path.name), np.uint8),
        "content": np.arange(EXAMPLES, dtype=np.uint64),
        "length": np.full(EXAMPLES, 64),
        "affect": np.full((1, 5), float(int(path.stem) % 7)),
        "context": np.full((1, len(NAMES)), np.nan),
        "kind": np.zeros(1, np.int64),
    }


@pytest.mark.slow
def test_a_start_from_the_cache_takes_about_a_kilobyte_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lakh_midi, "_extract", features)
    peaks = {}
    for count in (500, 2500):
        root = tmp_path / str(count)
        root.mkdir()
        for number in range(count):
            (root / f"{number:032}.mid").write_text(str(number))
        # The first start computes, the second imports what is left to import.
        for _ in range(2):
            create_dataset("lakh_midi", root, cache_dir=tmp_path / "cache", jobs=1)
        tracemalloc.start()
        assert len(create_dataset("lakh_midi", root, cache_dir=tmp_path / "cache")) == EXAMPLES * count
        peaks[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peaks[2500] - peaks[500]) / 2000 < BYTES_PER_FILE


def test_chords_are_imported_row_by_row_and_read_in_a_third_of_a_kilobyte_a_song(tmp_path: Path) -> None:
    """Most of the third is the name of each song, as text and among the names of all groups."""
    imported, read = {}, {}
    for count in (600, 2400):
        root = tmp_path / str(count)
        root.mkdir()
        rows = (f'{number},"<verse_1> {" ".join(["C", "G", "Amin", "F"] * 15)}",x{number}\n' for number in range(count))
        (root / "chordonomicon.csv").write_text("id,chords,spotify_song_id\n" + "".join(rows))
        tracemalloc.start()
        with (tmp_path / "out.json").open("wb") as stream:
            assert write_progressions(find_chord_files(root), stream)[0] == count
        imported[count] = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        dataset = create_dataset("chords", root)
        read[count] = tracemalloc.get_traced_memory()[0]
        assert len(dataset) == count
        del dataset
        tracemalloc.stop()
    assert imported[2400] < 1.1 * imported[600]
    assert (read[2400] - read[600]) / 1800 < BYTES_PER_SONG


@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 9000])
def test_a_fingerprint_is_of_one_json_text(count: int) -> None:
    columns = ['a "name"', [f"{number:x}" for number in range(count)], np.full(count, "train", object), (count, 2)]
    whole = json.dumps([columns[0], columns[1], list(columns[2]), columns[3]])
    assert "".join(corpus_dataset._json_pieces(columns)) == whole
