"""``kelly-core train``: data, training, checkpoints, history, plots and exports in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from kelly_core.cli.console import FIRST_STEPS, print_error, print_json, print_result, print_status
from kelly_core.cli.estimates import show_estimates
from kelly_core.cli.help import EXECUTION_PANEL, OUTPUT_PANEL, TRAINING_PANEL, setting_option
from kelly_core.cli.options import (
    BackendOption,
    ConfigOption,
    DatasetsDirOption,
    EpochsOption,
    JsonOption,
    MaxFilesOption,
    ModelsOption,
    OutputDirOption,
    SchedulerOption,
    UseSyntheticOption,
    check_training_outputs,
    selected_models,
    settings_from,
)
from kelly_core.cli.signals import INTERRUPTED, Signals
from kelly_core.cli.training_display import tell_how_to_resume, watch
from kelly_core.config.schema import Settings
from kelly_core.runs.launch import start
from kelly_core.runs.log_records import ModelResult
from kelly_core.runs.run import Run
from kelly_core.spec import ModelSpec


def train(
    model: ModelsOption = None,
    datasets_dir: DatasetsDirOption = None,
    max_files: MaxFilesOption = None,
    use_synthetic: UseSyntheticOption = False,
    epochs: EpochsOption = None,
    batch_size: Annotated[
        int | None, setting_option("training.batch_size", "--batch-size", "-b", panel=TRAINING_PANEL)
    ] = None,
    learning_rate: Annotated[
        float | None, setting_option("training.learning_rate", "--learning-rate", "-lr", panel=TRAINING_PANEL)
    ] = None,
    validation_split: Annotated[
        float | None, setting_option("training.validation_split", "--validation-split", "-v", panel=TRAINING_PANEL)
    ] = None,
    patience: Annotated[
        int | None,
        setting_option("training.early_stopping.patience", "--early-stopping-patience", panel=TRAINING_PANEL),
    ] = None,
    min_delta: Annotated[
        float | None,
        setting_option("training.early_stopping.min_delta", "--early-stopping-min-delta", panel=TRAINING_PANEL),
    ] = None,
    seed: Annotated[int | None, setting_option("training.seed", "--seed", panel=TRAINING_PANEL)] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue from the latest checkpoints in the output folder.",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = False,
    device: Annotated[str | None, setting_option("training.device", "--device", "-d", panel=EXECUTION_PANEL)] = None,
    jobs: Annotated[int | None, setting_option("training.jobs", "--jobs", panel=EXECUTION_PANEL)] = None,
    backend: BackendOption = None,
    scheduler: SchedulerOption = None,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", help="Run in the background: print the run ID and exit.", rich_help_panel=EXECUTION_PANEL
        ),
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Estimate time and memory from a few seconds of training, then exit.",
            rich_help_panel=EXECUTION_PANEL,
        ),
    ] = False,
    output: OutputDirOption = None,
    keep_best: Annotated[bool, setting_option("output.keep_best", "--keep-best", panel=OUTPUT_PANEL)] = False,
    tensorboard: Annotated[bool, setting_option("output.tensorboard", "--tensorboard", panel=OUTPUT_PANEL)] = False,
    no_history: Annotated[
        bool, typer.Option("--no-history", help="Do not write the training history.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    no_plots: Annotated[
        bool, typer.Option("--no-plots", help="Do not draw loss plots.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train models, write checkpoints, and export the best weights as RTNeural files.

    The training runs in its own process and continues if this terminal is closed. Ctrl-C finishes the current step,
    writes checkpoints, exports the best weights and exits with status 130. A second Ctrl-C stops immediately.

    Examples:
      kelly-core train --epochs 30 --output models
      kelly-core train -m groove,harmony --jobs 2 --learning-rate 0.0005
      kelly-core train --epochs 60 --resume
      kelly-core train --epochs 200 --detach
    """
    specs = selected_models(model)
    typed = {
        "training.epochs": ("--epochs", epochs),
        "training.batch_size": ("--batch-size", batch_size),
        "training.device": ("--device", device),
        "training.learning_rate": ("--learning-rate", learning_rate),
        "training.validation_split": ("--validation-split", validation_split),
        "training.early_stopping.patience": ("--early-stopping-patience", patience),
        "training.early_stopping.min_delta": ("--early-stopping-min-delta", min_delta),
        "training.seed": ("--seed", seed),
        "training.jobs": ("--jobs", jobs),
        "parallel.backend": ("--backend", backend),
        "parallel.scheduler": ("--scheduler", scheduler),
        "datasets.dir": ("--datasets-dir", datasets_dir),
        "datasets.max_files": ("--max-files", max_files),
        "datasets.use_synthetic": ("--use-synthetic", use_synthetic or None),
        "output.dir": ("--output", output),
        "output.tensorboard": ("--tensorboard", tensorboard or None),
        "output.keep_best": ("--keep-best", keep_best or None),
        "output.history": ("--no-history", False if no_history else None),
        "output.plots": ("--no-plots", False if no_plots else None),
    }
    settings = settings_from(config, typed, read_corpora=True).settings
    check_training_outputs(config, settings)
    _hint_at_corpora(settings, specs)
    if estimate:
        show_estimates(settings, specs, as_json)
        return
    command = _command_line(specs if model else (), typed, config, resume)
    with Signals() as signals:
        run = start(settings, [spec.name for spec in specs], resume=resume, command=command)
        if detach:
            _tell_detached(run, as_json)
            return
        print_status(f"run {run.id}, to be watched from anywhere: kelly-core runs attach {run.id}")
        signals.steer(run)
        outcomes = watch(run)
    _tell_outcomes(run, outcomes, as_json)
    tell_how_to_resume(run, config)
    raise typer.Exit(_exit_code(run, outcomes, signals))


