"""The help of all commands, and the options that several share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import typer
from typer.main import get_command

import kelly_tui.cli
from kelly_core.cli.app import COMMANDS, _load, app
from kelly_core.cli.help import use_help_classes
from kelly_core.cli.options import selected_models
from kelly_core.errors import ConfigError
from kelly_core.spec import MODELS
from tests.cli.conftest import CommandRunner
from tools import check_words

SETTING_COMMANDS = ("train", "sweep")
WITH_EXAMPLES = [
    *(("train",), ("validate",), ("export",), ("generate",), ("bench",), ("report",), ("datasets",), ("sweep",)),
    *(("runs", "list"), ("runs", "resume"), ("runs", "compare"), ("compare",)),
]


def commands(name: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield a command and its subcommands, each with the words that call it."""
    command = _load(name)
    yield (name,), command
    for sub, inner in getattr(command, "commands", {}).items():
        yield (name, sub), inner


def params(command: Any) -> list[Any]:
    """Return the arguments and options of a command as its help shows them."""
    return list(command.get_params(typer.Context(command)))


def kelly_tui_command() -> Any:
    """Return the command of the screens."""
    screens = typer.Typer()
    screens.command()(kelly_tui.cli.tui)
    use_help_classes(screens)
    return get_command(screens)


def check_page(page: str) -> None:
    """Assert that a page of help fits 80 columns and shows flags without a type."""
    assert max(map(len, page.splitlines())) <= 80
    assert "<bool>" not in page
    assert "…" not in page, "a name or a word is cut short"
    # A line of prose that is broken by the docstring, and again by the terminal, ends far from the edge.
    prose = [
        line for line in page.partition("╭")[0].splitlines()[2:] if not line.startswith((" $", " Usage", " Examples"))
    ]
    broken = [line for line, after in pairwise(prose) if after.strip() and len(line.strip()) < 50]
    assert not [line for line in broken if line.strip()]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_and_the_page_fits_80_columns(
    name: str, run: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for words, command in commands(name):
        assert all(param.help for param in command.params), words
        texts = [command.help, *(param.help for param in command.params)]
        assert not [text for text in texts for phrase, _ in check_words._PATTERNS if phrase.search(text)], words
        shown = run(*words, "--help")
        assert shown.code == 0, words
        check_page(shown.out)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_screens_have_the_same_kind_of_help(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["kelly-tui", option])
    with pytest.raises(SystemExit) as ended:
        kelly_tui.cli.main()
    assert ended.value.code == 0
    page = capsys.readouterr().out
    check_page(page)
    assert "$ kelly-tui --demo" in page


@pytest.mark.parametrize("name", [*COMMANDS, "kelly-tui"])
def test_every_option_is_in_a_panel_and_states_its_default(name: str) -> None:
    for words, command in commands(name) if name in COMMANDS else [((name,), kelly_tui_command())]:
        for param in params(command):
            if param.param_type_name == "argument":
                continue
            assert param.rich_help_panel, (words, param.name)
            if not (param.is_flag or param.required):
                assert any(word in param.help for word in ("default", "empty = ")), (words, param.help)


@pytest.mark.parametrize("words", WITH_EXAMPLES)
def test_examples_are_lines_of_their_own_and_name_real_options(
    words: tuple[str, ...], run: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in run(*words, "--help").out.splitlines()]
    examples = lines[lines.index("Examples:") + 1 :]
    examples = examples[: examples.index("")]
    assert len(examples) >= 1
    for example in examples:
        prompt, program, name, *rest = example.split()
        assert (prompt, program) == ("$", "kelly-core")
        shown = [param for _, command in commands(name) for param in params(command)]
        known = {option for param in shown for option in (*param.opts, *param.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= known, example


def test_the_list_of_commands_shows_the_first_paragraph_of_each_help() -> None:
    assert {name: _load(name).help.partition("\n\n")[0] for name in COMMANDS} == COMMANDS


@pytest.mark.parametrize("name", SETTING_COMMANDS)
def test_options_are_grouped_and_state_unit_and_default(name: str, run: CommandRunner) -> None:
    shown = run(name, "--help").out
    for panel in ("Models and data", "Training", "Execution", "Output", "General"):
        assert f"─ {panel} ─" in shown
    assert "Maximum files per corpus (files; 0 = all; default 0)." in shown


def test_the_list_of_commands_shows_flags_without_a_type(run: CommandRunner) -> None:
    assert get_command(app).name == "kelly-core"
    assert "<bool>" not in run("--help").out


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
