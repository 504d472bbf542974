"""Options that several commands share."""

from __future__ import annotations

import sys

import pytest

import kelly_tui.cli
from kelly_core.cli.options import selected_models
from kelly_core.errors import ConfigError, did_you_mean
from kelly_core.spec import MODELS


def names(*typed: str) -> list[str]:
    return [spec.name for spec in selected_models(list(typed))]


def test_models_are_selected_by_name_beginning_and_commas() -> None:
    assert names("GROOVEpredictor") == ["GroovePredictor"]
    assert names("harmony,melody", "h") == ["HarmonyPredictor", "MelodyTransformer"]
    assert selected_models(None) == MODELS


@pytest.mark.parametrize(
    ("typed", "guess"),
    [
        ("harmoni", "HarmonyPredictor"),
        ("groovepredicter", "GroovePredictor"),
        ("emotions", "EmotionRecognizer"),
        ("grooves", "GroovePredictor"),
    ],
)
def test_a_misspelled_model_is_refused_with_a_guess(typed: str, guess: str) -> None:
    with pytest.raises(ConfigError, match=f"no model is called '{typed}'.*Did you mean {guess}"):
        names(typed)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("training.epoch", "Did you mean training.epochs? Look."),
        ("Epochs", "Did you mean training.epochs? Look."),
        ("cadance", "Did you mean 2026-11-22-1431-brave-cadence? Look."),
        ("xyz", "Look."),
    ],
)
def test_a_name_that_is_not_known_gets_the_closest_one_as_a_hint(name: str, hint: str) -> None:
    known = ["training.epochs", "training.batch_size", "2026-11-22-1431-brave-cadence"]
    assert did_you_mean(name, known, "Look.") == hint


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_kelly_tui_shows_its_help(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kelly-tui", option])
    with pytest.raises(SystemExit) as ended:
        kelly_tui.cli.main()
    assert ended.value.code == 0
    assert "--read-only" in capsys.readouterr().out
