"""Options shared by several commands: completion, conversion to settings, and checks of output files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from kelly_core.cli.help import (
    CHECKS_PANEL,
    EXECUTION_PANEL,
    MODELS_PANEL,
    OUTPUT_PANEL,
    TRAINING_PANEL,
    option,
    setting_option,
)
from kelly_core.config.loading import ENVIRONMENT_PREFIX, LoadedSettings, for_every_model, load_settings
from kelly_core.config.schema import SERVICE_ADDRESS, DataSettings, Settings
from kelly_core.errors import ConfigError, KellyError
from kelly_core.spec import MODELS, ModelSpec, find_model

MKDIR = "--mkdir"
"""Option that allows a command to create missing folders."""

_SETTINGS = {
    "no_history": ("output.history", "--no-history"),
    "no_plots": ("output.plots", "--no-plots"),
}
"""Setting and option by parameter of a command; ``no_`` disables a setting. ``_option`` adds the other parameters."""


def _option(parameter: str, key: str, *names: str, panel: str, **attributes: Any) -> Any:
    """Return the option, for ``Annotated``, that sets a setting through a parameter."""
    _SETTINGS[parameter] = (key, names[0])
    return setting_option(key, *names, panel=panel, **attributes)


# The shell starts a process per completion, so these functions import modules only when they need them.


def complete_models(incomplete: str) -> list[str]:
    """Complete the last name of a comma-separated list of models.

    Names are accepted in any case. A lower-case beginning is completed in lower case, because shells discard
    completions that do not begin with the typed text.
    """
    before, comma, last = incomplete.rpartition(",")
    names = [spec.name.lower() if last and last.islower() else spec.name for spec in MODELS]
    return [before + comma + name for name in names if name.startswith(last)]


def complete_model(incomplete: str) -> list[str]:
    """Return the models whose names begin with the typed text."""
    return [] if "," in incomplete else complete_models(incomplete)


def complete_runs(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the IDs of runs, then their two words, that begin with the typed text; the latest runs are first."""
    from kelly_core.runs.registry import LAST, run_ids
    from kelly_core.runs.run_dir import short_id

    config = None if ctx.parent is None else ctx.parent.params.get("config")
    try:
        names = run_ids(settings_from(config and Path(config), {}).settings.runs.dir)
    except KellyError:
        # A message would appear in the command line being typed; the command reports the error later.
        return []
    names.reverse()
    found = [name for name in [*names, LAST] if name.startswith(incomplete)]
    # Without typed text, the words would only repeat the IDs. An ID of another form equals its short form.
    words = [short_id(name) for name in names if incomplete and short_id(name) != name]
    return found + [name for name in words if name.startswith(incomplete)]


