"""Measures of music on pieces whose values can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from kelly_core.errors import DataError
from kelly_core.music.notes import Notes
from kelly_core.music.piece_statistics import POP909, PieceStatistics, estimate_triads, measure_piece
from tests.helpers.music import make_notes

C, F, G, AM = 0, 5, 7, 21
TRIADS = {C: (48, 52, 55), F: (53, 57, 60), G: (43, 47, 50), AM: (45, 48, 52)}


def piece(melody: list[int], chords: list[int], beats: float = 1.0) -> Notes:
    """A melody in equal notes above one chord a bar."""
    onsets = [beats * number for number in range(len(melody))]
    below = [(4.0 * bar, pitch) for bar, chord in enumerate(chords) for pitch in TRIADS[chord]]
    return make_notes(
        [*onsets, *(onset for onset, _ in below)],
        [*melody, *(pitch for _, pitch in below)],
        duration=[beats] * len(melody) + [4.0] * len(below),
        track=[0] * len(melody) + [1] * len(below),
        names=("Melody", "Chords"),
    )


def test_chords_are_estimated_from_their_tones_and_bass() -> None:
    notes = make_notes([0, 0, 0, 2, 2, 2], [45, 60, 64, 43, 59, 65], duration=2.0)
    assert estimate_triads(notes).tolist() == [AM, G]
    late = make_notes([4, 4, 4], [48, 52, 55], duration=2.0)
    assert estimate_triads(late).tolist() == [63, 63, C]


def test_steps_leaps_and_their_resolution_are_shares_of_the_moving_intervals() -> None:
    # Intervals +2 +2 0 +5 -1 +7 +2 -3: seven move, four by step, two leap, one of the leaps turns.
    found = measure_piece(piece([60, 62, 64, 64, 69, 68, 75, 77, 74], [C, C, C]))
    assert found.steps == pytest.approx(4 / 7)
    assert found.leaps == pytest.approx(2 / 7)
    assert found.leaps_resolved == pytest.approx(1 / 2)
    assert found.range == 17


def test_chord_tones_count_on_the_first_and_third_beat_only() -> None:
    found = measure_piece(piece([60, 61, 64, 61, 67, 61, 62, 60], [C, C]))
    assert found.chord_tones_on_beat == pytest.approx(3 / 4)
    # Outside the chord: 61 (+3), 61 (+6), 61 (+1), 62 (-2).
    assert found.non_chord_by_step == pytest.approx(2 / 4)


def test_repetition_is_found_at_any_pitch_and_counts_from_its_second_time() -> None:
    once = [60, 62, 64, 65, 69]
    # Nine intervals make six runs; of the two from number four on, the last repeats the first a fourth higher.
    assert measure_piece(piece([*once, *(pitch + 5 for pitch in once)], [C])).motifs_repeated == pytest.approx(1 / 2)
    assert measure_piece(piece([*once, 60, 61, 68, 66, 60], [C])).motifs_repeated == 0
    melody = [60, 64] * 16
    repeated = measure_piece(piece(melody, [C, F, G, C, C, F, G, C]))
    # One of the five blocks of four bars begins four bars or more after the first.
    assert repeated.chords_repeated == 1
    assert measure_piece(piece(melody, [C, F, G, C, G, AM, F, C])).chords_repeated == 0


def test_the_end_is_measured_against_the_key() -> None:
    scale = [60, 62, 64, 65, 67, 65, 64, 62]
    home = measure_piece(piece([*scale, *scale, 60], [C, G, F, G, C]))
    away = measure_piece(piece([*scale, *scale, 61], [C, G, F, G, C]))
    assert (home.ends_on_tonic, home.ends_in_key) == (1, 1)
    assert away.ends_on_tonic == 0
    assert away.ends_in_key == pytest.approx(3 / 4)
    assert home.notes_per_beat == pytest.approx(1)


def test_a_piece_without_leaps_or_blocks_has_no_share_of_them() -> None:
    found = measure_piece(piece([60, 62] * 4, [C, C]))
    assert np.isnan(found.leaps_resolved)
    assert np.isnan(found.chords_repeated)


def test_too_few_notes_of_melody_are_refused() -> None:
    with pytest.raises(DataError, match="expected at least 8 notes of melody, got 3"):
        measure_piece(piece([60, 62, 64], [C]))


def test_every_measure_has_a_reference() -> None:
    assert tuple(POP909) == PieceStatistics._fields
    assert all(low <= median <= high for low, median, high in POP909.values())
