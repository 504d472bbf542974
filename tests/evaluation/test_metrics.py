"""Every model's figures, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from kelly_core.data.synthetic import Generator
from kelly_core.entry_points import load_reference
from kelly_core.evaluation.evaluate import metrics_of
from kelly_core.evaluation.metrics.base import Labels, ModelMetrics, loss_sums
from kelly_core.music.emotion import encode_affect
from kelly_core.spec import MODELS, ModelSpec, model_spec
from tests.helpers.example_arrays import labels, total
from tests.seeds import seeded_rng


def figures(name: str, outputs: Any, known: Labels) -> dict[str, float]:
    """The criteria and all other figures of a model."""
    measures = metrics_of(model_spec(name))
    sums = total(measures.truth(known) | measures.errors(np.asarray(outputs, np.float32), known))
    return {each.measure: float(each.value(sums)) for each in measures.criteria} | measures.derived_metrics(sums)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_every_model_has_metrics_and_a_generator(spec: ModelSpec) -> None:
    assert isinstance(metrics_of(spec), ModelMetrics)
    assert issubclass(load_reference(spec.generator), Generator)


def test_melody_counts_nats_hits_and_diatonic_mass() -> None:
    targets, outputs = np.zeros((1, 3, 128)), np.full((1, 3, 128), 1e-9)
    targets[0, 0, 60], targets[0, 1, 61] = 1, 1
    outputs[0, :, 60], outputs[0, :, 61] = 0.5, 0.25
    outputs[0, :, [70, 72, 74, 76]] = 0.3
    found = figures("MelodyTransformer", outputs, labels(targets, [[[1], [1], [0]]]))
    rest = -4 * math.log(0.7)
    first = -math.log(0.5) - math.log(0.75) + rest
    second = -math.log(0.5) - math.log(0.25) + rest
    assert found["nats_per_beat"] == pytest.approx((first + second) / 2, rel=1e-4)
    # 61 is the sixth likeliest, so only the first beat is a hit; 61 and 70 are black keys.
    assert found["top5_hit_rate"] == 0.5
    assert found["diatonic_mass"] == pytest.approx((0.5 + 0.9) / (0.5 + 0.25 + 1.2), rel=1e-5)


def test_a_beat_of_silence_is_neither_hit_nor_miss() -> None:
    targets, outputs = np.zeros((1, 2, 128)), np.full((1, 2, 128), 0.01)
    targets[0, 0, 60], outputs[0, :, 60] = 1, 0.9
    assert figures("MelodyTransformer", outputs, labels(targets))["top5_hit_rate"] == 1.0


def test_harmony_compares_distributions() -> None:
    targets, outputs = np.zeros((2, 1, 64)), np.zeros((2, 1, 64))
    targets[0, 0, [0, 5]], targets[1, 0, 7] = 0.5, 1.0
    outputs[:, 0, [0, 5, 7, 9]] = [0.5, 0.25, 0.15, 0.1]
    found = figures("HarmonyPredictor", outputs, labels(targets, [[[1]], [[3]]]))
    first, second = -0.5 * math.log(0.5) - 0.5 * math.log(0.25), -math.log(0.15)
    nats, entropy = (first + 3 * second) / 4, math.log(2) / 4
    assert found["perplexity"] == pytest.approx(math.exp(nats), rel=1e-5)
    assert found["kl"] == pytest.approx(nats - entropy, rel=1e-5)
    assert found["top1"] == pytest.approx(0.5 / 4)
    assert found["top3"] == 1.0


def test_dynamics_explains_variance_parameter_by_parameter() -> None:
    targets, outputs = np.full((4, 1, 16), 0.5), np.full((4, 1, 16), 0.5)
    targets[:, 0, 0] = [0.2, 0.4, 0.6, 0.8]
    outputs[:, 0, 0] = [0.3, 0.4, 0.6, 0.7]
    targets[:, 0, 15] = [0.1, 0.3, 0.1, 0.3]
    found = figures("DynamicsEngine", outputs, labels(targets))
    assert found["base_velocity_mae"] == pytest.approx(0.05)
    assert found["base_velocity_r2"] == pytest.approx(1 - 0.02 / 0.2, rel=1e-5)
    assert found["density_r2"] == pytest.approx(1 - (2 * 0.16 + 2 * 0.04) / 0.04, rel=1e-4)
    assert math.isnan(found["trend_r2"])
    assert found["r2"] == pytest.approx((0.9 - 9) / 2, rel=1e-4)
    assert found["mae"] == pytest.approx((0.05 + 0.3) / 16, rel=1e-5)
    assert found["rmse"] == pytest.approx(math.sqrt((0.02 + 0.4) / 64), rel=1e-5)


def test_groove_is_late_in_milliseconds_at_its_own_tempo() -> None:
    targets, weights = np.zeros((1, 1, 32)), np.zeros((1, 1, 32))
    weights[0, 0, [0, 1, 16]] = 0.25
    targets[0, 0, [0, 1, 2, 16]] = [0.2, -0.4, 1.0, 0.5]
    outputs = np.zeros((1, 1, 32))
    found = figures("GroovePredictor", outputs, labels(targets, weights, bpm=60))
    # A value of 1 is 60 ticks of 480 a beat, and a beat takes a second here: 125 ms.
    assert found["timing_mae_ms"] == pytest.approx(0.3 * 125)
    assert found["accent_mae"] == pytest.approx(0.5)


def test_emotion_keeps_frames_and_songs_apart() -> None:
    wanted = np.array([[[0.0, 0.2], [0.4, 0.2]], [[0.5, -0.5], [0.5, -0.5]], [[-0.5, 0.5], [-0.5, 0.5]]])
    said = np.array([[[0.0, 0.1], [0.2, 0.1]], [[0.3, -0.5], [0.3, -0.5]], [[-0.3, 0.5], [-0.3, 0.5]]])
    known = labels(encode_affect(wanted[..., 0], wanted[..., 1]), pooled=(False, True, True))
    found = figures("EmotionRecognizer", encode_affect(said[..., 0], said[..., 1]), known)
    assert found["static_valence_rmse"] == pytest.approx(0.2, abs=2e-3)
    assert found["static_valence_r"] == pytest.approx(1.0, abs=1e-3)
    # Two points ±.5 and ±.3: R² = 1 - .04/.25, concordance 2·.15 / (.25 + .09).
    assert found["static_valence_r2"] == pytest.approx(0.84, abs=5e-3)
    assert found["static_valence_ccc"] == pytest.approx(0.3 / 0.34, abs=5e-3)
    assert found["static_quadrant_accuracy"] == 1.0
    assert found["dynamic_valence_rmse"] == pytest.approx(math.sqrt(0.04 / 2), abs=2e-3)
    assert math.isnan(found["dynamic_arousal_r"])
    # Six frames: dynamic errors (0, .1), (.2, .1), static ones (.2, 0) at two frames each.
    assert found["rmse"] == pytest.approx(math.sqrt((0.01 + 0.05 + 4 * 0.04) / 12), abs=2e-3)


def test_calibration_holds_mean_and_spread_of_answers_and_labels() -> None:
    wanted = np.array([[[0.5, 0.1]], [[-0.3, 0.3]]])
    said = np.array([[[0.2, 0.2]], [[0.0, 0.2]]])
    measures = metrics_of(model_spec("EmotionRecognizer"))
    known = labels(encode_affect(wanted[..., 0], wanted[..., 1]))
    sums = measures.truth(known) | measures.errors(encode_affect(said[..., 0], said[..., 1]), known)
    found = measures.calibration(total(sums))
    # The thermometers decode what they encode within .0015.
    assert asdict(found["valence"]) == pytest.approx(
        {"answer_mean": 0.1, "answer_sd": 0.1, "label_mean": 0.1, "label_sd": 0.4}, abs=3e-3
    )
    assert found["arousal"].label_sd == pytest.approx(0.1, abs=3e-3)
    assert metrics_of(model_spec("DynamicsEngine")).calibration({}) == {}


def test_a_static_label_is_compared_with_the_mean_over_its_span() -> None:
    wanted = encode_affect(np.full((1, 3), 0.3), np.zeros((1, 3)))
    said = encode_affect(np.array([[-0.9, 0.1, 0.5]]), np.zeros((1, 3)))
    known = labels(wanted, np.array([[[0], [1], [1]]]), pooled=(True,))
    assert figures("EmotionRecognizer", said, known)["static_valence_rmse"] < 0.03


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_the_loss_is_that_of_training(spec: Any) -> None:
    import torch

    from kelly_core.data.dataset import Batch
    from kelly_core.training.batches import TensorBatch
    from kelly_core.training.losses import mean_loss, weighted_loss
    from kelly_core.training.networks import activate

    rng = seeded_rng(0)
    frames = 3 if spec.recurrent else 1
    logits = torch.from_numpy(rng.normal(size=(5, frames, spec.output_size)).astype(np.float32))
    targets = rng.random((5, frames, spec.output_size)).astype(np.float32)
    targets /= targets.sum(axis=-1, keepdims=True)
    width = spec.output_size if spec.loss.startswith("masked") else 1
    weights = (rng.random((5, frames, width)) * rng.integers(0, 2, (5, frames, width))).astype(np.float32)
    weights[0] = 1.0  # A mean needs at least one weight that is not zero.
    pooled = np.array([spec.loss == "mse" and index % 2 == 0 for index in range(5)])
    batch = TensorBatch.of(Batch(targets, targets, weights, pooled), torch.device("cpu"))
    wanted = mean_loss(*weighted_loss(spec.loss, spec.output_activation, logits, batch))
    outputs = activate(spec.output_activation, logits).numpy()
    total_loss, weight = loss_sums(spec.loss, outputs, Labels(targets, weights, pooled, np.full(5, 120.0)))
    assert total_loss.sum() / weight.sum() == pytest.approx(float(wanted), rel=1e-4)


def test_the_error_of_emotion_weighs_songs_not_frames() -> None:
    """One song is labeled at one frame, another at three: their squared errors count alike."""
    wanted, said = np.zeros((2, 3)), np.array([[0.1, 0.1, 0.1], [0.3, 0.0, 0.0]])
    weights = np.array([[1, 1, 1], [1, 0, 0]])[..., np.newaxis]
    for pooled in ((False, False), (True, True)):
        known = labels(encode_affect(wanted, wanted), weights, pooled=pooled)
        found = figures("EmotionRecognizer", encode_affect(said, said), known)
        assert found["rmse"] == pytest.approx(math.sqrt((0.01 + 0.09) / 2), abs=2e-3)
