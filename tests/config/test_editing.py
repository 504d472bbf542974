"""Saving a setting changes that setting, and nothing else of the file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kelly_core.config.editing import read_values, save_values
from kelly_core.config.loading import load_settings
from kelly_core.errors import ConfigError

CONFIG = (Path(__file__).resolve().parents[2] / "config.toml").read_text()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def test_only_what_changed_changes(config: Path) -> None:
    save_values(config, {"models.EmotionRecognizer.epochs": 7, "models.DynamicsEngine.learning_rate": 0.01})
    before, after = CONFIG.splitlines(), config.read_text().splitlines()
    assert sorted(set(after) - set(before)) == ["epochs = 7", "learning_rate = 0.01"]
    assert [line for line in after if line in before] == before
    models = load_settings(config, environment={}).settings.models
    assert models["EmotionRecognizer"].epochs == 7
    assert models["DynamicsEngine"].learning_rate == 0.01
    assert models["DynamicsEngine"].epochs is None


def test_a_changed_value_keeps_its_comment(config: Path) -> None:
    config.write_text(CONFIG.replace("epochs = 50\n", "epochs = 50  # a short test\n", 1))
    save_values(config, {"training.epochs": 7})
    assert "\nepochs = 7  # a short test\n" in config.read_text()


def test_none_takes_a_setting_out_again(config: Path) -> None:
    save_values(config, {"models.DynamicsEngine.patience": 0})
    save_values(config, {"models.DynamicsEngine.patience": None})
    assert config.read_text() == CONFIG


def test_what_others_wrote_meanwhile_stays(config: Path) -> None:
    config.write_text(CONFIG.replace("seed = 0\n", "seed = 42\n"))
    save_values(config, {"models.DynamicsEngine.epochs": 3})
    assert read_values(config)["training.seed"] == 42


def test_a_missing_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    save_values(path, {"models.DynamicsEngine.epochs": 3})
    assert load_settings(path, environment={}).settings.models["DynamicsEngine"].epochs == 3


def test_a_link_and_the_permissions_survive(config: Path, tmp_path: Path) -> None:
    config.chmod(0o600)
    link = tmp_path / "link.toml"
    link.symlink_to(config)
    save_values(link, {"models.DynamicsEngine.epochs": 3})
    assert link.is_symlink()
    assert read_values(config)["models.DynamicsEngine.epochs"] == 3
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_a_damaged_file_is_left_alone(config: Path) -> None:
    config.write_text("[training\nepochs = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        save_values(config, {"models.DynamicsEngine.epochs": 3})
    assert config.read_text() == "[training\nepochs = "
