"""ONNX files against the NumPy runtime, which other tests compare with RTNeural and PyTorch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from kelly_core.engines.layers import ActivationLayer, DenseWeights, Layer, LstmWeights
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.engines.onnx_engine import OnnxEngine, build_onnx
from kelly_core.errors import ExportError
from kelly_core.export.json_values import Layout
from kelly_core.export.reader import Export, read_export
from kelly_core.export.writer import write_export, write_onnx
from kelly_core.spec import MODELS, ModelSpec
from kelly_core.training.exporting import fold_stateless
from tests.helpers.networks import metadata_of, spec_network, tiny_network, write_tiny
from tests.seeds import seeded_rng

TOLERANCE = 1e-6
FRAMES = seeded_rng(5).standard_normal((60, 4)).astype(np.float32)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_the_five_models_compute_the_same_in_sequence(spec: ModelSpec) -> None:
    layers = spec_network(spec)
    content = build_onnx(layers, {})
    frames = seeded_rng(4).standard_normal((200, spec.input_size)).astype(np.float32)
    assert np.abs(OnnxEngine(content).process(frames) - NumpyEngine(layers).process(frames)).max() < TOLERANCE


@pytest.mark.parametrize("activation", ["", "tanh", "relu", "sigmoid", "softmax", "elu"])
def test_every_activation_within_a_layer_and_in_one_of_its_own(activation: str) -> None:
    dense = tiny_network()[0]
    layers: list[Layer] = [DenseWeights(3 * dense.weight, dense.bias, activation)]
    apart: list[Layer] = [DenseWeights(3 * dense.weight, dense.bias, ""), ActivationLayer(activation, 6)]
    for network in (layers, apart):
        outputs = OnnxEngine(build_onnx(network, {})).process(FRAMES)
        assert np.abs(outputs - NumpyEngine(layers).process(FRAMES)).max() < TOLERANCE


def test_state_is_an_input_and_an_output_of_each_lstm() -> None:
    """Two LSTMs of different sizes: each frame's state is carried by hand, and reset by feeding zeros again."""
    rng = seeded_rng(6)

    def lstm(in_size: int, hidden: int) -> LstmWeights:
        shapes = ((4 * hidden, in_size), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
        return LstmWeights(*(rng.standard_normal(shape).astype(np.float32) for shape in shapes))

    layers = [lstm(4, 3), lstm(3, 2)]
    session = onnxruntime.InferenceSession(build_onnx(layers, {}))
    assert [port.name for port in session.get_inputs()] == ["input", "h1", "c1", "h2", "c2"]
    names = [port.name for port in session.get_outputs()]
    assert names == ["output", "h1_next", "c1_next", "h2_next", "c2_next"]
    zeros = {f"{part}{n}": np.zeros((1, 1, size), np.float32) for n, size in ((1, 3), (2, 2)) for part in "hc"}
    expected = NumpyEngine(layers).process(FRAMES)
    state = zeros
    for frame, wanted in zip(FRAMES, expected, strict=True):
        output, *following = session.run(names, {"input": frame[None], **state})
        state = dict(zip(zeros, following, strict=True))
        np.testing.assert_allclose(output[0], wanted, atol=TOLERANCE)
    again = session.run(["output"], {"input": FRAMES[:1], **zeros})[0]
    np.testing.assert_allclose(again[0], expected[0], atol=TOLERANCE)


def written(folder: Path, layers: list[Layer], layout: Layout = "rtneural") -> tuple[Export, Path]:
    write_export(folder / "x.json", layers, metadata_of(layers), layout)
    export = read_export(folder / "x.json")
    write_onnx(export, folder / "x.onnx")
    return export, folder / "x.onnx"


def test_an_export_contains_the_folded_layers_and_its_metadata(tmp_path: Path) -> None:
    export, path = written(tmp_path, fold_stateless(tiny_network()))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    # In this order in every process, so that equal exports give equal files.
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [
        ("model_name", "Tiny"),
        ("state", "stateful"),
        ("checkpoint", "0" * 64),
    ]
    outputs = OnnxEngine(path.read_bytes()).process(np.concatenate([FRAMES, FRAMES]))
    np.testing.assert_array_equal(outputs[:60], outputs[60:])
    assert np.abs(outputs[:60] - NumpyEngine(export.layers).process(FRAMES)).max() < TOLERANCE


def test_the_same_network_gives_the_same_file(tmp_path: Path) -> None:
    _, first = written(tmp_path, tiny_network())
    before = first.read_bytes()
    assert written(tmp_path, tiny_network())[1].read_bytes() == before


def test_a_legacy_file_becomes_the_same_graph(tmp_path: Path) -> None:
    _, path = written(tmp_path, tiny_network(), "legacy")
    outputs = OnnxEngine(path.read_bytes()).process(FRAMES)
    assert np.abs(outputs - NumpyEngine(tiny_network()).process(FRAMES)).max() < TOLERANCE


def test_what_does_not_compute_the_same_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gates left in PyTorch's order are the classic mistake."""
    monkeypatch.setattr("kelly_core.engines.onnx_engine._LSTM_GATES", [0, 1, 2, 3])
    export = read_export(write_tiny(tmp_path))
    with pytest.raises(ExportError, match="was not written: ONNX Runtime's outputs differ by up to"):
        write_onnx(export, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ExportError, match=r'pip install "kelly-trainer\[onnx\]"'):
        write_onnx(read_export(write_tiny(tmp_path)), tmp_path / "x.onnx")
