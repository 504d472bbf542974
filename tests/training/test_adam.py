"""Adam over one vector against PyTorch's."""

from __future__ import annotations

import pytest
import torch

from kelly_core.spec import model_spec
from kelly_core.training.adam import FlatAdam
from kelly_core.training.device import cpu_workers
from kelly_core.training.networks import KellyNetwork, build_network
from tests.seeds import seeded_torch, shifted

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


def test_weights_without_gradient_leave_no_denormal_moments() -> None:
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
