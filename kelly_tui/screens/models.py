"""The models: layers, sizes, parameters, and a form for every setting of each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import Label, Static

from kelly_core.config.editing import read_values, save_values
from kelly_core.errors import ConfigError
from kelly_core.spec import MODELS, Dense, LayerSpec, ModelSpec, model_spec
from kelly_tui.dialogs.prompts import ConfirmDialog
from kelly_tui.screens.base_screen import BaseScreen
from kelly_tui.widgets.panels import set_border_title, update_text
from kelly_tui.widgets.record_table import RecordTable, Row
from kelly_tui.widgets.settings_form import SETTING_FIELDS, Field, SettingsForm, origin_text


class Models(BaseScreen):
    """The models on the left; layers and settings of the selected one on the right."""

    NAME = "models"
    OPEN_ACTION = "edit"
    ABOUT = (
        "The networks and how each is trained; * marks one with unsaved changes. Values are checked as you type; "
        "saving changes only what you changed in the settings file and keeps its comments. Environment variables "
        "override the file."
    )
    MUTATING_ACTIONS = frozenset({"save"})

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,e", "edit", "Edit", tooltip="Go to the settings of the chosen model"),
        Binding("ctrl+s", "save", "Save", tooltip="Write what was changed into the settings file"),
        Binding("ctrl+r", "revert", "Revert", tooltip="Discard all edits and read the file again"),
        Binding("escape", "leave", "Back", show=False, tooltip="Back to the list of models"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._edits: dict[str, object | None] = {}
        self._problems: dict[str, str] = {}
        self._in_file: dict[str, Any] = {}

    def body(self) -> Iterator[Widget]:
        """Lay out the table, the layers and the form."""
        yield RecordTable(("model", "parameters"), "models", numbers=("parameters",), id="models")
        with Vertical(id="model"):
            layers = Static(id="layers", classes="panel", markup=False)
            layers.border_title = "layers"
            yield layers
            with Vertical(id="settings", classes="panel") as settings:
                settings.border_title = "settings"
                form = SettingsForm()
                form.display = False
                yield form
                yield Label("", id="form-status", markup=False)

    def command(self) -> tuple[str, ...]:
        """Return ``config``."""
        return ("config", *self.kelly.session.config_options)

    def on_mount(self) -> None:
        """Show the form after the rest: laying out and drawing the whole screen at once would delay keys."""
        self.call_after_refresh(setattr, self.query_one(SettingsForm), "display", True)

    def on_activate(self) -> None:
        """Read the settings file again, unless there are edits."""
        if not self._edits:
            self._load()
        self.table.select(self.kelly.chosen_model)
        self.kelly.chosen_model = ""

    @property
    def unsaved_text(self) -> str:
        """Number of unsaved settings, "" for none."""
        count = len(self._edits)
        return f"Models has {count} unsaved change{'s' * (count > 1)}." if count else ""

    @property
    def _spec(self) -> ModelSpec:
        return model_spec(self.table.current or MODELS[0].name)

    def _load(self) -> None:
        """Discard all edits and show the current settings."""
        self._edits, self._problems = {}, {}
        try:
            self._in_file = {} if self.kelly.session.problem else read_values(self.kelly.session.config_path)
        except ConfigError:
            self._in_file = {}
        self.refresh_frame()
        self._show_model()

    def draw(self) -> None:
        """Show the models, and the layers and the form's state of the selected one."""
        self.table.show(self._row(spec) for spec in MODELS)
        update_text(self.query_one("#layers", Static), self._layers(self._spec))
        status = self.query_one("#form-status", Label)
        status.set_class(bool(self._problems), "-problem")
        if self._problems:
            update_text(status, next(iter(self._problems.values())))
        elif self._edits:
            count = len(self._edits)
            update_text(status, f"{count} unsaved change{'s' * (count > 1)} · ctrl+s saves, ctrl+r reverts")
        else:
            update_text(status, f"as in {self.kelly.session.config_path}")

    def _row(self, spec: ModelSpec) -> Row:
        edited = any(key.startswith(f"models.{spec.name}.") for key in self._edits)
        name = Text.assemble(spec.name, (" *" if edited else "", self.theme_colors.accent))
        return Row(spec.name, (name, f"{spec.parameter_count:,}"))

    def _layers(self, spec: ModelSpec) -> Text:
        muted = self.theme_colors.muted
        lines = [_layer_text(layer, muted) for layer in spec.layers]
        total = f"{spec.input_size} in, {spec.output_size} out · {spec.parameter_count:,} parameters · {spec.loss}"
        return Text("\n").join([*lines, Text(total, muted)])

    @on(RecordTable.RowHighlighted)
    def _show_model(self) -> None:
        form = self.query_one(SettingsForm)
        form.load(self._spec, self.kelly.session.loaded)
        set_border_title(self.table, "models", _sizes(self._spec))
        set_border_title(self.query_one("#settings"), f"settings of {self._spec.name}")
        # Restore edits that were typed for this model before another one was selected.
        for field in SETTING_FIELDS:
            key = f"models.{self._spec.name}.{field.name}"
            if key in self._edits:
                form.set_value(field, self._edits[key])
                self._check(field)
        self.draw()

    @on(SettingsForm.Edited)
    def _edited(self, event: SettingsForm.Edited) -> None:
        form = self.query_one(SettingsForm)
        # A new choice field reports its first option, and the message may arrive after another model was selected.
        if form.model != self._spec.name:
            return
        key = f"models.{self._spec.name}.{event.field.name}"
        value = form.value(event.field)
        if value == getattr(self.kelly.session.settings.models[self._spec.name], event.field.name):
            self._edits.pop(key, None)
        else:
            self._edits[key] = value
        self._check(event.field)
        self.draw()

    def _check(self, field: Field) -> None:
        """Validate one field with ``kelly_core.config.schema``, with all other settings unchanged."""
        key = f"models.{self._spec.name}.{field.name}"
        form = self.query_one(SettingsForm)
        self._problems.pop(key, None)
        try:
            edit = {key: ("this form", self._edits[key])} if key in self._edits else {}
            loaded = self.kelly.session.load(edit)
            form.note(field, origin_text(field, self._spec, loaded))
        except ConfigError as error:
            self._problems[key] = error.problem
            form.note(field, error.problem.split(": ", 1)[-1], problem=True)

    def action_edit(self) -> None:
        """Go to the first setting."""
        self.set_focus(self.query_one("#field-epochs"))

    def action_leave(self) -> None:
        """Go back to the models."""
        self.set_focus(self.table)

    def action_revert(self) -> None:
        """Discard the edits."""
        self.kelly.session.reload()
        self._load()
        self.notify(f"Read {self.kelly.session.config_path} again")

    def action_save(self) -> None:
        """Write the changes; ask first if the same setting has also been changed in the file."""
        if self._problems:
            self.notify("Fix the marked fields first.", severity="error")
            return
        if not self._edits:
            self.notify("Nothing was changed.")
            return
        try:
            now = read_values(self.kelly.session.config_path)
        except ConfigError as error:
            self.notify(str(error), severity="error", timeout=10)
            return
        disputed = [key for key in self._edits if now.get(key) != self._in_file.get(key)]
        if not disputed:
            self._save()
            return
        lines = "\n".join(f"{key}: now {now.get(key, 'unset')}, yours {self._edits[key]}" for key in disputed)
        question = ConfirmDialog(
            "Someone else changed the same settings meanwhile", lines, [("", "Cancel"), ("mine", "Save mine")], "mine"
        )
        self.kelly.ask(question, lambda _answer: self._save())

    def _save(self) -> None:
        path = self.kelly.session.config_path
        try:
            save_values(path, self._edits)
        except ConfigError as error:
            self.notify(str(error), severity="error", timeout=10)
            return
        count = len(self._edits)
        self.kelly.session.reload()
        self._load()
        self.notify(f"{count} setting{'s' * (count > 1)} saved to {path}")


def _sizes(spec: ModelSpec) -> str:
    """Return the layers in one line: sizes, each with the layer's type before it unless the layer is dense."""
    outputs = [f"{'' if isinstance(layer, Dense) else f'{layer.kind} '}{layer.out_size}" for layer in spec.layers]
    return " → ".join([str(spec.input_size), *outputs])


def _layer_text(layer: LayerSpec, muted: str) -> Text:
    sizes = f"{layer.in_size:>4} → {layer.out_size:<4}"
    return Text.assemble(f"{layer.label:<14}", sizes, (f"  {layer.parameter_count:>9,}", muted))
