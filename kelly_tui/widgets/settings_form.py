"""Form for one model's settings: validates input at once and shows the origin of each value."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import get_args

from textual import on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Input, Label, Select

from kelly_core.config.loading import LoadedSettings
from kelly_core.config.reference import setting
from kelly_core.spec import DATASETS, LOSS_OUTPUT, MODELS, Loss, ModelSpec
from kelly_tui.widgets.panels import update_text

_MAX_INPUT_LENGTH = 32


@dataclass(frozen=True)
class Field:
    """One setting of a model.

    Attributes:
        name: as in ``[models.<name>]``.
        common: dotted key of the setting that applies if the model has none, "" if there is no such setting.
        choices: values to choose from; () for a number.
        help: description, unit and limits, shown as the tooltip.
    """

    name: str
    common: str
    choices: tuple[str, ...]
    help: str


def _field(name: str, common: str = "", choices: tuple[str, ...] = ()) -> Field:
    """Return the field of one setting, described by the settings' schema."""
    about = setting(f"models.{MODELS[0].name}.{name}")
    notes = f" ({about.details})" if about.details else ""
    return Field(name, common, choices or about.choices, f"{about.description}{notes}.")


SETTING_FIELDS = (
    _field("epochs", "training.epochs"),
    _field("batch_size", "training.batch_size"),
    _field("learning_rate", "training.learning_rate"),
    _field("patience", "training.early_stopping.patience"),
    _field("loss"),
    _field("state"),
    _field("dataset", choices=DATASETS),
)


class SettingInput(Input):
    """A number; empty means the value of [training]."""

    HELP = "Type a number. Empty means as in [training]. Esc goes back to the models; ctrl+s saves."

    def value_to_copy(self) -> str:
        """Return the typed number, or the value that applies."""
        return self.value or self.placeholder


class SettingChoice(Select[str]):
    """A choice between named values."""

    HELP = "Press enter and choose. Esc goes back to the models; ctrl+s saves."

    def value_to_copy(self) -> str:
        """Return the selected value."""
        return "" if self.is_blank() else str(self.value)


class SettingsForm(VerticalScroll, can_focus=False):
    """All settings of one model.

    Attributes:
        model: name of the model whose settings are shown, "" before the first ``load``.
    """

    model = ""

    @dataclass
    class Edited(Message):
        """The user changed a field."""

        field: Field

    def compose(self) -> ComposeResult:
        """Lay out one line per setting: name, field, origin."""
        for field in SETTING_FIELDS:
            with Horizontal(classes="setting"):
                yield Label(field.name, classes="setting-name")
                yield self._control(field)
                yield Label("", classes="setting-note", id=f"note-{field.name}", markup=False)

    def _control(self, field: Field) -> SettingInput | SettingChoice:
        control: SettingInput | SettingChoice
        name = f"field-{field.name}"
        if field.choices:
            options = [(choice, choice) for choice in field.choices]
            required = field.name in ("state", "dataset")
            control = SettingChoice(options, id=name, compact=True, allow_blank=not required, prompt="as its spec")
        else:
            control = SettingInput(id=name, compact=True, max_length=_MAX_INPUT_LENGTH, select_on_focus=True)
        control.tooltip = field.help
        return control

    def load(self, spec: ModelSpec, loaded: LoadedSettings) -> None:
        """Show the current settings without posting ``Edited``."""
        self.model = spec.name
        for field in SETTING_FIELDS:
            control = self.query_one(f"#field-{field.name}")
            # An environment variable would override the saved value.
            control.disabled = loaded.origins[f"models.{spec.name}.{field.name}"].startswith("KELLY_")
            choices = {"loss": usable_losses(spec), "state": spec.states}.get(field.name, ())
            if isinstance(control, SettingChoice) and choices:
                # Textual selects the first of new options immediately, but the user has not chosen it.
                with self.prevent(Select.Changed):
                    control.set_options((choice, choice) for choice in choices)
            if isinstance(control, SettingInput):
                control.placeholder = f"{common_value(field, loaded):g}"
            self.set_value(field, getattr(loaded.settings.models[spec.name], field.name))
            self.note(field, origin_text(field, spec, loaded))

    def set_value(self, field: Field, value: object | None) -> None:
        """Set a field without posting ``Edited``."""
        control = self.query_one(f"#field-{field.name}")
        with self.prevent(Input.Changed, Select.Changed):
            if isinstance(control, SettingChoice):
                control.value = Select.NULL if value is None else str(value)
            elif isinstance(control, SettingInput):
                control.value = "" if value is None else _shown(value)

    def value(self, field: Field) -> object | None:
        """Return the field's value; None if it is empty."""
        control = self.query_one(f"#field-{field.name}")
        if isinstance(control, SettingChoice):
            return None if control.is_blank() else str(control.value)
        assert isinstance(control, SettingInput)
        return parsed(control.value)

    def note(self, field: Field, text: str, problem: bool = False) -> None:
        """Show a note next to a field."""
        label = self.query_one(f"#note-{field.name}", Label)
        update_text(label, text)
        label.set_class(problem, "-problem")
        self.query_one(f"#field-{field.name}").set_class(problem, "-problem")

    @on(Input.Changed)
    @on(Select.Changed)
    def _edited(self, event: Input.Changed | Select.Changed) -> None:
        event.stop()
        name = (event.control.id or "").removeprefix("field-")
        self.post_message(self.Edited(next(field for field in SETTING_FIELDS if field.name == name)))


def usable_losses(spec: ModelSpec) -> tuple[str, ...]:
    """Return the losses that fit the output activation of a model."""
    output = spec.output_activation or "linear"
    return tuple(loss for loss in get_args(Loss) if LOSS_OUTPUT.get(loss, output) == output)


def parsed(text: str) -> object | None:
    """Convert typed text to a number if possible; None if it is empty."""
    text = text.strip()
    if not text:
        return None
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def common_value(field: Field, loaded: LoadedSettings) -> float:
    """Return the value that applies to an empty field."""
    value: object = loaded.settings
    for part in field.common.split("."):
        value = getattr(value, part)
    assert isinstance(value, int | float)
    return value


def origin_text(field: Field, spec: ModelSpec, loaded: LoadedSettings) -> str:
    """Return the current value and its origin."""
    own = getattr(loaded.settings.models[spec.name], field.name)
    if own is not None:
        return f"{_shown(own)} · {loaded.origins[f'models.{spec.name}.{field.name}']}"
    if field.common:
        return f"{_shown(common_value(field, loaded))} · [training], {loaded.origins[field.common]}"
    return f"{getattr(spec, field.name)} · its spec"


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
