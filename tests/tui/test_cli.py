"""Start options of kelly-tui."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from kelly_tui.app import KellyApp
from kelly_tui.cli import tui
from kelly_tui.dialogs.new_training import TrainingRequest
from kelly_tui.widgets.bars import CommandLine
from tests.tui.conftest import WIDE, MakeApp, beating, make_run, trained, until


@pytest.mark.parametrize(("arguments", "words"), [(["--theme", "pink"], "kelly-dark"), ([], "needs a terminal")])
def test_what_cannot_start_is_refused_with_code_2(arguments: list[str], words: str) -> None:
    program = Typer()
    program.command()(tui)
    result = CliRunner().invoke(program, arguments)
    assert result.exit_code == 2
    assert words in result.output


async def test_the_commands_of_a_demo_find_its_runs(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ordered: list[TrainingRequest] = []
    monkeypatch.setattr(KellyApp, "start_training", lambda _app, order: ordered.append(order))
    (tmp_path / "of a person").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "of a person"))
    app = make_app(demo=True)
    runs = app.session.settings.runs.dir
    assigned = f"KELLY_RUNS_DIR='{runs}'"
    reported = trained("EmotionRecognizer", 4, of=9)
    lock = beating(make_run(runs, "2026-09-21-1000-calm-melody", ["EmotionRecognizer"], reported))
    async with app.run_test(size=WIDE) as pilot:
        await until(pilot, lambda: "attach" in app.screen.query_one(CommandLine).command)
        command = app.screen.query_one(CommandLine).command
        assert command == f"{assigned} kelly-core runs attach 2026-09-21-1000-calm-melody"
        await pilot.press("q", "enter")
        await until(pilot, lambda: not app.is_running)
    lock.release()
    # Wrapped at the width of the terminal.
    printed = "".join(capsys.readouterr().err.split())
    assert "".join(f"{assigned} kelly-core runs attach calm-melody".split()) in printed
    assert ordered[0].command[-3:] == ("--use-synthetic", "--output", str(app.session.settings.output.dir))
