"""The chain rule written out against autograd."""

from __future__ import annotations

import pytest
import torch

from kelly_core.spec import LOSS_OUTPUT, MODELS, Activation, Dense, Loss, ModelSpec
from kelly_core.training.gradients import Autograd, DenseChain, activation_gradient, backward_of
from kelly_core.training.losses import TensorBatch
from kelly_core.training.networks import ACTIVATIONS, KellyNetwork, build_network

OUTPUTS: tuple[Activation, ...] = ("", "tanh", "relu", "sigmoid", "softmax")
LOSSES: tuple[Loss, ...] = ("mse", "masked_mse", "bce", "soft_cross_entropy")
PAIRS = [(loss, output) for loss in LOSSES for output in OUTPUTS if LOSS_OUTPUT.get(loss, output) == output]


def network_with_gradients(spec: ModelSpec) -> KellyNetwork:
    network = build_network(spec, seed=0)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    return network


def random_batch(*, every_output: bool) -> TensorBatch:
    generator = torch.Generator().manual_seed(7)
    weights = torch.rand(5, 2, 4 if every_output else 1, generator=generator)
    weights[1] = 0.0
    inputs = torch.randn(5, 2, 6, generator=generator)
    return TensorBatch(inputs, torch.rand(5, 2, 4, generator=generator), weights, None)


@pytest.mark.parametrize(("loss", "output"), PAIRS)
@pytest.mark.parametrize("hidden", ["tanh", "relu", "sigmoid", "softmax", ""])
def test_the_written_chain_rule_adds_what_autograd_adds(loss: Loss, output: Activation, hidden: Activation) -> None:
    spec = ModelSpec("Chain", (Dense(6, 8, hidden), Dense(8, 5, hidden), Dense(5, 4, output)), loss, "none")
    written, automatic = network_with_gradients(spec), network_with_gradients(spec)
    for every_output in (False, loss != "soft_cross_entropy"):
        batch = random_batch(every_output=every_output)
        sums = DenseChain(written, loss)(batch)
        wanted = Autograd(automatic, loss)(batch)
        torch.testing.assert_close(sums, wanted)
    for one, other in zip(written.parameters(), automatic.parameters(), strict=True):
        assert other.grad is not None and other.grad.abs().max() > 0
        torch.testing.assert_close(one.grad, other.grad)


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


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_networks_with_memory_are_left_to_autograd(spec: ModelSpec) -> None:
    backward = backward_of(build_network(spec, seed=0), spec.loss)
    assert isinstance(backward, Autograd if spec.recurrent else DenseChain)
