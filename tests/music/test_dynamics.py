from __future__ import annotations

import numpy as np
import pytest

from kelly_core.arrays import Doubles
from kelly_core.music.dynamics import PARAMETER_NAMES, expression_windows
from kelly_core.music.notes import Notes
from tests.helpers.music import make_notes
from tests.seeds import seeded_rng

STEADY = np.arange(0, 15.5, 0.5)
"""31 onsets, of which the window from 0 s to 15 s contains the first 30."""
N = len(STEADY)
INSIDE = slice(0, 30)


def first_window(notes: Notes) -> dict[str, float]:
    values, starts = expression_windows(notes)
    assert starts[0] == notes.onset[0]
    return dict(zip(PARAMETER_NAMES, values[0].astype(float), strict=True))


def chords(pitches: list[list[int]], velocities: list[list[int]], lags: list[list[float]] | None = None) -> Notes:
    """A chord every half second, of the given ones in turn."""
    turn = [i % len(pitches) for i in range(N)]
    lags = lags or [[0.0] * len(chord) for chord in pitches]
    return make_notes(
        np.concatenate([np.add(onset, lags[i]) for onset, i in zip(STEADY, turn, strict=True)]),
        np.concatenate([pitches[i] for i in turn]),
        np.concatenate([velocities[i] for i in turn]),
        0.4,
    )


def test_an_even_performance_is_neutral() -> None:
    window = first_window(make_notes(STEADY, velocity=64, duration=0.5))
    expected = {
        "base velocity": 64 / 127,
        "velocity range": 0,
        "velocity deviation": 0,
        "trend": 0.5,
        "arch": 0.5,
        "accent": 0,
        "voicing": 0.5,
        "bass": 0.5,
        "velocity with pitch": 0.5,
        "articulation": 0.5,
        "staccato share": 0,
        "pedal share": 0,
        "pedal presses": 0,
        "chord spread": 0,
        "rubato": 0,
        "density": np.log2(3) / 5,
    }
    assert list(expected) == list(PARAMETER_NAMES)
    assert window == pytest.approx(expected, abs=1e-6)


def test_velocities_are_described_by_mean_range_and_deviation() -> None:
    velocity = seeded_rng(0).integers(40, 90, N)
    window = first_window(make_notes(STEADY, velocity=velocity))
    low, high = np.quantile(velocity[INSIDE], [0.1, 0.9])
    assert window["base velocity"] == pytest.approx(velocity[INSIDE].mean() / 127)
    assert window["velocity range"] == pytest.approx((high - low) / 80)
    assert window["velocity deviation"] == pytest.approx(velocity[INSIDE].std() / 32)


def correlated(one: Doubles, other: Doubles) -> float:
    return float(0.5 + 0.5 * np.corrcoef(one[INSIDE], other[INSIDE])[0, 1])


def test_velocity_is_compared_with_time_and_pitch() -> None:
    rng = seeded_rng(1)
    velocity, pitch = rng.integers(40, 90, N), rng.integers(40, 90, N)
    window = first_window(make_notes(STEADY, pitch, velocity))
    assert window["trend"] == pytest.approx(correlated(velocity, STEADY), abs=1e-6)
    assert window["arch"] == pytest.approx(correlated(velocity, np.sin(np.pi * STEADY / 15)), abs=1e-6)
    assert window["velocity with pitch"] == pytest.approx(correlated(velocity, pitch), abs=1e-6)


def test_a_crescendo_and_a_swell_are_distinguished() -> None:
    crescendo = first_window(make_notes(STEADY, velocity=40 + 2 * np.arange(N)))
    swell = first_window(make_notes(STEADY, velocity=np.round(40 + 40 * np.sin(np.pi * STEADY / 15))))
    assert crescendo["trend"] == pytest.approx(1)
    assert swell["arch"] > 0.99
    assert abs(swell["trend"] - 0.5) < 0.1


