"""Form and harmony of a piece: its phrases, and a chord progression that is drawn for them bar by bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles
from kelly_core.composition.score import PHRASE_BARS
from kelly_core.music.chords import CLASSES, NO_CHORD

Mode = Literal["major", "minor"]

_SECTION_BARS = 2 * PHRASE_BARS
_SHORT_FORMS = {1: "A", 2: "AA", 3: "ABA"}
_PARALLEL = (1, 3)
"""Numbers of sections with little other repetition: a new answer then repeats the first phrase of its section."""
_LONG_FORM = "AABACABA"


class Phrase(NamedTuple):
    """A phrase of at most four bars.

    Attributes:
        first: number of its first bar.
        bars: its length.
        section: letter of its section; sections of the same letter share their material.
        cadence: how it ends: half on the dominant, full on the tonic.
        source: index of the phrase that it repeats with variation, None for new material.
        ends_piece: whether it is the last phrase of the piece.
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

    Sections follow AABA; a longer piece continues with CABA, and ends with A. A section that returns repeats the
    phrases of its last occurrence. With one or three sections, a new answer repeats the phrase before it. A last
    section of four bars or fewer is one phrase, which repeats an answer.
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


TEMPERATURE = 0.7
"""Exponent 1 / .7 on the probabilities, which favors likely chords and damps the tail of the 64 classes."""

HOME: dict[Mode, int] = {"major": 0, "minor": 21}
"""The tonic triad in the C major / A minor frame: C or Am."""

_DOMINANTS: dict[Mode, tuple[int, ...]] = {"major": (7, 31), "minor": (4, 28, 16, 7)}
_REPETITION = 0.4
_ROOT_MOTION = (1.0, 0.7, 1.2, 1.1, 1.1, 1.6, 0.5, 1.3, 1.1, 1.1, 1.2, 0.7)
"""Weight by semitones from root to root, upwards: a falling fifth (5) is best, a tritone (6) worst."""
_SEVENTHS: dict[Mode, list[int]] = {"major": [36, 24], "minor": [57]}
"""Sevenths on the tonic: Cmaj7 and C7, or Am7."""
_PHRASE_START, _BEFORE_TONIC = 2.0, 6.0
_CADENCE = {"half": 12.0, "full": 25.0}
_KEPT = 7 / 8
_ROUNDS = 20
"""Iterations of Sinkhorn's scaling; after 20, the error of the shares is at most .001, as the weights are within a
factor of 4.
"""


def _preferences() -> Doubles:
    """Return the transition weights between classes, [64, 64]."""
    classes = np.arange(CLASSES)
    steps = np.take(_ROOT_MOTION, (classes - classes[:, np.newaxis]) % 12)
    steps[NO_CHORD] = steps[:, NO_CHORD] = 1.0
    steps[classes, classes] = _REPETITION
    return steps


_PREFERENCES = _preferences()


def draw_progression(
    distributions: NDArray[np.floating],
    phrases: Sequence[Phrase],
    modes: Sequence[Mode],
    rng: np.random.Generator,
) -> list[int]:
    """Draw the class of each bar's chord.

    The target shares of a bar are its probabilities to the power of 1 / ``TEMPERATURE``, times factors that depend on
    its position: 2 for the tonic where a phrase begins, 12 for the dominant in the last bar of a half cadence, 6 for
    the dominant before the last bar of a full cadence, and 25 for the tonic in that last bar. The last bar of the piece
    is on the tonic if the tonic has a nonzero probability. The mode selects the tonic and the dominants of C major or A
    minor.

    A chord also depends on the previous one, without a change of these shares. The joint distribution of two chords has
    the shares of their bars as marginals, and is the nearest such distribution to a table of preferences (falling
    fifths, few repetitions). Sinkhorn's scaling of the table to the two shares computes it (Sinkhorn & Knopp, 1967).

    A phrase that repeats another keeps seven of eight chords if the shares are equal, and fewer if they differ. The
    other chords are drawn such that each bar has its target shares (a maximal coupling). A class of probability 0 is
    never drawn.

    Args:
        distributions: [bars, 64], not negative, rows that sum to more than 0.
        phrases: consecutive phrases that cover the bars.
        modes: mode of each phrase.
        rng: random generator; two numbers are drawn per bar.
    """
    # All numbers are drawn before the first chord, so a kept chord does not change the draws of later bars.
    keeps, draws = rng.random((2, len(distributions))).tolist()
    shares = [
        _shares(distributions[bar], phrase, bar, mode)
        for phrase, mode in zip(phrases, modes, strict=True)
        for bar in range(phrase.first, phrase.last + 1)
    ]
    progression: list[int] = []
    for phrase in phrases:
        for bar in range(phrase.first, phrase.last + 1):
            weights = shares[bar]
            if bar:
                weights = _PREFERENCES[progression[-1]] * _scaling(shares[bar - 1], weights)
            chord = draw_index(weights, draws[bar])
            if phrase.source is not None and keeps[bar] < _KEPT:
                # Given that it is below the threshold, the draw divided by the threshold is uniform again.
                model = phrases[phrase.source].first + bar - phrase.first
                chord = _kept(progression[model], shares[model], shares[bar], keeps[bar] / _KEPT, draws[bar])
            progression.append(chord)
    return progression


def _kept(chord: int, before: Doubles, now: Doubles, keep: float, draw: float) -> int:
    """Return a chord drawn from the shares ``before``, or a replacement, so that the result has the shares ``now``."""
    if keep * before[chord] < now[chord]:
        return chord
    # The part of the shares ``now`` that the kept chords do not cover.
    return draw_index(np.maximum(now - before, 0.0), draw)


def _shares(distribution: NDArray[np.floating], phrase: Phrase, bar: int, mode: Mode) -> Doubles:
    weights = (distribution / distribution.max()).astype(np.float64) ** (1 / TEMPERATURE)
    tonic, dominants = HOME[mode], list(_DOMINANTS[mode])
    if bar == phrase.last and phrase.ends_piece:
        home = next((classes for classes in ([tonic], _SEVENTHS[mode]) if weights[classes].any()), range(CLASSES))
        weights[np.isin(np.arange(CLASSES), home, invert=True)] = 0
    elif bar == phrase.last:
        weights[dominants if phrase.cadence == "half" else [tonic]] *= _CADENCE[phrase.cadence]
    elif bar == phrase.last - 1 and phrase.cadence == "full":
        weights[dominants] *= _BEFORE_TONIC
    elif bar == phrase.first:
        weights[tonic] *= _PHRASE_START
    shares: Doubles = weights / weights.sum()
    return shares


def _scaling(before: Doubles, after: Doubles) -> Doubles:
    """Return the column factors [64] with which the weights map the shares ``before`` to the shares ``after``."""
    # The row factors cancel when a chord is drawn from one row, so only the column factors are returned.
    columns = after
    for _ in range(_ROUNDS):
        rows = before / (_PREFERENCES @ columns)
        columns = after / (rows @ _PREFERENCES)
    return columns


def mode_of(valence: float) -> Mode:
    """Return major for a valence of 0 or above, else minor."""
    return "major" if valence >= 0 else "minor"


def draw_index(weights: Doubles, draw: float) -> int:
    """Return the index at which the cumulative share of ``weights`` [n] passes ``draw``, 0..1 exclusive."""
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative, draw * cumulative[-1], side="right"))
