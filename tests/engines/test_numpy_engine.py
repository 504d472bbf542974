"""The NumPy runtime against hand-computed numbers, RTNeural's own outputs and PyTorch."""

from __future__ import annotations

import json
from math import exp, tanh
from pathlib import Path

import numpy as np
import pytest

from kelly_core.arrays import Floats
from kelly_core.data.dataset import Normalizer
from kelly_core.engines.layers import ActivationLayer, DenseWeights, LstmWeights
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.spec import MODELS, ModelSpec
from kelly_core.training.exporting import fold_normalization, fold_stateless
from tests.helpers.networks import spec_network, tiny_network
from tests.seeds import seeded_rng

TOLERANCE = 1e-6


def array(*values: object) -> Floats:
    return np.array(values, dtype=np.float32)


def table(path: Path, columns: int) -> Floats:
    return np.loadtxt(path, delimiter=",", dtype=np.float32).reshape(-1, columns)


def test_agrees_with_pytorch_on_the_engines_stacked_lstm(shared_vectors: Path) -> None:
    folder = shared_vectors / "rtneural"
    state = {key: array(*value) for key, value in json.loads((folder / "lstm_torch.json").read_text()).items()}
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    stack = [("lstm", 0), ("lstm2", 0), ("lstm2", 1), ("lstm2", 2)]
    lstms = [LstmWeights(*(state[f"{module}.{name}_l{number}"] for name in names)) for module, number in stack]
    runtime = NumpyEngine([*lstms, DenseWeights(state["dense.weight"], state["dense.bias"], "")])
    outputs = runtime.process(table(folder / "lstm_torch_x_python.csv", 1))
    assert np.abs(outputs - table(folder / "lstm_torch_y_python.csv", 1)).max() < TOLERANCE


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("", [1.5, -2.0]),
        ("tanh", [tanh(1.5), tanh(-2.0)]),
        ("relu", [1.5, 0.0]),
        ("sigmoid", [1 / (1 + exp(-1.5)), 1 / (1 + exp(2.0))]),
        ("softmax", [1 / (1 + exp(-3.5)), 1 / (1 + exp(3.5))]),
        ("elu", [1.5, exp(-2.0) - 1]),
    ],
)
def test_activations_by_hand(activation: str, expected: list[float]) -> None:
    dense = DenseWeights(array([1, 2], [-1, 0]), array(0.5, -3), activation)
    frame = array(-1, 1)  # [1·-1 + 2·1 + .5, -1·-1 + 0·1 - 3] = [1.5, -2]
    np.testing.assert_allclose(NumpyEngine([dense]).step(frame), expected, atol=1e-6)
    alone = NumpyEngine([DenseWeights(dense.weight, dense.bias, ""), ActivationLayer(activation, 2)])
    np.testing.assert_allclose(alone.step(frame), expected, atol=1e-6)


def test_an_lstm_of_one_unit_by_hand() -> None:
    def sigmoid(x: float) -> float:
        return 1 / (1 + exp(-x))

    w, u, b = (0.5, -1.0, 2.0, 0.7), (0.3, 0.8, -0.6, 1.1), (0.1, 0.2, -0.3, 0.4)
    lstm = LstmWeights(*(array(*([value] for value in values)) for values in (w, u)), array(*b), array(1, 1, 1, 1))
    h = c = 0.0
    runtime = NumpyEngine([lstm])
    for x in (0.9, -0.4, 1.7):
        i, f, g, o = (w[k] * x + u[k] * h + b[k] + 1 for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        assert runtime.step(array(x))[0] == pytest.approx(h, abs=1e-6)


def test_state_continues_until_it_is_reset() -> None:
    runtime = NumpyEngine(tiny_network())
    frames = seeded_rng(1).standard_normal((10, 4)).astype(np.float32)
    whole = runtime.process(frames)
    assert not np.array_equal(runtime.process(frames), whole)
    runtime.reset()
    parts = np.concatenate([runtime.process(frames[:3]), runtime.process(frames[3:])])
    np.testing.assert_array_equal(parts, whole)


def test_inputs_are_left_alone_and_checked() -> None:
    frame = array(1, -2)
    for layers in (
        [ActivationLayer("relu", 2)],
        [LstmWeights(*(np.ones(s, np.float32) for s in ((4, 2), (4, 1), 4, 4)))],
    ):
        runtime = NumpyEngine(layers)
        runtime.step(frame)
        np.testing.assert_array_equal(frame, array(1, -2))
        with pytest.raises(ValueError, match="shape"):
            runtime.step(array(1, 2, 3))


def test_outputs_of_a_step_survive_the_next_one() -> None:
    runtime = NumpyEngine([tiny_network()[1]])
    first = runtime.step(np.ones(6, np.float32))
    kept = first.copy()
    runtime.step(-np.ones(6, np.float32))
    np.testing.assert_array_equal(first, kept)


def test_a_stateless_fold_repeats_bit_for_bit_what_a_first_frame_gives() -> None:
    frames = 3 * seeded_rng(2).standard_normal((50, 4)).astype(np.float32)
    original = NumpyEngine(tiny_network())
    folded = NumpyEngine(fold_stateless(tiny_network()))
    in_sequence = folded.process(np.concatenate([frames, frames]))
    np.testing.assert_array_equal(in_sequence[:50], in_sequence[50:])
    for frame, output in zip(frames, in_sequence[:50], strict=True):
        original.reset()
        np.testing.assert_allclose(original.step(frame), output, atol=1e-7)


def test_folded_standardization_takes_raw_inputs() -> None:
    rng = seeded_rng(3)
    mean, scale = rng.uniform(-80, -20, 4), np.array([0.1, 0.05, 0.0, 0.2])
    raw = (mean + 10 * rng.standard_normal((30, 4))).astype(np.float32)
    standardized = ((raw - mean) * scale).astype(np.float32)
    folded = fold_normalization(tiny_network(), Normalizer(mean, scale))
    np.testing.assert_allclose(
        NumpyEngine(folded).process(raw), NumpyEngine(tiny_network()).process(standardized), atol=2e-6
    )


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_agrees_with_pytorch_on_the_five_models(spec: ModelSpec) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    activations = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "softmax": lambda x: x.softmax(-1)}
    layers = spec_network(spec)
    frames = seeded_rng(4).standard_normal((100, spec.input_size)).astype(np.float32)
    values = torch.from_numpy(frames)
    with torch.no_grad():
        for layer in layers:
            if isinstance(layer, LstmWeights):
                module = torch.nn.LSTM(layer.in_size, layer.out_size)
                names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                module.load_state_dict({f"{name}_l0": torch.from_numpy(getattr(layer, name)) for name in names})
                values = module(values)[0]
            else:
                linear = torch.nn.functional.linear(
                    values, torch.from_numpy(layer.weight), torch.from_numpy(layer.bias)
                )
                values = activations[layer.activation](linear)
    assert np.abs(NumpyEngine(layers).process(frames) - values.numpy()).max() < TOLERANCE
