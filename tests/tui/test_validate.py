"""The screen Validate: checks of exports, and their comparison."""

from __future__ import annotations

import json
import os
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path

from kelly_core.export.quality_record import QualityRecord
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui.screens.validate import Validate, exports_in
from kelly_tui.widgets.bars import CommandLine
from tests.helpers.rendered import shows
from tests.tui.conftest import (
    BEGAN,
    WIDE,
    Script,
    Shown,
    cells,
    details,
    make_run,
    save_benchmark,
    until,
    write_exports,
)


async def test_two_marked_exports_are_compared(shown: Shown, workplace: Path, asked: list[Sequence[str]]) -> None:
    write_exports(workplace, "a", "b")

    def script(command: Sequence[str]) -> Script:
        return Script(["weights differ"] if "compare" in command else [])

    async with shown("4", size=WIDE, script=script) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#exports")) == 2)
        await pilot.press("space", "down", "space")
        await until(pilot, lambda: details(app, "#checks") == "weights differ")
        assert app.screen.query_one(CommandLine).command == "kelly-core compare models/a.json models/b.json"
        assert [*asked[-1]][-2:] == ["models/a.json", "models/b.json"]


async def test_exports_that_cannot_be_compared_lead_to_those_of_other_folders(shown: Shown, workplace: Path) -> None:
    write_exports(workplace, "a", "b")

    def script(command: Sequence[str]) -> Script:
        return Script(["error: a contains X"], "error") if "compare" in command else Script([])

    async with shown("4", size=WIDE, script=script) as (app, pilot):
        await until(pilot, lambda: len(cells(app, "#exports")) == 2)
        await pilot.press("space", "down", "space")
        text = "error: a contains X\n\nMark two exports of one model"
        await until(pilot, lambda: details(app, "#checks").startswith(text))


async def test_validation_shows_what_failed(shown: Shown, workplace: Path) -> None:
    write_exports(workplace, "odd")
    facts = {"file": "models/odd.json", "layout": "rtneural", "input_size": 1, "output_size": 2, "parameters": 3,
             "metadata": {"state": "stateful", "metrics": {"val_loss": 0.5, "baseline_loss": 1.0}}}  # fmt: skip
    quality = QualityRecord("validation", "trained", ("loss",), 64, 64, {}, epsilon=0.012, epsilon_limit=0.05)
    facts["metadata"]["quality"] = quality.to_json()  # type: ignore[index]
    checks = [{"name": name, "passed": name == "readable", "detail": "so"} for name in ("readable", "parity")]

    def script(command: Sequence[str]) -> Script:
        report = {"passed": False, "files": [{"file": "models/odd.json", "checks": checks}]}
        return Script([json.dumps(report, indent=1) if "validate" in command else json.dumps(facts)])

    async with shown("4", size=WIDE, script=script) as (app, pilot):
        await until(pilot, lambda: cells(app, "#exports") and cells(app, "#exports")[0][4] == "3")
        assert cells(app, "#exports")[0][2] == "not checked"
        assert quality.summary() in details(app, "#checks")
        assert cells(app, "#exports")[0][6:9] == ["stateful", "0.5000", "+50%"]
        await pilot.press("v")
        await until(pilot, lambda: cells(app, "#exports")[0][2:4] == ["1 failed", "failed"])
        assert "✗ parity" in details(app, "#checks")
        await pilot.press("f")
        assert "readable" not in details(app, "#checks")


