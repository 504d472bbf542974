"""Runs screen: list, compare, attach, resume, export and delete runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from kelly_core.formatting import MISSING
from kelly_core.runs.diff import compare_runs
from kelly_core.runs.snapshot import RunSnapshot
from kelly_tui.charts.chart_data import Series
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.charts.run_series import overlaid_series, validation_series
from kelly_tui.dialogs.run_picker import toggle_mark
from kelly_tui.formatting import (
    LabeledRows,
    age_text,
    best_text,
    epochs_text,
    model_color,
    models_text,
    run_colors,
    run_state_text,
    short_id,
)
from kelly_tui.jobs import KELLY_CORE
from kelly_tui.run_watcher import RunView
from kelly_tui.screens.run_screen import RunScreen
from kelly_tui.widgets.details_panel import DetailsPanel
from kelly_tui.widgets.record_table import RecordTable, Row
from kelly_tui.widgets.updates import set_border_title


class Runs(RunScreen):
    """List of runs on the left; the selected run, or a comparison, on the right."""

    NAME = "runs"
    ABOUT = (
        "Every run in the runs folder, the latest first. Mark two with the space bar to compare their settings and "
        "curves, or up to four to compare curves only; Train lays marked runs over the one that it shows. Deleting a "
        "run removes its log, never what it trained."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "attach", "Attach", tooltip="Watch this run on the Train screen", priority=True),
        Binding("space", "mark", "Mark", tooltip="Mark runs to compare"),
        Binding("u", "unmark", "Unmark", show=False, tooltip="Clear all marks"),
        Binding("m", "model", "Model", tooltip="Compare the curves of the next model that marked runs share"),
        Binding("e", "export", "Export", tooltip="Write the best weights of its checkpoints for the plugin"),
        Binding("d", "delete", "Delete", tooltip="Delete the run, after asking"),
        Binding("slash", "filter", "Filter", tooltip="Show only runs with a text in id, state or models"),
        Binding("escape", "unfilter", "Back", show=False, tooltip="Back to the list, without the filter"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._compared_model = 0

    def body(self) -> Iterator[Widget]:
        """Lay out filter and table; chart and details."""
        text = Input(placeholder="filter by id, state or model", id="filter", compact=True, max_length=60)
        text.display = False
        with Vertical(id="runs-left"):
            yield text
            table = RecordTable(("", "run", "state", "models", "when"), extras=("models",), id="runs")
            table.border_title = "runs"
            yield table
        with Vertical(id="runs-right"):
            yield CurveChart("Curves appear after an epoch.", id="run-curves")
            yield DetailsPanel(id="run-facts")

    @property
    def run_id(self) -> str:
        """Return the id of the run under the cursor."""
        return self.query_one("#runs", RecordTable).current or "" if self.is_mounted else ""

    @property
    def _marked(self) -> list[str]:
        return self.kelly.marked

    @property
    def other_ids(self) -> tuple[str, ...]:
        """Return the ids of the runs to compare."""
        return tuple(self._marked) if len(self._marked) > 1 else ()

    def command(self) -> tuple[str, ...]:
        """Return ``runs``, ``runs show`` or ``runs diff``."""
        words = ("runs", *self.kelly.session.config_words)
        if len(self._marked) == 2:
            return (*words, "diff", *self._marked)
        return (*words, "show", self.run_id) if self.run_id else words

    def on_mount(self) -> None:
        """Set up the chart."""
        chart = self.query_one(CurveChart)
        chart.ascii = self.kelly.session.options.ascii
        chart.logarithmic = True
        self._draw_list()

    def on_activate(self) -> None:
        """Follow the selected run."""
        self._draw_list()
        self.follow()

    def on_resize(self) -> None:
        """Fit the table's columns to the new width."""
        self._draw_list()

    def runs_changed(self) -> None:
        """Update the list."""
        self._draw_list()
        self.follow()

    def repaint(self) -> None:
        """Redraw everything."""
        super().repaint()
        self._draw_list()
        self.draw_run()

    @on(RecordTable.RowHighlighted)
    def _highlighted(self) -> None:
        self.refresh_frame()
        self.follow()

    @on(Input.Changed, "#filter")
    def _draw_list(self) -> None:
        if not self.is_mounted:
            return
        text = self.query_one("#filter", Input).value.lower()
        known = {run.id for run in self.kelly.run_list.runs}
        self.kelly.marked = [run_id for run_id in self._marked if run_id in known]
        rows = [self._row(run) for run in reversed(self.kelly.run_list.runs)]
        rows += [
            Row(name, ("", short_id(name), Text("unreadable", self.theme_colors.bad), "", ""))
            for name in self.kelly.run_list.unreadable
        ]
        searched = {run.id: _searched_text(run) for run in self.kelly.run_list.runs}
        shown = [
            row for row in rows if text in f"{searched.get(row.key, row.key)} {' '.join(map(str, row.cells))}".lower()
        ]
        table = self.query_one("#runs", RecordTable)
        set_border_title(table, "runs", f"{len(shown)} of {len(rows)}" if text else "")
        table.show(shown)
        if not self.run_id:
            self.draw_run()

    def _row(self, run: RunSnapshot) -> Row:
        colors = self.theme_colors
        color = run_colors(self._marked if run.id in self._marked else [run.id], colors)[run.id]
        mark = Text("◆" if run.id in self._marked else "●", color)
        when = age_text(run.created).removesuffix(" ago")
        return Row(run.id, (mark, short_id(run.id), run_state_text(run, colors), models_text(run), when))

    def draw_run(self) -> None:
        """Show the selected run, or the comparison of the marked runs."""
        if not self.is_mounted:
            return
        self.refresh_frame()
        facts, chart = self.query_one("#run-facts", DetailsPanel), self.query_one(CurveChart)
        if self.other_ids:
            self._draw_comparison(facts, chart)
            return
        set_border_title(facts, self.run_id or "runs")
        if self.view is not None:
            facts.show(LabeledRows(self._facts(self.view), self.theme_colors.muted))
            chart.show("validation loss", self._curves_of_models(self.view))
            return
        chart.show("validation loss", [])
        unreadable = self.kelly.run_list.unreadable.get(self.run_id)
        empty = f"No runs in {self.kelly.runs_folder} yet. On Train, n starts one."
        facts.show(Text(unreadable or ("Reading …" if self.run_id else empty), self.theme_colors.muted))

    def _facts(self, view: RunView) -> Iterator[tuple[str, str | Text]]:
        run, colors = view.snapshot, self.theme_colors
        yield "state", run_state_text(run, colors)
        if run.error:
            yield "error", Text(run.error, colors.bad)
        yield "made", age_text(run.created) + (f", attempt {run.attempt}" if run.attempt > 1 else "")
        yield "output", run.output
        for model in run.models:
            yield model.model, f"{model.state}, {epochs_text(model)}, best {best_text(model)}"
            if model.error:
                yield "", Text(model.error, colors.bad)
        yield "command", " ".join(view.record.command) or MISSING
        if run.damaged_lines:
            yield "log", Text(f"{run.damaged_lines} damaged lines were left out", colors.warning)

    def _curves_of_models(self, view: RunView) -> list[Series]:
        return [
            validation_series(name, curves, model_color(name, self.theme_colors))
            for name, curves in view.curves.items()
        ]

    @property
    def _compared(self) -> list[RunView]:
        """Return the marked runs that could be read."""
        return [self.views[run_id] for run_id in self._marked if run_id in self.views]

    @property
    def _shared(self) -> list[str]:
        """Return the models for which at least two marked runs have curves."""
        names = Counter(name for view in self._compared for name in view.curves)
        return [name for name, count in names.items() if count > 1]

    def _draw_comparison(self, facts: DetailsPanel, chart: CurveChart) -> None:
        set_border_title(facts, "compared")
        views, shared = self._compared, self._shared
        if len(views) < len(self._marked):
            chart.show("validation loss", [])
            facts.show(Text("Comparing …", self.theme_colors.muted))
            return
        title, series = "no model in common", []
        if shared:
            number = self._compared_model % len(shared)
            title = f"validation loss of {shared[number]}"
            title += f", {number + 1} of {len(shared)}" if len(shared) > 1 else ""
            series = overlaid_series(shared[number], views, self.theme_colors)
        chart.show(title, series)
        facts.show(LabeledRows(self._differences(views), self.theme_colors.muted))
        self.refresh_bindings()

    def _differences(self, views: Sequence[RunView]) -> Iterator[tuple[str, str | Text]]:
        """Return the best loss per model; for two runs also the settings that differ."""
        yield "", " → ".join(short_id(view.snapshot.id) for view in views)
        reached = [{model.model: model for model in view.snapshot.models} for view in views]
        begun = (name for models in reached for name, model in models.items() if model.best_loss is not None)
        for name in dict.fromkeys(begun):
            yield name, " → ".join(best_text(models[name]) if name in models else MISSING for models in reached)
        if len(views) > 2:
            return
        settings = compare_runs(*views).settings
        if not settings:
            yield "settings", "the same"
        for key, (before, after) in settings.items():
            yield key, f"{before} → {after}"

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable the model action only if there are several models."""
        if action == "model":
            return bool(self.other_ids) and len(self._shared) > 1
        return super().check_action(action, parameters)

    def action_mark(self) -> None:
        """Toggle the mark of the selected run."""
        if self.run_id:
            self.kelly.marked = toggle_mark(self._marked, self.run_id)
            self._compared_model = 0
            self._draw_list()
            self.follow()
            self.draw_run()

    def action_unmark(self) -> None:
        """Clear all marks."""
        self.kelly.marked = []
        self._compared_model = 0
        self._draw_list()
        self.follow()
        self.draw_run()

    def action_model(self) -> None:
        """Compare the curves of the next model."""
        self._compared_model += 1
        self.draw_run()

    def action_attach(self) -> None:
        """Show the run on the Train screen."""
        if self.query_one("#filter").has_focus:
            self.query_one("#runs").focus()
        elif self.run_id:
            self.kelly.attach(self.run_id)
            self.app.switch_mode("train")

    def action_filter(self) -> None:
        """Focus the filter."""
        self.query_one("#filter").display = True
        self.query_one("#filter").focus()

    def action_unfilter(self) -> None:
        """Clear the filter."""
        self.query_one("#filter", Input).value = ""
        self.query_one("#filter").display = False
        self.query_one("#runs").focus()

    def action_export(self) -> None:
        """Export the run's best weights."""
        if self.view is not None:
            self._export(Path(self.view.snapshot.output))

    @work(thread=True, exclusive=True, group="export")
    def _export(self, output: Path) -> None:
        job = self.kelly.start([*KELLY_CORE, "export", str(output)])
        lines = list(job.lines())
        if job.problem or not lines:
            self.notify(job.problem or "nothing was exported", title="Export", severity="error", timeout=10)
        else:
            self.notify(f"{len(lines)} file{'s' * (len(lines) > 1)} written to {output}", title="Export")


def _searched_text(run: RunSnapshot) -> str:
    """Return the text that the filter searches besides the table's cells, which shorten the state and the models."""
    return " ".join([run.id, run.state, *(model.model for model in run.models)])
