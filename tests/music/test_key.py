from __future__ import annotations

import numpy as np
import pytest

from kelly_core.errors import DataError
from kelly_core.music.key import Tonality, affect_features, pitch_class_histogram, semitones_to_c, tonality
from tests.helpers.music import make_notes

C_MAJOR = np.array([3, 0, 1, 0, 2, 1, 0, 2, 0, 1, 0, 1])
C_MINOR = np.array([3, 0, 1, 2, 0, 1, 0, 2, 1, 0, 0, 1])


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("scale", "mode"), [(C_MAJOR, "major"), (C_MINOR, "minor")])
def test_a_scale_is_found_on_every_tonic(scale: np.ndarray, mode: str, tonic: int) -> None:
    key, at_home = tonality(np.roll(scale, tonic)), tonality(scale)
    assert (key.tonic, key.mode) == (tonic, mode)
    assert (key.m > 0) == (mode == "major")
    assert (key.m, key.kappa) == pytest.approx((at_home.m, at_home.kappa))


def test_a_profile_fits_itself_perfectly() -> None:
    """G minor, written out; its best major key correlates less by m."""
    g_minor = [0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330, 0.712, 0.084, 0.474, 0.618, 0.049]
    key = tonality(g_minor)
    assert (key.tonic, key.mode) == (7, "minor")
    assert key.kappa == pytest.approx(1)
    b_flat_major = [0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400, 0.748, 0.060]
    assert -key.m == pytest.approx(1 - np.corrcoef(g_minor, b_flat_major)[0, 1])


@pytest.mark.parametrize("histogram", [np.zeros(12), np.full(12, 0.1)])
def test_no_pitch_class_in_favor_means_no_clarity(histogram: np.ndarray) -> None:
    assert tonality(histogram) == Tonality(0.0, 0.0, 0, "major")


@pytest.mark.parametrize(
    ("tonic", "mode", "shift"),
    [
        (0, "major", 0),
        (7, "major", 5),
        (6, "major", -6),
        (10, "major", 2),
        (5, "major", -5),
        (9, "minor", 0),
        (4, "minor", 5),
        (3, "minor", -6),
        (11, "minor", -2),
    ],
)
def test_every_key_is_transposed_to_c_by_the_nearest_shift(tonic: int, mode: str, shift: int) -> None:
    assert semitones_to_c(Tonality(0.0, 1.0, tonic, mode)) == shift  # type: ignore[arg-type]


def test_a_histogram_counts_seconds_but_no_more_than_two_a_note() -> None:
    histogram = pitch_class_histogram([60, 72, 61, 11], [0.5, 9.0, 1.0, 2.5])
    np.testing.assert_allclose(histogram, [2.5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2])


def test_features_by_hand() -> None:
    """Eight notes from 1 s to 5 s, velocities 60 and 68: sd 4, so g = (4 / 127 / .06)²."""
    notes = make_notes(np.arange(1, 5, 0.5), pitch=[60, 62, 64, 65, 67, 69, 71, 72], velocity=[60, 68] * 4)
    features = affect_features(notes)
    assert features.d == pytest.approx(1)
    assert features.w == pytest.approx(64 / 127)
    assert features.g == pytest.approx((4 / 127 / 0.06) ** 2)
    key = tonality(pitch_class_histogram(notes.pitch, notes.duration))
    assert (features.m, features.kappa) == (key.m, key.kappa)


def test_trust_in_velocities_has_its_ends() -> None:
    assert affect_features(make_notes(np.arange(8))).g == 0
    assert affect_features(make_notes(np.arange(8), velocity=[40, 100] * 4)).g == 1


def test_density_is_that_of_an_average_track_without_drums() -> None:
    solo = make_notes(np.arange(0, 8, 0.5))
    onsets = np.concatenate([np.arange(0, 8, 0.5)] * 3)
    band = make_notes(onsets, track=np.repeat([0, 1, 2], 16), drum=np.repeat([False, False, True], 16), names="abc")
    assert affect_features(band).d == affect_features(solo).d == pytest.approx(1)


def test_one_short_note_is_not_a_storm() -> None:
    assert affect_features(make_notes([3.0], duration=0.001)).d == 0


def test_drums_alone_have_no_features() -> None:
    with pytest.raises(DataError, match="drums"):
        affect_features(make_notes([0.0, 1.0], drum=True))
