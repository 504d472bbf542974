from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kelly_core.errors import ConfigError
from kelly_core.music.context import (
    DESCRIPTORS,
    LIMIT,
    NAMES,
    SPREAD,
    encode_context,
    noisy_context,
    note_measures,
)
from tests.helpers.music import make_notes
from tests.seeds import seeded_rng


@pytest.mark.parametrize("descriptor", DESCRIPTORS, ids=lambda each: each.name)
def test_a_descriptor_has_one_scale_by_rank(descriptor) -> None:
    assert list(descriptor.quantiles) == sorted(set(descriptor.quantiles))
    encoded = descriptor.encode([*descriptor.quantiles, -1e9, 1e9, np.nan])
    np.testing.assert_allclose(encoded, [-0.9, -0.45, 0, 0.45, 0.9, -LIMIT, LIMIT, 0], atol=1e-12)
    for measure in descriptor.quantiles:
        assert descriptor.decode(float(descriptor.encode(measure))) == pytest.approx(measure)


def test_descriptors_have_their_places_and_the_rest_is_unknown() -> None:
    context = encode_context({"tempo": DESCRIPTORS[3].quantiles[3], "register": [np.nan, 1e9]})
    assert context.shape == (2, 8)
    np.testing.assert_allclose(context[:, 3], 0.45, atol=1e-6)
    np.testing.assert_allclose(context[:, 0], [0, LIMIT], atol=1e-6)
    assert not context[:, [1, 2, 4, 5, 6, 7]].any()
    with pytest.raises(ConfigError, match="no descriptor of the musical context is called 'tempi'"):
        encode_context({"tempi": 120.0})


def test_measures_of_notes() -> None:
    onset, length = [0, 0, 1, 2, 4], [1, 1, 1, 1, 3]
    notes = make_notes(onset, [60, 64, 62, 64, 72], [40, 60, 80, 60, 60], length)
    melody = notes.select(notes.pitch > 60)
    measures = note_measures(notes, melody, shift=-2)
    assert list(measures) == list(NAMES)
    assert measures["register"] == pytest.approx((64 + 62 + 64 + 2 * 72) / 5 - 2)
    assert measures["density"] == pytest.approx(4 / 4)
    assert measures["loudness"] == pytest.approx(60)
    assert measures["tempo"] == 60
    unknown = note_measures(replace(notes, bpm=120.0), melody, shift=0)
    assert np.isnan(unknown["tempo"]), "120 bpm is what files without a tempo have"


def test_noisy_descriptors_are_expectations_of_the_true_ones() -> None:
    rng = seeded_rng(0)
    truth = np.clip(SPREAD * rng.standard_normal((200_000, 8)), -LIMIT, LIMIT).astype(np.float32)
    noisy = noisy_context(truth, rng)
    assert np.abs(noisy).max() <= LIMIT
    known = noisy[:, 0] != 0
    assert 0.4 < known.mean() < 0.6
    assert (noisy == 0).all(axis=1).mean() > 0.25, "some examples have no context at all"
    for low, high in ((-0.6, -0.3), (-0.1, 0.1), (0.3, 0.6)):
        here = known & (noisy[:, 0] > low) & (noisy[:, 0] < high)
        assert truth[here, 0].mean() == pytest.approx(noisy[here, 0].mean(), abs=0.03)


def test_what_is_unknown_stays_unknown() -> None:
    context = np.zeros((500, 8), np.float32)
    context[:, 2] = 0.5
    noisy = noisy_context(context, seeded_rng(1))
    assert not np.delete(noisy, 2, axis=1).any()
