"""Options that several commands share."""

from __future__ import annotations

import pytest

from kelly_core.cli.options import selected_models
from kelly_core.errors import ConfigError
from kelly_core.spec import MODELS


def names(*typed: str) -> list[str]:
    return [spec.name for spec in selected_models(list(typed))]


def test_models_are_selected_by_name_beginning_and_commas() -> None:
    assert names("GROOVEpredictor") == ["GroovePredictor"]
    assert names("harmony,melody", "h") == ["HarmonyPredictor", "MelodyTransformer"]
    assert selected_models(None) == MODELS


@pytest.mark.parametrize(("typed", "guess"), [("harmoni", "HarmonyPredictor"), ("groovepredicter", "GroovePredictor")])
def test_a_misspelled_model_is_refused_with_a_guess(typed: str, guess: str) -> None:
    with pytest.raises(ConfigError, match=f"no model is called '{typed}'.*Did you mean {guess}"):
        names(typed)
