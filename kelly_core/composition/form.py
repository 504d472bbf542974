"""Form of a piece: sections of eight bars, each of two phrases of which the second answers the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from kelly_core.composition.score import PHRASE_BARS

_SECTION_BARS = 2 * PHRASE_BARS
_SHORT_FORMS = {1: "A", 2: "AA", 3: "ABA"}
_PARALLEL = (1, 3)
"""Numbers of sections where little is heard again otherwise: there a new answer repeats its first phrase."""
_LONG_FORM = "AABACABA"


class Phrase(NamedTuple):
    """A phrase of at most four bars.

    Attributes:
        first: number of its first bar.
        bars: its length.
        section: letter of its section; sections of the same letter share their material.
        cadence: how it ends: half on the dominant, full on the tonic.
        source: index of the phrase that it repeats with variation, None for new material.
        ends_piece: whether the piece ends with it.
    """

    first: int
    bars: int
    section: str
    cadence: Literal["half", "full"]
    source: int | None
    ends_piece: bool

    @property
    def last(self) -> int:
        """Number of its last bar."""
        return self.first + self.bars - 1


def phrases_of(bars: int) -> tuple[Phrase, ...]:
    """Divide a piece of at least one bar into phrases.

    Sections follow AABA; a longer piece continues with CABA, and ends with A. A section that is heard again repeats the
    phrases of its last time. With one or three sections, a new answer repeats the phrase before it. A last section of
    four bars or fewer is one phrase, which repeats an answer.
    """
    letters = _letters(-(-bars // _SECTION_BARS))
    phrases: list[Phrase] = []
    latest: dict[tuple[str, bool], int] = {}
    for first in range(0, bars, PHRASE_BARS):
        letter = letters[first // _SECTION_BARS]
        ends_piece = first + PHRASE_BARS >= bars
        answers = first % _SECTION_BARS > 0 or ends_piece
        source = latest.get((letter, answers))
        if source is None and answers and len(letters) in _PARALLEL:
            source = latest.get((letter, False))
        latest[letter, answers] = len(phrases)
        cadence: Literal["half", "full"] = "full" if answers else "half"
        phrases.append(Phrase(first, min(PHRASE_BARS, bars - first), letter, cadence, source, ends_piece))
    return tuple(phrases)


def sections_of(phrases: Sequence[Phrase]) -> tuple[tuple[int, str], ...]:
    """Return the number of the first bar and the letter of each section."""
    return tuple((phrase.first, phrase.section) for phrase in phrases if phrase.first % _SECTION_BARS == 0)


def _letters(sections: int) -> str:
    """Return the letter of each section."""
    if sections in _SHORT_FORMS:
        return _SHORT_FORMS[sections]
    repeated = _LONG_FORM * (1 + sections // len(_LONG_FORM))
    return repeated[: sections - 1] + "A"
