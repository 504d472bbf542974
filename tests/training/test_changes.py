"""Settings that are changed during a training take effect between two epochs, and a resume repeats them exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from kelly_core.events import EpochDone, Event, SettingsChanged
from kelly_core.spec import model_spec
from kelly_core.training.trainer import Trainer, TrainingResult
from tests.helpers.toy_training import ToyDataset, script_validation_losses, settings

GROOVE = model_spec("GroovePredictor")


class KilledError(Exception):
    """Stands for the end of the process."""


def train(
    output: Path,
    changes: Mapping[int, Mapping[str, float]],
    *,
    killed_after: int = 99,
    resume: bool = False,
    unsaved_rate: float | None = None,
    heard: list[Event] | None = None,
    **options: float,
) -> TrainingResult:
    """Train with changes by the number of complete epochs; "killed" when one more epoch than given is done."""
    waiting = dict(changes)

    def listen(event: Event) -> None:
        if heard is not None:
            heard.append(event)
        if isinstance(event, SettingsChanged) and killed_after < 0:
            raise KilledError
        if isinstance(event, EpochDone) and event.epoch == killed_after:
            raise KilledError

    trainer = Trainer(
        GROOVE,
        ToyDataset(GROOVE),
        settings(GROOVE, **options),
        output,
        listen=listen,
        take_changes=lambda: waiting.pop(trainer.epoch, {}),
    )
    return trainer.fit(resume=resume, unsaved_rate=unsaved_rate)


def assert_same(one: TrainingResult, other: TrainingResult) -> None:
    assert one.checkpoint is not None
    assert other.checkpoint is not None
    for name, tensor in one.checkpoint.network.items():
        assert torch.equal(tensor, other.checkpoint.network[name]), name
    rates = [[row["learning_rate"] for row in each.checkpoint.history] for each in (one, other)]
    assert rates[0] == rates[1]


def test_changes_hold_from_the_next_epoch_on(tmp_path: Path) -> None:
    heard: list[Event] = []
    result = train(tmp_path, {2: {"learning_rate": 0.001}, 3: {"epochs": 4}}, epochs=9, heard=heard)
    assert result.checkpoint is not None
    assert [row["learning_rate"] for row in result.checkpoint.history] == [0.003, 0.003, 0.001, 0.001]
    assert [event for event in heard if isinstance(event, SettingsChanged)] == [
        SettingsChanged(GROOVE.name, 2, 0.001),
        SettingsChanged(GROOVE.name, 3, None, None, 4),
    ]


def test_more_patience_lets_a_training_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation_losses(monkeypatch, [0.5, 0.6])
    assert train(tmp_path / "a", {}, epochs=9, patience=3).epoch == 4
    assert train(tmp_path / "b", {3: {"patience": 5}}, epochs=9, patience=3).epoch == 6


@pytest.mark.parametrize("killed_after", [3, 4])
def test_a_resume_after_a_change_equals_one_in_one_go(tmp_path: Path, killed_after: int) -> None:
    changes = {2: {"learning_rate": 0.001, "epochs": 6.0}}
    whole = train(tmp_path / "whole", changes, epochs=9)
    with pytest.raises(KilledError):
        train(tmp_path / "parts", changes, epochs=9, killed_after=killed_after)
    # The log gives the number of epochs to the resumed training; the checkpoint holds the learning rate.
    assert_same(whole, train(tmp_path / "parts", {}, epochs=6, resume=True))


def test_a_change_that_no_checkpoint_holds_is_repeated(tmp_path: Path) -> None:
    changes = {2: {"learning_rate": 0.001}}
    whole = train(tmp_path / "whole", changes, epochs=5)
    with pytest.raises(KilledError):
        train(tmp_path / "parts", changes, epochs=5, killed_after=-1)
    assert_same(whole, train(tmp_path / "parts", {}, epochs=5, resume=True, unsaved_rate=0.001))
