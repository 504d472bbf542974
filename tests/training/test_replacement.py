"""A training keeps the export that it replaces, and says what it replaces."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kelly_core.export.provenance import is_non_commercial, previous_of, provenance_of, without_previous
from kelly_core.spec import model_spec
from kelly_core.training.checkpoint import Checkpoint
from kelly_core.training.exporting import Replacement, replace_export
from tests.helpers.toy_training import Run

GROOVE = model_spec("GroovePredictor")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    made = Run(GROOVE, tmp_path)(epochs=1).checkpoint
    assert made is not None
    return made


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


def test_losses_on_other_examples_do_not_compare(checkpoint: Checkpoint, path: Path) -> None:
    replace_export(another(checkpoint, 0.4), path)
    text = replace_export(another(checkpoint, 0.5, fingerprint="other"), path, keep_best=True).text
    assert "do not compare" in text
    assert loss_of(path) == 0.5


def test_real_data_is_better_than_generated_data(checkpoint: Checkpoint, path: Path) -> None:
    generated = another(checkpoint, 0.1, synthetic=True, fingerprint="generated")
    real = another(checkpoint, 0.5, synthetic=False, fingerprint="real")
    replace_export(generated, path)
    assert "the new one on real" in replace_export(real, path, keep_best=True).text
    assert (
        "is kept: trained on real data, the new one on generated"
        in replace_export(generated, path, keep_best=True).text
    )
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
    assert all(
        map(is_non_commercial, ["CC BY-NC 4.0", "treat as non-commercial", "for research only", "Noncommercial"])
    )
    assert not any(map(is_non_commercial, ["CC BY 4.0", "MIT", "CC0", "that of its source"]))


@pytest.mark.parametrize(
    "metadata", [None, [], {"trained_on": [], "metrics": 3}, {"trained_on": {"licences": {"a": 1}}}]
)
def test_odd_metadata_are_not_recorded(metadata: object) -> None:
    reported = provenance_of(metadata)
    assert (reported.synthetic, dict(reported.licenses), reported.val_loss) == (None, {}, None)
