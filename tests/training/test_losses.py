"""The losses against sums by hand, derivatives of activations against finite differences; weights, masks, pooling."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from torch import Tensor

from kelly_core.data.dataset import Batch
from kelly_core.errors import ConfigError
from kelly_core.evaluation.baselines import best_constant, constant_loss
from kelly_core.spec import (
    Loss,
    ModelSpec,
    model_spec,
)
from kelly_core.training.batches import TensorBatch
from kelly_core.training.losses import activation_gradient, check_loss, mean_loss, weighted_loss
from kelly_core.training.networks import ACTIVATIONS
from tests.helpers.toy_training import ToyDataset
from tests.seeds import seeded_rng, seeded_torch

CPU = torch.device("cpu")
GROOVE, HARMONY, MELODY = (model_spec(name) for name in ("GroovePredictor", "HarmonyPredictor", "MelodyTransformer"))


def batch_of(targets: list[object], weights: list[object], pooled: list[bool] | None = None) -> TensorBatch:
    """A batch whose inputs are not used."""
    arrays = [np.array(values, np.float32) for values in (targets, targets, weights)]
    return TensorBatch.of(Batch(*arrays, None if pooled is None else np.array(pooled)), CPU)


def loss_of(loss: Loss, activation: str, logits: list[object], batch: TensorBatch) -> float:
    return float(mean_loss(*weighted_loss(loss, activation, torch.tensor(logits), batch)))


def test_squared_error_is_the_mean_over_all_outputs() -> None:
    batch = batch_of([[[1.0, 2.0]], [[0.0, 0.0]]], [[[1.0]], [[3.0]]])
    # (1·(1 + 4) + 3·(4 + 0)) / (1·2 + 3·2)
    assert loss_of("mse", "", [[[0.0, 0.0]], [[2.0, 0.0]]], batch) == pytest.approx(17 / 8)
    assert loss_of("masked_mse", "relu", [[[-5.0, 0.0]], [[2.0, -1.0]]], batch) == pytest.approx(17 / 8)


def test_binary_cross_entropy_is_the_mean_over_all_outputs() -> None:
    batch = batch_of([[[1.0, 0.0]]], [[[2.0]]])
    logits = [[[log(3.0), log(3.0)]]]  # probability ¾ each
    assert loss_of("bce", "sigmoid", logits, batch) == pytest.approx(-(log(0.75) + log(0.25)) / 2)


def test_soft_cross_entropy_is_a_sum_over_the_classes() -> None:
    batch = batch_of([[[0.5, 0.5, 0.0]], [[0.0, 0.0, 1.0]]], [[[1.0]], [[3.0]]])
    logits = [[[0.0, log(2.0), 0.0]], [[log(2.0), 0.0, 0.0]]]  # probabilities ¼ ½ ¼ and ½ ¼ ¼
    expected = (1 * (0.5 * log(4) + 0.5 * log(2)) + 3 * log(4)) / 4
    assert loss_of("soft_cross_entropy", "softmax", logits, batch) == pytest.approx(expected)


@pytest.mark.parametrize(("loss", "activation"), [("bce", "sigmoid"), ("soft_cross_entropy", "softmax")])
def test_huge_logits_keep_loss_and_gradient_finite(loss: Loss, activation: str) -> None:
    logits = torch.tensor([[[300.0, -300.0]]], requires_grad=True)
    total, _ = weighted_loss(loss, activation, logits, batch_of([[[0.0, 1.0]]], [[[1.0]]]))
    total.backward()
    assert total.item() == pytest.approx(600.0)
    assert logits.grad.abs().min() > 0.9


@pytest.mark.parametrize("spec", [GROOVE, HARMONY, MELODY], ids=lambda spec: spec.name)
def test_masked_values_do_not_change_the_loss(spec: ModelSpec) -> None:
    generator = seeded_torch(0)
    shape = (3, 4, spec.output_size)
    weights = torch.ones(3, 4, 1)
    weights[1, 2:] = 0
    targets = torch.rand(shape, generator=generator)
    other = torch.where(weights > 0, targets, 1.0 - targets)

    def gradient(targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.ones(shape, requires_grad=True)
        batch = TensorBatch(targets, targets, weights, None)
        value = mean_loss(*weighted_loss(spec.loss, spec.output_activation, logits, batch))
        value.backward()
        assert logits.grad is not None
        return value.detach(), logits.grad

    (value, slope), (same_value, same_slope) = gradient(targets), gradient(other)
    assert torch.equal(value, same_value)
    assert torch.equal(slope, same_slope)
    assert not slope[1, 2:].any()
    assert slope[1, :2].any()


def test_single_outputs_can_be_masked() -> None:
    batch = batch_of([[[1.0, 9.0]], [[0.0, 3.0]]], [[[1.0, 0.0]], [[1.0, 1.0]]])
    assert loss_of("masked_mse", "", [[[0.0, 0.0]], [[0.0, 0.0]]], batch) == pytest.approx((1 + 0 + 9) / 3)


def test_the_loss_of_a_fully_masked_batch_is_zero() -> None:
    logits = torch.ones(1, 1, 2, requires_grad=True)
    value = mean_loss(*weighted_loss("mse", "tanh", logits, batch_of([[[1.0, 2.0]]], [[[0.0]]])))
    value.backward()
    assert float(value.detach()) == 0.0
    assert not logits.grad.any()


def test_a_pooled_example_compares_its_weighted_mean_over_time() -> None:
    outputs = [[[1.0], [3.0], [100.0]], [[1.0], [3.0], [100.0]]]
    weights = [[[3.0], [1.0], [0.0]], [[1.0], [1.0], [0.0]]]
    targets = [[[1.0], [1.0], [1.0]], [[1.0], [1.0], [1.0]]]
    # The first is pooled: its mean is 1.5 and its weight 4. The second is not: errors 0 and 2, weights 1 and 1.
    expected = (4 * 0.5**2 + 0 + 2**2) / (4 + 2)
    assert loss_of("mse", "", outputs, batch_of(targets, weights, [True, False])) == pytest.approx(expected)


def test_single_frames_take_the_label_of_their_sequence() -> None:
    arrays = [np.arange(12, dtype=np.float32).reshape(2, 3, 2)] * 2 + [np.ones((2, 3, 1), np.float32)]
    frames = TensorBatch.of(Batch(*arrays, np.array([True, False])), CPU, single_frames=True)
    assert frames.inputs.shape == (6, 1, 2)
    assert frames.pooled is None
    assert frames.inputs[4, 0].tolist() == [8.0, 9.0]


def test_batches_cut_every_part_alike() -> None:
    arrays = [np.arange(10, dtype=np.float32).reshape(5, 1, 2)] * 2 + [np.arange(5, dtype=np.float32).reshape(5, 1, 1)]
    parts = list(TensorBatch.of(Batch(*arrays, np.arange(5) % 2 == 0), CPU).batches(2))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert parts[1].inputs[0, 0].tolist() == [4.0, 5.0]
    assert parts[1].weights.flatten().tolist() == [2.0, 3.0]
    assert parts[2].pooled.tolist() == [True]


@pytest.mark.parametrize(
    ("loss", "spec", "needed"),
    [("bce", GROOVE, "sigmoid"), ("soft_cross_entropy", MELODY, "softmax"), ("bce", HARMONY, "sigmoid")],
)
def test_a_loss_that_does_not_fit_the_output_is_refused(loss: Loss, spec: ModelSpec, needed: str) -> None:
    with pytest.raises(ConfigError, match=needed):
        check_loss(loss, spec)
    check_loss("mse", spec)


@pytest.mark.parametrize("name", ["GroovePredictor", "HarmonyPredictor", "MelodyTransformer"])
def test_no_other_constant_beats_the_baseline_on_its_own_targets(name: str) -> None:
    """With the training examples as validation, the best constant is the minimum and every other one worse."""
    spec = model_spec(name)
    dataset = ToyDataset(spec)
    dataset.validation = dataset.train
    dataset.weights = seeded_rng(0).uniform(0.1, 2.0, dataset.weights.shape).astype(np.float32)
    chosen = dataset.eval_batch(dataset.train)
    batch = TensorBatch.of(chosen, CPU)
    constant = best_constant(dataset, spec.loss)
    best = torch.from_numpy(constant)
    inverse = {"sigmoid": torch.logit(best), "softmax": best.log(), "tanh": torch.atanh(best)}
    logits = inverse[spec.output_activation].expand_as(batch.targets)

    def loss(shift: float) -> float:
        slope = shift * torch.linspace(-1, 1, spec.output_size)
        return float(mean_loss(*weighted_loss(spec.loss, spec.output_activation, logits + slope, batch)))

    baseline = constant_loss(dataset, spec.loss, constant)
    assert type(baseline) is float, "NumPy scalars make a checkpoint unreadable"
    assert baseline == pytest.approx(loss(0.0), rel=1e-5)
    assert all(loss(shift) > baseline for shift in (-0.2, 0.2))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_derivative_of_every_activation_is_that_of_finite_differences(name: str) -> None:
    x = torch.tensor([[-1.3, 0.4, 0.9]], dtype=torch.float64)
    upstream = torch.tensor([[0.7, -0.2, 1.1]], dtype=torch.float64)
    step = 1e-6
    wanted = [
        ((ACTIVATIONS[name](x + step * unit) - ACTIVATIONS[name](x - step * unit)) * upstream).sum() / (2 * step)
        for unit in torch.eye(3, dtype=torch.float64)
    ]
    got = activation_gradient(name, upstream, ACTIVATIONS[name](x))
    torch.testing.assert_close(got[0], torch.stack(wanted), rtol=1e-6, atol=1e-9)
