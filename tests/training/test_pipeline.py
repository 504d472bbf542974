"""Reports of a training about its data and its result, and settings that change between two epochs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kelly_core.config.loading import load_settings
from kelly_core.config.schema import Settings
from kelly_core.events import EpochDone, Event, SettingsChanged, TrainingWarning
from kelly_core.spec import MODELS, model_spec
from kelly_core.training.pipeline import train_model
from kelly_core.training.trainer import Requests, Trainer, TrainingResult
from tests.helpers import tiny
from tests.helpers.toy_training import ToyDataset, assert_same_training, script_validation_losses, settings
from tests.seeds import shifted

SPECS = {spec.name: spec for spec in MODELS}


@pytest.fixture
def alarms(tmp_path: Path):
    """Train one model for an epoch or so on the corpora in ``data`` below the test's folder; return the warnings."""

    def train(model: str, **options: Any) -> list[tuple[str, str]]:
        values = {
            "datasets.dir": str(tmp_path / "data"),
            "datasets.cache_dir": str(tmp_path / "cache"),
            "output.dir": str(tmp_path / "out"),
            "output.plots": False,
            "training.epochs": 1,
            "training.seed": shifted(0),
        } | {key.replace("__", "."): value for key, value in options.items()}
        settings: Settings = load_settings(None, {key: ("test", value) for key, value in values.items()}, {}).settings
        events: list[Event] = []
        outcome = train_model(settings, SPECS[model], listen=events.append)
        assert outcome.export is not None, outcome.error
        return [(event.kind, event.message) for event in events if isinstance(event, TrainingWarning)]

    return train


def test_an_additional_corpus_alone_causes_a_warning(alarms, tmp_path: Path) -> None:
    tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
    tiny.emopia_split(tmp_path / "data" / "emotion_midi" / "EMOPIA_1.0")
    ((kind, message),) = alarms("DynamicsEngine")
    assert kind == "missing"
    assert "maestro is not in" in message
    assert "on emotion_midi ALONE" in message


def test_two_corpora_cause_no_warning(alarms, tmp_path: Path) -> None:
    tiny.maestro(tmp_path / "data" / "maestro")
    tiny.emotion_midi(tmp_path / "data" / "emotion_midi")
    tiny.emopia_split(tmp_path / "data" / "emotion_midi" / "EMOPIA_1.0")
    assert alarms("DynamicsEngine", datasets__emotion_midi__weight=1.0) == []


def test_a_missing_table_of_official_splits_is_a_warning_and_the_export_names_the_split(alarms, tmp_path: Path) -> None:
    root = tiny.maestro(tmp_path / "data" / "maestro" / "maestro-v3.0.0")

    def trained_on() -> dict[str, Any]:
        entry: dict[str, Any] = json.loads((tmp_path / "out" / "dynamicsengine.json").read_text())["metadata"][
            "trained_on"
        ]
        return entry

    assert alarms("DynamicsEngine") == []
    assert (trained_on()["split_source"], trained_on()["tables"]) == ("official", ["maestro-v3.0.0/maestro-v3.0.0.csv"])
    (root / "maestro-v3.0.0.csv").unlink()
    ((kind, message), *_) = alarms("DynamicsEngine")
    assert kind == "split"
    assert "maestro: no table of official splits" in message
    assert (trained_on()["split_source"], trained_on()["tables"]) == ("by seed", [])


def test_a_song_in_both_splits_is_reported_before_training(alarms, tmp_path: Path) -> None:
    progression = ["C", "Am", "F", "G7", "C", "Em", "F", "G"] * 2
    (tmp_path / "data" / "chords").mkdir(parents=True)
    (tmp_path / "data" / "chords" / "chord_progressions.json").write_text(json.dumps([progression] * 12))
    ((kind, message), *_) = alarms("HarmonyPredictor")
    assert kind == "leak"
    assert "same content in training and validation" in message


@pytest.fixture
def easy_chords(tmp_path: Path) -> Path:
    """Chords that follow from the song's label, unlike in real music: 24 songs of C, 24 of A minor."""
    songs = [
        {"chords": ["C", "F"] * 4 if number % 2 else ["Am", "Dm"] * 4, "source": f"song {number}",
         "emotion": {"valence": 0.5 if number % 2 else -0.5, "arousal": 0.0}}
        for number in range(48)
    ]  # fmt: skip
    folder = tmp_path / "data" / "chords"
    folder.mkdir(parents=True)
    (folder / "chord_progressions.json").write_text(json.dumps(songs))
    return folder


@pytest.mark.usefixtures("easy_chords")
def test_an_implausible_gain_is_reported_after_training(alarms) -> None:
    message = dict(alarms("HarmonyPredictor", training__epochs=30))["leak"]
    assert "implausible gain" in message
    assert "MADE_BY_RULES.md" in message