def test_an_accent_is_measured_against_the_second_before_and_after() -> None:
    """One note 24 louder than the rest; five notes lie within ±1 s of it, so it exceeds their mean by 24 · 4/5."""
    velocity = np.full(N, 60)
    velocity[10] = 84
    window = first_window(make_notes(STEADY, velocity=velocity))
    assert window["accent"] == pytest.approx(24 * 0.8 / 30 / 12)


def test_voicing_and_bass_compare_a_note_with_the_others_of_its_chord() -> None:
    window = first_window(chords([[48, 60, 64], [72]], [[50, 60, 80], [120]]))
    assert window["voicing"] == pytest.approx(0.5 + (80 - 55) / 50)
    assert window["bass"] == pytest.approx(0.5 + (50 - 70) / 40)


def test_a_rolled_chord_is_one_group_whatever_order_its_notes_come_in() -> None:
    """40 ms from note to note, 80 ms in all; the top comes first. A gap of 60 ms parts two groups."""
    rolled = first_window(chords([[76, 48, 60]], [[70, 50, 60]], [[0.0, 0.04, 0.08]]))
    assert rolled["voicing"] == pytest.approx(0.5 + (70 - 55) / 50)
    assert rolled["chord spread"] == 1
    parted = first_window(chords([[60, 76]], [[50, 70]], [[0.0, 0.06]]))
    assert parted["voicing"] == 0.5
    assert parted["chord spread"] == 0


def test_chord_spread_is_the_deviation_of_the_onsets() -> None:
    window = first_window(chords([[60, 64], [60]], [[60, 60], [60]], [[0.0, 0.01], [0.0]]))
    assert window["chord spread"] == pytest.approx(0.005 / 0.02)


