"""A loss that diverges, or a person, takes a training back to its best weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kelly_core.arrays import Indices
from kelly_core.data.dataset import Batch
from kelly_core.events import EpochDone, TrainingWarning
from kelly_core.training.checkpoint import load_checkpoint
from kelly_core.training.trainer import MAX_ROLLBACKS, Trainer
from tests.helpers.toy_training import (
    GROOVE,
    STEPS,
    ToyDataset,
    ToyRun,
    assert_same,
    assert_same_training,
    script_validation_losses,
)


class PoisonedDataset(ToyDataset):
    """Gives NaN targets in some of its draws, one an epoch."""

    def __init__(self, poisoned: set[int]) -> None:
        super().__init__(GROOVE)
        self.poisoned, self.draws = poisoned, 0

    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        self.draws += 1
        batch = super().train_batch(indices, rng)
        if self.draws in self.poisoned:
            batch.targets[-1] = np.nan
        return batch


def test_a_loss_that_is_not_a_number_rolls_back_to_the_best_and_learns_half_as_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_validation_losses(monkeypatch, [0.5, 0.6])
    run = ToyRun(GROOVE, tmp_path, PoisonedDataset({3}))
    result = run(epochs=4)
    assert (result.reason, result.epoch) == ("epochs_done", 4)
    (alarm,) = run.events_of(TrainingWarning)
    assert alarm.kind == "rollback"
    assert "epoch 3" in alarm.message
    assert "back to epoch 1" in alarm.message
    assert result.checkpoint.rollbacks == 1
    rates = [row["learning_rate"] for row in result.checkpoint.history]
    # The best epoch was the first, so the second is trained again.
    assert rates == [0.003, 0.0015, 0.0015, 0.0015]
    assert np.isfinite([row["val_loss"] for row in result.checkpoint.history]).all()


def test_three_rollbacks_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation_losses(monkeypatch, [0.5, 0.6])
    run = ToyRun(GROOVE, tmp_path, PoisonedDataset(set(range(3, 100))))
    result = run(epochs=9)
    assert (result.reason, result.epoch) == ("diverged", 1)
    assert [alarm.kind for alarm in run.events_of(TrainingWarning)] == ["rollback"] * 3 + ["diverged"]
    assert_same(result.checkpoint.best_network, ToyRun(GROOVE, tmp_path / "sound")(epochs=2).checkpoint.best_network)
    assert all(torch.isfinite(tensor).all() for tensor in load_checkpoint(run.checkpoint_path("best")).network.values())


def test_a_diverging_loss_rolls_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([1.0, 0.5, 11.0, 0.4])
    monkeypatch.setattr(Trainer, "validate", lambda _self: next(losses))
    run = ToyRun(GROOVE, tmp_path)
    result = run(epochs=3)
    assert [row["val_loss"] for row in result.checkpoint.history] == [1.0, 0.5, 0.4]
    (alarm,) = run.events_of(TrainingWarning)
    assert alarm.kind == "rollback"
    assert "diverged to 11" in alarm.message


def test_a_resumed_training_keeps_its_halved_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation_losses(monkeypatch, [0.5, 0.6])
    run = ToyRun(GROOVE, tmp_path, PoisonedDataset({3}))
    run(epochs=3)
    result = run(epochs=5, resume=True)
    assert [row["learning_rate"] for row in result.checkpoint.history] == [0.003, 0.0015, 0.0015, 0.0015, 0.0015]


def test_a_rollback_by_hand_drops_the_epoch_in_progress_and_halves_the_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script_validation_losses(monkeypatch, [0.5, 0.6])
    run = ToyRun(GROOVE, tmp_path)
    result = run(epochs=4, roll_back_after=[2 * STEPS + 2])
    (alarm,) = run.events_of(TrainingWarning)
    assert (alarm.kind, alarm.message) == ("rollback", "as requested: back to epoch 1 with a learning rate of 0.0015")
    assert result.checkpoint.rollbacks == 0
    assert [row["learning_rate"] for row in result.checkpoint.history] == [0.003, 0.0015, 0.0015, 0.0015]
    assert [event.epoch for event in run.events_of(EpochDone)] == [1, 2, 2, 3, 4]


def test_any_number_of_rollbacks_may_be_asked_for(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    result = run(epochs=2, roll_back_after=range(STEPS + 1, STEPS + 16))
    times = len(run.events_of(TrainingWarning))
    assert (result.reason, result.epoch) == ("epochs_done", 2)
    assert times > MAX_ROLLBACKS
    assert [row["learning_rate"] for row in result.checkpoint.history] == [0.003, 0.003 / 2**times]


def test_a_rollback_in_the_first_epoch_starts_again(tmp_path: Path) -> None:
    run = ToyRun(GROOVE, tmp_path)
    result = run(epochs=1, roll_back_after=[2])
    assert "back to the beginning" in run.events_of(TrainingWarning)[0].message
    assert_same_training(result, ToyRun(GROOVE, tmp_path / "plain")(epochs=1, learning_rate=0.0015))


def test_a_rollback_by_hand_outlives_a_stop_in_the_same_epoch(tmp_path: Path) -> None:
    asked = [2 * STEPS + 2]
    whole = ToyRun(GROOVE, tmp_path / "whole")(epochs=4, roll_back_after=asked)
    run = ToyRun(GROOVE, tmp_path / "parts")
    assert run(epochs=4, roll_back_after=asked, stop_after=2 * STEPS + 4).reason == "stopped"
    assert_same_training(run(epochs=4, resume=True), whole)
