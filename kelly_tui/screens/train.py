"""Train screen: models, curves and log of a live run, with keys to control it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from kelly_core.formatting import MISSING, format_change, format_duration, format_loss
from kelly_core.runs.overview import Curves
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import short_id
from kelly_core.runs.state import CONCERNS, ENDED, ModelSnapshot, RunSnapshot
from kelly_tui.charts.chart_data import Series, baseline_series, loss_series, overlaid_series, validation_series
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.dialogs.new_training import NewTrainingDialog
from kelly_tui.dialogs.prompts import TextPrompt
from kelly_tui.dialogs.runs import RunPicker, rollback_dialog
from kelly_tui.formatting import bar, best_text, epochs_text, host_text, model_color, model_state_text, state_text
from kelly_tui.screens.run_screen import RunScreen
from kelly_tui.widgets.panels import set_border_title, update_text
from kelly_tui.widgets.record_table import RecordTable, Row
from kelly_tui.widgets.run_log import RunLog

_NO_CURVES = "The curves appear after the first epoch."
_COLUMNS = ("model", "state", "epoch", "step/s", "ETA", "loss", "best", "patience", "data")
_KINDS = ("loss", "baseline", "rate", "pace")
"""Kinds of charts, also used as ids: the large chart shows any of them, the small ones the others."""
_ROWS_FOR_ALL_CHARTS = 48
_ROWS_FOR_LONG_ALARMS = 22
"""Minimum lines of the window for warnings of several lines; in a smaller one the curves would have no room."""
_MAX_ALARMS = 3
_MIN_WIDE_COLUMNS = 90
_PROGRESS_WIDTH, _NARROW_PROGRESS_WIDTH = 10, 4
_NUMBERS = ("epoch", "step/s", "ETA", "loss", "best", "patience")


class Train(RunScreen):
    """Models of a run above; curves and log below."""

    NAME = "train"
    ABOUT = (
        "A training runs in a separate process: leaving these screens, or losing the connection, does not stop it. "
        "Choose a model with the arrow keys to see its curves. Best is the lowest validation loss and its epoch; "
        "patience is how many more epochs may pass without progress. The baseline is the loss of the best constant "
        "output; Bayes, on generated data, is the lowest loss that any model could reach. Runs marked here or on Runs "
        "are overlaid on this one."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", tooltip="Choose models and start a training"),
        Binding("b", "rollback", "Roll back", tooltip="Send the chosen model back to its best epoch, at half the rate"),
        Binding("v", "chart", "Chart", tooltip="Loss, baseline, learning rate or throughput in the large chart"),
        Binding("o", "overlay", "All models", tooltip="Curves of all models, or of the chosen one"),
        Binding("w", "others", "Overlay", tooltip="Overlay the curves of other runs on this one's"),
        Binding("g", "pane", "Log", tooltip="Log of the run, instead of the curves in a small window"),
        Binding("slash", "search_log", show=False, tooltip="Show the log and search it for a text, or go to a time"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._overlay = False
        kept = self.kelly.state.remembered("train").get("chart")
        self._kind = _KINDS.index(kept) if kept in _KINDS else 0

    def body(self) -> Iterator[Widget]:
        """Lay out models, warnings, curves and log."""
        yield RecordTable(
            _COLUMNS, numbers=_NUMBERS, extras=("data", "patience", "step/s", "loss", "ETA"), id="training"
        )
        yield Static("", id="alarm", markup=False)
        with Horizontal(id="curves"):
            yield CurveChart(_NO_CURVES, id="loss")
            with Vertical(id="side"):
                for kind in _KINDS[1:]:
                    yield CurveChart("After the first epoch.", id=kind)
        yield RunLog(id="log")

    @property
    def run_id(self) -> str:
        """Return the id of the attached run."""
        return self.kelly.attached

    @property
    def other_ids(self) -> tuple[str, ...]:
        """Return the ids of the marked runs."""
        return tuple(run_id for run_id in self.kelly.marked if run_id != self.run_id) if self.run_id else ()

    @property
    def chosen_model(self) -> str:
        """Name of the model under the cursor if it has not ended, "" otherwise."""
        model = self._chosen
        return model.model if model is not None and model.state not in ENDED else ""

    def command(self) -> tuple[str, ...]:
        """Return ``runs attach``, or ``train`` if no run is attached."""
        words = self.kelly.session.config_options
        return ("runs", *words, "attach", self.run_id) if self.run_id else ("train", "--detach", *words)

    def on_resize(self) -> None:
        """Fit the table's columns and the number of charts to the new size."""
        self.draw_run()

    def draw_run(self) -> None:
        """Draw the run."""
        self.refresh_frame()
        view = self.view
        if view is None:
            title = short_id(self.run_id) if self.run_id else "no training yet"
            set_border_title(self.table, title, "" if self.run_id else "n starts one")
            self.table.show([])
        else:
            run = view.snapshot
            title = " · ".join([short_id(run.id), *self._state_parts(run)])
            set_border_title(self.table, title, host_text(run) if run.live else "")
            self.table.show(self._row(model) for model in run.models)
        self._draw_alarm()
        self._draw_curves()
        self.query_one(RunLog).show(view.lines if view else ())

    def _state_parts(self, run: RunSnapshot) -> Iterator[str]:
        """Yield facts about the run, as many as fit."""
        wide = self.size.width >= _MIN_WIDE_COLUMNS
        yield state_text(run.state, run.silent_seconds, self.theme_colors).plain
        if len(run.models) > 1 and run.live:
            yield _progress_text(run, _PROGRESS_WIDTH if wide else _NARROW_PROGRESS_WIDTH)
            if (left := _seconds_left(run)) is not None:
                yield f"ETA {format_duration(left)}"
        overview = self.kelly.run_list.find(run.id)
        if overview is not None and overview.gain is not None:
            yield f"gain {format_change(overview.gain)}"
        if run.attempt > 1:
            yield f"attempt {run.attempt}"
        if run.epochs_left is not None and run.live:
            yield f"stops after {run.epochs_left} more epoch{'s' * (run.epochs_left != 1)}"
        if run.features is not None:
            yield f"reading {run.features.dataset} {run.features.done:,}/{run.features.total:,}"
        device = next((model.device for model in run.models if model.device), "")
        if device and wide:
            yield device

    def _row(self, model: ModelSnapshot) -> Row:
        colors = self.theme_colors
        name = Text.assemble(("● ", model_color(model.model, colors)), model.model)
        pace = MISSING if model.steps_per_second is None else f"{model.steps_per_second:,.0f}"
        # No patience left and still training: early stopping is off.
        endless = model.patience_left == 0 and not model.reason
        patience = MISSING if model.patience_left is None or endless else str(model.patience_left)
        data = f"{'synthetic ' if model.synthetic else ''}{model.dataset}"
        eta = format_duration(model.eta_seconds)
        state = model_state_text(model, colors)
        epochs = epochs_text(model)
        cells = (name, state, epochs, pace, eta, format_loss(model.val_loss), best_text(model), patience, data)
        return Row(model.model, cells)

    def _draw_alarm(self) -> None:
        alarm = self.query_one("#alarm", Static)
        lines = [] if self.view is None else list(self._alarms(self.view.snapshot))
        alarm.set_class(self.size.height < _ROWS_FOR_LONG_ALARMS, "-one-line")
        update_text(alarm, "\n".join(lines[:_MAX_ALARMS]))
        alarm.display = bool(lines)

    def _alarms(self, run: RunSnapshot) -> Iterator[str]:
        """Yield errors and warnings, the most serious first."""
        if run.error:
            yield run.error
        for model in run.models:
            if model.error and model.error != run.error:
                yield f"{model.model}: {model.error}"
        for model in run.models:
            if model.alarm and model.alarm_kind not in ("synthetic", "made_by_rules"):
                yield f"{model.model}: {model.alarm}{self._offer(model)}"
        if run.state == "died":
            yield "R resumes from the last checkpoint."

    def _offer(self, model: ModelSnapshot) -> str:
        """Return the rollback key hint if the run can be controlled and has a best epoch."""
        offered = model.alarm_kind in CONCERNS and model.can_roll_back and self.check_action("rollback", ())
        return " [b rolls back]" if offered else ""

    @property
    def _models(self) -> tuple[ModelSnapshot, ...]:
        return () if self.view is None else self.view.snapshot.models

    @property
    def _chosen(self) -> ModelSnapshot | None:
        """Return the model under the cursor, or the first one."""
        models = {model.model: model for model in self._models}
        current = self.table.current
        return models.get(current or "", next(iter(models.values()), None))

    @on(RecordTable.RowHighlighted)
    def _draw_curves(self) -> None:
        large = _KINDS[self._kind]
        for place in _KINDS:
            # The kind that is shown large swaps its place with the loss, which is large by default.
            kind = {"loss": large, large: "loss"}.get(place, place)
            chart = self.query_one(f"#{place}", CurveChart)
            chart.show(*self._chart(kind), self._activity() if place == "loss" else None)
            if place != "loss":
                # A constant curve shows nothing that the table does not, so the other charts get its space.
                has_room = place != "pace" or self.size.height >= _ROWS_FOR_ALL_CHARTS
                chart.display = has_room and not (kind == "rate" and _is_constant(chart.series))

    def _activity(self) -> str:
        """Return the run's current activity while the chosen model has no curve yet."""
        model, run = self._chosen, None if self.view is None else self.view.snapshot
        if model is None or run is None or not run.live:
            return _NO_CURVES
        if model.state in ENDED:
            return f"{model.model}: {model.state} before its first epoch."
        if model.steps and model.epochs:
            return f"Epoch {model.epoch + 1} of {model.epochs:,}: step {model.step:,} of {model.steps:,}. {_NO_CURVES}"
        if model.epochs is not None:
            return f"{model.model} begins. {_NO_CURVES}"
        busy = next((each.model for each in run.models if each.state not in (*ENDED, "queued")), "")
        if busy:
            return f"{model.model} waits until {busy} has ended."
        if run.features is None:
            prepared = next(each.model for each in run.models if each.state not in ENDED)
            return f"{'Starting' if run.state == 'queued' else f'Preparing the data of {prepared}'} … {_NO_CURVES}"
        done, total = run.features.done, run.features.total
        progress = bar(done / total if total else 0.0, _PROGRESS_WIDTH, ("", "")).plain
        return f"Reading {run.features.dataset}: {done:,} of {total:,} files {progress} {run.features.note}".rstrip()

    def _chart(self, kind: str) -> tuple[str, list[Series]]:
        """Return title and curves of one kind of chart."""
        model = self._chosen
        curves = None if model is None or self.view is None else self.view.curves.get(model.model)
        if model is None or curves is None:
            return kind, []
        color = model_color(model.model, self.theme_colors)
        match kind:
            case "loss":
                return self._loss_chart(model, curves)
            case "baseline":
                return "against the baseline", baseline_series(curves, model, self.theme_colors)
            case "rate":
                return "learning rate", [Series("of Adam", curves.epochs, curves.learning_rate, color)]
        return "throughput", [Series("frames/s", curves.epochs, curves.frames_per_second, color)]

    def _loss_chart(self, model: ModelSnapshot, curves: Curves) -> tuple[str, list[Series]]:
        """Return one model's losses, the validation losses of all models, or the ones of this model in several runs."""
        assert self.view is not None
        colors, others = self.theme_colors, [self.views[run_id] for run_id in self.other_ids if run_id in self.views]
        if self._overlay:
            of_models = self.view.curves.items()
            series = [validation_series(name, each, model_color(name, colors)) for name, each in of_models]
            return "validation loss of all models", series
        if others:
            return f"validation loss of {model.model}", overlaid_series(model.model, [self.view, *others], colors)
        return f"loss of {model.model}", loss_series(curves, model, colors)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Enable rollback only for a model in training that has a best epoch."""
        possible = action != "rollback" or any(model.can_roll_back for model in self._models)
        return possible and super().check_action(action, parameters)

    @on(RunLog.SearchWanted)
    def _ask_for_search(self, message: RunLog.SearchWanted) -> None:
        """Ask what to search the log for."""
        about = "A text; n and N go to the next match and to the one before. A time such as 14:05 goes to that time."
        prompt = TextPrompt("Search the log", about, message.text)
        self.kelly.ask(prompt, self.query_one(RunLog).search)

    def cursor_moved(self, epoch: float | None) -> None:
        """Point at the same epoch in the log."""
        self.query_one(RunLog).show_epoch(epoch)

    def action_overlay(self) -> None:
        """Toggle between all models and the selected one."""
        self._overlay = not self._overlay
        self._draw_curves()

    def action_chart(self) -> None:
        """Show the next kind of chart in the large panel."""
        self._kind = (self._kind + 1) % len(_KINDS)
        self.kelly.state.remember("train", chart=_KINDS[self._kind])
        self._draw_curves()

    def action_others(self) -> None:
        """Choose runs to overlay; runs of the shown model come first, since the others have no curve to compare."""

        def overlay(marked: list[str]) -> None:
            self.kelly.marked = marked
            self.follow()
            self.draw_run()

        chosen = self._chosen

        def has_other_models(run: RunSnapshot) -> bool:
            return chosen is not None and chosen.model not in run.model_names

        others = (run for run in reversed(self.kelly.run_list.runs) if run.id != self.run_id)
        if runs := sorted(others, key=has_other_models):
            self.kelly.ask(RunPicker(runs, self.other_ids), overlay)
        else:
            self.notify("There is no other run yet.", timeout=4)

    def action_rollback(self) -> None:
        """Roll the selected model back after confirmation; if it cannot be rolled back, the first one that can."""
        models = [model for model in self._models if model.can_roll_back]
        model = self._chosen if self._chosen in models else next(iter(models), None)
        if model is None:
            return
        send = partial(self.kelly.send_to_run, self.run_id, partial(Run.request_rollback, model=model.model))
        self.kelly.ask(rollback_dialog(model.model, model.best_epoch or 0), lambda _answer: send())

    def action_pane(self) -> None:
        """Toggle between log and curves."""
        self.toggle_class("-log")

    def action_search_log(self) -> None:
        """Show and focus the log, so that n and N go from match to match, and ask for a text to search for."""
        log = self.query_one(RunLog)
        self.set_class(self.has_class("-log") or not log.display, "-log")
        log.focus()
        log.action_search()

    def action_new(self) -> None:
        """Ask for models and settings, then start a training."""
        self.kelly.ask(NewTrainingDialog(self.kelly.session, self.kelly.start), self.kelly.start_training)


def _progress_text(run: RunSnapshot, width: int) -> str:
    """Return which model is trained, with the share of all epochs; a model that has ended counts as complete."""
    share = _share(run)
    number = min(len(run.models), sum(model.state in ENDED for model in run.models) + 1)
    return f"model {number} of {len(run.models)} {bar(share, width, ('', '')).plain} {share:.0%}"


def _share(run: RunSnapshot) -> float:
    """Return the share of all epochs that are done."""
    shares = [
        1.0 if model.state in ENDED else model.epoch / model.epochs if model.epochs else 0.0 for model in run.models
    ]
    return sum(shares) / len(shares)


def _seconds_left(run: RunSnapshot) -> float | None:
    """Estimate the seconds until all models are trained, from the mean time per epoch so far.

    None if the run has ended or was resumed: for a resumed run, this attempt's share of the epochs is unknown.
    """
    share = _share(run)
    return (run.updated - run.began) * (1 - share) / share if run.live and share and run.attempt == 1 else None


def _is_constant(series: Sequence[Series]) -> bool:
    """Return True if there are values, and all are the same."""
    curves = [each.ys for each in series if each.ys]
    return bool(curves) and all(curve.count(curves[0][0]) == len(curve) for curve in curves)
