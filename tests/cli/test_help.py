"""The help of all commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from kelly_core.cli.app import COMMANDS, _load, app
from tests.cli.conftest import Run
from tools import check_words

SETTING_COMMANDS = ("train", "sweep")


def commands(name: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield a command and its subcommands, each with the words that call it."""
    command = _load(name)
    yield (name,), command
    for sub, inner in getattr(command, "commands", {}).items():
        yield (name, sub), inner


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_and_the_page_fits_80_columns(
    name: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words, command in commands(name):
        assert all(param.help for param in command.params), words
        texts = [command.help, *(param.help for param in command.params)]
        assert not [text for text in texts for phrase, _ in check_words._PATTERNS if phrase.search(text)], words
        shown = run(*words, "--help")
        assert shown.code == 0, words
        assert "<bool>" not in shown.out, words
        assert max(map(len, shown.out.splitlines())) <= 80, words


@pytest.mark.parametrize("name", SETTING_COMMANDS)
def test_options_are_grouped_and_state_unit_and_default(name: str, run: Run) -> None:
    shown = run(name, "--help").out
    for panel in ("Models and data", "Training", "Execution", "Output", "General"):
        assert f"─ {panel} ─" in shown
    assert "Maximum files per corpus (files; 0 = all; default 0)." in shown


def test_the_list_of_commands_shows_flags_without_a_type(run: Run) -> None:
    assert get_command(app).name == "kelly-core"
    assert "<bool>" not in run("--help").out
