from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kelly_core.errors import DataError
from kelly_core.music.chords import (
    CHORD_NAMES,
    CLASSES,
    chord_distribution,
    minor_share,
    parse_chord,
    progression_key,
    transpose,
)

READINGS = {
    "C": "C Cmaj CM Cmajor C:maj C6 C6/9 C69 C2 C5 Cadd9 CMadd9 C(add9) Cadd11 Csus Csus2 Csus4 C/E C:maj/3 C:maj6(9) "
    "Caug C+ C/Bb Dbb C,",
    "Cm": "Cm Cmin Cmi CMIN C- C:min Cminor Cm6 Cmadd9 Cm(add9) Cmadd11 C-/G "
    "CmMaj7 CmM7 Cmmaj7 Cm(maj7) C-Δ7 C:minmaj7",
    "C7": "C7 C9 C11 C13 C7b9 C7(#9) C7alt Calt C7sus4 C9sus4 C:sus4(b7) Caug7 C+7 C7+ C7#5 C7/E C:7/b7 Cdom7 C[7] C:9",
    "Cmaj7": "Cmaj7 CMaj7 CMAJ7 Cma7 CM7 CΔ C^ C^7 Cmaj9 CM9 Cmaj13 Cmaj7#11 C:maj7/5 C+M7 C(maj7) C_maj7",
    "Cm7": "Cm7 C-7 Cmin7 Cmi7 CMin7 C:min7/b3 Cm9 Cm11 Cm13 C-9 Cm7add11 Cminor7 Cm(b13)",
    "Cdim7": "Cdim Cdim7 Co Co7 C° C°7 Cø Cø7 Chdim7 C:hdim7 Cm7b5 Cm7-5 C-7b5 Cm7(b5) Cm7♭5 Cmin7b5 Ebdim F#o7 Aø",
    "N": "N NC N.C. X",
    "Bbmaj7": "Bbmaj7 B♭maj7 A#maj7 A♯Δ Cbbmaj7 Bb:maj7/3",
    "F#m7": "F#m7 Gbm7 F♯-7 E##m7",
    "B": "B Cb C♭ A## B/D#",
    "F": "F E# Gbb",
    "C#dim7": "C#dim Eø Gdim7 Bb° A#o Dbm7b5",
    "Ddim7": "Ddim Fo G#ø Bdim Abm7b5 Cbdim",
}


@pytest.mark.parametrize(
    ("symbol", "name"),
    [(symbol, name) for name, symbols in READINGS.items() for symbol in symbols.split()],
)
def test_symbols_are_read_as_musicians_mean_them(symbol: str, name: str) -> None:
    assert CHORD_NAMES[parse_chord(symbol.replace("_", " "))] == name


@pytest.mark.parametrize("symbol", ["", " ", "H7", "h", "c", "am", "bb7", "7", "/G", "-", "%", "♭", "n"])
def test_without_a_root_there_is_no_chord(symbol: str) -> None:
    with pytest.raises(DataError, match="no root"):
        parse_chord(symbol)


@pytest.mark.parametrize("symbol", ["C(b5)", "C1", "Cno3", "Comit3", "Cxyz", "C?", "C:(1,5)", "Clavier"])
def test_an_unknown_quality_is_refused_and_named(symbol: str) -> None:
    with pytest.raises(DataError, match="quality") as caught:
        parse_chord(symbol)
    assert repr(symbol) in str(caught.value)


def test_every_class_has_a_name_that_is_read_as_it() -> None:
    assert len(CHORD_NAMES) == len(set(CHORD_NAMES)) == CLASSES
    assert [parse_chord(name) for name in CHORD_NAMES] == list(range(CLASSES))


@pytest.mark.parametrize("quality", ["", "m", "7", "maj7", "m7", "dim"])
def test_transposing_a_chord_is_transposing_its_root(quality: str) -> None:
    roots = ["C", "Db", "D", "D#", "E", "F", "Gb", "G", "G#", "A", "A#", "B"]
    chords = [parse_chord(root + quality) for root in roots]
    for semitones in range(-6, 6):
        np.testing.assert_array_equal(transpose(chords, semitones), np.roll(chords, -semitones))


def test_no_chord_stays_where_it_is() -> None:
    assert transpose(parse_chord("N"), 5) == parse_chord("N")
    np.testing.assert_array_equal(transpose(transpose(np.arange(64).reshape(8, 8), 5), -5), np.arange(64).reshape(8, 8))


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