def _hint_at_corpora(settings: Settings, specs: Sequence[ModelSpec]) -> None:
    """Say how to get corpora if nothing real is there to train on and nobody asked for generated data."""
    from kelly_core.data.catalog import active_corpora
    from kelly_core.data.unclaimed import find_unclaimed

    if settings.datasets.use_synthetic or any(active_corpora(spec.dataset, settings) for spec in specs):
        return
    for each in find_unclaimed(settings.datasets):
        print_status(each.text, "yellow")
    print_status(FIRST_STEPS, "yellow")


def _command_line(
    specs: Sequence[ModelSpec], typed: Mapping[str, tuple[str, object]], config: Path | None, resume: bool
) -> list[str]:
    """What to type for the same training."""
    words = ["kelly-core", "train"]
    for spec in specs:
        words += ["--model", spec.name]
    for option, value in typed.values():
        if isinstance(value, bool):
            words.append(option)
        elif value is not None:
            words += [option, str(value)]
    return words + (["--resume"] if resume else []) + (["--config", str(config)] if config else [])


def _tell_detached(run: Run, as_json: bool) -> None:
    if as_json:
        print_json({"run": run.id, "output": run.snapshot.output})
    else:
        print_result(run.id)
    print_status(f"training continues in the background; watch it with `kelly-core runs attach {run.id}`")


def _tell_outcomes(run: Run, outcomes: Sequence[ModelResult], as_json: bool) -> None:
    if as_json:
        print_json(_as_json(run, outcomes))
    else:
        print_result(_table(outcomes))
        for outcome in outcomes:
            if outcome.verdict:
                print_result(f"{outcome.model}: {outcome.verdict}")
    for outcome in outcomes:
        if outcome.error:
            print_error(outcome.model, outcome.error)


def _exit_code(run: Run, outcomes: Sequence[ModelResult], signals: Signals) -> int:
    """Exit code by how the run ended; says why where no outcome does."""
    ended = run.snapshot
    if ended.state == "died" and not signals.killed:
        print_error(f"run {run.id} died", f"{ended.error}. Its log: kelly-core runs logs {run.id}")
    if ended.state == "failed" and not any(outcome.error for outcome in outcomes):
        print_error(f"run {run.id} failed", ended.error)
    if signals.exit_code is not None:
        return signals.exit_code
    return {"finished": 0, "stopped": INTERRUPTED}.get(ended.state, 1)


def _as_json(run: Run, outcomes: Sequence[ModelResult]) -> dict[str, Any]:
    """How the run ended, and what became of each model that it came to."""
    models = [
        asdict(outcome) | {"seconds": round(outcome.seconds, 3), "error": outcome.error or None} for outcome in outcomes
    ]
    return {"run": run.id, "state": run.snapshot.state, "error": run.snapshot.error or None, "models": models}


def _table(outcomes: Sequence[ModelResult]) -> Table:
    columns = ("model", "data", "epochs", "best", "loss", "baseline", "ε", "seconds")
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 1))
    for outcome in outcomes:
        data = Text("synthetic", "yellow") if outcome.synthetic else outcome.dataset
        table.add_row(outcome.model, data, *_figures(outcome), f"{outcome.seconds:.1f}")
    return table


def _figures(outcome: ModelResult) -> list[str]:
    """Epochs, best epoch, its loss, the baseline's, and ε on synthetic data."""
    if not outcome.metrics:
        return ["–"] * 5
    metrics = outcome.metrics
    losses = [f"{metrics[key]:.4f}" for key in ("val_loss", "baseline_loss")]
    epsilon = f"{metrics['epsilon']:.3f}" if "epsilon" in metrics else "–"
    return [str(outcome.epochs), str(metrics["best_epoch"]), *losses, epsilon]
