"""The quality of what was trained: measured once, at the end, and kept wherever the weights are kept."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kelly_core.export.quality_record import QualityRecord
from kelly_core.export.reader import read_export
from kelly_core.spec import model_spec
from kelly_core.training.checkpoint import Checkpoint, load_checkpoint
from kelly_core.training.evaluation import evaluate_export
from kelly_core.training.exporting import export_network
from kelly_core.training.trainer import Trainer
from tests.helpers.toy_training import ToyDataset, ToyRun

EMOTION, GROOVE, HARMONY = (model_spec(name) for name in ("EmotionRecognizer", "GroovePredictor", "HarmonyPredictor"))


@pytest.mark.parametrize("spec", [EMOTION, GROOVE], ids=lambda spec: spec.name)
def test_it_is_of_the_best_weights_and_kept_with_them(spec: Any, tmp_path: Path) -> None:
    run = ToyRun(spec, tmp_path)
    result = run(epochs=5, learning_rate=0.05, save_history=True, save_interval=2)
    assert result.checkpoint is not None
    assert result.quality.metrics["loss"] == pytest.approx(result.metrics["val_loss"], rel=1e-4)
    record = result.quality.to_json()
    for kind in ("best", "latest"):
        assert load_checkpoint(run.checkpoint_path(kind)).quality == record
    assert load_checkpoint(run.checkpoint_path("latest")).epoch == 5
    history = json.loads((tmp_path / "history" / f"{spec.file_stem}_history.json").read_text())
    assert QualityRecord.from_json(history["quality"]) == result.quality
    assert QualityRecord.from_json(run.export().metadata["quality"]) == result.quality


def test_a_resumed_training_measures_the_same(tmp_path: Path) -> None:
    whole = ToyRun(GROOVE, tmp_path / "whole")(epochs=4)
    parts = ToyRun(GROOVE, tmp_path / "parts")
    assert parts(epochs=2).quality is not None
    assert parts(epochs=4, resume=True).quality == whole.quality


def test_a_training_killed_before_it_was_measured_is_measured_at_the_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ToyRun(GROOVE, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_evaluate", lambda *_arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(epochs=2)
    assert load_checkpoint(run.checkpoint_path("best")).quality == {}
    result = run(epochs=2, resume=True)
    assert result.quality == ToyRun(GROOVE, tmp_path / "whole")(epochs=2).quality is not None
    assert load_checkpoint(run.checkpoint_path("best")).quality == result.quality.to_json()


def test_a_stopped_training_is_measured_and_resumes_unchanged(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    stopped = run(epochs=3, stop_after=5)
    assert load_checkpoint(run.checkpoint_path("latest")).quality == stopped.quality.to_json()
    assert run(epochs=3, resume=True).quality == ToyRun(GROOVE, tmp_path / "whole")().quality


def test_a_checkpoint_from_before_quality_was_measured_is_read(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    run(epochs=1)
    path = run.checkpoint_path("latest")
    content = torch.load(path, weights_only=True)
    del content["quality"]
    torch.save(content, path)
    old = load_checkpoint(path)
    assert old.quality == {}
    assert {field.name for field in fields(Checkpoint)} - set(content) == {"quality"}
    export_network(old, tmp_path / "export.json")
    assert "quality" not in read_export(tmp_path / "export.json").metadata


@pytest.mark.parametrize("state", ["stateful", "stateless"])
def test_an_export_is_as_good_as_its_checkpoint(state: str, tmp_path: Path) -> None:
    """It gets raw inputs, so the standardization must be undone; a stateless one forgets every frame."""
    run = ToyRun(EMOTION, tmp_path, ToyDataset(EMOTION, frames=6))
    result = run(epochs=2, state=state)
    found = evaluate_export(run.export(), EMOTION, run.dataset, "validation")
    assert found.verdict == result.quality.verdict
    assert found.notes == result.quality.notes
    for name, value in result.quality.metrics.items():
        assert found.metrics[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_an_input_that_is_switched_off_does_not_matter(tmp_path: Path) -> None:
    dataset = ToyDataset(HARMONY)
    dataset.normalizer.scale[64:] = 0.0
    dataset.inputs[..., 64:] = 0.0
    dataset.noise = 0.0
    run = ToyRun(HARMONY, tmp_path, dataset)
    result = run(epochs=2)
    found = evaluate_export(run.export(), HARMONY, dataset, "validation")
    assert found.metrics["perplexity"] == pytest.approx(result.quality.metrics["perplexity"], rel=1e-4)


def test_other_examples_than_it_was_trained_on_are_reported(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    run(epochs=1)
    export = run.export()
    run.dataset.fingerprint, run.dataset.test = "another", np.arange(8)
    assert "it may have learned some" in evaluate_export(export, GROOVE, run.dataset, "validation").notes[-1]
    assert not any("learned" in note for note in evaluate_export(export, GROOVE, run.dataset, "test").notes)


def test_leaks_are_recorded_in_the_export(tmp_path: Path) -> None:
    class Leaky(ToyDataset):
        def find_duplicates(self) -> list[tuple[int, int]]:
            return [(8, 0), (10, 2)]

    run = ToyRun(GROOVE, tmp_path, Leaky(GROOVE))
    run(epochs=1)
    export = run.export()
    leak = "same content in training and validation: 2 of 4 validation groups (song 0 = song 4, song 1 = song 5)"
    assert export.metadata["quality"]["notes"][-1] == f"the metrics may be too good, {leak}"
    run.dataset.test = np.arange(8)
    assert not any("too good" in note for note in evaluate_export(export, GROOVE, run.dataset, "test").notes)
