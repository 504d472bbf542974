"""Reading any bytes gives an export or an error in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kelly_core.engines.layers import ActivationLayer, DenseWeights, LstmWeights
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import ExportError
from kelly_core.export.reader import MAX_BYTES, Export, read_export
from tests.helpers.networks import tiny_network, write_tiny


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(write_tiny(tmp_path_factory.mktemp("valid")).read_text())
    return document


def reason(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(ExportError) as raised:
        read_export(path)
    assert raised.value.where == str(path)
    return raised.value.problem


def test_reads_the_engines_own_models(shared_vectors: Path) -> None:
    dense = read_export(shared_vectors / "rtneural" / "dense.json")
    assert (dense.layout, dense.in_size, dense.metadata) == ("rtneural", 1, {})
    assert [layer.activation for layer in dense.layers if isinstance(layer, ActivationLayer)] == [
        "tanh",
        "relu",
        "elu",
        "softmax",
    ]
    without_bias = dense.layers[-1]
    assert isinstance(without_bias, DenseWeights)
    assert not without_bias.bias.any()
    assert dense.parameter_count == (8 + 8) + 3 * (64 + 8) + (8 + 1) + 8 + 64 + 8
    lstm = read_export(shared_vectors / "rtneural" / "lstm.json").layers[1]
    assert isinstance(lstm, LstmWeights)
    assert lstm.bias_ih.any()
    assert not lstm.bias_hh.any()


def test_a_checkpoint_in_place_of_an_export_is_named_as_one(tmp_path: Path) -> None:
    assert "such as a checkpoint, not an export" in reason(tmp_path / "a.pt", b"PK\x03\x04...")


@pytest.mark.parametrize(("name", "reported"), [("bad_lstm", r"1 × 64, but is 1 × 80"), ("lstm_torch", '"layers"')])
def test_refuses_what_the_engine_refuses(shared_vectors: Path, name: str, reported: str) -> None:
    with pytest.raises(ExportError, match=reported):
        read_export(shared_vectors / "rtneural" / f"{name}.json")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    for path, reported in (
        (tmp_path / "none.json", "No such file"),
        (tmp_path, "is not a file"),
        (Path("/dev/zero"), "is not a file"),
        (tmp_path / ("x" * 300), "File name too long"),
    ):
        with pytest.raises(ExportError, match=reported):
            read_export(path)


def test_refuses_a_huge_file_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(ExportError, match=r"larger than 64\.0 MB"):
        read_export(path)


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe{", "is not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"layers":' * 100_000, "nested too deeply"),
        (b"[]", "not an object"),
        (b"1e5", "not an object"),
        (b'{"in_shape":[NaN]}', "NaN is not a number"),
        (b'{"in_shape":[-Infinity]}', "Infinity is not a number"),
        (b'{"layers":[],"layers":[]}', "'layers' occurs twice"),
        (b'{"layers":[{"weights":[[1.5,-2e-3],[3,4]],"bias":[0],"bias":[1]}]}', "'bias' occurs twice"),
        (b'{"x":"\\ud800"}', "is not UTF-8"),
        (b'{"x":' + b"9" * 5000 + b"}", "is not JSON"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"{}", '"layers" must be a list'),
        (b'{"layers":[3]}', "not an object"),
        (b'{"in_shape":[null,null,true],"layers":[{}]}', "must be a whole number"),
        (b'{"in_shape":[null,null,1e9],"layers":[{}]}', "must be a whole number"),
        (b'{"in_shape":[1,1,2,2],"layers":[{}]}', "one to three entries"),
    ],
)
def test_files_that_are_not_exports_are_refused(tmp_path: Path, content: bytes, reported: str) -> None:
    assert reported in reason(tmp_path / "x.json", content)


def test_refuses_every_beginning_of_a_file(tmp_path: Path) -> None:
    content = write_tiny(tmp_path).read_bytes()
    for length in range(0, len(content), 211):
        assert reason(tmp_path / "cut.json", content[:length])


def test_keys_that_differ_in_numbers_are_not_duplicates(tmp_path: Path, valid: dict[str, Any]) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(valid | {"metadata": {"step [1]": 1, "step [2]": 2}}))
    assert read_export(path).metadata == {"step [1]": 1, "step [2]": 2}


def test_metadata_of_the_wrong_kind_are_refused(tmp_path: Path, valid: dict[str, Any]) -> None:
    reported = reason(tmp_path / "x.json", json.dumps({**valid, "metadata": []}).encode())
    assert reported == '"metadata" must be an object'


def test_gates_are_preferred_for_they_keep_two_biases(tmp_path: Path, valid: dict[str, Any]) -> None:
    document = copy.deepcopy(valid)
    for key in ("weights_ih", "weights_hh", "bias_ih", "bias_hh", "gate_order"):
        del document["layers"][1][key]
    (tmp_path / "x.json").write_text(json.dumps(document))
    (tmp_path / "y.json").write_text(json.dumps(valid))
    without, with_gates = (read_export(tmp_path / name).layers[1] for name in ("x.json", "y.json"))
    original = tiny_network()[1]
    np.testing.assert_array_equal(with_gates.bias_hh, original.bias_hh)
    np.testing.assert_array_equal(without.bias_ih, original.bias_ih + original.bias_hh)
    assert not without.bias_hh.any()


NEAR_MISSES = st.sampled_from(
    ["dense", "lstm", "activation", "tanh", "linear", 4, 5, 6, 20, 1e39, 10**400, 0, -1, [[]]]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
JSON = st.recursive(
    SCALARS | NEAR_MISSES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["type", "shape", "weights", "activation", "in_size", "out_size", "bias", "weights_ih", "bias_hh"]
)
DOCUMENTS = st.fixed_dictionaries(
    {"layers": st.lists(st.dictionaries(KEYS, JSON), max_size=3) | JSON},
    optional={"in_shape": st.lists(JSON, max_size=4) | JSON, "metadata": JSON},
)


def read_or_refuse(path: Path, content: bytes) -> None:
    """The property: an export that can be run, or an ExportError."""
    path.write_bytes(content)
    try:
        export = read_export(path)
    except ExportError:
        return
    assert isinstance(export, Export)
    runtime = NumpyEngine(export.layers)
    assert runtime.process(np.ones((3, export.in_size), np.float32)).shape == (3, runtime.out_size)


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    read_or_refuse(tmp_path_factory.getbasetemp() / "bytes.json", content)


@given(DOCUMENTS)
def test_any_document(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    read_or_refuse(tmp_path_factory.getbasetemp() / "document.json", json.dumps(document).encode())


def change_somewhere(draw: Callable[..., Any], node: Any) -> None:
    """Go down a random way and put something else at its end, or take it out."""
    while True:
        key = draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        inner = node[key]
        if isinstance(inner, dict | list) and inner and draw(st.integers(0, 3)):
            node = inner
        elif draw(st.booleans()):
            node[key] = draw(JSON)
            return
        else:
            del node[key]
            return


@settings(max_examples=200)
@given(st.data())
def test_any_change_to_a_valid_file(
    tmp_path_factory: pytest.TempPathFactory, valid: dict[str, Any], data: st.DataObject
) -> None:
    document = copy.deepcopy(valid)
    change_somewhere(data.draw, document)
    read_or_refuse(tmp_path_factory.getbasetemp() / "changed.json", json.dumps(document).encode())
