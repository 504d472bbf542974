"""All runs on disk, live or ended: look at one, compare two, attach, resume, export, delete."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from kelly_core.errors import RunError
from kelly_core.runs import Comparison, Run, RunFolder, RunSnapshot, compare_runs
from kelly_tui.following import Follower, RunView
from kelly_tui.processes import KELLY_CORE
from kelly_tui.run_words import age_text, best_text, epochs_text, model_colour, run_colours, short_id, state_text
from kelly_tui.screens.run_page import RunPage
from kelly_tui.series import Series
from kelly_tui.widgets.chart import CurveChart
from kelly_tui.widgets.frame import Facts
from kelly_tui.widgets.listing import Listing, Row
from kelly_tui.wording import NOTHING, Labelled


class Runs(RunPage):
    """The runs on the left, the chosen one or two on the right."""

    NAME = "runs"
    ABOUT = (
        "Every run in the runs folder, the latest first. Mark two with the space bar to compare their settings and "
        "curves. Deleting a run removes its log, never what it trained."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "attach", "Attach", tooltip="Watch this run on the Train screen", priority=True),
        Binding("space", "mark", "Mark", tooltip="Mark up to two runs to compare"),
        Binding("e", "export", "Export", tooltip="Write the best weights of its checkpoints for the plugin"),
        Binding("d", "delete", "Delete", tooltip="Delete the run, after asking"),
        Binding("slash", "filter", "Filter", tooltip="Show only runs with a text in id, state or models"),
        Binding("escape", "unfilter", "Back", show=False, tooltip="Back to the list, without the filter"),
    ]

    @dataclass
    class Compared(Message):
        """Two runs side by side, or why that is not possible."""

        comparison: Comparison | None
        views: tuple[RunView, ...]
        problem: str

    def __init__(self) -> None:
        super().__init__()
        self._marked: list[str] = []
        self._compared: Runs.Compared | None = None

    def body(self) -> Iterator[Widget]:
        """Filter and table; chart and details."""
        with Vertical(id="runs-left"):
            yield Input(placeholder="filter by id, state or model", id="filter", compact=True, max_length=60)
            table = Listing(("", "run", "state", "models", "when"), extras=("models",), id="runs")
            table.border_title = "runs"
            yield table
        with Vertical(id="runs-right"):
            yield CurveChart("No epoch of this run is complete yet.", id="run-curves")
            yield Facts(id="run-facts")

    @property
    def run_id(self) -> str:
        """The run under the cursor."""
        return self.query_one("#runs", Listing).current or "" if self.is_mounted else ""

    def command(self) -> tuple[str, ...]:
        """``runs``, ``runs show`` or ``runs diff``."""
        words = ("runs", *self.kelly.workspace.config_words)
        if len(self._marked) == 2:
            return (*words, "diff", *self._marked)
        return (*words, "show", self.run_id) if self.run_id else words

    def on_mount(self) -> None:
        """Begin with the list."""
        self.query_one("#filter").display = False
        self.query_one("#runs").focus()
        chart = self.query_one(CurveChart)
        chart.ascii = self.kelly.workspace.options.ascii
        chart.logarithmic = True
        self._draw_list()

    def on_screen_resume(self) -> None:
        """Follow the chosen run again."""
        self._draw_list()
        self.follow()

    def on_resize(self) -> None:
        """A narrow table has fewer columns."""
        self._draw_list()

    def runs_changed(self) -> None:
        """Show the list as it is now."""
        self._draw_list()
        self.follow()

    def repaint(self) -> None:
        """Draw again."""
        super().repaint()
        self._draw_list()
        self.draw_run()

    @on(Listing.RowHighlighted)
    def _highlighted(self) -> None:
        self.refresh_frame()
        self.follow()

    @on(Input.Changed, "#filter")
    def _draw_list(self) -> None:
        if not self.is_mounted:
            return
        text = self.query_one("#filter", Input).value.lower()
        known = {run.id for run in self.kelly.listing.runs}
        self._marked = [run_id for run_id in self._marked if run_id in known]
        rows = [self._row(run) for run in reversed(self.kelly.listing.runs)]
        rows += [
            Row(name, ("", short_id(name), Text("unreadable", self.palette.bad), "", ""))
            for name in self.kelly.listing.unreadable
        ]
        shown = [row for row in rows if text in f"{row.key} {' '.join(map(str, row.cells))}".lower()]
        table = self.query_one("#runs", Listing)
        table.border_subtitle = f"{len(shown)} of {len(rows)}" if text else ""
        table.show(shown)
        if not self.run_id:
            self.draw_run()

    def _row(self, run: RunSnapshot) -> Row:
        colours = self.palette
        colour = run_colours(self._marked if run.id in self._marked else [run.id], colours)[run.id]
        mark = Text("◆" if run.id in self._marked else "●", colour)
        names = [model.model for model in run.models]
        models = "all five" if len(names) == 5 else ", ".join(names) if len(names) < 2 else f"{len(names)} models"
        state = state_text(run.state, run.silent_seconds, colours)
        return Row(run.id, (mark, short_id(run.id), state, models, age_text(run.created).removesuffix(" ago")))

    def draw_run(self) -> None:
        """Show the chosen run, or the comparison of the marked ones."""
        if not self.is_mounted:
            return
        self.refresh_frame()
        facts, chart = self.query_one("#run-facts", Facts), self.query_one(CurveChart)
        if len(self._marked) == 2:
            self._draw_comparison(facts, chart)
            return
        facts.border_title = self.run_id or "runs"
        if self.view is not None:
            facts.show(Labelled(self._facts(self.view), self.palette.muted))
            chart.show("validation loss", self._curves((self.view,)))
            return
        chart.show("validation loss", [])
        unreadable = self.kelly.listing.unreadable.get(self.run_id)
        empty = f"No runs in {self.kelly.runs_folder} yet. On Train, n starts one."
        facts.show(Text(unreadable or ("Reading …" if self.run_id else empty), self.palette.muted))

    def _facts(self, view: RunView) -> Iterator[tuple[str, str | Text]]:
        run, colours = view.snapshot, self.palette
        yield "state", state_text(run.state, run.silent_seconds, colours)
        if run.error:
            yield "error", Text(run.error, colours.bad)
        yield "made", age_text(run.created) + (f", attempt {run.attempt}" if run.attempt > 1 else "")
        yield "output", run.output
        for model in run.models:
            yield model.model, f"{model.state}, {epochs_text(model)}, best {best_text(model)}"
            if model.error:
                yield "", Text(model.error, colours.bad)
        yield "command", " ".join(view.command) or NOTHING
        if run.damaged_lines:
            yield "log", Text(f"{run.damaged_lines} damaged lines were left out", colours.warning)

    def _curves(self, views: tuple[RunView, ...]) -> list[Series]:
        """Validation losses: models in their colours for one run, runs in theirs for two."""
        if len(views) == 1:
            colours = self.palette
            curves = views[0].curves.items()
            return [Series(name, one.epochs, one.val_loss, model_colour(name, colours)) for name, one in curves]
        of_runs = run_colours([view.snapshot.id for view in views], self.palette)
        shared = next((name for name in views[0].curves if name in views[1].curves), "")
        return [
            Series(short_id(view.snapshot.id), curves_of_run.epochs, curves_of_run.val_loss, of_runs[view.snapshot.id])
            for view in views
            if (curves_of_run := view.curves.get(shared))
        ]

    def _draw_comparison(self, facts: Facts, chart: CurveChart) -> None:
        facts.border_title = "compared"
        done = self._compared
        if done is None or done.comparison is None:
            chart.show("validation loss", [])
            facts.show(Text(done.problem if done else "Comparing …", self.palette.muted))
            return
        shared = next((name for name in done.views[0].curves if name in done.views[1].curves), "")
        chart.show(f"validation loss of {shared}" if shared else "no model in common", self._curves(done.views))
        facts.show(Labelled(self._differences(done.comparison), self.palette.muted))

    def _differences(self, comparison: Comparison) -> Iterator[tuple[str, str | Text]]:
        yield "", " → ".join(short_id(run_id) for run_id in self._marked)
        for model, (first, second) in comparison.models.items():
            yield model, f"{best_text(first)} → {best_text(second)}"
        if not comparison.settings:
            yield "settings", "the same"
        for key, (before, after) in comparison.settings.items():
            yield key, f"{before} → {after}"

    def action_mark(self) -> None:
        """Mark or unmark the chosen run; a third mark drops the first."""
        run_id = self.run_id
        if not run_id:
            return
        if run_id in self._marked:
            self._marked.remove(run_id)
        else:
            self._marked = [*self._marked, run_id][-2:]
        self._compared = None
        self._draw_list()
        self.draw_run()
        if len(self._marked) == 2:
            self._compare(*self._marked)

    @work(thread=True, exclusive=True, group="compare")
    def _compare(self, first: str, second: str) -> None:
        folders = [RunFolder(self.kelly.runs_folder / run_id) for run_id in (first, second)]
        try:
            views = tuple(Follower(folder).look() for folder in folders)
            comparison = compare_runs(Run(folders[0]), Run(folders[1]))
            self.post_message(self.Compared(comparison, views, ""))
        except RunError as error:
            self.post_message(self.Compared(None, (), str(error)))

    def on_runs_compared(self, message: Compared) -> None:
        """Show it."""
        self._compared = message
        self.draw_run()

    def action_attach(self) -> None:
        """Watch it on the Train screen."""
        if self.query_one("#filter").has_focus:
            self.query_one("#runs").focus()
        elif self.run_id:
            self.kelly.attach(self.run_id)
            self.app.switch_mode("train")

    def action_filter(self) -> None:
        """Type a text."""
        self.query_one("#filter").display = True
        self.query_one("#filter").focus()

    def action_unfilter(self) -> None:
        """Show all runs again."""
        self.query_one("#filter", Input).value = ""
        self.query_one("#filter").display = False
        self.query_one("#runs").focus()

    def action_export(self) -> None:
        """Write files for the plugin."""
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
