"""The networks as built: sizes, state, the way to NumPy and back; and that every model learns what can be learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kelly_core.data.synthetic import create_synthetic
from kelly_core.engines.layers import layer_spec
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.engines.torch_engine import build_module
from kelly_core.spec import (
    MODELS,
    ActivationOnly,
    BatchNorm1d,
    Conv1d,
    Dense,
    Gru,
    Lstm,
    ModelSpec,
    Prelu,
    model_spec,
)
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.networks import build_network, start_at, verify_architectures, weights_of
from kelly_core.training.trainer import Trainer
from tests.seeds import seeded_rng, seeded_torch, shifted

COUNTS = {
    "EmotionRecognizer": 403_264,
    "MelodyTransformer": 641_664,
    "HarmonyPredictor": 74_176,
    "DynamicsEngine": 13_520,
    "GroovePredictor": 18_656,
}

MIXED = ModelSpec(
    "Mixed",
    (
        Conv1d(4, 6, 3, "elu", dilation=2, groups=2),
        BatchNorm1d(6),
        Gru(6, 5),
        Prelu(5, 5),
        ActivationOnly(5, "sigmoid"),
        Lstm(5, 4),
        Dense(4, 3, "softmax"),
    ),
    "mse",
    "none",
)
"""Every type of layer."""

each_model = pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)


def test_every_architecture_has_the_parameters_of_the_plugin() -> None:
    rows = verify_architectures()
    assert {row.model: row.parameters for row in rows} == COUNTS
    assert all(row.passed for row in rows)


@pytest.mark.parametrize("spec", [*MODELS, MIXED], ids=lambda spec: spec.name)
def test_the_network_computes_what_the_export_computes(spec: ModelSpec) -> None:
    """NumPy's runtime is an independent reading of the same weights."""
    network = build_network(spec, seed=shifted(3)).eval()
    frames = seeded_rng(0).standard_normal((20, spec.input_size)).astype(np.float32)
    layers = weights_of(network)
    assert [layer_spec(layer) for layer in layers] == list(spec.layers)
    for (name, tensor), copy in zip(
        network.state_dict().items(), build_module(layers).state_dict().values(), strict=True
    ):
        assert torch.equal(copy, tensor), name
    with torch.inference_mode():
        outputs, _ = network(torch.from_numpy(frames)[None])
    np.testing.assert_allclose(outputs[0].numpy(), NumpyEngine(layers).process(frames), atol=2e-6)


def test_weights_taken_out_do_not_follow_the_network() -> None:
    spec = model_spec("GroovePredictor")
    network = build_network(spec, seed=shifted(0))
    taken = weights_of(network)
    before = [layer.bias.copy() for layer in taken]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    for layer, bias in zip(taken, before, strict=True):
        np.testing.assert_array_equal(layer.bias, bias)


@pytest.mark.parametrize("name", ["EmotionRecognizer", "MelodyTransformer"])
def test_state_carries_a_sequence_over_a_cut(name: str) -> None:
    spec = model_spec(name)
    network = build_network(spec, seed=shifted(0))
    frames = torch.randn(2, 9, spec.input_size, generator=seeded_torch(0))
    with torch.inference_mode():
        whole, _ = network(frames)
        first, state = network(frames[:, :4])
        second, _ = network(frames[:, 4:], state)
        forgotten, _ = network(frames[:, 4:])
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
    assert not torch.allclose(forgotten, second)


def test_the_seed_decides_the_weights_and_leaves_other_draws_alone() -> None:
    spec = model_spec("DynamicsEngine")
    torch.manual_seed(shifted(5))
    expected = torch.rand(3)
    torch.manual_seed(shifted(5))
    one, same, other = (build_network(spec, shifted(seed)).state_dict()["layers.0.weight"] for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@each_model
def test_a_network_that_ignores_its_input_starts_at_the_given_output(spec: ModelSpec) -> None:
    wanted = seeded_rng(0).uniform(0.01, 0.9, spec.output_size)
    if spec.output_activation == "softmax":
        wanted /= wanted.sum()
    network = build_network(spec, seed=shifted(0))
    start_at(network, wanted)
    with torch.inference_mode():
        network.layers[-1].weight.zero_()
        output, _ = network(torch.ones(1, 1, spec.input_size))
    np.testing.assert_allclose(output[0, 0].numpy(), wanted, rtol=1e-5)


@each_model
@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_start_at_the_end_of_the_range_is_finite(spec: ModelSpec, end: float) -> None:
    network = build_network(spec, seed=shifted(0))
    start_at(network, np.full(spec.output_size, end))
    assert bool(torch.isfinite(network.layers[-1].bias).all())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "bound", "epochs", "batch_size", "learning_rate"),
    [
        ("EmotionRecognizer", 0.05, 9, 16, 1e-3),
        ("MelodyTransformer", 0.05, 2, 4, 2e-3),
        ("HarmonyPredictor", 0.10, 20, 128, 5e-4),
        ("DynamicsEngine", 0.05, 2, 128, 2e-3),
        ("GroovePredictor", 0.05, 2, 128, 2e-3),
    ],
)
def test_synthetic_training_approaches_the_bayes_loss(
    tmp_path: Path, name: str, bound: float, epochs: int, batch_size: int, learning_rate: float
) -> None:
    spec = model_spec(name)
    settings = Hyperparameters(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        loss=spec.loss,
        threads=1,
        seed=shifted(0),
        save_history=False,
        save_plots=False,
    )
    result = Trainer(spec, create_synthetic(spec.dataset, seed=shifted(0)), settings, tmp_path).fit()
    assert -0.02 < result.metrics["epsilon"] <= bound
    assert result.quality.trained
    assert result.quality.epsilon == pytest.approx(result.metrics["epsilon"], abs=1e-3)
