"""The backward pass and the sums of micro-batches against autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kelly_core.spec import (
    LOSS_OUTPUT,
    Activation,
    ActivationOnly,
    BatchNorm1d,
    Conv1d,
    Dense,
    Gru,
    LayerSpec,
    Loss,
    Lstm,
    ModelSpec,
    Prelu,
)
from kelly_core.training.backprop import GradientAccumulator
from kelly_core.training.batches import TensorBatch
from kelly_core.training.device import cpu_workers
from kelly_core.training.losses import weighted_loss
from kelly_core.training.networks import KellyNetwork, build_network
from tests.seeds import seeded_torch, shifted

OUTPUTS: tuple[Activation, ...] = ("", "tanh", "relu", "sigmoid", "softmax", "elu")
LOSSES: tuple[Loss, ...] = ("mse", "masked_mse", "masked_l1", "bce", "soft_cross_entropy")
PAIRS = [(loss, output) for loss in LOSSES for output in OUTPUTS if LOSS_OUTPUT.get(loss, output) == output]


def random_batch(
    examples: int = 5, frames: int = 2, *, every_output: bool = False, pooled: bool = False
) -> TensorBatch:
    generator = seeded_torch(7)
    weights = torch.rand(examples, frames, 4 if every_output else 1, generator=generator)
    weights[1] = 0.0
    inputs = torch.randn(examples, frames, 6, generator=generator)
    targets = torch.rand(examples, frames, 4, generator=generator)
    return TensorBatch(inputs, targets, weights, torch.arange(examples) % 2 == 0 if pooled else None)


def build(spec: ModelSpec) -> KellyNetwork:
    """Return a network whose ReLU layers have units on either side of zero, whatever the seed."""
    network = build_network(spec, seed=shifted(0))
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            module.bias.data.copy_(torch.linspace(-1.0, 3.0, len(module.bias)))
    return network


def of_autograd(network: KellyNetwork, loss: Loss, batch: TensorBatch) -> tuple[Tensor, Tensor]:
    """The gradient end to end, and the loss sum and weight sum."""
    logits, _ = network.logits(batch.inputs)
    sums = weighted_loss(loss, network.spec.output_activation, logits, batch)
    parts = torch.autograd.grad(sums[0], list(network.parameters()))
    return torch.cat([part.flatten() for part in parts]), torch.stack(sums).detach()


def written_out(network: KellyNetwork, loss: Loss, *parts: TensorBatch, workers: int = 0) -> tuple[Tensor, Tensor]:
    """The same by ``GradientAccumulator``, into a vector that is not zero."""
    gradient = torch.full((sum(parameter.numel() for parameter in network.parameters()),), 9.0)
    gradients = GradientAccumulator(network, loss, gradient)
    if not workers:
        return gradient, torch.stack(gradients(parts))
    with cpu_workers(workers) as pool:
        return gradient, torch.stack(gradients(parts, pool.map))


@pytest.mark.parametrize(("loss", "output"), PAIRS)
@pytest.mark.parametrize("hidden", ["tanh", "relu", "sigmoid", "softmax", ""])
def test_the_hand_written_gradient_equals_that_of_autograd(loss: Loss, output: Activation, hidden: Activation) -> None:
    spec = ModelSpec("Chain", (Dense(6, 8, hidden), Dense(8, 5, hidden), Dense(5, 4, output)), loss, "none")
    network = build(spec)
    for every_output in (False, loss != "soft_cross_entropy"):
        batch = random_batch(every_output=every_output)
        wanted = of_autograd(network, loss, batch)
        assert wanted[0].abs().max() > 0
        torch.testing.assert_close(written_out(network, loss, batch), wanted)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    "layers",
    [
        (Lstm(6, 5), Dense(5, 4, "tanh")),
        (Dense(6, 5, "relu"), Lstm(5, 7), Lstm(7, 4)),
        (
            Conv1d(6, 8, 2, "elu", groups=2),
            BatchNorm1d(8),
            Gru(8, 5),
            Prelu(5, 5),
            ActivationOnly(5, "tanh"),
            Dense(5, 4),
        ),
    ],
)
def test_layers_over_time_give_the_gradient_of_autograd(layers: tuple[LayerSpec, ...], pooled: bool) -> None:
    network = build(ModelSpec("Chain", layers, "mse", "none"))
    for every_output in (False, True):
        batch = random_batch(frames=9, every_output=every_output, pooled=pooled)
        torch.testing.assert_close(written_out(network, "mse", batch), of_autograd(network, "mse", batch))


def test_micro_batches_sum_to_the_batch_for_any_number_of_threads() -> None:
    network = build(ModelSpec("Chain", (Dense(6, 5, "relu"), Lstm(5, 4)), "mse", "none"))
    batch = random_batch(50, 9, pooled=True)
    parts = list(batch.batches(8))
    one_by_one = written_out(network, "mse", *parts)
    torch.testing.assert_close(one_by_one, written_out(network, "mse", batch))
    for workers in (1, 2, 3):
        for got, wanted in zip(written_out(network, "mse", *parts, workers=workers), one_by_one, strict=True):
            assert torch.equal(got, wanted)


def test_fewer_micro_batches_leave_no_earlier_gradient() -> None:
    network = build(ModelSpec("Chain", (Dense(6, 5, "relu"), Lstm(5, 4)), "mse", "none"))
    batch = random_batch(12, 3)
    gradient = torch.zeros(sum(parameter.numel() for parameter in network.parameters()))
    gradients = GradientAccumulator(network, "mse", gradient)
    for size in (3, 6, 12):
        gradients(list(batch.batches(size)))
        torch.testing.assert_close(gradient, of_autograd(network, "mse", batch)[0])