def test_a_corpus_made_by_rules_may_be_easy(alarms, easy_chords: Path) -> None:
    (easy_chords / "MADE_BY_RULES.md").write_text("C is happy, A minor is not.")
    messages = dict(alarms("HarmonyPredictor", training__epochs=30))
    assert messages["made_by_rules"] == "chords is made by rules: the metrics do not apply to real music"
    assert not any("implausible gain" in message for message in messages.values())


def test_a_leak_within_a_corpus_made_by_rules_is_reported(alarms, easy_chords: Path) -> None:
    progression = ["C", "Am", "F", "G"] * 8
    (easy_chords / "chord_progressions.json").write_text(json.dumps([progression] * 12))
    (easy_chords / "MADE_BY_RULES.md").touch()
    kinds = [kind for kind, _ in alarms("HarmonyPredictor")]
    assert kinds[:2] == ["made_by_rules", "leak"]


def test_generated_data_may_be_learned_perfectly(alarms) -> None:
    kinds = [kind for kind, _ in alarms("DynamicsEngine", training__epochs=2, datasets__use_synthetic=True)]
    assert kinds == ["synthetic"]


GROOVE = model_spec("GroovePredictor")


class KilledError(Exception):
    """Simulates the end of the process."""


def train(
    output: Path,
    changes: Mapping[int, Mapping[str, float]],
    *,
    killed_after: int = 99,
    roll_back_after: int = 99,
    resume: bool = False,
    unsaved_rate: float | None = None,
    events: list[Event] | None = None,
    **options: float,
) -> TrainingResult:
    """Train with changes by the number of complete epochs; "killed" when one more epoch than given is done.

    In the first step after ``roll_back_after`` complete epochs a rollback is requested, once.
    """
    waiting, rollbacks = dict(changes), {roll_back_after}

    def should_roll_back(_model: str) -> bool:
        requested = trainer.epoch in rollbacks
        rollbacks.discard(trainer.epoch)
        return requested

    def listen(event: Event) -> None:
        if events is not None:
            events.append(event)
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
        requests=Requests(
            should_roll_back=should_roll_back, take_changes=lambda _model: waiting.pop(trainer.epoch, {})
        ),
    )
    return trainer.fit(resume=resume, unsaved_rate=unsaved_rate)


def test_changes_hold_from_the_next_epoch_on(tmp_path: Path) -> None:
    events: list[Event] = []
    result = train(tmp_path, {2: {"learning_rate": 0.001}, 3: {"epochs": 4}}, epochs=9, events=events)
    assert [row["learning_rate"] for row in result.checkpoint.history] == [0.003, 0.003, 0.001, 0.001]
    assert [event for event in events if isinstance(event, SettingsChanged)] == [
        SettingsChanged(GROOVE.name, 2, 0.001),
        SettingsChanged(GROOVE.name, 3, None, None, 4),
    ]


def test_more_patience_continues_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation_losses(monkeypatch, [0.5, 0.6])
    assert train(tmp_path / "a", {}, epochs=9, patience=3).epoch == 4
    assert train(tmp_path / "b", {3: {"patience": 5}}, epochs=9, patience=3).epoch == 6


@pytest.mark.parametrize("killed_after", [3, 4])
def test_a_resume_after_a_change_equals_an_uninterrupted_training(tmp_path: Path, killed_after: int) -> None:
    changes = {2: {"learning_rate": 0.001, "epochs": 6.0}}
    whole = train(tmp_path / "whole", changes, epochs=9)
    with pytest.raises(KilledError):
        train(tmp_path / "parts", changes, epochs=9, killed_after=killed_after)
    # The log gives the number of epochs to the resumed training; the checkpoint contains the learning rate.
    assert_same_training(whole, train(tmp_path / "parts", {}, epochs=6, resume=True))


def test_a_rollback_undoes_a_larger_learning_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script_validation_losses(monkeypatch, [0.5, 0.6])
    changes = {2: {"learning_rate": 0.1}}
    whole = train(tmp_path / "whole", changes, epochs=4, roll_back_after=2)
    # Back to the first epoch, the best, and on at its rate.
    assert [row["learning_rate"] for row in whole.checkpoint.history] == [0.003] * 4
    with pytest.raises(KilledError):
        train(tmp_path / "parts", changes, epochs=4, roll_back_after=2, killed_after=3)
    assert_same_training(whole, train(tmp_path / "parts", {}, epochs=4, resume=True))


def test_a_change_that_no_checkpoint_holds_is_repeated(tmp_path: Path) -> None:
    changes = {2: {"learning_rate": 0.001}}
    whole = train(tmp_path / "whole", changes, epochs=5)
    with pytest.raises(KilledError):
        train(tmp_path / "parts", changes, epochs=5, killed_after=-1)
    assert_same_training(whole, train(tmp_path / "parts", {}, epochs=5, resume=True, unsaved_rate=0.001))
