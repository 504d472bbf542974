"""A training as it goes: models, curves, what it says, and keys to steer it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Static

from kelly_core.runs import ModelSnapshot
from kelly_tui.run_words import best_text, epochs_text, host_text, loss_series, model_colour, short_id, state_text
from kelly_tui.screens.new_training import NewTraining, Order
from kelly_tui.screens.run_page import RunPage
from kelly_tui.series import Series
from kelly_tui.widgets.chart import CurveChart
from kelly_tui.widgets.frame import RunLog, set_title
from kelly_tui.widgets.listing import Listing, Row
from kelly_tui.wording import NOTHING, duration, loss

_COLUMNS = ("model", "state", "epoch", "step/s", "ETA", "loss", "best", "patience", "data")
_NUMBERS = ("epoch", "step/s", "ETA", "loss", "best", "patience")


class Train(RunPage):
    """The models of a run above, curves and log below."""

    NAME = "train"
    ABOUT = (
        "A training runs in a process of its own: leaving these screens, or losing the connection, does not stop it. "
        "Choose a model with the arrow keys to see its curves. Best is the lowest validation loss and its epoch; "
        "patience is how many more epochs may pass without progress."
    )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", tooltip="Choose models and start a training"),
        Binding("l", "scale('logarithmic')", "Log", tooltip="Logarithmic or linear scale"),
        Binding("z", "scale('tail')", "Zoom", tooltip="The last epochs only, or all"),
        Binding("o", "overlay", "All", tooltip="Curves of all models, or of the chosen one"),
        Binding("g", "pane", "Says", tooltip="What the training said, instead of the curves in a small window"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._overlay = False
        self._alarm = ""

    def body(self) -> Iterator[Widget]:
        """Models, alarm, curves beside each other, log."""
        yield Listing(_COLUMNS, numbers=_NUMBERS, extras=("step/s", "patience", "data"), id="training")
        yield Static("", id="alarm", markup=False)
        with Horizontal(id="curves"):
            yield CurveChart("The curves appear after the first epoch.", id="loss")
            with Vertical(id="side"):
                yield CurveChart("Learning rate: after the first epoch.", id="rate")
                yield CurveChart("Throughput: after the first epoch.", id="pace")
        said = RunLog(id="said")
        said.border_title = "what it says"
        yield said

    @property
    def run_id(self) -> str:
        """The run that was attached last."""
        return self.kelly.attached

    def command(self) -> tuple[str, ...]:
        """``runs attach``, or ``train`` where nothing runs."""
        words = self.kelly.workspace.config_words
        return ("runs", *words, "attach", self.run_id) if self.run_id else ("train", "--detach", *words)

    def on_mount(self) -> None:
        """Begin with the list of models."""
        self.query_one("#training").focus()
        for chart in self.query(CurveChart):
            chart.ascii = self.kelly.workspace.options.ascii
        self.draw_run()

    def on_screen_resume(self) -> None:
        """Follow the run again."""
        self.follow()

    def on_resize(self) -> None:
        """A narrow table has fewer columns."""
        self.draw_run()

    def runs_changed(self) -> None:
        """A run may have been attached."""
        self.follow()

    def repaint(self) -> None:
        """Draw again."""
        super().repaint()
        self.draw_run()

    def draw_run(self) -> None:
        """Show everything."""
        if not self.is_mounted:
            return
        self.refresh_frame()
        table = self.query_one("#training", Listing)
        view = self.view
        if view is None:
            title = short_id(self.run_id) if self.run_id else "no training yet"
            set_title(table, title, "" if self.run_id else "n starts one")
            table.show([])
        else:
            run = view.snapshot
            set_title(table, f"{short_id(run.id)} · {self._state_line()}", host_text(run))
            table.show(self._row(model) for model in run.models)
        self._draw_alarm()
        self._draw_curves()
        self.query_one("#said", RunLog).show(view.lines if view else ())

    def _state_line(self) -> str:
        assert self.view is not None
        run = self.view.snapshot
        parts = [state_text(run.state, run.silent_seconds, self.palette).plain]
        if run.attempt > 1:
            parts.append(f"attempt {run.attempt}")
        if run.epochs_left is not None and run.live:
            parts.append(f"stops after {run.epochs_left} more epoch{'s' * (run.epochs_left != 1)}")
        if run.features is not None:
            parts.append(f"features of {run.features.dataset} {run.features.done}/{run.features.total}")
        device = next((model.device for model in run.models if model.device), "")
        return " · ".join([*parts, device] if device else parts)

    def _row(self, model: ModelSnapshot) -> Row:
        colours = self.palette
        name = Text.assemble(("● ", model_colour(model.model, colours)), model.model)
        if model.state == "running" and model.steps and model.epochs:
            epochs = f"{model.epoch}/{model.epochs}"
        else:
            epochs = epochs_text(model)
        pace = NOTHING if model.steps_per_second is None else f"{model.steps_per_second:,.0f}"
        patience = NOTHING if model.patience_left is None else str(model.patience_left)
        data = f"{'synthetic ' if model.synthetic else ''}{model.dataset}"
        eta = duration(model.eta_seconds)
        state = state_text(model.state, 0.0, colours)
        cells = (name, state, epochs, pace, eta, loss(model.val_loss), best_text(model), patience, data)
        return Row(model.model, cells)

    def _draw_alarm(self) -> None:
        alarm, view = self.query_one("#alarm", Static), self.view
        lines: list[str] = []
        if view is not None:
            run = view.snapshot
            lines += [run.error] if run.error else []
            lines += [
                f"{model.model}: {model.error}" for model in run.models if model.error and model.error != run.error
            ]
            lines += [f"{each.model}: {each.message}" for each in view.alarms.values() if each.kind != "synthetic"]
            if run.state == "died":
                lines.append("Its process is gone. R goes on from the last checkpoint.")
        text = "\n".join(lines[:3])
        if text != self._alarm:
            self._alarm = text
            alarm.update(text)
            alarm.display = bool(text)

    @property
    def _chosen(self) -> str:
        models = [] if self.view is None else self.view.snapshot.models
        current = self.query_one("#training", Listing).current
        return current or next((model.model for model in models), "")

    @on(Listing.RowHighlighted)
    def _draw_curves(self) -> None:
        rate, pace, chart = (self.query_one(f"#{name}", CurveChart) for name in ("rate", "pace", "loss"))
        curves = {} if self.view is None else self.view.curves
        colours, model = self.palette, self._chosen
        if self._overlay:
            series = [
                Series(name, each.epochs, each.val_loss, model_colour(name, colours)) for name, each in curves.items()
            ]
            chart.show("validation loss of all models", series)
        else:
            shown = loss_series(curves[model], colours, model_colour(model, colours)) if model in curves else []
            chart.show(f"loss of {model}" if model else "loss", shown)
        one = curves.get(model)
        colour = model_colour(model, colours)
        rate.show("learning rate", [Series("of Adam", one.epochs, one.learning_rate, colour)] if one else [])
        pace.show("throughput", [Series("frames/s", one.epochs, one.frames_per_second, colour)] if one else [])

    def action_scale(self, name: str) -> None:
        """Switch the chart's scale or its part."""
        self.query_one("#loss", CurveChart).toggle(name)

    def action_overlay(self) -> None:
        """All models, or the chosen one."""
        self._overlay = not self._overlay
        self._draw_curves()

    def action_pane(self) -> None:
        """Show what the training said instead of the curves, or the curves again."""
        self.toggle_class("-said")

    def action_new(self) -> None:
        """Ask what to train, then start it."""

        def answered(order: Order | None) -> None:
            if order is not None:
                self.kelly.start_training(order)

        self.app.push_screen(NewTraining(self.kelly.workspace, self.kelly.start), answered)
