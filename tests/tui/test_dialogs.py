"""Dialogs: a new training, and questions with their answers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from textual.widgets import Input, Static

from kelly_tui.dialogs.new_training import NewTrainingDialog
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.dialogs.runs import RunPicker
from kelly_tui.screens.train import Train
from tests.tui.conftest import MakeApp, Script, cells, until


async def test_the_new_training_is_the_command_that_is_shown(make_app: MakeApp) -> None:
    app = make_app()
    orders = []
    app.start_training = orders.append  # type: ignore[method-assign, assignment]
    async with app.run_test() as pilot:
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog))
        await pilot.press("space", "down", "space", "ctrl+y")
        app.screen.query_one("#epochs", Input).value = "x"
        await until(pilot, lambda: app.screen.query_one("#order").has_class("-problem"))
        await pilot.press("ctrl+s")
        assert isinstance(app.screen, NewTrainingDialog)
        app.screen.query_one("#epochs", Input).value = "3"
        await until(pilot, lambda: not app.screen.query_one("#order").has_class("-problem"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: orders)
    (order,) = orders
    assert order.models == ("HarmonyPredictor", "DynamicsEngine", "GroovePredictor")
    assert order.command == (
        "kelly-core", "train", "--detach", "--model", "HarmonyPredictor", "--model", "DynamicsEngine", "--model",
        "GroovePredictor", "--epochs", "3", "--use-synthetic",
    )  # fmt: skip
    assert order.typed["training.epochs"] == ("--epochs", 3)


async def test_a_trial_estimates_time_and_memory(make_app: MakeApp) -> None:
    rows = {"models": [{"seconds": 100.0, "memory_bytes": 2_000_000}, {"seconds": 25.0, "memory_bytes": 5_000_000}]}
    asked: list[Sequence[str]] = []

    def script(command: Sequence[str]) -> Script:
        asked.append(command)
        return Script([json.dumps(rows)])

    app = make_app(script)
    async with app.run_test() as pilot:
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog))
        await pilot.press("space", "ctrl+e")
        text = "at most 2:05 for all epochs, 5.0 MB of memory"
        await until(pilot, lambda: str(app.screen.query_one("#estimate", Static).content) == text)
    (command,) = asked
    assert "--estimate" in command
    assert "--detach" not in command


async def test_estimate_key_works_in_an_input_field(make_app: MakeApp) -> None:
    asked: list[Sequence[str]] = []
    app = make_app(lambda command: (asked.append(command), Script([]))[1])
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog) and app.screen.query("#epochs"))
        app.screen.query_one("#epochs", Input).focus()
        await pilot.press("ctrl+e")
        await until(pilot, lambda: any("--estimate" in command for command in asked))


async def test_digits_choose_the_models_of_a_training(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog) and app.screen.query("#order"))
        await pilot.press("2", "5", "4", "5")
        words = "train --detach --model MelodyTransformer --model DynamicsEngine"
        await until(pilot, lambda: words in str(app.screen.query_one("#order", Static).content))


@pytest.mark.usefixtures("live_run", "finished_run")
async def test_marks_of_the_dialog_are_toggled_by_keys_and_clicks_and_kept_by_escape(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: len(app.run_list.runs) == 2)
        await pilot.press("3", "w")
        await until(pilot, lambda: isinstance(app.screen, RunPicker) and cells(app, "#others"))
        await pilot.press("space")
        await until(pilot, lambda: cells(app, "#others")[0][0] == "[x]")
        await pilot.click("#others", offset=(2, 1))
        await until(pilot, lambda: cells(app, "#others")[0][0] == "[ ]")
        await pilot.press("space", "enter")
        await until(pilot, lambda: app.marked == [app.run_list.runs[0].id])
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, RunPicker) and cells(app, "#others"))
        assert cells(app, "#others")[0][0] == "[x]"
        await pilot.press("space", "escape")
        await until(pilot, lambda: isinstance(app.screen, Train))
        assert app.marked == [app.run_list.runs[0].id]


async def test_only_an_answer_that_cannot_be_undone_looks_dangerous(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.push_screen(ConfirmDialog("Leave?", "", [("leave", "Leave running"), ("", "Cancel")]))
        await until(pilot, lambda: app.screen.query("#leave"))
        assert not app.screen.query(".-error")


@pytest.mark.parametrize(("key", "answer"), [("y", "delete"), ("n", None), ("escape", None)])
async def test_y_and_n_answer_a_question(make_app: MakeApp, key: str, answer: str | None) -> None:
    app, answers = make_app(), list[str | None]()
    async with app.run_test() as pilot:
        app.push_screen(ConfirmDialog("Delete?", "", [("", "Keep it"), ("delete", "Delete")]), answers.append)
        await until(pilot, lambda: app.screen.query("#delete"))
        await pilot.press(key)
        await until(pilot, lambda: answers == [answer])


async def test_y_and_n_have_no_use_beside_three_answers(make_app: MakeApp) -> None:
    app = make_app()
    async with app.run_test() as pilot:
        app.push_screen(ConfirmDialog("Leave?", "", [("leave", "Leave"), ("epoch", "Stop"), ("", "Cancel")]))
        await until(pilot, lambda: app.screen.query("#leave"))
        await pilot.press("y", "n")
        assert isinstance(app.screen, ConfirmDialog)
