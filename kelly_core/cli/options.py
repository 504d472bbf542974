"""Options that several commands share, and their conversion to settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import typer

from kelly_core.cli.completion import complete_models, complete_runs, complete_settings
from kelly_core.cli.help import (
    CHECKS_PANEL,
    EXECUTION_PANEL,
    MODELS_PANEL,
    OUTPUT_PANEL,
    TRAINING_PANEL,
    setting_option,
)
from kelly_core.config.loading import ENVIRONMENT_PREFIX, LoadedSettings, for_every_model, load_settings
from kelly_core.config.schema import DataSettings, Settings
from kelly_core.errors import ConfigError
from kelly_core.io.outputs import MKDIR, Output, check_not_inputs
from kelly_core.spec import MODELS, ModelSpec, find_model

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file, TOML or JSON (default config.toml of the working folder, if any)."),
]
RunIdArgument = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="ID of a run or its beginning; last is the latest, last~1 the one before.",
        autocompletion=complete_runs,
    ),
]
ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAMES",
        help="Models to train: names or their beginnings, separated by commas (default all).",
        rich_help_panel=MODELS_PANEL,
        autocompletion=complete_models,
    ),
]
UseSyntheticOption = Annotated[bool, setting_option("datasets.use_synthetic", "--use-synthetic", panel=MODELS_PANEL)]
DatasetsDirOption = Annotated[Path | None, setting_option("datasets.dir", "--datasets-dir", panel=MODELS_PANEL)]
MaxFilesOption = Annotated[int | None, setting_option("datasets.max_files", "--max-files", panel=MODELS_PANEL)]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="COMMAND",
        help="Command of the plugin's own engine: COMMAND MODEL.json reads frames from standard input and writes "
        "frames to standard output (default none).",
        rich_help_panel=CHECKS_PANEL,
    ),
]
BackendOption = Annotated[
    Literal["local", "dask"] | None, setting_option("parallel.backend", "--backend", panel=EXECUTION_PANEL)
]
SchedulerOption = Annotated[
    str | None, setting_option("parallel.scheduler", "--scheduler", panel=EXECUTION_PANEL, metavar="ADDRESS")
]
OutputDirOption = Annotated[Path | None, setting_option("output.dir", "--output", "-o", panel=OUTPUT_PANEL)]
EpochsOption = Annotated[int | None, setting_option("training.epochs", "--epochs", "-e", panel=TRAINING_PANEL)]
BatchSizeOption = Annotated[
    int | None, setting_option("training.batch_size", "--batch-size", "-b", panel=TRAINING_PANEL)
]
LearningRateOption = Annotated[
    float | None, setting_option("training.learning_rate", "--learning-rate", "-lr", panel=TRAINING_PANEL)
]
ValidationSplitOption = Annotated[
    float | None, setting_option("training.validation_split", "--validation-split", "-v", panel=TRAINING_PANEL)
]
PatienceOption = Annotated[
    int | None, setting_option("training.early_stopping.patience", "--early-stopping-patience", panel=TRAINING_PANEL)
]
MinDeltaOption = Annotated[
    float | None,
    setting_option("training.early_stopping.min_delta", "--early-stopping-min-delta", panel=TRAINING_PANEL),
]
SeedOption = Annotated[int | None, setting_option("training.seed", "--seed", panel=TRAINING_PANEL)]
SetOption = Annotated[
    list[str] | None,
    setting_option("sweep.set", "--set", panel=TRAINING_PANEL, metavar="KEY=VALUES", autocompletion=complete_settings),
]
SeedsOption = Annotated[int | None, setting_option("sweep.seeds", "--seeds", panel=TRAINING_PANEL)]
RandomOption = Annotated[int | None, setting_option("sweep.random", "--random", panel=TRAINING_PANEL)]
DeviceOption = Annotated[str | None, setting_option("training.device", "--device", "-d", panel=EXECUTION_PANEL)]
JobsOption = Annotated[int | None, setting_option("training.jobs", "--jobs", panel=EXECUTION_PANEL)]
TrialJobsOption = Annotated[int | None, setting_option("sweep.jobs", "--jobs", panel=EXECUTION_PANEL)]
KeepBestOption = Annotated[bool, setting_option("output.keep_best", "--keep-best", panel=OUTPUT_PANEL)]
TensorboardOption = Annotated[bool, setting_option("output.tensorboard", "--tensorboard", panel=OUTPUT_PANEL)]
ExportFolderOption = Annotated[
    Path, typer.Option("--models", help="Folder of the five exports (default models).", rich_help_panel=MODELS_PANEL)
]
MkdirOption = Annotated[bool, typer.Option(MKDIR, help="Create missing output folders.", rich_help_panel=OUTPUT_PANEL)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def selected_models(names: list[str] | None) -> tuple[ModelSpec, ...]:
    """Return the models that ``--model`` names, or all five if it was not typed.

    Args:
        names: model names or their unique beginnings, in any case; one entry may hold several, separated by commas.

    Raises:
        ConfigError: a name fits no model, or several.
    """
    if not names:
        return MODELS
    words = [word.strip() for name in names for word in name.split(",") if word.strip()]
    return tuple(dict.fromkeys(map(find_model, words)))


def settings_from(
    config: Path | None, typed: Mapping[str, tuple[str, object]], *, read_corpora: bool = False
) -> LoadedSettings:
    """Return settings with typed options on top; an option with the value None was not typed.

    A typed option that applies to every model overrides the sections of the models.

    Args:
        config: the settings file, or None.
        typed: (option, value) by dotted key.
        read_corpora: the command reads corpora; configured corpus folders must exist.

    Raises:
        ConfigError: as ``load_settings``, or a configured folder of corpora is missing.
    """
    options = {key: (option, value) for key, (option, value) in typed.items() if value is not None}
    loaded = load_settings(config, for_every_model(options))
    if read_corpora:
        _require_folders(loaded)
    return loaded


def _require_folders(loaded: LoadedSettings) -> None:
    """Raise an error for a missing corpus folder that was configured; the default folder may be missing."""
    datasets = loaded.settings.datasets
    folders = {"datasets.dir": datasets.dir}
    corpora = {name: getattr(getattr(datasets, name), "path", "") for name in DataSettings.model_fields}
    folders |= {f"datasets.{name}.path": Path(path) for name, path in corpora.items() if path}
    for key, folder in folders.items():
        origin = loaded.origins[key]
        is_default = folder == DataSettings().dir and not origin.startswith(("--", ENVIRONMENT_PREFIX))
        if not is_default and not folder.exists():
            hint = "Correct the path, or leave it out"
            raise ConfigError(f"{key} = {str(folder)!r}, but there is no such folder", where=origin, hint=hint)


def check_training_outputs(config: Path | None, settings: Settings) -> None:
    """Raise an error if a training would overwrite its own settings file or chord progressions.

    Raises:
        ConfigError: a file that the training writes is a file that it reads.
    """
    folder = settings.output.dir
    stems = [spec.file_stem for spec in MODELS]
    written = [folder / "sweep.json", *(folder / f"{stem}.json" for stem in stems)]
    written += [path for stem in stems for path in folder.glob(f"*/{stem}_*")]
    read = [*settings.datasets.folder("chords").glob("*.json"), *([] if config is None else [config])]
    check_not_inputs([Output(path, "--output") for path in written], read)
