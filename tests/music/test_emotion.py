from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from kelly_core.arrays import Doubles, Floats
from kelly_core.music import emotion
from kelly_core.music.emotion import (
    AROUSAL_SPREAD,
    VALENCE_SPREAD,
    AffectEstimator,
    AffectScale,
    RankGaussian,
    Scale,
    convert_code,
    decode_affect,
    encode_affect,
    noisy_codes,
)
from kelly_core.music.key import affect_features
from kelly_core.music.notes import Notes
from tests.seeds import seeded_rng

GRID = np.stack(np.meshgrid(np.linspace(-0.9, 0.9, 37), np.linspace(-0.9, 0.9, 37)))


def thermometer_by_definition(s: float) -> list[float]:
    x = np.arctanh(np.clip(s, -0.93, 0.93))
    return [0.9 * np.tanh(4 * (x - 0.225 * (i - 7.5))) for i in range(16)]


@pytest.mark.parametrize("s", [-1.0, -0.93, -0.5, -0.01, 0.0, 0.3, 0.77, 1.0])
def test_thermometers_follow_their_definition(s: float) -> None:
    code = encode_affect(s, -s, dominance=s / 2)
    np.testing.assert_allclose(code[0:16], thermometer_by_definition(s), atol=2e-6)
    np.testing.assert_allclose(code[16:32], thermometer_by_definition(-s), atol=2e-6)
    np.testing.assert_allclose(code[32:48], thermometer_by_definition(s / 2), atol=2e-6)


