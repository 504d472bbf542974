"""An export computes on raw inputs what was trained; a replaced export is kept and named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kelly_core.engines.layers import LstmWeights
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import CheckpointError
from kelly_core.export.provenance import is_non_commercial, previous_of, provenance_of, without_previous
from kelly_core.music.emotion import encode_affect
from kelly_core.spec import MODELS, model_spec
from kelly_core.training.checkpoint import Checkpoint, load_checkpoint
from kelly_core.training.exporting import Replacement, export_network, exported_layers, replace_export, run_checkpoint
from kelly_core.validation.checks import validate_file
from tests.helpers.toy_training import ToyRun, script_validation_losses
from tests.seeds import seeded_rng, shifted

EMOTION, GROOVE = model_spec("EmotionRecognizer"), model_spec("GroovePredictor")


def trained(run: ToyRun, **changes: Any) -> Checkpoint:
    return run(epochs=1, **changes).checkpoint


def raw_frames(checkpoint: Checkpoint, count: int = 40) -> np.ndarray:
    noise = seeded_rng(0).normal(size=(count, len(checkpoint.mean)))
    return (checkpoint.mean.numpy() + noise / checkpoint.scale.numpy()).astype(np.float32)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_the_export_takes_raw_inputs_where_the_network_took_standardized_ones(spec: Any, tmp_path: Path) -> None:
    run = ToyRun(spec, tmp_path)
    checkpoint = trained(run)
    raw = raw_frames(checkpoint)
    with torch.inference_mode():
        outputs, _ = checkpoint.best()(torch.from_numpy(run.dataset.normalizer.apply(raw))[None])
    exported = NumpyEngine(exported_layers(checkpoint)).process(raw)
    np.testing.assert_allclose(exported, outputs[0].numpy(), atol=1e-5)
    own = run_checkpoint(run.checkpoint_path("best"), checkpoint.weights_hash(), raw)
    np.testing.assert_allclose(own, exported, atol=1e-5)


def test_a_stateless_export_forgets_and_computes_first_frames(tmp_path: Path) -> None:
    run = ToyRun(EMOTION, tmp_path)
    checkpoint = trained(run, state="stateless")
    raw = raw_frames(checkpoint)
    layers = exported_layers(checkpoint)
    assert not any(layer.weight_hh.any() for layer in layers if isinstance(layer, LstmWeights))
    runtime = NumpyEngine(layers)
    in_a_row = runtime.process(raw)
    np.testing.assert_array_equal(runtime.process(raw[::-1])[::-1], in_a_row)
    alone = torch.from_numpy(run.dataset.normalizer.apply(raw))[:, None]
    with torch.inference_mode():
        outputs, _ = checkpoint.best()(alone)
    np.testing.assert_allclose(in_a_row, outputs[:, 0].numpy(), atol=1e-5)
    own = run_checkpoint(run.checkpoint_path("best"), checkpoint.weights_hash(), raw)
    np.testing.assert_allclose(own, in_a_row, atol=1e-5)


def test_an_unused_input_has_no_effect(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    run.dataset.normalizer.scale[5] = 0.0
    layers = exported_layers(trained(run))
    raw = np.zeros((2, GROOVE.input_size), np.float32)
    raw[1, 5] = 1e6
    same, changed = NumpyEngine(layers).process(raw)
    np.testing.assert_array_equal(same, changed)


def test_it_is_the_best_weights_that_are_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation_losses(monkeypatch, [1.0, 0.5, 0.6])
    run = ToyRun(GROOVE, tmp_path)
    result = run(epochs=4)
    assert result.metrics["best_epoch"] == 2
    best_checkpoint = load_checkpoint(run.checkpoint_path("best"))
    assert best_checkpoint.epoch == 2
    (layer, *_), (best, *_) = exported_layers(result.checkpoint), exported_layers(best_checkpoint)
    np.testing.assert_array_equal(layer.weight, best.weight)
    assert not torch.equal(result.checkpoint.network["layers.0.weight"], best_checkpoint.network["layers.0.weight"])


@pytest.mark.parametrize("state", ["stateful", "stateless"])
def test_the_file_passes_every_check_and_records_its_origin(state: str, tmp_path: Path) -> None:
    run = ToyRun(EMOTION, tmp_path)
    checkpoint = trained(run, state=state)
    path = tmp_path / "emotionrecognizer.json"
    export_network(checkpoint, path)
    report = validate_file(path, check_specs=True)
    assert report.failed == []
    metadata = json.loads(path.read_text())["metadata"]
    assert (metadata["model_name"], metadata["state"], metadata["features"]) == (
        "EmotionRecognizer",
        state,
        {"kind": "toy", "neutral_input": checkpoint.mean.tolist()},
    )
    assert metadata["trained_on"] == {
        "dataset": "toy", "synthetic": False, "train_examples": 16, "validation_examples": 8, "dataset_hash": "toy",
            "split_source": "by seed", "tables": [], "judging_examples": 0, "licences": {},
    }  # fmt: skip
    assert metadata["checkpoint"] == checkpoint.weights_hash()
    assert metadata["metrics"]["val_loss"] == checkpoint.metrics["val_loss"]


@pytest.mark.parametrize("spec", MODELS[1:], ids=lambda spec: spec.name)
def test_without_audio_the_networks_that_read_a_code_read_a_neutral_one(spec: Any, tmp_path: Path) -> None:
    """64 zeros would be read as neutral, too, but no emotion has that code."""
    checkpoint = trained(ToyRun(spec, tmp_path))
    path = tmp_path / "file.json"
    export_network(checkpoint, path)
    neutral = json.loads(path.read_text())["metadata"]["features"]["neutral_input"]
    np.testing.assert_allclose(neutral[:64], encode_affect(0.0, 0.0)[: spec.input_size], atol=1e-6)
    assert neutral[64:] == checkpoint.mean.tolist()[64:]


def test_a_checkpoint_of_other_weights_does_not_vouch_for_an_export(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    previous = trained(run).weights_hash()
    trained(run, seed=shifted(1))
    with pytest.raises(CheckpointError, match="other weights"):
        run_checkpoint(run.checkpoint_path("best"), previous, np.zeros((1, GROOVE.input_size), np.float32))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return trained(ToyRun(GROOVE, tmp_path))


def another(checkpoint: Checkpoint, loss: float, **data: Any) -> Checkpoint:
    """The checkpoint of a training with other weights."""
    weights = {name: tensor + 0.01 * loss for name, tensor in checkpoint.best_network.items()}
    metrics = {**checkpoint.metrics, "val_loss": loss}
    return replace(checkpoint, best_network=weights, metrics=metrics, dataset={**checkpoint.dataset, **data})


def loss_of(path: Path) -> float:
    return json.loads(path.read_text())["metadata"]["metrics"]["val_loss"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out/groovepredictor.json"


def test_a_first_export_and_the_same_weights_again_replace_nothing(checkpoint: Checkpoint, path: Path) -> None:
    assert replace_export(checkpoint, path) == replace_export(checkpoint, path, keep_best=True) == Replacement(True)
    assert not previous_of(path).exists()


@pytest.mark.parametrize(("loss", "reported"), [(0.3, ""), (0.5, "WORSE")])
def test_another_training_is_replaced_and_kept(checkpoint: Checkpoint, path: Path, loss: float, reported: str) -> None:
    replace_export(another(checkpoint, 0.4), path)
    text = replace_export(another(checkpoint, loss), path).text
    assert f"its loss 0.4, the new one's {loss:g}" in text
    assert "groovepredictor.previous.json" in text
    assert ("WORSE" in text) == bool(reported)
    assert (loss_of(path), loss_of(previous_of(path))) == (loss, 0.4)


@pytest.mark.parametrize(("loss", "kept"), [(0.3, 0.3), (0.5, 0.4)])
def test_the_better_one_is_kept_on_request(checkpoint: Checkpoint, path: Path, loss: float, kept: float) -> None:
    replace_export(another(checkpoint, 0.4), path)
    best = path.parent / "checkpoints/groovepredictor_best.pt"
    best.parent.mkdir()
    best.write_bytes(b"of the new training")
    replacement = replace_export(another(checkpoint, loss), path, keep_best=True)
    assert replacement.written == (kept == loss)
    text = replacement.text
    assert loss_of(path) == kept
    assert text.startswith("groovepredictor.json is kept") == (kept != loss) == (not best.exists())


def test_losses_on_other_examples_cannot_be_compared(checkpoint: Checkpoint, path: Path) -> None:
    replace_export(another(checkpoint, 0.4), path)
    text = replace_export(another(checkpoint, 0.5, fingerprint="other"), path, keep_best=True).text
    assert "cannot be compared" in text
    assert loss_of(path) == 0.5


def test_real_data_is_better_than_generated_data(checkpoint: Checkpoint, path: Path) -> None:
    generated = another(checkpoint, 0.1, synthetic=True, fingerprint="generated")
    real = another(checkpoint, 0.5, synthetic=False, fingerprint="real")
    replace_export(generated, path)
    assert "the new one on real" in replace_export(real, path, keep_best=True).text
    kept = replace_export(generated, path, keep_best=True).text
    assert "is kept: trained on real data, the new one on generated" in kept
    assert loss_of(path) == 0.5


def test_a_damaged_export_is_kept_as_it_is(checkpoint: Checkpoint, path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{")
    assert "cannot be read" in replace_export(checkpoint, path, keep_best=True).text
    assert previous_of(path).read_text() == "{"


def test_former_exports_are_left_out_beside_the_present_ones() -> None:
    paths = [Path("a.json"), Path("a.previous.json"), Path("b.previous.json")]
    assert without_previous(paths) == [paths[0], paths[2]]


def test_licenses_without_commercial_use_are_recognized() -> None:
    refused = ["CC BY-NC 4.0", "treat as non-commercial", "for research only", "Noncommercial"]
    assert all(map(is_non_commercial, refused))
    assert not any(map(is_non_commercial, ["CC BY 4.0", "MIT", "CC0", "that of its source"]))


@pytest.mark.parametrize(
    "metadata", [None, [], {"trained_on": [], "metrics": 3}, {"trained_on": {"licences": {"a": 1}}}]
)
def test_odd_metadata_are_not_recorded(metadata: object) -> None:
    reported = provenance_of(metadata)
    assert (reported.synthetic, dict(reported.licenses), reported.val_loss) == (None, {}, None)