def complete_settings(incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield (``key=``, description) of the settings that a sweep can vary and whose keys begin with the typed text."""
    from kelly_core.config.reference import all_settings
    from kelly_core.sweeps.plan import FIXED_SETTINGS

    for key, info in all_settings().items():
        if key.startswith(incomplete) and not key.startswith(FIXED_SETTINGS):
            yield f"{key}=", info.description


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
    option(
        MODELS_PANEL,
        "Models to train: names or their beginnings, separated by commas (default all).",
        "--model",
        "-m",
        metavar="NAMES",
        autocompletion=complete_models,
    ),
]
UseSyntheticOption = Annotated[
    bool, _option("use_synthetic", "datasets.use_synthetic", "--use-synthetic", panel=MODELS_PANEL)
]
DatasetsDirOption = Annotated[
    Path | None, _option("datasets_dir", "datasets.dir", "--datasets-dir", panel=MODELS_PANEL)
]
MaxFilesOption = Annotated[int | None, _option("max_files", "datasets.max_files", "--max-files", panel=MODELS_PANEL)]
EngineOption = Annotated[
    str | None,
    option(
        CHECKS_PANEL,
        "Command of the plugin's own engine: COMMAND MODEL.json reads frames from standard input and writes "
        "frames to standard output (default none).",
        metavar="COMMAND",
    ),
]
BackendOption = Annotated[
    Literal["local", "dask"] | None, _option("backend", "parallel.backend", "--backend", panel=EXECUTION_PANEL)
]
SchedulerOption = Annotated[
    str | None, _option("scheduler", "parallel.scheduler", "--scheduler", panel=EXECUTION_PANEL, metavar="ADDRESS")
]
OutputDirOption = Annotated[Path | None, _option("output", "output.dir", "--output", "-o", panel=OUTPUT_PANEL)]
EpochsOption = Annotated[int | None, _option("epochs", "training.epochs", "--epochs", "-e", panel=TRAINING_PANEL)]
BatchSizeOption = Annotated[
    int | None, _option("batch_size", "training.batch_size", "--batch-size", "-b", panel=TRAINING_PANEL)
]
LearningRateOption = Annotated[
    float | None, _option("learning_rate", "training.learning_rate", "--learning-rate", "-lr", panel=TRAINING_PANEL)
]
ValidationSplitOption = Annotated[
    float | None,
    _option("validation_split", "training.validation_split", "--validation-split", "-v", panel=TRAINING_PANEL),
]
PatienceOption = Annotated[
    int | None,
    _option("patience", "training.early_stopping.patience", "--early-stopping-patience", panel=TRAINING_PANEL),
]
MinDeltaOption = Annotated[
    float | None,
    _option("min_delta", "training.early_stopping.min_delta", "--early-stopping-min-delta", panel=TRAINING_PANEL),
]
SeedOption = Annotated[int | None, _option("seed", "training.seed", "--seed", panel=TRAINING_PANEL)]
SetOption = Annotated[
    list[str] | None,
    _option(
        "tried", "sweep.set", "--set", panel=TRAINING_PANEL, metavar="KEY=VALUES", autocompletion=complete_settings
    ),
]
SeedsOption = Annotated[int | None, _option("seeds", "sweep.seeds", "--seeds", panel=TRAINING_PANEL)]
RandomOption = Annotated[int | None, _option("random", "sweep.random", "--random", panel=TRAINING_PANEL)]
DeviceOption = Annotated[str | None, _option("device", "training.device", "--device", "-d", panel=EXECUTION_PANEL)]
JobsOption = Annotated[int | None, _option("jobs", "training.jobs", "--jobs", panel=EXECUTION_PANEL)]
TrialJobsOption = Annotated[int | None, _option("trial_jobs", "sweep.jobs", "--jobs", panel=EXECUTION_PANEL)]
KeepBestOption = Annotated[bool, _option("keep_best", "output.keep_best", "--keep-best", panel=OUTPUT_PANEL)]
TensorboardOption = Annotated[bool, _option("tensorboard", "output.tensorboard", "--tensorboard", panel=OUTPUT_PANEL)]
ExportFolderOption = Annotated[Path, option(MODELS_PANEL, "Folder of the five exports (default models).")]
AllowSyntheticOption = Annotated[
    bool, option(CHECKS_PANEL, "Also accept exports that were trained on generated data.", "--allow-synthetic")
]
MkdirOption = Annotated[bool, option(OUTPUT_PANEL, "Create missing output folders.", MKDIR)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def selected_models(names: list[str] | None) -> tuple[ModelSpec, ...]:
    """Return the models named by ``--model``, or all five without the option.

    Args:
        names: model names or their unique prefixes, in any case; an entry may have several names, separated by commas.

    Raises:
        ConfigError: a name matches no model or several models.
    """
    if not names:
        return MODELS
    # An empty shell variable must be an error: a training without models would count as success.
    words = [word.strip() for name in names for word in name.split(",") if word.strip()] or [""]
    return tuple(dict.fromkeys(map(find_model, words)))


def typed_settings(parameters: Mapping[str, object]) -> dict[str, tuple[str, object]]:
    """Return (option, value) by dotted key of the settings typed on the command line.

    Args:
        parameters: value by parameter name, None or False if it was not typed. Other parameters than settings are
            ignored, so a command can pass ``locals()``.
    """
    notify = parameters.get("notify")
    typed = _notify_settings(notify) if isinstance(notify, list) else {}
    for name, (key, typed_as) in _SETTINGS.items():
        value = parameters.get(name)
        # A truth test would ignore a typed 0.
        if value is not None and value is not False and value != []:
            typed[key] = (typed_as, not name.startswith("no_") if value is True else value)
    return typed


def _notify_settings(places: Sequence[str]) -> dict[str, tuple[str, object]]:
    """Return the settings of ``--notify``.

    The last place of each kind applies, except that Apprise uses all of its addresses.
    """
    settings: dict[str, tuple[str, object]] = {}
    services = []
    for place in places:
        is_address = place.startswith(("http://", "https://"))
        if not is_address and re.match(SERVICE_ADDRESS, place):
            services.append(place)
            continue
        kind = "terminal" if place in ("bell", "osc9", "osc777") else "webhook" if is_address else "command"
        settings[f"notify.{kind}"] = ("--notify", place)
    return settings | ({"notify.apprise": ("--notify", services)} if services else {})


def settings_from(
    config: Path | None, parameters: Mapping[str, object], *, read_corpora: bool = False
) -> LoadedSettings:
    """Return the settings, overridden by typed options.

    Args:
        config: path of the settings file, or None.
        parameters: value by parameter name, as for ``typed_settings``.
        read_corpora: True if the command reads corpora, whose configured folders must exist.

    Raises:
        ConfigError: as ``load_settings``, or a configured corpus folder is missing.
    """
    loaded = load_settings(config, for_every_model(typed_settings(parameters)))
    if read_corpora:
        _require_folders(loaded)
    return loaded


def _require_folders(loaded: LoadedSettings) -> None:
    """Raise an error if a configured corpus folder is missing; the default folder is optional."""
    datasets = loaded.settings.datasets
    folders = {"datasets.dir": datasets.dir}
    corpora = {name: getattr(getattr(datasets, name), "path", "") for name in DataSettings.model_fields}
    folders |= {f"datasets.{name}.path": Path(path) for name, path in corpora.items() if path}
    for key, folder in folders.items():
        origin = loaded.origins[key]
        is_default = folder == DataSettings().dir and not origin.startswith(("--", ENVIRONMENT_PREFIX))
        # The path of the chords corpus may be a file.
        is_there = folder.is_dir() or (key != "datasets.dir" and folder.is_file())
        if not is_default and not is_there:
            problem = "that is not a folder" if folder.exists() else "there is no such folder"
            hint = "Correct the path, or leave it out"
            raise ConfigError(f"{key} = {str(folder)!r}, but {problem}", where=origin, hint=hint)


def check_training_outputs(config: Path | None, settings: Settings) -> None:
    """Raise an error if a training would overwrite its settings file or chord progressions.

    Raises:
        ConfigError: an output of the training is also an input.
    """
    folder = settings.output.dir
    stems = [spec.file_stem for spec in MODELS]
    written = [folder / "sweep.json", *(folder / f"{stem}.json" for stem in stems)]
    written += [path for stem in stems for path in folder.glob(f"*/{stem}_*")]
    read = [*settings.datasets.folder("chords").glob("*.json"), *([] if config is None else [config])]
    check_not_inputs([Output(path, "--output") for path in written], read)


@dataclass(frozen=True)
class Output:
    """An output file of a command, and the option or argument that names the file or its folder."""

    path: Path
    option: str


def check_outputs(outputs: Sequence[Output], inputs: Iterable[Path], *, create_folders: bool = False) -> None:
    """Raise an error for outputs that overwrite an input, each other or a non-file, or whose folder is missing.

    Files are compared by device and inode: symbolic links, hard links and, on a file system that ignores case, names in
    another case count as the same file. Nothing is created or changed.

    Args:
        outputs: files to write; they may exist.
        inputs: files that the command reads; missing files are ignored here and reported when they are read.
        create_folders: allow missing parent folders, which are created when the files are written.

    Raises:
        ConfigError: an output cannot be written as requested.
    """
    check_not_inputs(outputs, inputs)
    seen: dict[Path, Output] = {}
    for output in outputs:
        place = Path(os.path.realpath(output.path))
        if place in seen:
            problem = f"{output.path} is also the file of {seen[place].option}"
            raise ConfigError(problem, where=output.option, hint="Name two different files")
        seen[place] = output
        _check_place(output, create_folders)


def check_not_inputs(outputs: Iterable[Output], inputs: Iterable[Path]) -> None:
    """Raise an error for an output that is the same file as an input, under any name.

    Raises:
        ConfigError: an output would overwrite an input.
    """
    read = {identity: path for path in inputs if (identity := _identity(path))}
    for output in outputs:
        path = read.get(_identity(output.path) or (0, 0))
        if path is not None:
            same = "" if path == output.path else f", the same file as {path},"
            problem = f"{output.path}{same} is an input and would be overwritten"
            raise ConfigError(problem, where=output.option, hint="Choose another place for the output")


def _check_place(output: Output, create_folders: bool) -> None:
    """Raise an error if an output exists and is not a file, or if its folder is missing or not a folder."""
    status = _status(output.path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a device, a pipe or a socket"
        raise ConfigError(f"{output.path} cannot be written: it is {kind}", where=output.option, hint="Name a file")
    folder = next(parent for parent in output.path.absolute().parents if _status(parent) is not None)
    if not folder.is_dir():
        problem = f"{output.path} cannot be written: {folder} is a file, not a folder"
        raise ConfigError(problem, where=output.option, hint="Choose another folder")
    if folder != output.path.absolute().parent and not create_folders:
        problem = f"the folder {output.path.parent} does not exist"
        raise ConfigError(problem, where=output.option, hint=f"Add {MKDIR} to create it")


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the device and inode of a file, following symbolic links; None if it does not exist."""
    status = _status(path)
    return None if status is None else (status.st_dev, status.st_ino)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):
        # Missing, a broken link, or an invalid name: the code that reads or writes the file reports the reason.
        return None
