"""Settings and where each comes from: typed option > environment > file > default."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kelly_core.config.keys import flatten, unflatten
from kelly_core.config.toml_file import SettingsFile
from kelly_core.errors import ConfigError, did_you_mean
from kelly_core.spec import LOSS_OUTPUT, MODELS, LabelScale, Loss, State

DEFAULT_FILE = Path("config.toml")
ENVIRONMENT_PREFIX = "KELLY_"
_ALL_SETTINGS = "`kelly-core config` lists all settings"

_PER_MODEL = {
    "training.epochs": "epochs",
    "training.batch_size": "batch_size",
    "training.learning_rate": "learning_rate",
    "training.early_stopping.patience": "patience",
}


def _at_home(path: Path) -> Path:
    """The path with the user's home folder in the place of ``~``."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError("no home folder is known; set HOME, or name a folder without ~") from error


Count = Annotated[int, Field(ge=1)]
CountOrAuto = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
FolderPath = Annotated[Path, Field(strict=False), AfterValidator(_at_home)]
OptionalPath = Annotated[str, AfterValidator(lambda text: str(_at_home(Path(text))) if text else text)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EarlyStopping(_Section):
    """When a training that no longer improves ends."""

    patience: CountOrAuto = 10
    """Epochs without a relative gain of ``min_delta`` before training stops; 0 never stops early."""
    min_delta: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """Share of the best loss by which an epoch must beat it to count as progress."""


class Checkpointing(_Section):
    """Which checkpoints are kept besides the weights in memory."""

    save_best: bool = True
    save_latest: bool = True
    save_interval: CountOrAuto = 0
    """Keep one more checkpoint every so many epochs; 0 keeps none."""


class Training(_Section):
    """How every model trains unless its own section says otherwise."""

    epochs: Count = 50
    batch_size: Count = 64
    learning_rate: Rate = 0.001
    validation_split: Annotated[float, Field(gt=0, lt=1)] = 0.2
    gradient_clip: Annotated[float, Field(ge=0)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: CountOrAuto = 0
    jobs: Count = 1
    """Models that train at once, each in a process of its own."""
    early_stopping: EarlyStopping = EarlyStopping()
    checkpointing: Checkpointing = Checkpointing()


class ModelSettings(_Section):
    """What one model does differently; None means as in [training], or as its spec says."""

    epochs: Count | None = None
    batch_size: Count | None = None
    learning_rate: Rate | None = None
    patience: CountOrAuto | None = None
    loss: Loss | None = None
    state: State = "stateful"
    dataset: str = ""


class DatasetSettings(_Section):
    """Where one corpus lies; empty means its usual place."""

    path: OptionalPath = ""
    annotations_file: str = ""


class AudioDatasetSettings(DatasetSettings):
    """A corpus of audio."""

    duration: Annotated[float, Field(ge=1, le=600)] = 45.0
    """Seconds of each file that are used, from its start."""
    scale: LabelScale = ""
    """Scale of valence and arousal in tables without the columns of a published corpus; empty refuses them."""


class AdditionalDatasetSettings(_Section):
    """A corpus that is mixed into others."""

    path: OptionalPath = ""
    """Its folder; empty means its usual place."""
    weight: Annotated[float, Field(ge=0, le=100)]
    """Loss weight of its examples, times that of their label source; at 0 it only stands in for a missing corpus."""


class AdditionalAudioSettings(AdditionalDatasetSettings):
    """Audio that is mixed into others."""

    scale: LabelScale = ""
    """Scale of valence and arousal in tables without the columns of a published corpus; empty refuses them."""


class Datasets(_Section):
    """The corpora: one a model, and additional ones."""

    dir: FolderPath = Path("datasets")
    cache_dir: FolderPath = Path("~/.cache/kelly")
    jobs: CountOrAuto = 0
    max_files: CountOrAuto = 0
    use_synthetic: bool = False
    synthetic_examples: CountOrAuto = 0
    """Generated examples in an epoch; 0 chooses a number that trains each model well."""
    deam: AudioDatasetSettings = AudioDatasetSettings()
    lakh_midi: DatasetSettings = DatasetSettings()
    chords: DatasetSettings = DatasetSettings()
    maestro: DatasetSettings = DatasetSettings()
    groove_midi: DatasetSettings = DatasetSettings()
    emotion_midi: AdditionalDatasetSettings = AdditionalDatasetSettings(weight=0.0)
    emotion_audio: AdditionalAudioSettings = AdditionalAudioSettings(weight=1.0)

    def weight(self, name: str) -> float:
        """Mixing weight of the corpus ``name``; 1 for a main one."""
        settings = getattr(self, name)
        return settings.weight if isinstance(settings, AdditionalDatasetSettings) else 1.0

    def is_placed(self, name: str) -> bool:
        """Return True if the settings name a folder for the corpus ``name``."""
        return bool(getattr(self, name).path)

    def folder(self, name: str) -> Path:
        """Return the folder of the corpus ``name``; a missing one may be there in another case, as ``Groove_MIDI``."""
        settings: DatasetSettings | AdditionalDatasetSettings = getattr(self, name)
        if settings.path:
            return Path(settings.path)
        exact = self.dir / name
        return exact if exact.exists() else next(_in_any_case(self.dir, name), exact)


def _in_any_case(folder: Path, name: str) -> Iterator[Path]:
    """Folders of ``folder`` whose name differs from ``name`` by case only, in a fixed order."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        # A folder that cannot be read holds no corpus; what opens the corpus reports it under its usual name.
        return
    yield from (entry for entry in entries if entry.name.casefold() == name.casefold() and entry.is_dir())


class Output(_Section):
    """What a training leaves behind, and where."""

    dir: FolderPath = Path("models")
    layout: Literal["rtneural", "legacy"] = "rtneural"
    keep_best: bool = False
    """Keep an export of another training that is better on the same examples, instead of replacing it."""
    history: bool = True
    plots: bool = True
    tensorboard: bool = False
    """Also write ``tensorboard/`` for TensorBoard, which must be installed."""


class Runs(_Section):
    """Where trainings keep their logs."""

    dir: FolderPath = Path("runs")


class Parallel(_Section):
    """Where features are computed and the trials of a sweep are trained."""

    backend: Literal["local", "dask"] = "local"
    scheduler: Annotated[str, Field(pattern=r"^$|^\w+://.+:\d+$")] = ""

    @property
    def cluster(self) -> str:
        """Address of the Dask scheduler to use, "" for this machine."""
        return self.scheduler if self.backend == "dask" else ""


class Sweep(_Section):
    """What `kelly-core sweep` tries."""

    set: list[str] = Field(default_factory=list)
    """Settings to try, each ``key=value,value…`` or, for random points, ``key=low..high``."""
    seeds: Count = 1
    """Trainings of each point, with seeds that follow each other from ``training.seed``."""
    random: CountOrAuto = 0
    """So many random points; 0 takes every combination."""
    jobs: CountOrAuto = 0
    """Trials that train at once on this machine; 0: as many as there are cores for them."""


_LEARNING_RATES = {"GroovePredictor": 0.0003}
"""Where another rate than that of [training] measurably does better on real data; see docs/contracts.md."""


def _every_model() -> dict[str, ModelSettings]:
    return {
        spec.name: ModelSettings(dataset=spec.dataset, learning_rate=_LEARNING_RATES.get(spec.name)) for spec in MODELS
    }


class Settings(_Section):
    """Every setting, with its default."""

    training: Training = Training()
    models: dict[str, ModelSettings] = Field(default_factory=_every_model)
    datasets: Datasets = Datasets()
    output: Output = Output()
    runs: Runs = Runs()
    parallel: Parallel = Parallel()
    sweep: Sweep = Sweep()


@dataclass(frozen=True)
class LoadedSettings:
    """Settings with the origin of each: "default", a file's name, a variable or an option, by dotted key."""

    settings: Settings
    origins: dict[str, str]

    def rows(self) -> list[tuple[str, object, str]]:
        """Every setting as (dotted key, value, origin)."""
        flat = flatten(self.settings.model_dump(mode="json"))
        return [(key, value, self.origins[key]) for key, value in flat.items()]


def load_settings(
    file: Path | None = None,
    options: Mapping[str, tuple[str, object]] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> LoadedSettings:
    """Merge defaults, file, environment and options.

    Args:
        file: a ``.toml`` or ``.json`` file; None reads ``config.toml`` of the working folder if there is one.
        options: typed options by dotted key, each with the option's name and its value.
        environment: variables; ``KELLY_TRAINING_EPOCHS`` sets ``training.epochs`` and so on.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, or a file that cannot be read; the message
            names the key and the line or the variable.
    """
    values = flatten(Settings().model_dump())
    origins = dict.fromkeys(values, "default")
    path = file or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    source = None if path is None else SettingsFile.read(path)
    layers = [
        {} if source is None else {key: (source.place(key), value) for key, value in source.values.items()},
        _from_environment(environment, values),
        dict(options or {}),
    ]
    return _merge(values, origins, layers)


def with_options(settings: Settings, options: Mapping[str, tuple[str, object]]) -> Settings:
    """Settings with typed options on top, by dotted key, each with the option's name and its value.

    Raises:
        ConfigError: as ``load_settings``.
    """
    values = flatten(settings.model_dump())
    return _merge(values, dict.fromkeys(values, "settings"), [options]).settings


def for_every_model(options: Mapping[str, tuple[str, object]]) -> dict[str, tuple[str, object]]:
    """Options to which those that every model has are added for each: what is typed wins over a model's own section."""
    added = {
        f"models.{spec.name}.{name}": options[key]
        for key, name in _PER_MODEL.items()
        if key in options
        for spec in MODELS
    }
    return {**options, **added}


def _merge(
    values: dict[str, Any], origins: dict[str, str], layers: Iterable[Mapping[str, tuple[str, Any]]]
) -> LoadedSettings:
    """Put layers on top of all settings, by dotted key, and check the whole."""
    for layer in layers:
        _reject_unknown(layer, values)
        values.update({key: value for key, (_, value) in layer.items()})
        origins.update({key: origin for key, (origin, _) in layer.items()})
    try:
        settings = Settings.model_validate(unflatten(values))
    except ValidationError as error:
        raise _readable(error, origins) from None
    _check_models(settings, origins)
    _check_parallel(settings, origins)
    return LoadedSettings(settings, origins)


def _check_models(settings: Settings, origins: Mapping[str, str]) -> None:
    """Hold what is asked of each model against its spec."""
    for spec in MODELS:
        asked = settings.models[spec.name]
        if asked.dataset != spec.dataset:
            key = f"models.{spec.name}.dataset"
            raise ConfigError(f"{key} = {asked.dataset!r}, but it learns from {spec.dataset!r}", where=origins[key])
        needed = LOSS_OUTPUT.get(asked.loss or spec.loss)
        if needed not in (None, spec.output_activation):
            key, output = f"models.{spec.name}.loss", spec.output_activation or "linear"
            problem = f"{key} = {asked.loss!r} needs a {needed} output, and the model's is {output}"
            raise ConfigError(problem, where=origins[key])


def _check_parallel(settings: Settings, origins: Mapping[str, str]) -> None:
    if settings.parallel.backend == "dask" and not settings.parallel.scheduler:
        hint = "Give --scheduler tcp://HOST:PORT, as `dask scheduler` prints it, or set it in [parallel]"
        raise ConfigError("parallel.backend = 'dask' needs a scheduler", where=origins["parallel.backend"], hint=hint)


def environment_name(key: str) -> str:
    """The variable that sets a dotted key."""
    return ENVIRONMENT_PREFIX + key.replace(".", "_").upper()


def _from_environment(environment: Mapping[str, str], defaults: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    names = {environment_name(key): key for key in defaults}
    found = {name: text for name, text in environment.items() if name.startswith(ENVIRONMENT_PREFIX)}
    for name in found.keys() - names.keys():
        raise ConfigError("no setting has this variable", where=name, hint=did_you_mean(name, names) or _ALL_SETTINGS)
    return {names[name]: (name, parse_value(text, defaults[names[name]])) for name, text in found.items()}


def parse_value(text: str, default: object) -> object:
    """Text as a TOML value, or as it is where the setting is text or the text is no TOML value."""
    if isinstance(default, str | Path):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _reject_unknown(layer: Mapping[str, tuple[str, Any]], known: Mapping[str, Any]) -> None:
    for key, (origin, _) in layer.items():
        if key not in known:
            raise ConfigError(f"unknown setting {key!r}", where=origin, hint=did_you_mean(key, known) or _ALL_SETTINGS)


def _readable(error: ValidationError, origins: Mapping[str, str]) -> ConfigError:
    first = error.errors(include_url=False)[0]
    location = [str(part) for part in first["loc"]]
    known = (".".join(location[:end]) for end in range(len(location), 0, -1))
    key = next((candidate for candidate in known if candidate in origins), ".".join(location))
    message = first["msg"].removeprefix("Value error, ")
    value = str(first["input"]) if isinstance(first["input"], Path) else first["input"]
    problem = f"{key} = {value!r}: {message}" if key in origins else f"{key}: {message}"
    return ConfigError(problem, where=origins.get(key))
