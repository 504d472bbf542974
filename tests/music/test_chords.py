from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kelly_core.errors import DataError
from kelly_core.music.chord_symbols import parse_chord
from kelly_core.music.chords import (
    CHORD_NAMES,
    CLASSES,
    chord_distribution,
    estimate_chords,
    minor_share,
    progression_key,
    transpose_chords,
)
from tests.helpers.music import make_notes


def test_every_class_has_a_name_that_is_read_as_it() -> None:
    assert len(CHORD_NAMES) == len(set(CHORD_NAMES)) == CLASSES
    assert [parse_chord(name) for name in CHORD_NAMES] == list(range(CLASSES))


def test_no_chord_stays_where_it_is() -> None:
    assert transpose_chords(parse_chord("N"), 5) == parse_chord("N")
    np.testing.assert_array_equal(
        transpose_chords(transpose_chords(np.arange(64).reshape(8, 8), 5), -5), np.arange(64).reshape(8, 8)
    )


@pytest.mark.parametrize(
    ("progression", "tonic", "mode"),
    [
        ("C F G C Am F G7 C", 0, "major"),
        ("Am Dm E7 Am", 9, "minor"),
        ("Ebm Abm Bb7 Ebm", 3, "minor"),
        ("D A G D", 2, "major"),
    ],
)
def test_progressions_have_a_key(progression: str, tonic: int, mode: str) -> None:
    key = progression_key([parse_chord(symbol) for symbol in progression.split()])
    assert (key.tonic, key.mode) == (tonic, mode)


def test_long_chords_decide_the_key() -> None:
    indices = [parse_chord(symbol) for symbol in ("C", "F#")]
    assert progression_key(indices, [9.0, 1.0]).tonic == 0
    assert progression_key(indices, [1.0, 9.0]).tonic == 6


def test_chord_tones_are_those_of_the_chord() -> None:
    """A single Em7 is E G B D: the correlation with the profile of E minor, written out."""
    e_minor = [0.404, 0.067, 0.133, 0.330, 0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747]
    tones = np.isin(np.arange(12), [4, 7, 11, 2])
    key = progression_key([parse_chord("Em7")])
    minor_fit = np.corrcoef(tones, e_minor)[0, 1]
    assert minor_fit in (pytest.approx(key.kappa), pytest.approx(key.kappa - key.m))


def test_a_distribution_weighs_by_duration() -> None:
    indices = [parse_chord(symbol) for symbol in ("C", "Am", "C", "N")]
    even, timed = chord_distribution(indices), chord_distribution(indices, [1, 2, 1, 4])
    assert (even[0], even[parse_chord("Am")], even[63]) == (0.5, 0.25, 0.25)
    assert (timed[0], timed[parse_chord("Am")], timed[63]) == (0.25, 0.25, 0.5)
    assert timed.shape == (64,)
    assert timed.dtype == np.float32


def test_an_empty_progression_has_no_distribution() -> None:
    with pytest.raises(DataError, match="empty"):
        chord_distribution([])


def test_the_minor_share_is_of_the_time_with_a_chord() -> None:
    indices = [parse_chord(symbol) for symbol in ("C", "Am", "Dm7", "Bdim", "N")]
    assert minor_share(indices) == 0.5
    assert minor_share(indices, [1, 4, 2, 1, 100]) == 0.75
    assert minor_share([63]) == 0


def test_every_symbol_of_the_corpora_is_read(shared_data: Path) -> None:
    entries = [
        entry
        for name in ("chord_progressions", "emopia_chords_estimated")
        for entry in json.loads((shared_data / f"chords/{name}.json").read_text(encoding="utf-8"))
    ]
    classes = np.bincount([parse_chord(symbol) for entry in entries for symbol in entry["chords"]], minlength=64)
    assert len(entries) == 1665
    assert classes.sum() > 90_000
    assert (classes[:63] > 100).all()


def test_chords_are_estimated_from_notes_every_two_beats() -> None:
    onset = [0, 0, 0, 2, 2, 2, 2, 6, 6, 6]
    pitch = [60, 64, 67, 55, 59, 62, 65, 57, 60, 64]
    notes = make_notes(onset, pitch, duration=2.0)
    named = [CHORD_NAMES[index] for index in estimate_chords(notes)]
    assert named == ["C", "G7", "N", "Am"]
    assert [CHORD_NAMES[index] for index in estimate_chords(notes, 2)] == ["D", "A7", "N", "Bm"]


def test_a_note_without_an_end_does_not_fill_memory() -> None:
    assert len(estimate_chords(make_notes([0], [60], duration=1e9))) <= 64
