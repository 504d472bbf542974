"""The user's cache and state folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from platformdirs.macos import MacOS

from kelly_core.config.loading import load_settings
from kelly_core.io import user_dirs


@pytest.fixture(autouse=True)
def _no_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_environment_names_the_cache_and_state_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/cache")
    monkeypatch.setenv("XDG_STATE_HOME", "/data/state")
    assert load_settings(None, {}, {}).settings.datasets.cache_dir == Path("/data/cache/kelly")
    assert user_dirs.user_state_dir() == Path("/data/state/kelly")


@pytest.mark.parametrize("form", ["cache_dir = ''", "jobs = 1"])
def test_an_empty_or_missing_setting_means_the_users_cache(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/cache")
    Path("config.toml").write_text(f"[datasets]\n{form}\n")
    assert load_settings(None, {}, {}).settings.datasets.cache_dir == Path("/data/cache/kelly")


@pytest.mark.parametrize(("typed", "folder"), [("~/.cache/kelly", "/home/ada/.cache/kelly"), (".", ".")])
def test_an_explicit_setting_wins(typed: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/cache")
    monkeypatch.setenv("HOME", "/home/ada")
    settings = load_settings(None, {}, {"KELLY_DATASETS_CACHE_DIR": typed}).settings
    assert settings.datasets.cache_dir == Path(folder)


def test_macos_has_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert MacOS("kelly").user_cache_path == Path.home() / "Library" / "Caches" / "kelly"
