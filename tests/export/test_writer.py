"""The writer: what is in a file, that nothing is lost in it, and what is never written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kelly_core.arrays import Floats
from kelly_core.engines.layers import DenseWeights, Layer
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import ExportError
from kelly_core.export.golden import golden_inputs
from kelly_core.export.json_values import Layout
from kelly_core.export.reader import read_export
from kelly_core.export.writer import LEGACY_METADATA, METADATA, build_metadata, write_export
from kelly_core.spec import MODELS, ModelSpec
from tests.helpers.networks import metadata_of, spec_network, tiny_network, write_tiny


def arrays(layer: object) -> list[Floats]:
    return [value for value in vars(layer).values() if isinstance(value, np.ndarray)]


def test_the_document_is_what_the_engine_parses(tmp_path: Path) -> None:
    text = write_tiny(tmp_path).read_text()
    document = json.loads(text)
    dense, lstm, last = tiny_network()
    assert re.search(r"\s", text) is None
    assert list(document) == ["in_shape", "layers", "metadata"]
    assert document["in_shape"] == [None, None, 4]
    assert [layer["type"] for layer in document["layers"]] == ["dense", "lstm", "dense"]
    assert [layer["activation"] for layer in document["layers"]] == ["tanh", "", "softmax"]
    assert [layer["shape"] for layer in document["layers"]] == [[None, None, 6], [None, None, 5], [None, None, 5]]
    assert [(layer["in_size"], layer["out_size"]) for layer in document["layers"]] == [(4, 6), (6, 5), (5, 5)]
    np.testing.assert_array_equal(np.array(document["layers"][0]["weights"][0], np.float32), dense.weight.T)
    np.testing.assert_array_equal(np.array(document["layers"][2]["weights"][1], np.float32), last.bias)
    kernel, recurrent, bias = (np.array(part, np.float32) for part in document["layers"][1]["weights"])
    np.testing.assert_array_equal(kernel, lstm.weight_ih.T)
    np.testing.assert_array_equal(recurrent, lstm.weight_hh.T)
    np.testing.assert_array_equal(bias, lstm.bias_ih + lstm.bias_hh)
    assert document["layers"][1]["gate_order"] == ["input", "forget", "cell", "output"]
    gates = np.array(document["layers"][1]["weights_ih"], np.float32)
    np.testing.assert_array_equal(gates[1], lstm.weight_ih[5:10])
    assert np.shape(document["layers"][1]["weights_hh"]) == (4, 5, 5)
    assert np.shape(document["layers"][1]["bias_ih"]) == np.shape(document["layers"][1]["bias_hh"]) == (4, 5)


def test_the_legacy_document_holds_nothing_else(tmp_path: Path) -> None:
    document = json.loads(write_tiny(tmp_path, "legacy").read_text())
    dense, lstm, last = document["layers"]
    assert list(document) == ["layers", "metadata"]
    assert set(document["metadata"]) == set(LEGACY_METADATA)
    assert set(dense) == set(last) == {"type", "in_size", "out_size", "activation", "weights", "bias"}
    assert set(lstm) == {"type", "in_size", "out_size", "weights_ih", "weights_hh", "bias_ih", "bias_hh"}
    assert np.shape(dense["weights"]) == (6, 4)


@pytest.mark.parametrize("layout", ["rtneural", "legacy"])
@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_nothing_is_lost_between_writing_and_reading(tmp_path: Path, spec: ModelSpec, layout: Layout) -> None:
    layers = spec_network(spec)
    path = tmp_path / f"{spec.file_stem}.json"
    write_export(path, layers, metadata_of(layers, spec.name), layout)
    export = read_export(path)
    assert (export.layout, export.parameter_count, export.in_size) == (layout, spec.parameter_count, spec.input_size)
    assert export.metadata["parameter_count"] == spec.parameter_count
    assert path.stat().st_size < 15e6
    for written, read in zip(layers, export.layers, strict=True):
        assert type(written) is type(read)
        assert getattr(written, "activation", None) == getattr(read, "activation", None)
        for ours, theirs in zip(arrays(written), arrays(read), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_are_the_shortest_decimals_that_come_back_exactly(tmp_path_factory: Any, number: float) -> None:
    path = tmp_path_factory.getbasetemp() / "number.json"
    layers = [DenseWeights(np.array([[number]], np.float32), np.zeros(1, np.float32), "")]
    write_export(path, layers, {})
    weights = read_export(path).layers[0]
    assert weights.weight.tobytes() == np.float32(number).tobytes()
    printed = re.search(r'"weights":\[\[\[(.*?)\]', path.read_text())
    assert float(printed[1]) == float(str(np.float32(number)))
    digits = len(re.sub(r"e.*|\D", "", printed[1]).strip("0"))
    assert digits <= 9


def broken(index: int, **changes: object) -> list[Layer]:
    layers = tiny_network()
    layers[index] = replace(layers[index], **changes)
    return layers


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        (broken(0, weight=np.full((6, 4), np.nan, np.float32)), "outside the range of float32"),
        (broken(1, weight_hh=np.full((20, 5), np.inf, np.float32)), "outside the range of float32"),
        (broken(2, activation="linear"), "activation 'linear'"),
        (broken(0, bias=np.zeros(5, np.float32)), "must have 6 numbers, but has 5"),
        (broken(1, weight_ih=np.zeros((20, 7), np.float32)), "its input size is 6"),
        (tiny_network()[::-1], "its input size is"),
    ],
)
@pytest.mark.parametrize("layout", ["rtneural", "legacy"])
def test_what_the_engine_cannot_load_is_not_written(
    tmp_path: Path, layers: list[Layer], reason: str, layout: Layout
) -> None:
    path = write_tiny(tmp_path)
    previous = path.read_bytes()
    with pytest.raises(ExportError, match=reason):
        write_export(path, layers, metadata_of(tiny_network()), layout)
    assert path.read_bytes() == previous


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "half a \ud83d pair"])
def test_metadata_that_the_engines_parser_refuses_are_not_written(tmp_path: Path, value: object) -> None:
    layers = tiny_network()
    with pytest.raises(ExportError, match="metadata is not valid JSON"):
        write_export(tmp_path / "x.json", layers, {**metadata_of(layers), "features": {"x": value}})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_export_error(tmp_path: Path) -> None:
    (tmp_path / "models").touch()
    layers = tiny_network()
    with pytest.raises(ExportError, match="a part of its path is a file"):
        write_export(tmp_path / "models" / "tiny.json", layers, metadata_of(layers))


def test_metadata_are_complete_and_true() -> None:
    layers = tiny_network()
    metadata = build_metadata(
        model_name="Tiny",
        layers=layers,
        state="stateful",
        trained_on={"dataset": "deam", "synthetic": False},
        checkpoint="abc",
        metrics={"r": float("nan"), "per_parameter": [0.5, float("inf")], "epochs": 3},
        features={"frame_rate_hz": 2},
        golden=golden_inputs(np.zeros(4, np.float32), np.ones(4, np.float32)),
        code_version=2,
    )
    count = (6 * 4 + 6) + (20 * 6 + 20 * 5 + 20 + 20) + (5 * 5 + 5)
    assert set(metadata) == {*METADATA, "code_version"}
    assert (metadata["parameter_count"], metadata["memory_bytes"]) == (count, 4 * count)
    assert (metadata["input_size"], metadata["output_size"], metadata["export_version"]) == (4, 5, "2.0")
    assert metadata["metrics"] == {"r": None, "per_parameter": [0.5, None], "epochs": 3}
    inputs = np.array(metadata["golden"]["inputs"], np.float32)
    np.testing.assert_array_equal(
        np.array(metadata["golden"]["outputs"], np.float32), NumpyEngine(layers).process(inputs)
    )


def test_golden_inputs_are_the_same_each_time_and_lie_where_they_should() -> None:
    mean, std = np.array([-60.0, 0.0, 5.0], np.float32), np.array([10.0, 1.0, 0.0], np.float32)
    frames = golden_inputs(mean, std)
    np.testing.assert_array_equal(frames, golden_inputs(mean, std))
    assert frames.dtype == np.float32
    assert np.all(np.abs(frames - mean) <= 5 * std)
    assert np.ptp(frames[:, 0]) > 10
