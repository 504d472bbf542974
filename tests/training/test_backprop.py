"""The chain rule written out against autograd, and Adam over one vector against PyTorch's."""

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
    model_spec,
)
from kelly_core.training.adam import FlatAdam
from kelly_core.training.backprop import GradientAccumulator, activation_gradient
from kelly_core.training.batches import TensorBatch
from kelly_core.training.device import cpu_workers
from kelly_core.training.losses import weighted_loss
from kelly_core.training.networks import ACTIVATIONS, KellyNetwork, build_network
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
    """The same by ``GradientAccumulator``, from a gradient that is not clean."""
    gradient = torch.full((sum(parameter.numel() for parameter in network.parameters()),), 9.0)
    gradients = GradientAccumulator(network, loss, gradient)
    if not workers:
        return gradient, torch.stack(gradients(parts))
    with cpu_workers(workers) as pool:
        return gradient, torch.stack(gradients(parts, pool.map))


@pytest.mark.parametrize(("loss", "output"), PAIRS)
@pytest.mark.parametrize("hidden", ["tanh", "relu", "sigmoid", "softmax", ""])
def test_the_written_chain_rule_gives_what_autograd_gives(loss: Loss, output: Activation, hidden: Activation) -> None:
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
def test_layers_over_time_hand_on_what_autograd_gives(layers: tuple[LayerSpec, ...], pooled: bool) -> None:
    network = build(ModelSpec("Chain", layers, "mse", "none"))
    for every_output in (False, True):
        batch = random_batch(frames=9, every_output=every_output, pooled=pooled)
        torch.testing.assert_close(written_out(network, "mse", batch), of_autograd(network, "mse", batch))


def test_parts_add_up_to_the_whole_and_do_not_depend_on_how_many_compute_them() -> None:
    network = build(ModelSpec("Chain", (Dense(6, 5, "relu"), Lstm(5, 4)), "mse", "none"))
    batch = random_batch(50, 9, pooled=True)
    parts = list(batch.batches(8))
    one_by_one = written_out(network, "mse", *parts)
    torch.testing.assert_close(one_by_one, written_out(network, "mse", batch))
    for workers in (1, 2, 3):
        for got, wanted in zip(written_out(network, "mse", *parts, workers=workers), one_by_one, strict=True):
            assert torch.equal(got, wanted)


def test_fewer_parts_than_before_leave_nothing_of_the_others_behind() -> None:
    network = build(ModelSpec("Chain", (Dense(6, 5, "relu"), Lstm(5, 4)), "mse", "none"))
    batch = random_batch(12, 3)
    gradient = torch.zeros(sum(parameter.numel() for parameter in network.parameters()))
    gradients = GradientAccumulator(network, "mse", gradient)
    for size in (3, 6, 12):
        gradients(list(batch.batches(size)))
        torch.testing.assert_close(gradient, of_autograd(network, "mse", batch)[0])


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


SPEC = model_spec("GroovePredictor")
WHOLE = torch.tensor(1.0)
"""Weight of a loss that is a mean already."""


def loss_of(network: KellyNetwork, step: int, size: float) -> torch.Tensor:
    generator = seeded_torch(step)
    outputs, _ = network(torch.randn(4, 1, SPEC.input_size, generator=generator))
    return size * (outputs - torch.rand(outputs.shape, generator=generator)).square().mean()


def fill(optimizer: FlatAdam, network: KellyNetwork, loss: torch.Tensor) -> None:
    """Give the optimizer a loss's gradient."""
    parts = torch.autograd.grad(loss, list(network.parameters()))
    torch.cat([part.flatten() for part in parts], out=optimizer.gradient)


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_it_steps_as_adam_with_clipping_does(clip: float) -> None:
    ours, theirs = build_network(SPEC, seed=shifted(0)), build_network(SPEC, seed=shifted(0))
    flat, adam = FlatAdam(ours, 0.01, clip), torch.optim.Adam(theirs.parameters(), lr=0.01)
    for step in range(20):
        size = 1.0 if step % 2 else 1e-3
        fill(flat, ours, loss_of(ours, step, size))
        flat.step(WHOLE)
        adam.zero_grad()
        loss_of(theirs, step, size).backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        adam.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_a_sum_divided_by_its_weight_is_stepped_as_the_mean() -> None:
    sums, means = build_network(SPEC, seed=shifted(0)), build_network(SPEC, seed=shifted(0))
    for network, size, weight in ((sums, 1.0, 128.0), (means, 1 / 128, 1.0)):
        optimizer = FlatAdam(network, 0.01, 1e-4)
        fill(optimizer, network, loss_of(network, 0, size))
        optimizer.step(torch.tensor(weight))
    for one, other in zip(sums.parameters(), means.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_weights_put_into_the_network_are_those_it_steps_from() -> None:
    network = build_network(SPEC, seed=shifted(0))
    optimizer = FlatAdam(network, 1e-3, 0.0)
    wanted = build_network(SPEC, seed=shifted(1)).state_dict()
    network.load_state_dict(wanted)
    fill(optimizer, network, loss_of(network, 0, 1.0))
    optimizer.step(WHOLE)
    for name, tensor in network.state_dict().items():
        moved = (tensor - wanted[name]).abs()
        assert 0 < moved.max() <= 1.01e-3, name


def test_dead_weights_do_not_leave_denormal_moments_behind() -> None:
    network = build_network(SPEC, seed=shifted(0))
    optimizer = FlatAdam(network, 1e-3, 0.0)
    with cpu_workers(1):
        fill(optimizer, network, loss_of(network, 0, 1e-30))
        optimizer.step(WHOLE)
        optimizer.gradient.zero_()
        for _ in range(300):
            optimizer.step(WHOLE)
        moments = optimizer.state_dict()["mean"]
    tiny = torch.finfo(torch.float32).tiny
    assert not ((moments != 0) & (moments.abs() < tiny)).any()
