"""Phrases, cadences, and chords that are drawn from the model's distributions."""

from __future__ import annotations

import numpy as np
import pytest

from kelly_core.composition.composer import compose
from kelly_core.composition.harmony import Phrase, draw_progression, phrases_of
from kelly_core.music.chords import CLASSES
from tests.helpers.chain import AM, NO_CHORD, C, F, G, composed, output
from tests.seeds import seeded_rng, shifted


@pytest.mark.parametrize("bars", [1, 3, 4, 8, 11, 16, 17, 20, 24, 32, 45, 100])
def test_phrases_cover_every_bar_and_the_last_one_ends_the_piece(bars: int) -> None:
    phrases = phrases_of(bars)
    assert [bar for phrase in phrases for bar in range(phrase.first, phrase.last + 1)] == list(range(bars))
    assert [phrase.ends_piece for phrase in phrases] == [False] * (len(phrases) - 1) + [True]
    assert phrases[-1].cadence == "full"
    for number, phrase in enumerate(phrases):
        if phrase.source is not None:
            assert phrase.source < number
            assert phrases[phrase.source].section == phrase.section
            assert phrases[phrase.source].bars == 4


def test_a_question_with_an_answer_makes_a_section_and_sections_make_aaba() -> None:
    phrases = phrases_of(32)
    assert "".join(phrase.section for phrase in phrases) == "AAAABBAA"
    assert [phrase.cadence for phrase in phrases] == ["half", "full"] * 4
    assert [phrase.source for phrase in phrases] == [None, None, 0, 1, None, None, 2, 3]


def distribution(shares: dict[int, float]) -> np.ndarray:
    return np.array([shares.get(chord, 0.0) for chord in range(CLASSES)])


def draws(rows: list[np.ndarray], phrases: tuple[Phrase, ...]) -> np.ndarray:
    """Progressions in C major with 3,000 seeds, [3000, bars]."""
    modes = ("major",) * len(phrases)
    return np.array([draw_progression(np.stack(rows), phrases, modes, seeded_rng(seed)) for seed in range(3000)])


def shares_of(row: np.ndarray) -> np.ndarray:
    """The shares p^(1 / .7) that chords are drawn with."""
    weights = row ** (1 / 0.7)
    return weights / weights.sum()


def assert_drawn_by(row: np.ndarray, chords: np.ndarray) -> None:
    """Six standard errors of the draws, and .002 for what Sinkhorn's scaling leaves."""
    expected, found = shares_of(row), np.bincount(chords, minlength=CLASSES) / len(chords)
    assert (np.abs(found - expected) <= 6 * np.sqrt(expected / len(chords)) + 0.002).all()


def test_every_bar_has_its_distribution_for_any_previous_chord() -> None:
    """Though the steps between chords are not drawn freely."""
    one, other = distribution({C: 0.45, AM: 0.3, F: 0.2, NO_CHORD: 0.05}), distribution({C: 0.2, G: 0.5, AM: 0.3})
    phrases = (Phrase(0, 4, "A", "half", None, False), Phrase(4, 1, "A", "full", None, True))
    drawn = draws([one, one, other, one, one], phrases)
    assert_drawn_by(one, drawn[:, 1])
    assert_drawn_by(other, drawn[:, 2])
    assert np.mean(drawn[:, 1] == drawn[:, 0]) < (shares_of(one) ** 2).sum() - 0.05, "repetitions are rare"


def test_a_repeated_phrase_keeps_chords_and_draws_from_its_own_distribution() -> None:
    """The repetition has other shares; most of its chords are kept."""
    one, other = distribution({C: 0.45, AM: 0.3, F: 0.25}), distribution({C: 0.3, G: 0.5, F: 0.2})
    phrases = (Phrase(0, 4, "A", "half", None, False), Phrase(4, 4, "A", "half", 0, False))
    drawn = draws([one] * 4 + [other] * 4, phrases)
    assert_drawn_by(other, drawn[:, 5])
    possible = np.minimum(shares_of(one), shares_of(other)).sum()
    # Seven of eight of the chords that both distributions share; the standard error is .009.
    assert np.mean(drawn[:, 5] == drawn[:, 1]) > 7 / 8 * possible - 0.05


def test_phrases_end_on_the_dominant_and_on_the_tonic_in_turn() -> None:
    shares = {C: 0.4, F: 0.3, G: 0.3}
    halves, fulls = [], []
    for seed in range(30):
        chords = compose(output(chords=shares), bars=8, seed=shifted(seed)).chords
        halves.append(chords[3] == G)
        fulls.append(chords[7] == C)
    # By the shares alone a quarter; with the factor 12 on the dominant four fifths, with a standard error of .07.
    assert np.mean(halves) > 0.5
    assert all(fulls)


def test_a_chord_of_probability_one_is_always_chosen() -> None:
    assert set(composed(output(chords={F: 1.0}), bars=12).chords) == {F}
