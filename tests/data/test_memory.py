"""What a corpus of many files keeps in memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from kelly_core.data import corpus_dataset, create_dataset
from kelly_core.data.corpora import lakh_midi
from kelly_core.features.extraction import Features
from kelly_core.music.context import NAMES

EXAMPLES = 4
BYTES_A_FILE = 1000


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
    assert (peaks[2500] - peaks[500]) / 2000 < BYTES_A_FILE


@pytest.mark.parametrize("count", [0, 1, 4096, 4097, 9000])
def test_a_fingerprint_is_of_one_json_text(count: int) -> None:
    columns = ['a "name"', [f"{number:x}" for number in range(count)], np.full(count, "train", object), (count, 2)]
    whole = json.dumps([columns[0], columns[1], list(columns[2]), columns[3]])
    assert "".join(corpus_dataset._json_pieces(columns)) == whole
