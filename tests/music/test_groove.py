from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from kelly_core.arrays import Ints
from kelly_core.data.readers.midi import read_notes
from kelly_core.music.groove import apply_groove, groove_windows
from kelly_core.music.notes import PPQ
from tests.seeds import seeded_rng


def every_sixteenth(bars: int) -> Ints:
    return 120 * np.arange(16 * bars)


def test_lateness_is_counted_in_half_sixteenths() -> None:
    """Position 4 is 30 ticks late, which is .5; the mean lag of .5/16 of all hits is taken off."""
    tick = every_sixteenth(8) + 30 * (np.arange(128) % 16 == 4)
    values, mask = groove_windows(tick, np.full(128, 80))
    expected = np.full(16, -0.5 / 16)
    expected[4] += 0.5
    assert mask.all()
    np.testing.assert_allclose(values[0, :16], expected, atol=1e-6)


def test_a_drummer_who_is_late_throughout_has_no_timing() -> None:
    np.testing.assert_allclose(groove_windows(every_sixteenth(8) + 25, np.full(128, 80)).values[0, :16], 0, atol=1e-6)


def test_a_hit_belongs_to_the_nearest_sixteenth_even_across_the_bar_line() -> None:
    """The one comes 59 ticks early, in the bar before; 61 ticks early it would be a late 16th position."""
    tick = np.concatenate([[0], 1920 * np.arange(1, 8) - 59, 1920 * np.arange(8) + 960])
    values, mask = groove_windows(tick, np.full(16, 80))
    assert set(np.flatnonzero(mask[0, :16])) == {0, 8}
    mean_lag = 7 * -59 / 60 / 16
    np.testing.assert_allclose(values[0, [0, 8]], [7 * -59 / 60 / 8 - mean_lag, -mean_lag], atol=1e-6)
    assert set(
        np.flatnonzero(groove_windows(np.where(tick % 1920 == 1861, tick - 2, tick), np.full(16, 80)).mask[0, :16])
    ) == {8, 15}


def test_loud_hits_weigh_more_in_the_timing() -> None:
    tick = np.concatenate([1920 * np.arange(8), 1920 * np.arange(8) + 24])
    values = groove_windows(np.append(tick, [480, 2400]), np.append(np.repeat([90, 30], 8), [60, 60])).values
    mean_lag = 8 * 0.4 / 18
    np.testing.assert_allclose(values[0, [0, 4]], [0.4 * 30 / 120 - mean_lag, -mean_lag], atol=1e-6)


def test_accents_are_levels_relative_to_the_mean_hit() -> None:
    """Levels 100, 90, 50 with 8, 8, 16 hits: V = 72.5."""
    beat = 1920 * np.arange(8)
    tick = np.concatenate([beat, beat + 480, beat + 960, beat + 1440])
    values, mask = groove_windows(tick, np.repeat([100, 90, 50, 50], 8))
    accents = (np.array([100, 90, 50, 50]) / 72.5 - 0.8) / 0.4
    np.testing.assert_allclose(values[0, 16 + np.array([0, 4, 8, 12])], np.clip(accents, -1, 1), rtol=1e-6)
    assert mask[0, 16:].sum() == 4


def test_an_even_drummer_has_the_neutral_accent() -> None:
    np.testing.assert_allclose(groove_windows(every_sixteenth(8), np.full(128, 70)).values[0, 16:], 0.5, atol=1e-6)


def test_the_loudest_hit_of_a_bar_counts_and_bars_without_a_hit_do_not() -> None:
    """Position 0: bars of 100 and 60 (a 20 next to the 100 is not heard): level 80. Position 8: 40 in four bars."""
    tick = [0, 0, 1920, 960, 2880, 4800, 6720]
    values, _ = groove_windows(tick, [100, 20, 60, 40, 40, 40, 40])
    reference = (80 * 3 + 40 * 4) / 7
    accents = (np.array([80, 40]) / reference - 0.8) / 0.4
    np.testing.assert_allclose(values[0, [16, 24]], np.clip(accents, -1, 1), rtol=1e-6)


def test_positions_hit_once_are_unknown() -> None:
    tick = np.append(1920 * np.arange(8), 360)
    values, mask = groove_windows(tick, np.full(9, 80))
    assert set(np.flatnonzero(mask[0])) == {0, 16}
    assert not values[0, ~mask[0]].any()


@pytest.mark.parametrize(("bars", "windows"), [(0, 0), (1, 0), (2, 1), (7, 1), (8, 1), (11, 1), (12, 2), (40, 9)])
def test_windows_of_eight_bars_every_four(bars: int, windows: int) -> None:
    values, mask = groove_windows(every_sixteenth(bars), np.full(16 * bars, 80))
    assert values.shape == mask.shape == (windows, 32)
    assert values.dtype == np.float32


def test_empty_bars_before_the_first_hit_do_not_count() -> None:
    tick, velocity = every_sixteenth(8), np.arange(128) % 50 + 40
    for one, other in zip(groove_windows(tick, velocity), groove_windows(tick + 5 * 1920, velocity), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_long_pause_leaves_no_window_without_knowledge() -> None:
    tick = np.concatenate([every_sixteenth(8), every_sixteenth(8) + 40 * 1920])
    values, mask = groove_windows(tick, np.full(256, 80))
    assert mask.any(axis=1).all()
    assert len(values) == 4


def test_what_the_plugin_plays_has_the_groove_it_was_given() -> None:
    """The converse of the measurement, for a groove of mean lateness 0 and mean loudness 1."""
    rng = seeded_rng(0)
    groove = rng.uniform(-0.4, 0.4, 32)
    groove[:16] -= groove[:16].mean()
    groove[16:] += 0.5 - groove[16:].mean()
    tick, velocity = apply_groove(every_sixteenth(8), np.full(128, 80), groove)
    values, mask = groove_windows(tick, velocity)
    assert mask.all()
    np.testing.assert_allclose(values[0], groove, atol=1e-6)


def test_the_plugin_finds_the_position_of_notes_off_the_grid() -> None:
    groove = np.zeros(32)
    groove[3], groove[16 + 3] = 1.0, -1.0
    tick, velocity = apply_groove([350, 1920 + 410], [100, 100], groove)
    np.testing.assert_allclose(tick, [410, 1920 + 470])
    np.testing.assert_allclose(velocity, [40, 40])


def test_the_groove_dataset_has_its_published_unevenness(shared_data: Path) -> None:
    """No timing at all is 11.8 ms wrong on average, neutral accents .556."""
    folder = shared_data / "groove_midi"
    milliseconds, accents = [], []
    with (folder / "info.csv").open(encoding="utf-8") as table:
        for row in csv.DictReader(table):
            if row["beat_type"] != "beat" or row["time_signature"] != "4-4":
                continue
            notes = read_notes(folder / row["midi_filename"])
            values, mask = groove_windows(notes.onset_beats * PPQ, notes.velocity)
            milliseconds.append(np.abs(values[:, :16][mask[:, :16]]) * 60 / PPQ * 60_000 / float(row["bpm"]))
            accents.append(values[:, 16:][mask[:, 16:]])
    assert np.concatenate(milliseconds).mean() == pytest.approx(11.8, abs=0.1)
    assert np.abs(np.concatenate(accents) - 0.5).mean() == pytest.approx(0.556, abs=0.01)