def test_files_that_are_not_exports_are_skipped(tmp_path: Path) -> None:
    for name, text in {
        "sweep.json": '{"points": []}', "list.json": "[1]", "other.json": '{"layers": [], "in_shape": []}',
        "emotionrecognizer.json": '{"damaged": 1}', "torn.json": "",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    assert [file.path.stem for file in exports_in(tmp_path)[0]] == ["emotionrecognizer", "other", "torn"]


async def test_exports_of_two_trainings_are_compared(shown: Shown, finished_run: RunDirectory, workplace: Path) -> None:
    exports = [workplace / folder / "models" / "groovepredictor.json" for folder in (".", "elsewhere")]
    for export in exports:
        export.parent.mkdir(parents=True)
        export.write_text("{}")
    (workplace / "elsewhere" / "models" / "dynamicsengine.json").write_text("{}")
    (workplace / "other" / "models").mkdir(parents=True)
    (workplace / "other" / "models" / "dynamicsengine.json").write_text("{}")
    run = make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", ["DynamicsEngine"], [], BEGAN + 1)
    run.manifest.write_text(run.manifest.read_text().replace("/home/ada/kelly", str(workplace / "other")))
    manifest = finished_run.manifest.read_text().replace("/home/ada/kelly", str(workplace / "elsewhere"))
    finished_run.manifest.write_text(manifest)
    async with shown(size=WIDE) as (app, pilot):
        await until(pilot, lambda: app.run_list.runs)
        await pilot.press("4")
        await until(pilot, lambda: cells(app, "#exports"))
        await pilot.press("space", "o")
        await until(pilot, lambda: "elsewhere" in str(app.screen.query_one("#exports").border_title))
        await pilot.press("space")
        other = str(workplace / "elsewhere/models/groovepredictor.json")
        command = shlex.join(["kelly-core", "compare", "models/groovepredictor.json", other])
        await until(pilot, lambda: app.screen.query_one(CommandLine).command == command)


async def test_exports_that_were_timed_meanwhile_show_it_after_a_rescan(shown: Shown, workplace: Path) -> None:
    write_exports(workplace, "emotionrecognizer")
    async with shown("4", size=WIDE) as (app, pilot):
        await until(pilot, lambda: cells(app, "#exports"))
        save_benchmark()
        await pilot.press("r")
        await until(pilot, lambda: cells(app, "#exports")[0][-1] == "5,000")


async def test_a_check_that_ends_while_another_folder_is_shown_is_kept(shown: Shown, workplace: Path) -> None:
    write_exports(workplace, "a")
    other = workplace / "elsewhere" / "b.json"
    other.parent.mkdir()
    other.write_text("{}")
    checks = [{"name": "readable", "passed": True, "detail": ""}]

    def script(command: Sequence[str]) -> Script:
        return Script(
            [json.dumps({"files": [{"file": str(other), "checks": checks}]})] if "validate" in command else []
        )

    async with shown("4", size=WIDE, script=script) as (app, pilot):
        await until(pilot, lambda: cells(app, "#exports"))
        assert isinstance(app.screen, Validate)
        app.screen._queue([str(other)])
        await until(pilot, lambda: not app.screen.is_busy)
        assert app.screen._results[str(other)]["checks"] == checks
        assert app.screen._results[str(other)]["stamp"] == other.stat().st_mtime_ns


async def test_an_export_written_after_the_last_scan_is_checked(shown: Shown, workplace: Path) -> None:
    write_exports(workplace, "a")
    report = {"files": [{"file": "models/a.json", "checks": [{"name": "readable", "passed": True, "detail": ""}]}]}

    def script(command: Sequence[str]) -> Script:
        return Script([json.dumps(report)] if "validate" in command else [])

    async with shown("4", size=WIDE, script=script) as (app, pilot):
        await until(pilot, lambda: cells(app, "#exports"))
        os.utime(workplace / "models" / "a.json", (1, 1))
        await pilot.press("v")
        await until(pilot, lambda: cells(app, "#exports")[0][2] == "passed")


async def test_exports_that_are_read_while_the_screen_is_opened_again_show_their_content(
    shown: Shown, workplace: Path
) -> None:
    write_exports(workplace, "a")
    content = {"file": "models/a.json", "layout": "rtneural", "input_size": 1, "output_size": 2, "metadata": {}}
    readings, opened_again = [], threading.Event()

    def script(command: Sequence[str]) -> Script:
        readings.append(command)
        if len(readings) == 1:
            opened_again.wait(60)
        return Script([json.dumps(content)])

    async with shown("4", size=WIDE, script=script) as (app, pilot):
        await until(pilot, lambda: readings)
        await pilot.press("1", "4")
        opened_again.set()
        await until(pilot, lambda: "1 in, 2 out" in details(app, "#checks"))


async def test_brackets_in_names_are_shown_in_titles(shown: Shown, workplace: Path) -> None:
    write_exports(workplace, "odd[b]x")
    async with shown("4", size=(160, 40)) as (app, pilot):
        await until(pilot, lambda: shows(app, "odd[b]x.json") and shows(app, "losses of odd[b]x"))
