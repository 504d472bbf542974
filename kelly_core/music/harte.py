"""Chord labels in the syntax of Harte et al., "Symbolic Representation of Musical Chords", ISMIR 2005.

    root ":" shorthand ["(" degrees ")"] ["/" bass]      C:min7(4)/b3
    root ":(" degrees ")" ["/" bass]                     C:(1,b3,b5,6)
    root "/" bass                                        C/3, a major triad

A degree is an interval of the major scale, 1 to 13, with any number of flats or sharps before it; ``*`` before a degree
of the list removes it from the shorthand.
"""

from __future__ import annotations

import re

_SHORTHANDS: dict[str, tuple[int, ...]] = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "1": (0,),
    "5": (0, 7),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "maj6": (0, 4, 7, 9),
    "min6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "minmaj7": (0, 3, 7, 11),
    "dim7": (0, 3, 6, 9),
    "hdim7": (0, 3, 6, 10),
    "aug7": (0, 4, 8, 10),
    "9": (0, 4, 7, 10, 2),
    "maj9": (0, 4, 7, 11, 2),
    "min9": (0, 3, 7, 10, 2),
    "11": (0, 4, 7, 10, 2, 5),
    "maj11": (0, 4, 7, 11, 2, 5),
    "min11": (0, 3, 7, 10, 2, 5),
    "13": (0, 4, 7, 10, 2, 5, 9),
    "maj13": (0, 4, 7, 11, 2, 5, 9),
    "min13": (0, 3, 7, 10, 2, 5, 9),
}
_MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)

_NOTE = r"[A-G](?:b*|#*)"
_DEGREE = r"(?:b*|#*)(?:1[0-3]|[1-9])"
_LIST = rf"\(\s*(?P<degrees>\*?{_DEGREE}(?:\s*,\s*\*?{_DEGREE})*)\s*\)"
_LABEL = re.compile(rf"(?P<root>{_NOTE}):(?P<shorthand>[a-z0-9]*)(?:{_LIST})?(?:/{_DEGREE})?")
_INVERSION = re.compile(rf"(?P<root>{_NOTE})/{_DEGREE}")


def read_harte(label: str) -> tuple[str, frozenset[int]] | None:
    """Return the root's name and the intervals above it in semitones, or None if this is not a label in this syntax.

    The bass does not count as a tone of the chord.
    """
    inversion = _INVERSION.fullmatch(label)
    if inversion:
        return inversion["root"], frozenset(_SHORTHANDS["maj"])
    found = _LABEL.fullmatch(label)
    if found is None or not (found["shorthand"] or found["degrees"]):
        return None
    tones = _SHORTHANDS.get(found["shorthand"], None if found["shorthand"] else (0,))
    if tones is None:
        return None
    degrees = [degree.strip() for degree in (found["degrees"] or "").split(",") if degree]
    removed = {_semitones(degree[1:]) for degree in degrees if degree.startswith("*")}
    added = {_semitones(degree) for degree in degrees if not degree.startswith("*")}
    return found["root"], frozenset(tones) - removed | added


def _semitones(degree: str) -> int:
    number = int(degree.lstrip("b#")) - 1
    return (_MAJOR_SCALE[number % 7] + degree.count("#") - degree.count("b")) % 12
