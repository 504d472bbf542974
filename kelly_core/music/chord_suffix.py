"""Suffixes of chord symbols on lead sheets as sets of tones: ``m7(b5)``, ``7M/9``, ``maj13s911s``.

The grammar, with spaces allowed between items:

    suffix    = [quality] {item}
    quality   = major | minor | diminished | half diminished | augmented | dominant, each as word, letter or sign
    item      = degrees | "add" degrees | "sus" [2 | 4] | "no" (3 | 5) | "alt" | major | augmented
              | "(" item {[","] item} ")" | "/" (degrees | add | sus | no)
    degrees   = degree {degree}
    degree    = [accidental] number | number accidental

A later *major* makes the seventh major (``mMaj7``, ``7M``). All signs except Δ, ø and ° are ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

_NUMBER = r"(?:1[13]|[2-79])"
_ACCIDENTAL = r"(?:[#b+-]|s(?!us))"
_SPACE = re.compile(r"\s+")

_TOKEN = re.compile(
    rf"""
      (?P<half>   (?i:half[\s-]*dim(?:inished)?|hdim)\.? | ø | h(?![a-z]) )
    | (?P<dim>    (?i:(?:fully\s+)?dim(?:inished)?)\.? | ° | o(?!n|mit) )
    | (?P<aug>    (?i:aug(?:mented)?)\.? | \+(?!1[13]|[459]) )
    | (?P<sus>    (?i:sus(?:pended)?)\.?\s*(?P<suspended>[#b]?[24]|24|42|) )
    | (?P<add>    (?i:add(?:ed)?)\.? )
    | (?P<omit>   (?i:no|omit)\.?\s*(?P<omitted>[35])d? )
    | (?P<alt>    (?i:alt(?:ered)?)\.? )
    | (?P<dom>    (?i:dom(?:inant)?)\.? )
    | (?P<power>  (?i:power) )
    | (?P<noun>   (?i:triad|chord)$ )
    | (?P<major>  (?i:maj(?:or)?|dur|mj(?=7|9|1[13]))\.? | (?:ma|Ma)(?!dd|ug|lt) | MA(?=[\d(]) | M(?!i|I|A|o)
                  | j(?=7|9|1[13]) )
    | (?P<delta>  [Δ^] )
    | (?P<minor>  (?i:min(?:or)?|moll)\.? | mi | Mi | MI(?=[\d(]) | m )
    | (?P<run>    (?:{_ACCIDENTAL}?{_NUMBER}{_ACCIDENTAL}?)+ )
    | (?P<open>   \( )
    | (?P<close>  \) )
    | (?P<comma>  , )
    | (?P<slash>  / )
    """,
    re.VERBOSE,
)
_HYPHEN_AFTER_ROOT = re.compile(r"-(?=(?i:major|minor|min|dur|moll|dim|aug|dom|half|suspended))")
_HYPHEN = re.compile(r"-(?=(?i:maj|min|dim|sus|add))")
_ZERO = re.compile(r"0(?=7|9|1[13]|[/(]|$)")

_TONES = {2: 2, 4: 5, 5: 7, 6: 9, 7: 10, 9: 2, 11: 5, 13: 9}
_ALTERED = {
    (-1, 2), (-1, 5), (-1, 6), (-1, 7), (-1, 9), (-1, 11), (-1, 13),
    (1, 2), (1, 4), (1, 5), (1, 7), (1, 9), (1, 11),
}  # fmt: skip
_EXTENSIONS = (9, 11, 13)
_SIGNS = {"#": 1, "s": 1, "+": 1, "b": -1, "-": -1, "": 0}
_QUALITIES: dict[str, tuple[tuple[int, ...], int | None]] = {
    "minor": ((0, 3, 7), None),
    "dim": ((0, 3, 6), None),
    "half": ((0, 3, 6), 10),
    "dom": ((0, 4, 7), 10),
    "power": ((0, 7), None),
}
"""Tones and seventh of the qualities that are valid only at the start; major and augmented can follow other items."""
_FOLLOWERS = {"add": ("run", "open"), "slash": ("run", "major", "add", "sus", "omit"), "noun": ()}
"""Kinds of token that can follow these kinds; any token can follow all other kinds."""


class Degree(NamedTuple):
    """A degree of the major scale, raised (1), lowered (-1) or unchanged (0)."""

    accidental: int
    number: int


class _Token(NamedTuple):
    kind: str
    text: str
    detail: str


class NotAChordError(Exception):
    """A suffix that does not match the grammar; the text of the error states the problem."""


def suffix_tones(suffix: str) -> frozenset[int]:
    """Return the intervals above the root, 0..11 semitones, of the chord with this suffix.

    The ninth and eleventh that a 13 implies, and the ninth that an 11 implies, are left out: no class depends on them.

    Raises:
        NotAChordError: the suffix does not match the grammar.
    """
    chord = _Chord()
    for token in _tokens(suffix):
        chord.take(token)
    return chord.finish()


def _tokens(suffix: str) -> Iterator[_Token]:
    position = 0
    hyphen = _HYPHEN_AFTER_ROOT.match(suffix)
    if hyphen:
        position = hyphen.end()
    elif suffix.startswith("-") and not suffix.startswith("-5"):
        # A hyphen means minor only directly after the root; after a number, and in -5, it is a flat.
        yield _Token("minor", "-", "")
        position = 1
    elif _ZERO.match(suffix):
        yield _Token("dim", "0", "")
        position = 1
    while position < len(suffix):
        space = _SPACE.match(suffix, position)
        if space:
            if position == 0 and suffix[space.end() :].startswith(("#", "b", "+", "-")):
                # "A b5" can be Ab5 or A(b5), and "C - G" is not a minor chord.
                raise NotAChordError(f"cannot read {suffix[space.end() :]!r} after a space")
            position = space.end()
            continue
        if position and _HYPHEN.match(suffix, position):
            position += 1
        found = _TOKEN.match(suffix, position)
        if found is None or found.end() == position:
            raise NotAChordError(f"cannot read {suffix[position:]!r}")
        yield _Token(found.lastgroup or "", found[0], found["suspended"] or found["omitted"] or "")
        position = found.end()


@lru_cache(maxsize=4096)
def split_degrees(run: str) -> tuple[Degree, ...] | None:
    """Split numbers and accidentals written without a gap (``7b9#11``, ``13b9``, ``13b11b9b``) into degrees.

    An accidental belongs to the number after it if the whole run can be read that way, else to the number before it.
    Return None if the run cannot be read at all.
    """
    if not run:
        return ()
    prefix = re.match(rf"({_ACCIDENTAL}?)({_NUMBER})", run)
    if prefix is None:
        return None
    degree = Degree(_SIGNS[prefix[1]], int(prefix[2]))
    rest = run[prefix.end() :]
    if degree.accidental and degree not in _ALTERED:
        return None
    following = split_degrees(rest)
    if following is not None:
        return (degree, *following)
    if degree.accidental or not rest:
        return None
    postfixed = _postfixed(degree.number, rest[0])
    following = split_degrees(rest[1:]) if postfixed else None
    return None if following is None else (*postfixed, *following)


def _postfixed(number: int, sign: str) -> tuple[Degree, ...]:
    """Return the degrees of a number with an accidental after it, () if there are none; 7+ is 7 and a raised fifth."""
    if sign == "+" and number in (7, 9, 13):
        return Degree(0, number), Degree(1, 5)
    altered = Degree(_SIGNS.get(sign, 0), number)
    if number == 7 or altered not in _ALTERED:
        return ()
    return (altered,)


class _Chord:
    """Builder of a chord's tones from the tokens of its suffix."""

    def __init__(self) -> None:
        self._tones = {0, 4, 7}
        self._previous = ""
        self._seen: set[Degree] = set()
        self._seventh: int | None = None
        self._named = ""
        """Quality before the first item: major, minor, dim, half, aug, dom; empty if none was named."""
        self._wants_number = False
        """True if a sign for a major seventh was read, but not yet the number that must follow."""
        self._major_seventh = False
        self._in_list = False
        self._takes_all_added = False
        self._six = False
        self._suspended = ""

    def take(self, token: _Token) -> None:
        """Add the content of a token.

        Raises:
            NotAChordError: the token is not allowed at this position.
        """
        kind = token.kind
        followers = _FOLLOWERS.get(self._previous)
        if followers is not None and kind not in followers:
            raise NotAChordError(f"{token.text!r} is not allowed there")
        if self._wants_number and kind != "run":
            raise NotAChordError(f"expected a number, got {token.text!r}")
        if kind in _QUALITIES:
            self._take_quality(token)
        else:
            getattr(self, f"_take_{kind}")(token)
        self._previous = kind

    def finish(self) -> frozenset[int]:
        """Return the tones.

        Raises:
            NotAChordError: the suffix is incomplete.
        """
        if self._in_list or self._wants_number or self._previous in ("add", "slash"):
            raise NotAChordError("it is incomplete")
        seventh = set() if self._seventh is None else {self._seventh}
        return frozenset(self._tones | seventh)

    def _take_quality(self, token: _Token) -> None:
        if self._previous:
            raise NotAChordError(f"{token.text!r} is not allowed there")
        self._named = token.kind
        tones, self._seventh = _QUALITIES[token.kind]
        self._tones = set(tones)

    def _take_noun(self, _token: _Token) -> None:
        if not self._previous:
            # "C chord" means the same as "C major chord".
            self._named = "major"

    def _take_aug(self, token: _Token) -> None:
        if self._previous == "":
            self._named = "aug"
        elif self._previous not in ("major", "minor", "delta", "run"):
            raise NotAChordError(f"{token.text!r} is not allowed there")
        self._alter_fifth(8)

    def _take_major(self, token: _Token) -> None:
        if not self._previous:
            self._named, self._major_seventh = "major", True
            self._wants_number = token.text == "j"
        elif self._previous == "run" and self._seventh == 10 and self._named in ("", "minor", "aug"):
            # In 7M, the number precedes its sign.
            self._seventh, self._major_seventh = 11, True
        elif self._seventh is None or (self._previous in ("open", "comma", "slash") and self._extended_minor()):
            self._major_seventh = self._wants_number = True
        else:
            raise NotAChordError(f"{token.text!r} is not allowed there")

    def _take_delta(self, _token: _Token) -> None:
        if self._seventh is not None:
            raise NotAChordError("there are two sevenths")
        self._named = self._named or "major"
        self._major_seventh, self._seventh = True, 11

    def _take_alt(self, token: _Token) -> None:
        if self._named and self._named != "dom":
            raise NotAChordError(f"{token.text!r} is not allowed there")
        self._seventh = 10

    def _take_sus(self, token: _Token) -> None:
        if self._suspended == token.text:
            raise NotAChordError(f"{token.text!r} is given twice")
        if 3 in self._tones:
            # A named quality keeps its third: Cm7sus4 has both third and fourth. A diminished chord gets the perfect
            # fifth and the minor seventh.
            self._tones.add(7)
            self._seventh = 10 if self._seventh == 9 else self._seventh
        else:
            self._tones.discard(4)
        accidental = _SIGNS[token.detail[0]] if token.detail[:1] in ("#", "b") else 0
        degrees = token.detail.lstrip("#b") or "4"
        self._tones |= {(_TONES[int(number)] + accidental) % 12 for number in degrees}
        self._suspended = token.text

    def _take_omit(self, token: _Token) -> None:
        self._tones -= {3, 4} if token.detail == "3" else {6, 7, 8}

    def _take_add(self, _token: _Token) -> None:
        self._takes_all_added = True

    def _take_open(self, _token: _Token) -> None:
        if self._in_list:
            raise NotAChordError("parentheses are nested")
        self._in_list, self._major_seventh = True, False

    def _take_close(self, _token: _Token) -> None:
        if not self._in_list or self._previous in ("open", "comma"):
            raise NotAChordError("a list is empty or was not opened")
        self._in_list = self._takes_all_added = False

    def _take_comma(self, _token: _Token) -> None:
        if not self._in_list or self._previous in ("open", "comma"):
            raise NotAChordError("a comma is not allowed there")

    def _take_slash(self, token: _Token) -> None:
        if self._previous in ("open", "comma"):
            raise NotAChordError(f"{token.text!r} is not allowed there")

    def _take_run(self, token: _Token) -> None:
        degrees = split_degrees(token.text)
        if degrees is None:
            raise NotAChordError(f"cannot read {token.text!r}")
        added = self._takes_all_added or self._previous == "slash" or (self._in_list and not self._wants_number)
        self._wants_number = False
        unaltered = [degree.number for degree in degrees if not degree.accidental]
        if any(later in _EXTENSIONS and later < number for number, later in pairwise(unaltered)):
            raise NotAChordError(f"{token.text!r} is not in ascending order")
        for place, degree in enumerate(degrees):
            if degree in self._seen:
                raise NotAChordError(f"{degree.number} is given twice")
            self._take_degree(degree, added=added, last=place == len(degrees) - 1)
            self._seen.add(degree)
        if not self._in_list:
            self._takes_all_added = False

    def _take_degree(self, degree: Degree, *, added: bool, last: bool) -> None:
        accidental, number = degree
        if number == 7:
            # Chordonomicon writes the diminished seventh as b7 with a ninth after it: b79, b713b9.
            diminished = self._named == "dim" or (accidental < 0 and not last and not self._suspended)
            self._take_seventh(degree, 9 if diminished and accidental <= 0 else 10)
        elif number == 5 and accidental:
            self._alter_fifth(_TONES[5] + accidental)
        elif number == 3 and self._takes_all_added:
            self._tones.add(4 + accidental)
        elif number == 5 or number == 3:
            self._take_power_fifth(number)
        else:
            self._take_tension(degree, added=added)

    def _take_seventh(self, degree: Degree, minor: int) -> None:
        implied = not self._seen and self._named in ("half", "dom", "major", "dim")
        implied = implied or (self._previous == "major" and self._extended_minor())
        if self._takes_all_added or (self._seventh is not None and not (implied or self._previous == "delta")):
            raise NotAChordError("there are two sevenths")
        major = degree.accidental > 0 or (
            not degree.accidental and (self._major_seventh or self._named == "major" or self._previous == "delta")
        )
        self._seventh = 11 if major else minor

    def _extended_minor(self) -> bool:
        """Return True if only the ninth or another extension of a minor chord implies its seventh: Cm9(maj7)."""
        return self._named == "minor" and all(degree.number != 7 for degree in self._seen)

    def _take_power_fifth(self, number: int) -> None:
        if number == 3 or self._seen or self._named not in ("", "aug"):
            raise NotAChordError(f"{number} is not allowed there")
        if not self._named:
            self._tones.discard(4)

    def _take_tension(self, degree: Degree, *, added: bool) -> None:
        accidental, number = degree
        extends = number in _EXTENSIONS
        if extends and not added and self._seventh is None and not self._six and not (self._suspended and accidental):
            self._seventh = 11 if self._major_seventh else 10
        if number in (2, 4, 6) and not (accidental or added) and (self._six or Degree(0, 5) in self._seen):
            raise NotAChordError(f"{number} is not allowed there")
        self._six = self._six or degree == Degree(0, 6)
        self._tones.add((_TONES[number] + accidental) % 12)

    def _alter_fifth(self, tone: int) -> None:
        self._tones.discard(7)
        self._tones.add(tone)
