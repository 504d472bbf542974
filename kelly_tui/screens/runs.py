"""Runs screen: list, compare, attach, resume, export and delete runs."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Input

from kelly_core.errors import RunError
from kelly_core.formatting import MISSING, printable
from kelly_core.runs.overview import RunOverview
from kelly_core.runs.queue import WaitingRun, drop, move
from kelly_core.runs.registry import RunFilter
from kelly_core.runs.run_dir import change_note, change_tags, short_id
from kelly_tui.charts.chart_data import overlaid_series, validation_series
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.dialogs.prompts import ConfirmDialog, TextPrompt
from kelly_tui.dialogs.runs import MAX_MARKED_RUNS, toggle_mark
from kelly_tui.formatting import distinct_names, model_color, run_colors
from kelly_tui.jobs import KELLY_CORE
from kelly_tui.run_watcher import RunView
from kelly_tui.screens.run_rows import (
    AGE,
    COLUMNS,
    EXTRAS,
    NUMBERS,
    SORT_KEYS,
    SweepGroup,
    detail_rows,
    difference_rows,
    group_row,
    grouped,
    in_order,
    run_row,
    unreadable_rows,
    waiting_row,
)
from kelly_tui.screens.run_screen import RunScreen
from kelly_tui.widgets.panels import DetailsPanel, set_border_title
from kelly_tui.widgets.record_table import RecordTable, Row

_DROP_ANSWERS = (("", "Keep it"), ("drop", "Drop it"))
_NEEDS_RUN = frozenset({"mark", "pin", "tags", "note", "validate", "generate"})
"""Actions that need a run; a training in the queue or the group of a sweep is not one."""
_NO_CURVES = "Curves appear after an epoch."
_MAX_UNFOLDED = 100
"""Maximum number of sweeps that are remembered as unfolded."""


class Runs(RunScreen):
    """List of runs on the left; the selected run, or a comparison, on the right."""

    NAME = "runs"
    OPEN_ACTION = "attach"
    ABOUT = (
        "Every run in the runs folder, the latest first. Mark up to four with the space bar to compare their curves, "
        "results and the settings that differ; the row of a sweep compares its best runs, and enter lists all of them. "
        "= pins one as the reference of every comparison. Train overlays marked runs on its own run. Deleting a "
        "run removes its log, but not its exports and checkpoints."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "attach", "Attach", tooltip="Watch this run on the Train screen"),
        Binding("space", "mark", "Mark", tooltip="Mark runs to compare"),
        Binding("z", "fold", "Fold", tooltip="Hide the runs of a sweep, or show them"),
        Binding("u", "unmark", "Unmark", show=False, tooltip="Clear all marks"),
        Binding("m", "model", "Model", tooltip="Compare the curves of the next model that marked runs share"),
        Binding("e", "export", "Export", tooltip="Write the best weights of this run for the plugin"),
        Binding("d", "delete", "Delete", tooltip="Delete the run, after confirmation"),
        Binding("d", "drop", "Drop", tooltip="Take a waiting training out of the queue, after confirmation"),
        Binding("slash", "filter", "Filter", tooltip="Such as state:running model:melody loss<0.03 tag:x age<2d"),
        Binding("o", "sort", "Sort", tooltip="Sort by the next column; a click on a header sorts, too"),
        Binding("K", "move(-1)", "Sooner", tooltip="Let a waiting training start sooner"),
        Binding("J", "move(1)", "Later", tooltip="Let a waiting training start later"),
        Binding("O", "reverse", "Reverse", show=False, tooltip="Reverse the order"),
        Binding("equals_sign", "pin", "Pin", show=False, tooltip="Make it the reference that others are compared with"),
        Binding("T", "tags", "Tags", show=False, tooltip="Edit the tags of the run"),
        Binding("N", "note", "Note", show=False, tooltip="Edit the note of the run"),
        Binding("escape", "unfilter", "Clear filter", tooltip="Back to the list, without the filter"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._compared_model = 0
        self._filter = RunFilter(())
        kept = self.kelly.state.remembered("runs")
        self._sorted_by = next((name for name in SORT_KEYS if name == kept.get("sort")), AGE)
        self._reversed = kept.get("reversed") is True
        self._first_filter = str(kept.get("filter", ""))
        unfolded = kept.get("unfolded")
        self._unfolded = list(map(str, unfolded)) if isinstance(unfolded, list) else []
        self._groups: dict[str, SweepGroup] = {}

    def body(self) -> Iterator[Widget]:
        """Lay out filter and table; chart and details."""
        text = Input(
            self._first_filter, placeholder="state:running model:melody loss<0.03 tag:x", id="filter", compact=True,
            max_length=200,
        )  # fmt: skip
        text.display = bool(self._first_filter)
        with Vertical(id="runs-left"):
            yield text
            yield RecordTable(COLUMNS, numbers=NUMBERS, extras=EXTRAS, id="runs")
        with Vertical(id="runs-right"):
            chart = CurveChart(_NO_CURVES, id="run-curves")
            chart.logarithmic = True
            yield chart
            yield DetailsPanel(id="run-details")

    @property
    def run_id(self) -> str:
        """Return the id of the run under the cursor, "" for a training in the queue and for a sweep."""
        return "" if self._waiting or self._group else self._current

    @property
    def _current(self) -> str:
        return self.table.current or "" if self.is_mounted else ""

    @property
    def _waiting(self) -> WaitingRun | None:
        """The waiting training under the cursor."""
        return next((each for each in self.kelly.waiting if each.id == self._current), None)

    @property
    def _group(self) -> SweepGroup | None:
        """The sweep under the cursor."""
        return self._groups.get(self._current)

    @property
    def other_ids(self) -> tuple[str, ...]:
        """Return the ids of the runs to compare, the reference first; () if there are fewer than two.

        These are the marked runs, or else the best ones of the sweep under the cursor.
        """
        known, group = {run.id for run in self.kelly.run_list.runs}, self._group
        best = [self.run_id] if group is None else [run.id for run in group.best[:MAX_MARKED_RUNS]]
        chosen = self.kelly.marked if len(self.kelly.marked) > 1 else best
        ids = tuple(run_id for run_id in dict.fromkeys([self.kelly.pinned, *chosen]) if run_id in known)
        return ids if len(ids) > 1 else ()

    def command(self) -> tuple[str, ...]:
        """Return ``runs``, ``runs show``, ``runs diff`` or ``runs compare``."""
        words = ("runs", *self.kelly.session.config_options)
        if len(self.other_ids) == 2:
            return (*words, "diff", *self.other_ids)
        if self.other_ids:
            return (*words, "compare", *self.other_ids, "--only-differences")
        return (*words, "show", self.run_id) if self.run_id else words

    def on_activate(self) -> None:
        """Show the current runs, and follow the selected one."""
        self.draw()
        self.follow()

    @on(RecordTable.RowHighlighted)
    def _highlighted(self) -> None:
        self.refresh_frame()
        self.refresh_bindings()
        self.follow()

    @on(RecordTable.MarkClicked)
    def _mark_clicked(self) -> None:
        if self._group is None:
            self.action_mark()
        else:
            self.action_fold()

    @on(Input.Changed, "#filter")
    def draw(self) -> None:
        """Show the runs that match the filter, and the selected run."""
        text = self.query_one("#filter", Input).value
        problem = ""
        try:
            self._filter = RunFilter.parse(text)
        except RunError as error:
            # The last valid filter stays active while the user types.
            problem = str(error)
        listed = self.kelly.run_list
        known = {run.id for run in listed.runs}
        self.kelly.marked = [run_id for run_id in self.kelly.marked if run_id in known]
        kept = list(filter(self._filter.keeps, listed.runs))
        colors, shown = self.theme_colors, list(self._rows(kept))
        if not self._filter.conditions:
            waiting = [waiting_row(each, place, colors) for place, each in enumerate(self.kelly.waiting, 1)]
            shown = [*waiting, *shown, *unreadable_rows(listed.unreadable, colors)]
        set_border_title(self.table, "runs", problem or self._list_text(len(kept), bool(self._filter.conditions)))
        self.table.show(shown)
        self._remember(text)
        # The row under the cursor may have changed, or be the same again after a filter that matched no run.
        self.draw_run()

    def _list_text(self, count: int, filtered: bool) -> str:
        """Return the number of shown runs, and the column that they are sorted by if it is not the age."""
        total = len(self.kelly.run_list.runs) + len(self.kelly.run_list.unreadable)
        order = "" if (self._sorted_by, self._reversed) == (AGE, False) else f"by {self._sorted_by}"
        return " · ".join(filter(None, [f"{count} of {total}" if filtered else "", order]))

    def _rows(self, runs: Sequence[RunOverview]) -> Iterator[Row]:
        """Yield the rows of runs; runs of a sweep are below its summary unless folded. A filter unfolds all sweeps."""
        self._groups = {}
        for each in grouped(in_order(runs, self._sorted_by, self._reversed)):
            if isinstance(each, RunOverview):
                yield self._row(each, short_id(each.id))
                continue
            self._groups[each.key] = each
            unfolded = bool(self._filter.conditions) or each.folder in self._unfolded
            yield group_row(each, unfolded, self.theme_colors)
            if unfolded:
                names = distinct_names([run.id for run in each.runs])
                yield from (self._row(run, f"  {name}") for run, name in zip(each.runs, names, strict=True))

    def _row(self, run: RunOverview, name: str) -> Row:
        color = run_colors(self.kelly.marked if run.id in self.kelly.marked else [run.id], self.theme_colors)[run.id]
        pinned = run.id == self.kelly.pinned
        mark = Text("★" if pinned else "◆" if run.id in self.kelly.marked else "●", color)
        return run_row(run, mark, name, self.theme_colors)

    def _remember(self, text: str) -> None:
        unfolded = self._unfolded[-_MAX_UNFOLDED:]
        self.kelly.state.remember("runs", sort=self._sorted_by, reversed=self._reversed, filter=text, unfolded=unfolded)

    def draw_run(self) -> None:
        """Show the selected run, or the comparison of the marked runs."""
        self.refresh_frame()
        panel, chart = self.query_one(DetailsPanel), self.query_one(CurveChart)
        if self.other_ids:
            self._draw_comparison(panel, chart)
            return
        curves = {} if self.view is None else self.view.curves
        series = [validation_series(name, each, model_color(name, self.theme_colors)) for name, each in curves.items()]
        chart.show("validation loss", series, _NO_CURVES)
        if self.view is not None:
            overview = self.kelly.run_list.find(self.run_id)
            panel.show(self.run_id, detail_rows(self.view, overview, self.theme_colors))
        elif self._waiting is not None:
            about = "waits until its device is free; d drops it, K and J move it"
            command = shlex.join(self._waiting.manifest.command) or MISSING
            panel.show(self._waiting.id, [("state", about), ("command", command)])
        elif self._group is not None:
            panel.show(Path(self._group.folder).name, "No run of this sweep has a result yet.")
        elif self.run_id:
            panel.show(self.run_id, self.kelly.run_list.unreadable.get(self.run_id, "Reading …"))
        elif self._filter.conditions and self.kelly.run_list.runs:
            panel.show("runs", "No run fits the filter; esc removes it.")
        else:
            panel.show("runs", f"No runs in {self.kelly.runs_folder} yet. On Train, n starts one.")

    @property
    def _compared(self) -> list[RunView]:
        """Return the compared runs that could be read."""
        return [self.views[run_id] for run_id in self.other_ids if run_id in self.views]

    @property
    def _shared(self) -> list[str]:
        """Return the models that at least two marked runs have begun, with a curve in at least one."""
        begun = Counter(model.model for view in self._compared for model in view.snapshot.models if model.epochs)
        drawn = {name for view in self._compared for name in view.curves}
        return [name for name, count in begun.items() if count > 1 and name in drawn]

    def _draw_comparison(self, panel: DetailsPanel, chart: CurveChart) -> None:
        best = len(self.kelly.marked) < 2 and self._group is not None
        name = "the best of the sweep" if best else "compared"
        views, shared = self._compared, self._shared
        if len(views) < len(self.other_ids):
            chart.show("validation loss", [], _NO_CURVES)
            panel.show(name, "Comparing …")
            return
        title, series = "no model in common", []
        if shared:
            number = self._compared_model % len(shared)
            title = f"validation loss of {shared[number]}"
            title += f", {number + 1} of {len(shared)}" if len(shared) > 1 else ""
            series = overlaid_series(shared[number], views, self.theme_colors)
        chart.show(title, series, _NO_CURVES if shared else "No model has curves in two of them.")
        panel.show(name, difference_rows(views))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable the model action only if there are several models."""
        if action in ("drop", "move"):
            return self._waiting is not None and not self.kelly.session.options.read_only
        if action in ("delete", "attach") and self._waiting is not None:
            return False
        if action in _NEEDS_RUN and not self.run_id and self._current:
            return False
        if action in ("filter", "unfilter") and self.is_mounted:
            text = self.query_one("#filter")
            return text.display if action == "unfilter" else not text.has_focus
        if action == "fold":
            return self._group_of_row is not None
        if action == "model":
            return bool(self.other_ids) and len(self._shared) > 1
        return super().check_action(action, parameters)

    def action_mark(self) -> None:
        """Toggle the mark of the selected run."""
        if self.run_id:
            self.kelly.marked = toggle_mark(self.kelly.marked, self.run_id)
            self._compared_model = 0
            self.draw()
            self.follow()

    def action_unmark(self) -> None:
        """Clear all marks."""
        self.kelly.marked = []
        self._compared_model = 0
        self.draw()
        self.follow()

    def action_drop(self) -> None:
        """Remove a waiting training from the queue after confirmation."""
        if (waiting := self._waiting) is not None:
            question = ConfirmDialog(f"Drop {waiting.id}?", "It will not be trained.", _DROP_ANSWERS, "drop")
            drop_it = partial(drop, self.kelly.runs_folder, waiting.id)
            self.kelly.ask(question, lambda _answer: self.kelly.attempt(drop_it))

    def action_move(self, step: int) -> None:
        """Move the waiting training under the cursor up or down in the queue."""
        if (waiting := self._waiting) is not None:
            place = self.kelly.waiting.index(waiting) + 1 + step
            if 1 <= place <= len(self.kelly.waiting):
                self.kelly.attempt(partial(move, self.kelly.runs_folder, waiting.id, place))

    def action_sort(self) -> None:
        """Sort by the next column."""
        names = list(SORT_KEYS)
        self._sort_by(names[(names.index(self._sorted_by) + 1) % len(names)])

    def action_reverse(self) -> None:
        """Reverse the order."""
        self._reversed = not self._reversed
        self.draw()

    @on(RecordTable.HeaderSelected, "#runs")
    def _header_clicked(self, event: RecordTable.HeaderSelected) -> None:
        """Sort by the clicked column; a second click reverses the order."""
        if event.column_key.value in SORT_KEYS:
            self._sort_by(event.column_key.value)

    def _sort_by(self, name: str) -> None:
        self._reversed = not self._reversed if name == self._sorted_by else False
        self._sorted_by = name
        self.draw()

    def action_pin(self) -> None:
        """Make the selected run the reference, or unset it if it is the reference already."""
        self.kelly.pinned = "" if self.kelly.pinned == self.run_id else self.run_id
        self.kelly.state.remember("app", pinned=self.kelly.pinned)
        self.draw()
        self.follow()

    def action_tags(self) -> None:
        """Edit the tags of the selected run."""
        run_id, known = self.run_id, self.kelly.run_list.find(self.run_id)
        if known is None:
            return

        def change(text: str) -> None:
            wanted = text.split()
            gone = [tag for tag in known.tags if tag not in wanted]
            self.kelly.send_to_run(run_id, lambda run: change_tags(run.folder, wanted, gone))

        about = "Words with blanks between them."
        self.kelly.ask(TextPrompt(f"Tags of {short_id(run_id)}", about, " ".join(known.tags)), change)

    def action_note(self) -> None:
        """Edit the note of the selected run."""
        run_id, known = self.run_id, self.kelly.run_list.find(self.run_id)
        if known is None:
            return

        def change(text: str) -> None:
            self.kelly.send_to_run(run_id, lambda run: change_note(run.folder, text))

        self.kelly.ask(TextPrompt(f"Note on {short_id(run_id)}", "Empty removes it.", known.note), change)

    def action_model(self) -> None:
        """Compare the curves of the next model."""
        self._compared_model += 1
        self.draw_run()

    def action_attach(self) -> None:
        """Show the run on the Train screen; for a sweep, show or hide its runs."""
        if self._group is not None:
            self.action_fold()
        elif self.run_id:
            self.kelly.attached = self.run_id
            self.kelly.drill_down("train")

    @property
    def _group_of_row(self) -> SweepGroup | None:
        """The sweep under the cursor, or the sweep of the run under the cursor."""
        groups = self._groups.values()
        return self._group or next((each for each in groups if self.run_id in {run.id for run in each.runs}), None)

    def action_fold(self) -> None:
        """Hide the runs of a sweep, or show them."""
        group = self._group_of_row
        if group is None:
            return
        if self._filter.conditions:
            self.notify("A filter shows all matching runs.", timeout=4)
        elif group.folder in self._unfolded:
            self.table.select(group.key)
            self._unfolded = [folder for folder in self._unfolded if folder != group.folder]
        else:
            self._unfolded = [*self._unfolded, group.folder]
        self.draw()
        self.follow()

    def action_filter(self) -> None:
        """Focus the filter."""
        text = self.query_one("#filter")
        text.display = True
        self.set_focus(text)

    @on(Input.Submitted, "#filter")
    def _filter_typed(self) -> None:
        self.set_focus(self.query_one("#runs"))

    def action_unfilter(self) -> None:
        """Clear the filter."""
        self.query_one("#filter", Input).value = ""
        self.query_one("#filter").display = False
        self.set_focus(self.query_one("#runs"))

    def action_export(self) -> None:
        """Export the best weights of the run under the cursor into its output folder."""
        if self.view is not None:
            self._export(self.run_id, self.view.snapshot.output)

    @work(thread=True, exclusive=True, group="export")
    def _export(self, run_id: str, output: str) -> None:
        words = ("runs", *self.kelly.session.config_options, "export", run_id)
        job = self.kelly.start(["env", *self.kelly.session.variables, *KELLY_CORE, *words])
        lines = list(job.lines())
        if job.problem or not lines:
            self.notify(job.problem or "nothing was exported", title="Export", severity="error", timeout=10)
        else:
            self.notify(f"{len(lines)} file{'s' * (len(lines) > 1)} written to {printable(output)}", title="Export")