def test_articulation_is_duration_over_the_time_to_the_next_group() -> None:
    """Ratios .2, .6 and 3 (kept at 2) in turn: the median is .6, a third is staccato."""
    window = first_window(make_notes(STEADY, duration=np.resize([0.1, 0.3, 1.5], N)))
    assert window["articulation"] == pytest.approx(0.3)
    assert window["staccato share"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("bpm", [103, 130, 137])
def test_a_note_held_for_exactly_half_is_not_staccato(bpm: int) -> None:
    """As of written music, where rounding of seconds must not decide."""
    beat = 60 / bpm
    onset = np.arange(60) * beat
    notes = make_notes(onset, duration=(onset + beat / 2) - onset)
    values, _ = expression_windows(notes)
    assert values[:, PARAMETER_NAMES.index("staccato share")].tolist() == [0.0] * len(values)
    assert len(values) > 1


def test_chord_tones_share_the_time_to_the_next_chord() -> None:
    window = first_window(chords([[60, 64, 67]], [[60, 60, 60]], [[0.0, 0.02, 0.04]]))
    assert window["articulation"] == pytest.approx(0.4 / 0.5 / 2)


def test_the_pedal_counts_from_before_the_window_and_across_its_end() -> None:
    """The window is 5 s to 20 s: down 5-6 s (pressed before), 8-9.5 s, and 19-20 s (released after)."""
    pedal = [(4.0, 127), (6.0, 0), (8.0, 64), (8.5, 100), (9.5, 63), (19.0, 90), (21.0, 0)]
    window = first_window(make_notes(STEADY + 5, pedal=pedal))
    assert window["pedal share"] == pytest.approx((1 + 1.5 + 1) / 15)
    assert window["pedal presses"] == pytest.approx(2 / 15 / 2)


def test_a_pedal_that_is_never_released_stays_down() -> None:
    window = first_window(make_notes(STEADY, pedal=[(0.0, 127)]))
    assert (window["pedal share"], window["pedal presses"]) == pytest.approx((1, 1 / 30))


def test_rubato_is_the_wander_of_the_tempo_not_its_unevenness() -> None:
    """Swing keeps its median; a tempo that halves midway moves by one octave, so half of the groups differ by 1."""
    swing = np.append(0, np.cumsum(np.resize([0.3, 0.2], 61)))
    assert first_window(make_notes(swing))["rubato"] < 0.3
    halved = np.append(0, np.cumsum([0.25] * 30 + [0.5] * 40))
    before, after = (halved < 7.5).sum(), ((halved >= 7.5) & (halved < 15)).sum()
    share = before / (before + after)
    assert first_window(make_notes(halved))["rubato"] == pytest.approx(np.sqrt(share * (1 - share)), abs=1e-6)


def test_four_long_steps_are_a_phrase_end_and_five_a_slower_tempo() -> None:
    """The median of nine steps hides four that last twice as long as the others, but not five."""
    four, five = (np.append(0, np.cumsum([0.25] * 20 + [0.5] * count + [0.25] * 40)) for count in (4, 5))
    assert first_window(make_notes(four))["rubato"] == 0
    assert first_window(make_notes(five))["rubato"] > 0


def test_density_counts_every_note() -> None:
    window = first_window(chords([[60, 64, 67]], [[60, 60, 60]]))
    assert window["density"] == pytest.approx(np.log2(1 + 90 / 15) / 5)


def test_windows_overlap_by_half_and_do_not_reach_beyond_the_end() -> None:
    notes = make_notes(np.arange(2, 40, 0.25), duration=0.25)
    values, starts = expression_windows(notes)
    np.testing.assert_array_equal(starts, [2, 9.5, 17, 24.5])
    assert values.shape == (4, 16)
    assert values.dtype == np.float32


def test_windows_of_few_notes_are_left_out() -> None:
    """Dense until 16 s, then a note a second: only the first window has 24 notes."""
    onset = np.concatenate([np.arange(0, 9, 0.3), np.arange(16, 60)])
    _, starts = expression_windows(make_notes(onset))
    np.testing.assert_array_equal(starts, [0.0])


@pytest.mark.parametrize("count", [0, 1, 23, 100])
def test_short_pieces_have_no_window(count: int) -> None:
    values, starts = expression_windows(make_notes(np.linspace(0, 10, count)))
    assert values.shape == (0, 16)
    assert starts.shape == (0,)


def test_drums_are_left_out() -> None:
    drums = np.tile([False, True], N)
    notes = make_notes(np.repeat(STEADY, 2), velocity=np.tile([64, 127], N), drum=drums)
    np.testing.assert_array_equal(expression_windows(notes)[0], expression_windows(notes.pitched())[0])


def test_overlapping_windows_equal_separate_ones(maestro: list[Notes]) -> None:
    notes = maestro[0]
    values, starts = expression_windows(notes)
    assert len(starts) > 50
    pedal_at = np.searchsorted(notes.pedal[:, 0], np.arange(0, starts[-1] + 15, 0.001), side="right") - 1
    down = (notes.pedal[pedal_at, 1] >= 64) & (pedal_at >= 0)
    for start, window in zip(starts, values, strict=True):
        inside = (notes.onset >= start) & (notes.onset < start + 15)
        velocity, time, pitch = notes.velocity[inside], notes.onset[inside] - start, notes.pitch[inside]
        low, high = np.quantile(velocity, [0.1, 0.9])
        expected = [velocity.mean() / 127, (high - low) / 80, velocity.std() / 32]
        np.testing.assert_allclose(window[:3], np.minimum(expected, 1), atol=1e-6)
        others = [time, np.sin(np.pi * time / 15), pitch]
        correlations = [np.corrcoef(velocity, other)[0, 1] for other in others]
        np.testing.assert_allclose(2 * window[[3, 4, 8]] - 1, correlations, atol=1e-5)
        assert window[11] == pytest.approx(down[int(start * 1000) :][:15_000].mean(), abs=0.002)
        assert window[15] == pytest.approx(np.log2(1 + inside.sum() / 15) / 5)


def test_real_performances_fill_the_ranges(maestro: list[Notes]) -> None:
    values = np.concatenate([expression_windows(notes)[0] for notes in maestro])
    assert len(values) > 3000
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= 1
    spread = np.quantile(values, 0.95, axis=0) - np.quantile(values, 0.05, axis=0)
    assert (spread > 0.25).all()
    assert ((values > 0) & (values < 1)).mean(axis=0).min() > 0.9