@pytest.mark.parametrize(("valence", "arousal"), [(0.3, -0.4), (0.9, 0.9), (-1.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize(("version", "count"), [(1, 16), (2, 8)])
def test_circle_points_in_the_direction_of_the_emotion(
    valence: float, arousal: float, version: int, count: int
) -> None:
    radius = max(1.0, np.hypot(valence, arousal))
    angles = 2 * np.pi * np.arange(count) / count
    expected = (valence * np.cos(angles) + arousal * np.sin(angles)) / radius
    code = encode_affect(valence, arousal, version=version)
    np.testing.assert_allclose(code[48 : 48 + count], expected, atol=1e-6)
    assert not code[48 + count :].any(), "no context is known"


def test_context_is_written_behind_the_circle_and_counts_for_complexity() -> None:
    context = np.linspace(-0.9, 0.9, 8).astype(np.float32)
    bare, full = encode_affect([0.3, 0.3], 0.4), encode_affect([0.3, 0.3], 0.4, context=context)
    np.testing.assert_array_equal(full[:, :56], bare[:, :56])
    np.testing.assert_array_equal(full[:, 56:], np.tile(context, (2, 1)))
    assert decode_affect(full).complexity == pytest.approx(np.abs(full[:, 48:]).mean(axis=1))
    assert (decode_affect(full).complexity > decode_affect(bare).complexity).all()


@pytest.mark.parametrize(("version", "wanted"), [(1, 2), (2, 1), (2, 2)])
def test_mean_codes_are_converted_between_versions(version: int, wanted: int) -> None:
    valence, arousal = seeded_rng(7).uniform(-1, 1, (2, 6))
    mean = encode_affect(valence, arousal, version=version).mean(axis=0)
    expected = encode_affect(valence, arousal, version=wanted).mean(axis=0)
    np.testing.assert_allclose(convert_code(mean, version, wanted), expected, atol=1e-6)


def test_the_plugin_reads_what_was_written() -> None:
    valence, arousal = GRID
    read = decode_affect(encode_affect(valence, arousal, dominance=-valence))
    np.testing.assert_allclose(read.valence, valence, atol=0.0015)
    np.testing.assert_allclose(read.arousal, arousal, atol=0.0015)
    np.testing.assert_allclose(read.dominance, -valence, atol=0.0015)


def test_decoding_follows_the_plugins_formulas() -> None:
    code = np.concatenate([np.full(16, 0.5), np.full(16, -0.25), np.full(16, 0.125), np.full(16, -0.3)])
    read = decode_affect(code)
    assert read.valence == pytest.approx(np.tanh(1.0))
    assert read.arousal == pytest.approx(2 * ((np.tanh(-0.5) + 1) / 2) - 1)
    assert read.dominance == pytest.approx(np.tanh(0.25))
    assert read.complexity == pytest.approx(0.3)


def test_unknown_dominance_is_zero_and_decodes_as_neutral() -> None:
    code = encode_affect(0.4, 0.2)
    assert not code[32:48].any()
    assert decode_affect(code).dominance == 0


def test_codes_keep_leading_dimensions_and_broadcast() -> None:
    code = encode_affect(np.zeros((3, 1)), np.linspace(-0.5, 0.5, 5))
    assert code.shape == (3, 5, 64)
    assert code.dtype == np.float32
    np.testing.assert_array_equal(code[1, 4], encode_affect(0.0, 0.5))


def test_noisy_codes_without_noise_are_the_codes() -> None:
    """More examples than one block contains, so that the borders of blocks are tested, too."""
    rng = seeded_rng(0)
    valence, arousal = rng.uniform(-1, 1, (2, 5000))
    codes = noisy_codes(valence, arousal, rng, max_sigma=0.0)
    np.testing.assert_allclose(codes, encode_affect(valence, arousal), atol=3e-6)
    assert codes.dtype == np.float32


def test_noisy_codes_average_the_codes_around_the_emotion() -> None:
    rng = seeded_rng(1)
    n = 200_000
    drawn = noisy_codes(np.full(n, 0.6), np.full(n, -0.3), rng).mean(axis=0)
    sigma = rng.uniform(0, 0.25, n)
    valence, arousal = np.array([[0.6], [-0.3]]) + sigma * rng.standard_normal((2, n))
    np.testing.assert_allclose(drawn, encode_affect(valence, arousal).mean(axis=0), atol=0.01)


def test_noisy_codes_are_smoother_than_single_draws() -> None:
    rng = seeded_rng(2)
    one, eight = (noisy_codes(np.zeros(4000), np.zeros(4000), rng, draws=draws) for draws in (1, 8))
    np.testing.assert_allclose(eight.std(axis=0)[7], one.std(axis=0)[7] / np.sqrt(8), rtol=0.15)


def test_noisy_codes_come_from_the_generator_alone() -> None:
    valence = np.linspace(-0.8, 0.8, 12).reshape(3, 4)
    first, again, other = (noisy_codes(valence, 0.1, seeded_rng(seed)) for seed in (5, 5, 6))
    assert first.shape == (3, 4, 64)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_jitter_is_stationary_and_slow() -> None:
    valence, arousal = emotion.jittered(np.full(20_000, 0.3), np.full(20_000, -0.2), 32, seeded_rng(3))
    assert valence.shape == arousal.shape == (20_000, 32)
    np.testing.assert_allclose(valence.mean(axis=0), 0.3, atol=0.002)
    np.testing.assert_allclose(arousal.mean(axis=0), -0.2, atol=0.002)
    np.testing.assert_allclose(arousal.std(axis=0), 0.05, rtol=0.03)
    assert np.corrcoef(valence[:, 10], valence[:, 11])[0, 1] == pytest.approx(0.9, abs=0.01)
    assert abs(np.corrcoef(valence[:, 5], arousal[:, 5])[0, 1]) < 0.045


def test_scale_is_the_distance_from_the_median_in_standard_deviations() -> None:
    scale = Scale.fit([0.0, 1.0, 5.0])
    np.testing.assert_allclose(scale([1.0, 5.0]), [0.0, 4.0 / np.std([0.0, 1.0, 5.0])])
    np.testing.assert_array_equal(Scale.fit([2.0, 2.0])([2.0, 9.0]), [0.0, 0.0])


@pytest.mark.parametrize(
    ("fitted", "values", "shares"),
    [
        ([30.0, 10.0, 20.0], [10.0, 20.0, 30.0, -1e9, 1e9], [1 / 6, 1 / 2, 5 / 6, 1 / 6, 5 / 6]),
        ([1.0, 2.0, 1.0, 1.0], [1.0, 2.0], [3 / 8, 7 / 8]),
        ([7.0], [7.0, 100.0], [1 / 2, 1 / 2]),
    ],
    ids=["distinct", "ties", "one file"],
)
def test_mid_ranks_become_normal_quantiles(fitted: list[float], values: list[float], shares: list[float]) -> None:
    ranks = RankGaussian.fit(fitted)
    np.testing.assert_allclose(ranks(values), [NormalDist().inv_cdf(share) for share in shares], atol=1e-12)


def test_scores_are_interpolated_between_fitted_values() -> None:
    middle_of_three, between, highest = RankGaussian.fit([10.0, 20.0, 30.0])([20.0, 25.0, 30.0])
    assert between == pytest.approx((middle_of_three + highest) / 2)


def test_a_large_corpus_is_stored_as_few_knots_and_maps_to_a_normal_distribution() -> None:
    values = seeded_rng(4).exponential(size=20_000)
    ranks = RankGaussian.fit(values)
    assert len(ranks.knots) == 256
    scores = np.sort(ranks(values))
    expected = [NormalDist().inv_cdf(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]
    np.testing.assert_allclose(np.quantile(scores, [0.05, 0.25, 0.5, 0.75, 0.95]), expected, atol=0.02)


@pytest.mark.parametrize(
    ("impute", "known", "drawn"),
    [
        (emotion.imputed_valence, AROUSAL_SPREAD, VALENCE_SPREAD),
        (emotion.imputed_arousal, VALENCE_SPREAD, AROUSAL_SPREAD),
    ],
)
def test_imputed_values_have_deams_moments(
    impute: Callable[..., Floats], known: tuple[float, float], drawn: tuple[float, float]
) -> None:
    rng = seeded_rng(5)
    given = rng.normal(*known, 100_000)
    values = impute(given, rng)
    assert values.mean() == pytest.approx(drawn[0], abs=0.007)
    assert values.std() == pytest.approx(drawn[1], rel=0.02)
    assert np.corrcoef(given, values)[0, 1] == pytest.approx(0.57, abs=0.015)
    assert np.abs(values).max() <= 1


def feature_table(n: int = 50) -> Doubles:
    """d, w, g, m, kappa of made-up files."""
    return seeded_rng(6).uniform(size=(n, 5))


def test_arousal_grows_with_density_and_with_varied_loudness() -> None:
    table = feature_table()
    affect = AffectEstimator.fit(table)
    quiet, loud, loud_but_constant, denser = np.full((4, 5), 0.5)
    loud[1] = loud_but_constant[1] = 0.9
    loud_but_constant[2] = 0.0
    quiet_constant = np.array([0.5, 0.5, 0.0, 0.5, 0.5])
    denser[0] = 0.9
    _, arousal = affect(np.stack([quiet, loud, denser, quiet_constant, loud_but_constant]))
    assert arousal[0] < arousal[1] < arousal[2]
    assert arousal[3] == arousal[4]


def test_loudness_can_be_left_out() -> None:
    table = feature_table()
    other_loudness = table.copy()
    other_loudness[:, 1] = seeded_rng(7).uniform(size=len(table))
    silent, loud = (AffectEstimator.fit(t, use_velocity=False)(t) for t in (table, other_loudness))
    np.testing.assert_array_equal(silent, loud)


def test_valence_is_mode_first_and_clarity_second() -> None:
    """z(m) + .4 z(kappa) of four files, by hand: sums in the order of their ranks."""
    table = np.zeros((4, 5))
    table[:, 3] = [-1, -1, 1, 1]
    table[:, 4] = [0, 1, 0, 1]
    valence, arousal = AffectEstimator.fit(table)(table)
    mean, sd = VALENCE_SPREAD
    expected = [mean + sd * NormalDist().inv_cdf(share) for share in (1 / 8, 3 / 8, 5 / 8, 7 / 8)]
    np.testing.assert_allclose(valence, expected, rtol=1e-5)
    np.testing.assert_allclose(arousal, AROUSAL_SPREAD[0], rtol=1e-6)


def test_the_weight_of_clarity_is_less_than_half_that_of_mode() -> None:
    """A file one sd more major but two sd less clear than another is the happier: 1 - .8 > 0."""
    table = feature_table(400)
    mode, clarity = table[:, 3].std(), table[:, 4].std()
    files = np.full((2, 5), 0.5)
    files[0, 3] += mode
    files[0, 4] -= 2 * clarity
    happier, other = AffectEstimator.fit(table)(files)[0]
    assert happier > other


def test_the_fit_can_be_written_as_json() -> None:
    affect = AffectEstimator.fit(feature_table())
    stored = json.loads(json.dumps(affect.to_json()))
    assert stored["use_velocity"] is True
    assert stored["valence"]["ranks"]["knots"] == list(affect.valence.ranks.knots)
    assert stored["arousal"]["scales"][0] == {
        "median": affect.arousal.scales[0].median,
        "sd": affect.arousal.scales[0].sd,
    }


def test_fast_dense_grooves_are_exciting() -> None:
    features = emotion.groove_features([60, 90, 120, 180], [2, 4, 8, 16])
    np.testing.assert_allclose(features[2], [np.log2(120), 3])
    arousal = AffectScale.fit(features, AROUSAL_SPREAD)(features)
    assert (np.diff(arousal) > 0).all()


def test_minor_chords_make_a_progression_sad() -> None:
    features = emotion.chord_features([0.1, 0.1, 0.1], [0.0, 0.3, 0.9])
    valence = AffectScale.fit(features, VALENCE_SPREAD)(features)
    assert (np.diff(valence) < 0).all()


def test_emopias_quadrants_are_estimated(emopia: list[tuple[int, Notes]]) -> None:
    """On all 1,078 clips the halves were right in .883 (arousal) and .732 (valence), the quadrant in .647."""
    quadrant = np.array([quadrant for quadrant, _ in emopia])
    table = np.array([affect_features(notes) for _, notes in emopia])
    valence, arousal = AffectEstimator.fit(table)(table)
    aroused = (arousal > AROUSAL_SPREAD[0]) == np.isin(quadrant, [1, 2])
    pleased = (valence > VALENCE_SPREAD[0]) == np.isin(quadrant, [1, 4])
    assert aroused.mean() == pytest.approx(0.883, abs=0.01)
    assert pleased.mean() == pytest.approx(0.732, abs=0.01)
    assert (aroused & pleased).mean() == pytest.approx(0.647, abs=0.01)


def test_the_spreads_are_those_of_deams_songs(shared_data: Path) -> None:
    folder = shared_data / "deam/annotations/annotations averaged per song/song_level"
    songs = []
    for path in folder.glob("*.csv"):
        header, *rows = path.read_text().splitlines()
        names = [name.strip() for name in header.split(",")]
        columns = [names.index("valence_mean"), names.index("arousal_mean")]
        songs += [[float(row.split(",")[column]) for column in columns] for row in rows if row]
    affect = (np.array(songs) - 5) / 4
    assert len(affect) == 1802
    np.testing.assert_allclose(
        np.stack([affect.mean(axis=0), affect.std(axis=0)]).T, [VALENCE_SPREAD, AROUSAL_SPREAD], atol=6e-4
    )
    assert np.corrcoef(affect.T)[0, 1] == pytest.approx(emotion.AFFECT_CORRELATION, abs=0.001)
