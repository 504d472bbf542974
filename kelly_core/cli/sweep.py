"""``kelly-core sweep``: trainings with several settings and seeds, and the export of the best."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from kelly_core.cli.completion import complete_settings
from kelly_core.cli.console import print_json, print_result, print_status
from kelly_core.cli.help import EXECUTION_PANEL, TRAINING_PANEL, setting_option
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
from kelly_core.cli.progress import feature_progress
from kelly_core.cli.signals import INTERRUPTED, Signals
from kelly_core.errors import ConfigError
from kelly_core.sweeps.plan import plan_trials
from kelly_core.sweeps.results import PointSummary, TrialResult, as_json, summarize_points
from kelly_core.sweeps.sweep import Sweep


def sweep(
    model: ModelsOption = None,
    datasets_dir: DatasetsDirOption = None,
    max_files: MaxFilesOption = None,
    use_synthetic: UseSyntheticOption = False,
    tried: Annotated[
        list[str] | None,
        setting_option(
            "sweep.set", "--set", panel=TRAINING_PANEL, metavar="KEY=VALUES", autocompletion=complete_settings
        ),
    ] = None,
    seeds: Annotated[int | None, setting_option("sweep.seeds", "--seeds", panel=TRAINING_PANEL)] = None,
    random: Annotated[int | None, setting_option("sweep.random", "--random", panel=TRAINING_PANEL)] = None,
    epochs: EpochsOption = None,
    jobs: Annotated[int | None, setting_option("sweep.jobs", "--jobs", panel=EXECUTION_PANEL)] = None,
    backend: BackendOption = None,
    scheduler: SchedulerOption = None,
    output: OutputDirOption = None,
    config: ConfigOption = None,
    as_json_: JsonOption = False,
) -> None:
    """Train each model with each combination of settings and each seed, and export the best.

    Each trial is a run. Ctrl-C stops all trials; the same command continues them and repeats none that is finished.

    Examples:
      kelly-core sweep -m groove --set training.epochs=10,30 --seeds 3 -o sweep
      kelly-core sweep --set training.learning_rate=0.0001..0.01 --random 20
    """
    specs = selected_models(model)
    typed = {
        "sweep.set": ("--set", tried or None),
        "sweep.seeds": ("--seeds", seeds),
        "sweep.random": ("--random", random),
        "sweep.jobs": ("--jobs", jobs),
        "training.epochs": ("--epochs", epochs),
        "output.dir": ("--output", output),
        "datasets.dir": ("--datasets-dir", datasets_dir),
        "datasets.use_synthetic": ("--use-synthetic", use_synthetic or None),
        "datasets.max_files": ("--max-files", max_files),
        "parallel.backend": ("--backend", backend),
        "parallel.scheduler": ("--scheduler", scheduler),
    }
    settings = settings_from(config, typed, read_corpora=True).settings
    if not settings.sweep.set and settings.sweep.seeds == 1:
        hint = "Name what to try, as in --set training.learning_rate=0.001,0.003, or several --seeds"
        raise ConfigError("sweep: nothing to vary", hint=hint)
    check_training_outputs(config, settings)
    command = ["kelly-core", *sys.argv[1:]]
    work = Sweep(plan_trials(settings, specs), settings, command)
    for name in dict.fromkeys(spec.dataset for spec in specs):
        with feature_progress(name) as progress:
            work.prepare(name, progress)
    results, signals = _carry_out(work)
    work.write(results)
    if as_json_:
        print_json(as_json(results))
    else:
        print_result(_table(summarize_points(results)))
    raise typer.Exit(_end(work, results, signals, command))


def _carry_out(work: Sweep) -> tuple[list[TrialResult], Signals]:
    """Results in the order of the trials, told as they come."""
    results: dict[str, TrialResult] = {}
    print_status(f"{len(work.trials)} trials; kelly-core runs lists them, kelly-core runs attach ID watches one")
    told = ""

    def waiting(text: str) -> None:
        nonlocal told
        if text != told:
            told = text
            print_status(text)

    with Signals() as signals:
        signals.steer(work)
        for result in work.results(waiting):
            results[result.run] = result
            if result.state != "queued":
                print_status(f"{len(results)}/{len(work.trials)}  {_words(result)}")
    return [results[trial.id] for trial in work.trials], signals


def _end(work: Sweep, results: Sequence[TrialResult], signals: Signals, command: Sequence[str]) -> int:
    """Export the best where all trials have ended, say how to go on otherwise; the exit code."""
    unfinished = [result for result in results if result.state != "finished"]
    if signals.exit_code is None:
        for run, path in work.export_best(results).items():
            print_status(f"best: {run}, copied to {path}")
    print_status(f"table: {work.table}")
    if unfinished:
        left = f"{len(unfinished)} of {len(results)} trials are not finished; the same command goes on with them:"
        print_status(f"{left} {shlex.join(command)}")
    if signals.exit_code is not None:
        return signals.exit_code
    if any(result.state in ("failed", "died") for result in unfinished):
        return 1
    return INTERRUPTED if unfinished else 0


def _words(result: TrialResult) -> str:
    loss = "" if result.best_loss is None else f"  best {result.best_loss:.4f} in epoch {result.best_epoch}"
    error = f"  {result.error}" if result.error else ""
    point = "".join(f"  {key}={value}" for key, value in result.point)
    return f"{result.run}{point}  {result.state}{loss}{error}"


def _table(table: Sequence[PointSummary]) -> Table:
    keys = list(dict.fromkeys(key for standing in table for key, _ in standing.point))
    shown = Table("model", *(key.rpartition(".")[2] for key in keys), box=None, pad_edge=False, padding=(0, 1))
    for column in ("seeds", "loss", "behind the best"):
        shown.add_column(column, justify="right", no_wrap=True)
    for standing in table:
        point = dict(standing.point)
        seeds = f"{len(standing.losses)}" + (f" of {len(standing.losses) + standing.missing}" * bool(standing.missing))
        values = [str(point.get(key, "–")) for key in keys]
        figures = (standing.mean, standing.spread), (standing.behind, standing.behind_spread)
        shown.add_row(standing.model, *values, seeds, *(_figure(*pair) for pair in figures))
    return shown


def _figure(mean: float | None, spread: float | None) -> str:
    """A mean, with the standard deviation where there is one."""
    return "–" if mean is None else f"{mean:.4f}" if spread is None else f"{mean:.4f} ± {spread:.4f}"
