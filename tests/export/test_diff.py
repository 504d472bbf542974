"""Two exports compared with each other, with differences made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kelly_core.engines.layers import DenseWeights, Layer
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import ExportError
from kelly_core.export.diff import ArrayDifference, compare_exports
from kelly_core.export.json_values import Layout
from kelly_core.export.reader import Export, read_export
from kelly_core.export.writer import write_export
from tests.helpers.networks import metadata_of, tiny_network


def export(
    folder: Path,
    layers: list[Layer] | None = None,
    edit: Callable[[dict[str, Any]], object] = lambda _metadata: None,
    layout: Layout = "rtneural",
) -> Export:
    folder.mkdir(exist_ok=True)
    layers = layers or tiny_network()
    metadata = metadata_of(layers)
    edit(metadata)
    write_export(folder / "tiny.json", layers, metadata, layout)
    return read_export(folder / "tiny.json")


def test_a_file_and_its_copy_do_not_differ(tmp_path: Path) -> None:
    comparison = compare_exports(export(tmp_path / "old"), export(tmp_path / "new"))
    assert comparison.same_network
    assert comparison.model == "Tiny"
    assert all(difference.largest == difference.rms == 0 for difference in comparison.outputs.values())
    assert comparison.metadata == {}


def test_differences_of_weights_by_hand(tmp_path: Path) -> None:
    """One of 24 weights .5 larger, and the LSTM's second bias .25 larger throughout."""
    dense, lstm, last = tiny_network()
    weight = dense.weight.copy()
    weight[2, 1] += 0.5
    changed = [replace(dense, weight=weight), replace(lstm, bias_hh=lstm.bias_hh + np.float32(0.25)), last]
    old = export(tmp_path / "old")
    found = compare_exports(old, export(tmp_path / "new", changed))
    assert not found.same_network
    kernel = found.weights["1 dense tanh 4→6: weights"]
    assert kernel.largest == pytest.approx(0.5)
    assert kernel.rms == pytest.approx(0.5 / np.sqrt(24))
    assert kernel.old_rms == pytest.approx(np.sqrt(np.mean(dense.weight**2)))
    bias = found.weights["2 lstm 6→5: bias"]
    assert (bias.largest, bias.rms) == (pytest.approx(0.25), pytest.approx(0.25))
    assert {name for name, difference in found.weights.items() if difference.largest} == {
        "1 dense tanh 4→6: weights",
        "2 lstm 6→5: bias",
    }
    assert list(found.outputs) == ["old", "new"]
    inputs = np.array(old.metadata["golden"]["inputs"], np.float32)
    apart = NumpyEngine(changed).process(inputs) - NumpyEngine(tiny_network()).process(inputs)
    assert found.outputs["old"].largest == pytest.approx(np.abs(apart).max())
    assert found.outputs["old"].rms == pytest.approx(np.sqrt(np.mean(apart.astype(np.float64) ** 2)))


def test_each_is_tried_with_the_others_golden_inputs(tmp_path: Path) -> None:
    """With inputs of 0 only the biases count; the weights differ only where the new file looks."""
    dense = DenseWeights(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), "")
    doubled = replace(dense, weight=2 * dense.weight)

    def golden(value: float) -> Callable[[dict[str, Any]], object]:
        return lambda metadata: metadata.update(golden={"inputs": [[value, value]], "outputs": [[value, value]]})

    old = export(tmp_path / "old", [dense], golden(0))
    new = export(tmp_path / "new", [doubled], golden(3))
    assert compare_exports(old, new).outputs == {"old": ArrayDifference(0, 0, 0), "new": ArrayDifference(3, 3, 3)}


def test_metrics_of_either_file_and_metadata_that_differ(tmp_path: Path) -> None:
    def first(metadata: dict[str, Any]) -> None:
        metadata.update(metrics={"loss": 0.5, "by": {"a": 1}}, features={"mean": [0.0] * 9, "names": list("abcdefghi")})

    def second(metadata: dict[str, Any]) -> None:
        mean, names = [0.0] * 8 + [-0.25], list("abcdefghx")
        metadata.update(metrics={"loss": 0.25, "new": 3}, features={"mean": mean, "names": names, "hop": {"s": 1}})
        metadata.update(checkpoint="1" * 64)

    found = compare_exports(export(tmp_path / "old", edit=first), export(tmp_path / "new", edit=second))
    assert found.same_network
    assert found.metrics == {"loss": (0.5, 0.25), "by": ("1 entry", None), "new": (None, 3)}
    assert found.metadata == {
        "checkpoint": ("0" * 64, "1" * 64),
        "features.mean": ("9 entries", "9 entries, largest difference 0.25"),
        "features.names": ("9 entries", "9 entries, different values"),
        "features.hop": (None, "1 entry"),
    }


def test_of_the_quality_the_verdict_and_its_figures_are_compared(tmp_path: Path) -> None:
    def judged(verdict: str, rmse: float) -> Callable[[dict[str, Any]], object]:
        record = {"verdict": verdict, "metrics": {"rmse": rmse}, "baselines": [{"name": "mean"}]}
        return lambda metadata: metadata.update(quality=record)

    old, new = judged("not better than mean", 0.5), judged("trained", 0.25)
    found = compare_exports(export(tmp_path / "old", edit=old), export(tmp_path / "new", edit=new))
    assert found.metrics == {"verdict": ("not better than mean", "trained"), "quality.rmse": (0.5, 0.25)}
    assert found.metadata == {}
    unjudged = compare_exports(export(tmp_path / "old"), export(tmp_path / "new", edit=new))
    assert unjudged.metrics["verdict"] == (None, "trained")
    assert unjudged.metadata == {}


def test_layouts_can_be_compared_and_legacy_files_have_no_golden_inputs(tmp_path: Path) -> None:
    found = compare_exports(export(tmp_path / "old"), export(tmp_path / "new", layout="legacy"))
    assert found.same_network
    assert list(found.outputs) == ["old"]


def test_different_models_are_an_error(tmp_path: Path) -> None:
    old = export(tmp_path / "old")
    other = export(tmp_path / "new", edit=lambda metadata: metadata.update(model_name="Other"))
    with pytest.raises(ExportError, match=r"new.*: contains Other, but .*old.* contains Tiny"):
        compare_exports(old, other)
    shorter = export(tmp_path / "short", tiny_network()[:-1])
    with pytest.raises(ExportError, match=r"has layers dense tanh 4→6, lstm 6→5, but .* dense softmax 5→5; only"):
        compare_exports(old, shorter)


def test_invalid_golden_inputs_are_an_error(tmp_path: Path) -> None:
    old = export(tmp_path / "old")
    document = json.loads(old.path.read_text())
    document["metadata"]["golden"]["inputs"] = [[1.0]]
    (tmp_path / "tiny.json").write_text(json.dumps(document))
    with pytest.raises(ExportError, match=r"tiny.json: the golden inputs must be 1 × 4"):
        compare_exports(old, read_export(tmp_path / "tiny.json"))
