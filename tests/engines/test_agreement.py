"""The engines in this process agree with RTNeural's own outputs, and with each other on networks of every layer mix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from kelly_core.arrays import Floats
from kelly_core.engines.layers import Conv1dWeights, Engine, Layer, PreluWeights
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.engines.onnx_engine import OnnxEngine, build_onnx
from kelly_core.engines.torch_engine import TorchEngine
from kelly_core.export.parser import parse_layers
from kelly_core.export.reader import read_export
from kelly_core.export.writer import write_export
from tests.helpers.networks import metadata_of, random_network
from tests.seeds import seeded_rng

TOLERANCE = 1e-6

ENGINES: dict[str, Callable[[Sequence[Layer]], Engine]] = {
    "numpy": NumpyEngine,
    "torch": TorchEngine,
    "onnx": lambda layers: OnnxEngine(build_onnx(layers, {})),
}


def table(path: Path, columns: int) -> Floats:
    return np.loadtxt(path, delimiter=",", dtype=np.float32).reshape(-1, columns)


@pytest.mark.parametrize("engine", ENGINES)
def test_agrees_with_rtneural_on_every_reference_network(shared_vectors: Path, engine: str) -> None:
    inputs = [*shared_vectors.glob("engine/*_x.csv"), *shared_vectors.glob("rtneural/*_x*.csv")]
    checked = 0
    for path in inputs:
        model = path.with_name(path.name[: path.name.index("_x")] + ".json")
        if model.stem == "lstm_torch":  # a state dict, not RTNeural's format
            continue
        export = read_export(model)
        outputs = ENGINES[engine](export.layers).process(table(path, export.in_size))
        expected = table(path.with_name(path.name.replace("_x", "_y")), export.out_size)
        assert np.abs(outputs - expected).max() < TOLERANCE, model.stem
        checked += 1
    assert checked >= 15


@pytest.mark.parametrize("case", range(24))
def test_engines_agree_on_networks_of_every_layer_mix(case: int) -> None:
    rng = seeded_rng(100 + case)
    layers = random_network(rng, depth=1 + case % 5)
    frames = rng.standard_normal((40, layers[0].in_size)).astype(np.float32)
    expected = NumpyEngine(layers).process(frames)
    for name, build in ENGINES.items():
        engine = build(layers)
        assert (engine.in_size, engine.out_size) == (layers[0].in_size, layers[-1].out_size)
        parts = [engine.process(frames[:1]), engine.process(frames[1:7]), engine.step(frames[7])[None]]
        outputs = np.concatenate([*parts, engine.process(frames[8:])])
        # Values reach a few tens where no activation bounds them; float32 then rounds in the sixth digit.
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=2e-6, err_msg=name)
        engine.reset()
        np.testing.assert_allclose(engine.process(frames), expected, rtol=1e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("case", range(12))
def test_a_network_of_any_mix_is_read_back_bit_for_bit(tmp_path: Path, case: int) -> None:
    layers = random_network(seeded_rng(200 + case), depth=4)
    write_export(tmp_path / "x.json", layers, metadata_of(layers))
    read = read_export(tmp_path / "x.json").layers
    assert [type(layer) for layer in read] == [type(layer) for layer in layers]
    for ours, theirs in zip(layers, read, strict=True):
        for name, value in vars(ours).items():
            np.testing.assert_array_equal(getattr(theirs, name), value, err_msg=name)


def test_a_convolution_by_hand() -> None:
    """Two taps, dilation 2: the last tap meets the current frame, the first the frame two earlier."""
    conv = Conv1dWeights(np.array([[[10.0, 1.0]]], np.float32), np.array([0.5], np.float32), "", dilation=2)
    outputs = NumpyEngine([conv]).process(np.array([[1], [2], [3], [4]], np.float32))
    np.testing.assert_array_equal(outputs.ravel(), [1.5, 2.5, 13.5, 24.5])


def test_a_prelu_leaves_zero_and_above_alone() -> None:
    prelu = PreluWeights(np.array([0.5, 2.0], np.float32), 2)
    outputs = NumpyEngine([prelu]).process(np.array([[-2, -2], [0, 3]], np.float32))
    np.testing.assert_array_equal(outputs, [[-1, -4], [0, 3]])


def test_layers_over_time_and_features_are_checked_but_not_computed() -> None:
    document = conv2d_document()
    network = parse_layers(document)
    assert (network.errors, network.checked_only, network.runnable) == ([], ["conv2d", "batchnorm2d"], False)
    document["layers"][0]["shape"] = [None, None, 4, 2]
    assert "3 features × 2 filters, but its shape makes 8" in parse_layers(document).errors[0].text


def conv2d_document() -> dict:
    sizes = {"num_filters_in": 1, "num_features_in": 4, "num_filters_out": 2}
    kernel = {"kernel_size_time": 2, "kernel_size_feature": 2, "dilation": 1, "strides": 1, "padding": "valid"}
    conv = {"type": "conv2d", "activation": "tanh", "shape": [None, None, 3, 2], **sizes, **kernel}
    conv["weights"] = [np.ones((2, 2, 1, 2)).tolist(), [0, 0]]
    norm = {"type": "batchnorm2d", "shape": [None, None, 3, 2], "num_filters_in": 2, "num_features_in": 3}
    return {"in_shape": [None, None, 4, 1], "layers": [conv, {**norm, "epsilon": 0.01, "weights": [[1, 1], [1, 1]]}]}
