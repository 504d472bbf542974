"""Descriptions of settings, and what is made from them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from kelly_core.config import editing
from kelly_core.config.loading import flatten
from kelly_core.config.reference import all_settings, json_schema, markdown_table, setting
from kelly_core.config.schema import Settings
from kelly_core.spec import MODELS
from tools import check_words, make_settings_docs

KEYS = sorted(flatten(Settings().model_dump()))


def test_every_setting_is_described() -> None:
    assert sorted(all_settings()) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_a_description_is_a_phrase_without_banned_words(key: str) -> None:
    info = setting(key)
    assert info.description[:1].isupper()
    assert not info.description.endswith(".")
    assert not [found for found in check_words._PATTERNS if found[0].search(info.help)]


def test_unit_limits_and_default_are_in_the_help() -> None:
    assert setting("training.epochs").help == (
        "Maximum number of passes over the training examples (epochs; at least 1; default 50)."
    )
    assert setting("datasets.max_files").help == "Maximum files per corpus (files; 0 = all; default 0)."
    assert setting("datasets.deam.duration").bounds == "at least 1 and at most 600"
    assert setting("training.validation_split").bounds == "more than 0 and less than 1"
    assert setting("models.DynamicsEngine.epochs").bounds == "at least 1"
    assert setting("training.device").choices == ("auto", "cpu", "cuda", "mps")


def test_the_json_schema_has_a_section_for_each_model_and_every_setting() -> None:
    schema = json_schema()
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert set(schema["properties"]["models"]["properties"]) == {spec.name for spec in MODELS}
    names = {name for section in schema["$defs"].values() for name in section["properties"]}
    assert {key.rsplit(".", 1)[1] for key in KEYS} <= names
    assert schema["$defs"]["TrainingSettings"]["properties"]["epochs"]["minimum"] == 1
    assert "required" not in json.dumps(schema)
    assert str(Path.home()) not in json.dumps(schema)


def test_the_table_names_every_setting() -> None:
    table = markdown_table()
    assert all(f"| `{key.rsplit('.', 1)[1]}` |" in table for key in KEYS)


def test_generated_files_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    # Fails after a change of the schema: run `python tools/make_settings_docs.py`.
    monkeypatch.setattr(sys, "argv", ["make_settings_docs.py", "--check"])
    assert make_settings_docs.main() == 0


def test_a_new_settings_file_names_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    editing.save_values(path, {"training.epochs": 3})
    editing.save_values(path, {"training.epochs": 4})
    text = path.read_text()
    assert re.findall(r"^#:schema .*$", text, re.MULTILINE) == ["#:schema config.schema.json"]
    assert editing.read_values(path) == {"training.epochs": 4}
