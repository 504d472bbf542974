"""Chord symbols as 64 classes: five qualities on twelve roots, three diminished sets, no chord."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kelly_core.errors import DataError
from kelly_core.music.key import Tonality, tonality

CLASSES = 64
NO_CHORD = 63

_ROOTS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_SUFFIXES = ("", "m", "7", "maj7", "m7")
_MAJOR, _MINOR, _DOMINANT, _MAJOR7, _MINOR7, _DIMINISHED = range(6)
_FIRST_DIMINISHED = 12 * _DIMINISHED

CHORD_NAMES: tuple[str, ...] = (
    *(root + suffix for suffix in _SUFFIXES for root in _ROOTS),
    *(root + "dim7" for root in _ROOTS[:3]),
    "N",
)
"""A symbol for each class, which ``parse_chord`` reads as that class; a diminished set is named by its lowest root."""

_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SPELLINGS = str.maketrans({"♯": "#", "♭": "b", "Δ": "maj7", "ø": "hdim7", "°": "dim"})
_ROOT = re.compile(r"([A-G])(##|bb|#|b)?")
_PUNCTUATION = re.compile(r"[:()\[\],\s]")
_ADDED_TONE = re.compile(r"add[#b]?\d+")
_EXTENSION = re.compile(r"7|9|11|13")
_MINOR_WORD = r"(?:MIN|MI|[Mm]in?|m(?!aj|a\d|a$)|-)"
_MAJOR_WORD = r"(?:[Mm]ajor|[Mm]aj|MAJ|[Mm]a(?!dd)|MA|M)"
_DIMINISHED_CHORD = re.compile(rf"hdim|{_MINOR_WORD}7[b-]5|dim|o(?!mit)")
_MAJOR_SEVENTH = re.compile(rf"{_MAJOR_WORD}(?:7|9|11|13)|\^")
_MINOR_PREFIX = re.compile(_MINOR_WORD)
_MAJOR_PREFIX = re.compile(_MAJOR_WORD)
_AUGMENTED = re.compile(r"aug|\+")
_PLAIN_TRIAD = re.compile(r"add|[2456]|$")
_OTHER_SEVENTH = re.compile(r"(?:dom|[#b])?(?:7|9|11|13)|alt")

_INTERVALS = ((0, 4, 7), (0, 3, 7), (0, 4, 7, 10), (0, 4, 7, 11), (0, 3, 7, 10))


def _chord_tones() -> NDArray[np.float64]:
    tones = np.zeros((CLASSES, 12))
    for quality, intervals in enumerate(_INTERVALS):
        for root in range(12):
            tones[12 * quality + root, np.add(root, intervals) % 12] = 1
    for root in range(3):
        tones[_FIRST_DIMINISHED + root, root::3] = 1
    return tones


CHORD_TONES = _chord_tones()
"""Which pitch classes belong to each class of chord, [64, 12]: 1 or 0; none to no chord."""


@lru_cache(maxsize=4096)
def parse_chord(symbol: str) -> int:
    """Read a chord symbol (C#m7, Bb:maj7/3, F♯ø, N ...) as a class.

    Class 12·quality + root for the qualities major, minor, 7, maj7, min7; 60 + root mod 3 for diminished chords, half
    diminished ones included; 63 for no chord. Bass notes, added tones and suspensions do not matter.

    Raises:
        DataError: the symbol does not begin with a root, or what follows the root is no known quality.
    """
    plain = symbol.strip().translate(_SPELLINGS)
    if plain.replace(".", "") in {"N", "NC", "X"}:
        return NO_CHORD
    found = _ROOT.match(plain)
    if found is None:
        raise DataError(f"chord {symbol!r} has no root", hint="A chord begins with A to G, or is N")
    letter, accidental = found.group(1), found.group(2) or ""
    root = (_NATURALS[letter] + accidental.count("#") - accidental.count("b")) % 12
    quality = _quality_of(_PUNCTUATION.sub("", plain[found.end() :].split("/")[0]))
    if quality is None:
        raise DataError(f"chord {symbol!r} is of no known quality", hint="Examples: C, Cm, C7, Cmaj7, Cm7, Cdim, N")
    return _FIRST_DIMINISHED + root % 3 if quality == _DIMINISHED else 12 * quality + root


def transpose(index: ArrayLike, semitones: int) -> NDArray[np.intp]:
    """Classes [...] moved up by ``semitones``; no chord stays."""
    index = np.asarray(index, np.intp)
    turned = index - index % 12 + (index + semitones) % 12
    diminished = _FIRST_DIMINISHED + (index + semitones) % 3
    return np.where(index < _FIRST_DIMINISHED, turned, np.where(index < NO_CHORD, diminished, NO_CHORD))


def progression_key(indices: ArrayLike, durations: ArrayLike | None = None) -> Tonality:
    """Tonality of a progression, from the tones of its chords weighted by duration (any unit; None: all alike)."""
    return tonality(_class_durations(indices, durations) @ CHORD_TONES)


def chord_distribution(indices: ArrayLike, durations: ArrayLike | None = None) -> NDArray[np.float32]:
    """Share of the time [64] that each class takes in a progression [n], n ≥ 1; without durations, share of the chords.

    Raises:
        DataError: the progression takes no time.
    """
    total = _class_durations(indices, durations)
    if not total.sum() > 0:
        raise DataError("the progression is empty")
    share: NDArray[np.float32] = (total / total.sum()).astype(np.float32)
    return share


def minor_share(indices: ArrayLike, durations: ArrayLike | None = None) -> float:
    """Share of the time with a chord that the chord is minor or min7; 0 where there is no chord at all."""
    total = _class_durations(indices, durations)[:NO_CHORD]
    minor = total[12 * _MINOR : 12 * _DOMINANT].sum() + total[12 * _MINOR7 : _FIRST_DIMINISHED].sum()
    return float(minor / total.sum()) if total.sum() > 0 else 0.0


def _class_durations(indices: ArrayLike, durations: ArrayLike | None) -> NDArray[np.float64]:
    weights = np.ones(np.shape(indices)) if durations is None else np.asarray(durations, np.float64)
    return np.bincount(np.asarray(indices, np.intp), weights, CLASSES).astype(np.float64)


def _quality_of(text: str) -> int | None:
    """Quality of what follows the root; the first rule that holds decides, so their order matters."""
    extended = _EXTENSION.search(_ADDED_TONE.sub("", text)) is not None
    minor = _MINOR_PREFIX.match(text) is not None
    if _DIMINISHED_CHORD.match(text):
        return _DIMINISHED
    if _MAJOR_SEVENTH.search(text):
        return _MINOR if minor else _MAJOR7
    if minor:
        return _MINOR7 if extended else _MINOR
    text = _MAJOR_PREFIX.sub("", text, count=1) if _MAJOR_PREFIX.match(text) else text
    if text.startswith("sus") or _AUGMENTED.search(text):
        return _DOMINANT if extended else _MAJOR
    if _PLAIN_TRIAD.match(text):
        return _MAJOR
    return _DOMINANT if _OTHER_SEVENTH.match(text) else None
