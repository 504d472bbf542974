"""A resumed training equals an uninterrupted one, and only the same training is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kelly_core.errors import CheckpointError
from kelly_core.events import EpochDone, ModelStarted, TrainingWarning
from kelly_core.training.trainer import Trainer
from tests.helpers.toy_training import (
    EMOTION,
    GROOVE,
    MELODY,
    STEPS,
    ToyDataset,
    ToyRun,
    assert_same_training,
    script_validation_losses,
)
from tests.seeds import shifted


@pytest.mark.parametrize("spec", [EMOTION, MELODY, GROOVE], ids=lambda spec: spec.name)
def test_a_resumed_training_equals_an_uninterrupted_one(spec: Any, tmp_path: Path) -> None:
    toy = ToyDataset(spec, frames=6 if spec.recurrent else 1)
    toy.averages_weights = spec is EMOTION
    whole = ToyRun(spec, tmp_path / "whole", toy)(epochs=4)
    parts = ToyRun(spec, tmp_path / "parts", toy)
    parts(epochs=2)
    resumed = parts(epochs=4, resume=True)
    assert [event.first_epoch for event in parts.events_of(ModelStarted)] == [1, 3]
    assert [event.epoch for event in parts.events_of(EpochDone)] == [1, 2, 3, 4]
    assert_same_training(whole, resumed)


def test_more_epochs_continue_after_early_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation_losses(monkeypatch, [0.5, 0.6])
    run = ToyRun(GROOVE, tmp_path)
    stopped = run(epochs=20, patience=2)
    assert (stopped.reason, stopped.epoch) == ("early_stopping", 3)
    assert run(epochs=20, patience=2, resume=True).epoch == 3
    assert run(epochs=40, patience=2, resume=True).epoch == 5


def test_resuming_a_finished_training_does_nothing(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    done = run(epochs=2)
    again = run(epochs=2, resume=True)
    assert (again.reason, len(run.events_of(EpochDone))) == ("epochs_done", 2)
    assert_same_training(done, again)


def test_warnings_about_losses_are_the_same_after_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [1.0, *(7 * [0.5]), *(0.5 + 0.02 * epoch for epoch in range(12)), 0.4, 0.3]
    train_epoch = Trainer.train_epoch

    def falling(trainer: Trainer) -> float | None:
        """The validation loss is prescribed; the weights are those of the training."""
        return None if train_epoch(trainer) is None else 0.9**trainer.epoch

    monkeypatch.setattr(Trainer, "train_epoch", falling)
    monkeypatch.setattr(Trainer, "validate", lambda trainer: losses[trainer.epoch])
    reported: list[list[tuple[str, str]]] = []
    results = []
    for name, stops in (("whole", []), ("parts", [5, 9, 16])):
        run = ToyRun(GROOVE, tmp_path / name)
        for epoch in stops:
            run(epochs=len(losses), resume=True, stop_after=(epoch - len(run.events_of(EpochDone))) * STEPS + 2)
        results.append(run(epochs=len(losses), resume=True))
        reported.append(
            [
                (event.kind, event.message)
                for event in run.events_of(TrainingWarning)
                if event.kind != "nothing_to_resume"
            ]
        )
        concerns = [event.concern for event in run.events_of(EpochDone)]
    assert [kind for kind, _ in reported[0]] == ["plateau", "overfitting"]
    assert reported[0] == reported[1]
    assert concerns[10] == ""
    assert concerns[11:13] == ["plateau"] * 2
    assert concerns[-2:] == ["", ""]
    assert_same_training(*results)


def test_nothing_to_resume_is_reported_and_training_starts(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path / "fresh")
    result = run(resume=True)
    (alarm,) = run.events_of(TrainingWarning)
    assert alarm.kind == "nothing_to_resume"
    assert_same_training(result, ToyRun(GROOVE, tmp_path / "plain")())


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 8), ("learning_rate", 0.1), ("state", "stateless"), ("gradient_clip", 9.0), ("seed", shifted(7))],
)
def test_another_training_is_not_resumed(name: str, value: Any, tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    run(epochs=1)
    before = run.checkpoint_path("latest").read_bytes()
    with pytest.raises(CheckpointError, match=name):
        run(epochs=2, resume=True, **{name: value})
    assert run.checkpoint_path("latest").read_bytes() == before


def test_settings_that_do_not_change_results_may_change(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    run(epochs=1)
    assert run(epochs=2, resume=True, patience=9, threads=2, save_best=False, save_interval=1).epoch == 2


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        pytest.param({"fingerprint": "another"}, "other examples", id="examples"),
        # An earlier version chose the epoch on all validation examples; losses on half of them do not compare.
        pytest.param({"judging": np.arange(2)}, "chose its best epoch on other validation examples", id="judging"),
    ],
)
def test_other_examples_are_not_resumed(changes: dict[str, Any], reported: str, tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    run(epochs=1)
    before = run.checkpoint_path("latest").read_bytes()
    vars(run.dataset).update(changes)
    with pytest.raises(CheckpointError, match=reported):
        run(epochs=2, resume=True)
    assert run.checkpoint_path("latest").read_bytes() == before
    for name in changes:
        delattr(run.dataset, name)
    assert run(epochs=2, resume=True).epoch == 2


def test_a_checkpoint_of_another_model_is_not_resumed(tmp_path: Path) -> None:
    groove, emotion = ToyRun(GROOVE, tmp_path), ToyRun(EMOTION, tmp_path)
    groove(epochs=1)
    groove.checkpoint_path("latest").rename(emotion.checkpoint_path("latest"))
    with pytest.raises(CheckpointError, match=r"GroovePredictor.*EmotionRecognizer"):
        emotion(epochs=2, resume=True)
