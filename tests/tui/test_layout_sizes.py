"""Small windows cut nothing, large ones leave no room unused."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from textual.app import App, ComposeResult
from textual.widgets._toast import Toast

from kelly_core.events import TrainingWarning
from kelly_core.export.quality_record import QualityRecord
from kelly_core.runs.event_log import LogRecord, encode_record
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.charts.plotting import too_small
from kelly_tui.dialogs.help import HelpDialog
from kelly_tui.formatting import LabeledRows, placeholder
from kelly_tui.widgets.panels import DetailsPanel
from kelly_tui.widgets.record_table import RecordTable, Row
from tests.helpers.rendered import SCREENS, lines
from tests.tui.conftest import BEGAN, Script, Shown, epoch, save_benchmark, until


@pytest.mark.usefixtures("finished_run")
@pytest.mark.parametrize("width", [60, 92])
async def test_nothing_is_cut_at_the_right(shown: Shown, width: int) -> None:
    save_benchmark()
    async with shown(size=(width, 24)) as (app, pilot):
        for screen in SCREENS:
            await pilot.press(screen)
            await until(pilot, lambda: lines(app)[-1].rstrip().endswith("? Help  q Quit"))
            for table in app.screen.query(RecordTable):
                await until(
                    pilot, lambda table=table: table.virtual_size.width <= table.scrollable_content_region.width
                )


async def test_a_long_run_with_an_alarm_fits_the_smallest_window(shown: Shown, live_run: RunDirectory) -> None:
    name = "EmotionRecognizer"
    reported = [
        *(replace(epoch(name, number), patience_left=3) for number in range(8, 1024)),
        TrainingWarning(name, "overfitting", "word " * 40),
    ]
    with live_run.events.open("ab") as file:
        file.writelines(encode_record(LogRecord(BEGAN, 0.0, 1, event)) for event in reported)
    async with shown("3", size=(60, 18)) as (app, pilot):
        table = app.screen.query_one("#training", RecordTable)
        await until(pilot, lambda: all(text in table.value_to_copy() for text in ("overfitting", "1023/10", "@6")))
        await until(pilot, lambda: table.virtual_size.width <= table.scrollable_content_region.width)
        alarm, chart = app.screen.query_one("#alarm"), app.screen.query_one("#loss", CurveChart)
        await until(pilot, lambda: alarm.size.height == 1 and not too_small(chart.size))


class OneTable(App[None]):
    """A table alone in the window."""

    def __init__(self, table: RecordTable) -> None:
        super().__init__()
        self._table = table

    def compose(self) -> ComposeResult:
        yield self._table


async def test_a_narrow_column_is_shown_where_a_more_important_one_does_not_fit() -> None:
    table = RecordTable(["name", "seed", "verdict"], extras=["seed", "verdict"], id="records")
    async with OneTable(table).run_test(size=(40, 10)):
        table.show([Row("a", ("a", "0", "v" * 40))])
        assert [column.key.value for column in table.ordered_columns] == ["name", "seed"]


async def test_columns_hidden_beside_a_long_row_return_without_that_row() -> None:
    table = RecordTable(["name", "tags", "age"], extras=["tags"], id="records")
    short, long = Row("a", ("a", "x", "1")), Row("b", ("b" * 30, "x", "2"))
    async with OneTable(table).run_test(size=(40, 10)) as pilot:
        for rows, columns in (([short], 3), ([short, long], 2), ([short], 3)):
            table.show(rows)
            await pilot.pause()
            assert len(table.columns) == columns
        # A change of cells only removes columns: a table in which one comes and goes would flicker.
        for name, columns in (("a" * 40, 2), ("a", 2)):
            table.show([Row("a", (name, "x", "1"))])
            await pilot.pause()
            assert len(table.columns) == columns


async def test_a_notice_in_a_narrow_window_hides_two_lines(shown: Shown) -> None:
    async with shown(size=(80, 24), notifications=True) as (app, pilot):
        app.notify("A text of one line.", title="Title")
        await until(pilot, lambda: app.screen.query(Toast))
        await until(pilot, lambda: app.screen.query_one(Toast).region.bottom == 23)
        assert app.screen.query_one(Toast).region.height == 2
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpDialog) and app.screen.query(Toast))
        await until(pilot, lambda: app.screen.query_one(Toast).region.height == 2)


def test_every_line_of_a_placeholder_is_indented() -> None:
    console = Console(width=12, file=io.StringIO())
    console.print(placeholder("a text of several lines", "#FFFFFF"))
    assert all(line.startswith(" ") for line in console.file.getvalue().splitlines())


async def test_a_wide_window_shows_losses_and_records_of_an_export_before_its_check(
    shown: Shown, workplace: Path
) -> None:
    history = workplace / "models" / "history" / "groovepredictor_history.json"
    history.parent.mkdir(parents=True)
    (workplace / "models" / "groovepredictor.json").write_text("{}")
    rows = [{"epoch": number, "train_loss": 1 / number, "val_loss": 2 / number} for number in (1, 2, 3)]
    history.write_text(json.dumps({"epochs": rows, "metrics": {"best_epoch": 3, "val_loss": 2 / 3}}))
    name = "models/groovepredictor.json"
    quality = QualityRecord(
        "validation", "trained", ("rmse",), 64, 64, {"rmse": 0.25}, epsilon=0.01, epsilon_limit=0.05
    )
    facts = {"file": name, "layout": "rtneural", "input_size": 1, "output_size": 2, "parameters": 3,
             "layers": ["dense 1→2"], "metadata": {"quality": quality.to_json()}}  # fmt: skip
    async with shown(
        "4", size=(200, 60), script=lambda command: Script([json.dumps(facts)] if name in command else [])
    ) as (app, pilot):
        details = app.screen.query_one("#checks", DetailsPanel)
        await until(pilot, lambda: "rmse\t0.25" in details.value_to_copy())
        assert "layers\tdense 1→2" in details.value_to_copy()
        # Without gains over baselines there is no empty panel for them.
        assert not app.screen.query_one("#forest").display
        await until(pilot, lambda: details.size.height > 40)
        chart = app.screen.query_one("#losses", CurveChart)
        await until(pilot, lambda: chart.series and chart.series[0].ys and chart.up_to_date)
        assert [(series.name, list(series.ys), series.mark) for series in chart.series] == [
            ("train", [1, 1 / 2, 1 / 3], None),
            ("validation", [2, 1, 2 / 3], 2),
        ]
        await pilot.resize_terminal(80, 24)
        await pilot.pause()
        assert not chart.display


def rendered(rows: list[tuple[str, str]], width: int) -> str:
    console = Console(width=width)
    with console.capture() as shown:
        console.print(LabeledRows(rows, "red"), end="")
    return shown.get()


@pytest.mark.parametrize("width", [60, 100])
def test_a_long_label_leaves_room_for_the_values(width: int) -> None:
    rows = [("sizes", "64 in, 32 out"), ("a label of " + "several words " * 6, "0.25 against 0.5")]
    written = rendered(rows, width)
    assert 0 < written.splitlines()[0].index("64 in, 32 out") <= width * 0.45
    assert "0.25 against 0.5" in written
    assert written.count("several") == 6


def test_names_of_settings_and_values_that_fit_below_wide_labels_are_kept_whole_in_a_narrow_panel() -> None:
    name = "models.EmotionRecognizer.learning_rate"
    assert name in rendered([("output.dir", "models"), (name, "0.004 → 0.001")], 46)
    rows = [("training.learning_rate", "0.001 → 0.0001"), ("HarmonyPredictor", "2.5441 @17 → 2.5512 @34")]
    assert all(value in rendered(rows, 44) for _, value in rows)


@pytest.mark.parametrize("width", [4, 60])
def test_labeled_rows_without_a_row_draw_nothing(width: int) -> None:
    assert not rendered([], width).strip()
