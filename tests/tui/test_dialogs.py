"""Dialogs: a new training, and questions with their answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Any

import pytest
from textual.widgets import Input, Static

from kelly_tui.dialogs.new_training import NewTrainingDialog
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.dialogs.runs import RunPicker
from kelly_tui.screens.train import Train
from tests.tui.conftest import TIMEOUT_SECONDS, WIDE, Script, Shown, cells, until


async def test_the_new_training_is_the_command_that_is_shown(shown: Shown) -> None:
    orders = []
    async with shown() as (app, pilot):
        app.start_training = orders.append  # type: ignore[method-assign, assignment]
        await pilot.press("3", "n")
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog))
        await pilot.press("space", "down", "space", "ctrl+y")
        app.screen.query_one("#epochs", Input).value = "x"
        await until(pilot, lambda: app.screen.query_one("#request").has_class("-problem"))
        await pilot.press("ctrl+s")
        assert isinstance(app.screen, NewTrainingDialog)
        app.screen.query_one("#epochs", Input).value = "3"
        await until(pilot, lambda: not app.screen.query_one("#request").has_class("-problem"))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: orders)
    (order,) = orders
    assert order.models == ("HarmonyPredictor", "DynamicsEngine", "GroovePredictor")
    assert order.command == (
        "kelly-core", "train", "--detach", "--model", "HarmonyPredictor", "--model", "DynamicsEngine", "--model",
        "GroovePredictor", "--epochs", "3", "--use-synthetic",
    )  # fmt: skip
    assert order.typed["training.epochs"] == ("--epochs", 3)


async def test_a_trial_estimates_time_and_memory_also_from_an_input_field(
    shown: Shown, asked: list[Sequence[str]]
) -> None:
    rows = {"models": [{"seconds": 100.0, "memory_bytes": 2_000_000}, {"seconds": 25.0, "memory_bytes": 5_000_000}]}
    async with shown("3", "n", script=Script([json.dumps(rows)])) as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog))
        await pilot.press("space", "ctrl+e")
        text = "at most 2:05 for all epochs, 5.0 MB of memory"
        await until(pilot, lambda: str(app.screen.query_one("#estimate", Static).content) == text)
        app.screen.query_one("#epochs", Input).focus()
        await pilot.press("ctrl+e")
        await until(pilot, lambda: len(asked) == 2)
    assert all("--estimate" in command and "--detach" not in command for command in asked)


async def test_digits_choose_the_models_of_a_training(shown: Shown) -> None:
    async with shown("3", "n") as (app, pilot):
        await until(pilot, lambda: isinstance(app.screen, NewTrainingDialog) and app.screen.query("#request"))
        await pilot.press("2", "5", "4", "5")
        words = "train --detach --model MelodyTransformer --model DynamicsEngine"
        await until(pilot, lambda: words in str(app.screen.query_one("#request", Static).content))


@pytest.mark.usefixtures("live_run", "finished_run")
async def test_marks_of_the_dialog_are_toggled_by_keys_and_clicks_and_kept_by_escape(shown: Shown) -> None:
    async with shown(size=WIDE) as (app, pilot):
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


@pytest.mark.parametrize(("key", "answer"), [("y", "delete"), ("n", None), ("escape", None)])
async def test_y_and_n_answer_a_question(shown: Shown, key: str, answer: str | None) -> None:
    answers: list[str | None] = []
    async with shown() as (app, pilot):
        app.push_screen(ConfirmDialog("Delete?", "", [("", "Keep it"), ("delete", "Delete")]), answers.append)
        await until(pilot, lambda: app.screen.query("#delete"))
        await pilot.press(key)
        await until(pilot, lambda: answers == [answer])


async def test_three_harmless_answers_look_so_and_have_no_keys(shown: Shown) -> None:
    async with shown() as (app, pilot):
        app.push_screen(ConfirmDialog("Leave?", "", [("leave", "Leave"), ("epoch", "Stop"), ("", "Cancel")]))
        await until(pilot, lambda: app.screen.query("#leave"))
        assert not app.screen.query(".-error")
        await pilot.press("y", "n")
        assert isinstance(app.screen, ConfirmDialog)


async def test_another_example_ends_the_reading_of_the_one_before(shown: Shown) -> None:
    readers: list[Script] = []

    class Waits(Script):
        def __init__(self, _command: Sequence[str]) -> None:
            super().__init__([])
            self._ended = Event()
            readers.append(self)

        def records(self) -> Iterator[dict[str, Any]]:
            self._ended.wait(TIMEOUT_SECONDS)
            return iter(())

        def cancel(self) -> None:
            super().cancel()
            self._ended.set()

    async with shown("1", "v", script=Waits) as (_, pilot):
        await until(pilot, lambda: len(readers) == 1)
        await pilot.press("n")
        await until(pilot, lambda: [each.cancelled for each in readers] == [True, False])
        await pilot.press("escape")
        await until(pilot, lambda: all(each.cancelled for each in readers))
