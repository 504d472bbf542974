"""Parse chord symbols of several notations (lead sheets, Harte labels, Chordonomicon, words) into 64 classes."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from kelly_core.errors import DataError
from kelly_core.music.chord_suffix import NotAChordError, suffix_tones
from kelly_core.music.chords import NO_CHORD, chord_class
from kelly_core.music.key import MAJOR_SCALE

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

_HARTE_ROOT = r"[A-G](?:b*|#*)"
_DEGREE = r"(?:b*|#*)(?:1[0-3]|[1-9])"
_LIST = rf"\(\s*(?P<degrees>\*?{_DEGREE}(?:\s*,\s*\*?{_DEGREE})*)\s*\)"
_LABEL = re.compile(rf"(?P<root>{_HARTE_ROOT}):(?P<shorthand>[a-z0-9]*)(?:{_LIST})?(?:/{_DEGREE})?")
_TRIAD = re.compile(rf"(?P<root>{_HARTE_ROOT})(?:/{_DEGREE})?")


def read_harte(label: str) -> tuple[str, frozenset[int]] | None:
    """Return the root's name and the intervals above it in semitones, or None if this is not a label in this syntax.

    Syntax of Harte et al., "Symbolic Representation of Musical Chords", ISMIR 2005::

        root ":" shorthand ["(" degrees ")"] ["/" bass]      C:min7(4)/b3
        root ":(" degrees ")" ["/" bass]                     C:(1,b3,b5,6)
        root ["/" bass]                                      C/3, a major triad

    A degree is an interval of the major scale, 1 to 13, with any number of flats or sharps before it; ``*`` before a
    degree of the list removes it from the shorthand.

    The bass does not count as a tone of the chord.
    """
    triad = _TRIAD.fullmatch(label)
    if triad:
        return triad["root"], frozenset(_SHORTHANDS["maj"])
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
    return (MAJOR_SCALE[number % 7] + degree.count("#") - degree.count("b")) % 12


MAX_SYMBOL_LENGTH = 64
"""Maximum length of a symbol in characters; the longest symbols in use have about 30."""

_SHIFTS = {"#": 1, "s": 1, "x": 2, "b": -1}
_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11, "H": 11}

# Characters that compatibility normalization (NFKC) leaves unchanged or would convert wrongly.
_BEFORE_NFKC = str.maketrans({"˚": "°", "º": "°"})
_AFTER_NFKC = str.maketrans(
    {
        **dict.fromkeys("♯", "#"),
        **dict.fromkeys("♭", "b"),
        "\N{MUSICAL SYMBOL DOUBLE SHARP}": "##",
        "\N{MUSICAL SYMBOL DOUBLE FLAT}": "bb",
        **dict.fromkeys("∆△▲", "Δ"),
        **dict.fromkeys("Ø⌀∅", "ø"),
        **dict.fromkeys("‐‑‒–—―−﹣", "-"),
        **dict.fromkeys("⁄∕", "/"),
        **dict.fromkeys("\u200b\u2060\ufe0e\ufe0f\ufeff"),
        "[": "(",
        "]": ")",
    }
)
_NO_CHORD = re.compile(r"\(?(?:N|X|(?i:n\.?\s?c\.?|n/c|no ?chord|tacet))\)?")
_ENCLOSED = re.compile(r"\(([^()]*)\)")
_BEATS = re.compile(r"(?:\s*/){2,}$")
_ORDINALS = {
    "second": "2",
    "third": "3",
    "fourth": "4",
    "fifth": "5",
    "sixth": "6",
    "seventh": "7",
    "ninth": "9",
    "eleventh": "11",
    "thirteenth": "13",
}
_ORDINAL = re.compile(rf"\b(?:{'|'.join(_ORDINALS)})\b|(?<=\d)(?:nd|rd|th)\b", re.IGNORECASE)
_ACCIDENTAL_WORD = re.compile(r"(?<=\S)[\s-]*(sharp|flat)\s*", re.IGNORECASE)
_FIFTH_WORD = re.compile(r"(?<=[\d(])\s*(dim|aug)(?:inished|mented)?\.?\s*5(?!\d)", re.IGNORECASE)
_NATURAL = re.compile("(?<=^[A-Ha-h])♮")
_WORD_HYPHEN = re.compile(r"(?<=[a-z]{3})-(?=[a-z]{3})|(?<=[a-z]{5})-(?=\d)")

_GERMAN = r"(?:[CDFGA]isis|[CDFGH]eses|Eses|As[ae]s|[CDEFGA]is|[CDFG]es|Bes)"
_GERMAN_AMBIGUOUS = r"[AE]s(?!us)"
_CHORDONOMICON = re.compile(r"min|maj|aug|dim|sus|add|no3d|[bs]?\d")
_BEFORE_ALTERED = r"(?=(?:5|9|11|13)|7[b\d])"
_ROOT = re.compile(
    rf"(?P<german>{_GERMAN})|(?P<ambiguous>{_GERMAN_AMBIGUOUS})"
    # If two accidentals precede a number that is often altered, one belongs to the root, one to the number: Dbb9 is
    # Db(b9).
    rf"|(?P<plain>[CDFG]x"
    rf"|[A-G](?:##(?!{_BEFORE_ALTERED})|bb(?!{_BEFORE_ALTERED})|#|b|s(?!us))?|H(?:#|b)?|[a-g](?:#|b)?)"
)
_NOTE = rf"(?:{_GERMAN}|{_GERMAN_AMBIGUOUS}|[CDFG]x|[A-H](?:##|bb|#|b|s)?)"
_BASS = re.compile(rf"\s*(?P<open>\()?/\s*(?:{_NOTE}|[a-g](?:#|b)?)(?(open)\))$|\s*(?:on|over)\s*{_NOTE}$")
_WORDLIKE = re.compile(r"[oh0]|(?i:alt|dom)|ma(?!j)|mi(?!n)|M(?!\d)")
"""Suffixes that turn a lower-case root, H or a German note name into a word, not a chord: go, Halt, Fish."""
_LETTER_ROOT = re.compile(r"[A-G](?:##|bb|#|b|x)?")

_HINT = "Examples: C, F#m7, Bb7(b9), Am7/G, C:min7/b3, N.C."


def parse_chord(symbol: str) -> int:
    """Read a chord symbol (C#m7, B♭7M/9, F#ø, A:min7/b3, Fsmin, C minor seventh, N.C. ...) as one of the 64 classes.

    The whole symbol is parsed: a label with a colon by Harte's syntax, any other by the grammar of ``chord_suffix``. H
    and the German names (Fis, Es) are accepted, x is a double sharp (Fx); B is always the English B. Bass notes are
    ignored; ``chords.chord_class`` defines the class of the tones.

    Raises:
        DataError: the text is not a single chord symbol.
    """
    if len(symbol) > MAX_SYMBOL_LENGTH:
        raise DataError(f"a chord symbol of {len(symbol)} characters, expected at most {MAX_SYMBOL_LENGTH}", hint=_HINT)
    return _parse(symbol)


@lru_cache(maxsize=16384)
def _parse(symbol: str) -> int:
    text = _normalize(symbol)
    if not text.isprintable():
        raise _refusal(symbol, "it has control characters")
    if _NO_CHORD.fullmatch(text):
        return NO_CHORD
    harte = read_harte(text)
    if harte is not None:
        return chord_class(_pitch_class(harte[0]), harte[1])
    if ":" in text:
        raise _refusal(symbol, "it is not a label in Harte's syntax")
    try:
        return _read_lead_sheet(text)
    except NotAChordError as error:
        raise _refusal(symbol, str(error)) from None


def parse_note(name: str) -> int:
    """Read the name of a note (C, F#, B♭, Es, H) as its pitch class, 0 = C.

    Raises:
        DataError: this is not the name of a note.
    """
    text = _normalize(name) if len(name) <= MAX_SYMBOL_LENGTH else ""
    found = _ROOT.fullmatch(text)
    if found is None:
        raise DataError(f"expected the name of a note, got {name[:MAX_SYMBOL_LENGTH]!r}", hint="Examples: C, F#, Bb")
    return _pitch_class(text, german=found["plain"] is None)


def _normalize(symbol: str) -> str:
    text = symbol
    if not text.isascii():
        text = _NATURAL.sub("", unicodedata.normalize("NFKC", text.translate(_BEFORE_NFKC)).strip())
    text = text.strip()
    # No chord symbol begins with an accidental or a bracket, so the first character is not changed.
    return text[:1] + text[1:].translate(_AFTER_NFKC).rstrip()


def _read_lead_sheet(text: str) -> int:
    enclosed = _ENCLOSED.fullmatch(text)
    text = _digits_for_words(_BEATS.sub("", enclosed[1].strip() if enclosed else text))
    found = _ROOT.match(text)
    if found is None:
        raise NotAChordError("it does not begin with a root")
    suffix = _BASS.sub("", text[found.end() :])
    german = found["german"] is not None or (
        # As and Es are A sharp and E sharp in Chordonomicon, A flat and E flat in German.
        found["ambiguous"] is not None and not _CHORDONOMICON.match(suffix)
    )
    if not _LETTER_ROOT.fullmatch(found[0]) and _WORDLIKE.match(suffix):
        raise NotAChordError("it looks like a word")
    if found[0] == "b" and suffix[:1].isdigit():
        raise NotAChordError("it looks like a degree, not a root")
    return chord_class(_pitch_class(found[0], german=german), suffix_tones(suffix))


def _digits_for_words(text: str) -> str:
    """Replace ordinals and accidentals by digits and signs: C sharp minor seventh becomes C# minor 7."""
    if text.isascii() and len(text) < 4:
        return text
    text = _ORDINAL.sub(lambda word: _ORDINALS.get(word[0].lower(), ""), text)
    text = _FIFTH_WORD.sub(lambda word: "#5" if word[1].lower() == "aug" else "b5", text)
    text = _ACCIDENTAL_WORD.sub(lambda word: "#" if word[1].lower() == "sharp" else "b", text)
    return _WORD_HYPHEN.sub(" ", text)


def _pitch_class(name: str, *, german: bool = False) -> int:
    letter, accidentals = name[0].upper(), name[1:]
    if german:
        return (_NATURALS[letter] + (accidentals.count("is") or -accidentals.count("s"))) % 12
    return (_NATURALS[letter] + sum(_SHIFTS[sign] for sign in accidentals)) % 12


def _refusal(symbol: str, reason: str) -> DataError:
    return DataError(f"{symbol!r} is not a chord symbol: {reason}", hint=_HINT)
