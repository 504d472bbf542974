"""The screen Models: settings are validated as typed, and saved without losing other changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.widgets import Input, Label, Select

from kelly_core.config.editing import read_values
from kelly_core.spec import MODELS, model_spec
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.screens.models import Models
from kelly_tui.widgets.settings_form import usable_losses
from tests.tui.conftest import WIDE, Shown, until


async def test_a_setting_is_checked_as_typed_and_saved_with_its_comments(shown: Shown, workplace: Path) -> None:
    async with shown("2", "e", "7", "x", size=WIDE) as (app, pilot):
        screen = app.screen
        assert isinstance(screen, Models)
        await until(pilot, lambda: screen.query_one("#note-epochs").has_class("-problem"))
        await pilot.press("ctrl+s")
        assert "models.EmotionRecognizer.epochs" not in read_values(workplace / "config.toml")
        await pilot.press("backspace")
        await until(pilot, lambda: not screen.query_one("#note-epochs").has_class("-problem"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "epochs = 7" in (workplace / "config.toml").read_text())
        note = str(screen.query_one("#note-epochs", Label).content)
        assert note.startswith("7 · config.toml, line")
        screen.query_one("#field-epochs", Input).value = "1e999 \x1b[31m rm -rf"
        await until(pilot, lambda: screen.query_one("#form-status").has_class("-problem"))
        assert "models.EmotionRecognizer.epochs" in str(screen.query_one("#form-status", Label).content)


async def test_a_setting_changed_in_the_file_meanwhile_asks_before_saving(shown: Shown, workplace: Path) -> None:
    config = workplace / "config.toml"
    async with shown("2", "e", "7", size=WIDE) as (app, pilot):
        await until(pilot, lambda: "1 unsaved" in str(app.screen.query_one("#form-status", Label).content))
        config.write_text(config.read_text().replace("# epochs = 50", "epochs = 99", 1))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        assert read_values(config)["models.EmotionRecognizer.epochs"] == 99
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: read_values(config)["models.EmotionRecognizer.epochs"] == 7)


async def test_an_environment_variable_wins_and_cannot_be_edited(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KELLY_MODELS_EMOTIONRECOGNIZER_EPOCHS", "5")
    async with shown("2", size=WIDE) as (app, _):
        assert app.screen.query_one("#field-epochs", Input).disabled
        assert "KELLY_MODELS" in str(app.screen.query_one("#note-epochs", Label).content)


async def test_quitting_with_unsaved_settings_needs_confirmation(shown: Shown) -> None:
    async with shown("2", "e", "7", "escape", "1", "q", size=WIDE) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("enter")
        assert app.is_running
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("right", "enter")
        await until(pilot, lambda: not app.is_running)


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_only_losses_that_a_model_can_use_are_offered(spec: object) -> None:
    assert model_spec(spec.name).loss in usable_losses(spec)  # type: ignore[attr-defined,arg-type]
    assert len({usable_losses(each) for each in MODELS}) > 1


async def test_a_model_of_the_palette_has_no_unsaved_change(shown: Shown) -> None:
    async with shown(size=WIDE) as (app, pilot):
        app.show_model("GroovePredictor")
        await until(pilot, lambda: app.screen.query("#field-dataset"))
        field = app.screen.query_one("#field-dataset", Select)
        await until(pilot, lambda: field.value == "groove_midi")
        await pilot.pause()
        assert isinstance(app.screen, Models)
        assert field.value == "groove_midi"
        assert not app.screen.unsaved_text
