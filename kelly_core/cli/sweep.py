"""``kelly-core sweep``: train with several settings and seeds, and export the best results."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import typer
from rich.table import Table

from kelly_core.cli import options
from kelly_core.cli.console import feature_progress, print_json, print_result, print_status
from kelly_core.cli.foreground import Signals
from kelly_core.errors import ConfigError
from kelly_core.formatting import MISSING
from kelly_core.interrupts import INTERRUPTED
from kelly_core.spec import ModelSpec
from kelly_core.sweeps.plan import plan_trials
from kelly_core.sweeps.results import PointSummary, TrialResult, as_json, summarize_points
from kelly_core.sweeps.sweep import Sweep


def sweep(
    model: options.ModelsOption = None,
    datasets_dir: options.DatasetsDirOption = None,
    max_files: options.MaxFilesOption = None,
    use_synthetic: options.UseSyntheticOption = False,
    tried: options.SetOption = None,
    seeds: options.SeedsOption = None,
    random: options.RandomOption = None,
    epochs: options.EpochsOption = None,
    trial_jobs: options.TrialJobsOption = None,
    backend: options.BackendOption = None,
    scheduler: options.SchedulerOption = None,
    output: options.OutputDirOption = None,
    config: options.ConfigOption = None,
    as_json_: options.JsonOption = False,
) -> None:
    """Train each model with each combination of settings and each seed, and export the best.

    Each trial is a run. Ctrl-C stops all trials; the same command continues them and skips finished trials.

    Examples:
      kelly-core sweep -m groove --set training.epochs=10,30 --seeds 3 -o sweep
      kelly-core sweep --set training.learning_rate=0.0001..0.01 --random 20
    """
    specs = options.selected_models(model)
    settings = options.settings_from(config, locals(), read_corpora=True).settings
    if not settings.sweep.set and settings.sweep.seeds == 1:
        hint = "Name the values, as in --set training.learning_rate=0.001,0.003, or several --seeds"
        raise ConfigError("sweep: nothing to vary", hint=hint)
    options.check_training_outputs(config, settings)
    command = ["kelly-core", *sys.argv[1:]]
    work = Sweep(plan_trials(settings, specs), settings, command)
    _compute_features(work, specs)
    results, signals = _run_trials(work)
    work.write(results)
    if not as_json_:
        print_result(_table(summarize_points(results)))
    exit_code = _finish(work, results, signals, command)
    if as_json_:
        # Printed last, because an error is a separate JSON document.
        print_json(as_json(results))
    raise typer.Exit(exit_code)


def _compute_features(work: Sweep, specs: Sequence[ModelSpec]) -> None:
    """Compute the features of each corpus before the trials, which share them, start."""
    for name in dict.fromkeys(spec.dataset for spec in specs):
        with feature_progress(name) as progress:
            work.prepare(name, progress)


def _run_trials(work: Sweep) -> tuple[list[TrialResult], Signals]:
    """Run all trials, print each result as it arrives, and return the results in the order of the trials."""
    results: dict[str, TrialResult] = {}
    print_status(f"{len(work.trials)} trials; kelly-core runs lists them, kelly-core runs attach ID watches one")
    printed = ""

    def waiting(text: str) -> None:
        nonlocal printed
        if text != printed:
            printed = text
            print_status(text)

    with Signals() as signals:
        signals.send_to(work)
        for result in work.results(waiting):
            results[result.run] = result
            if result.state != "queued":
                print_status(f"{len(results)}/{len(work.trials)}  {_describe(result)}")
    return [results[trial.id] for trial in work.trials], signals


def _finish(work: Sweep, results: Sequence[TrialResult], signals: Signals, command: Sequence[str]) -> int:
    """Export the best results if all trials ended, else print the command that continues; return the exit code."""
    unfinished = [result for result in results if result.state != "finished"]
    if signals.exit_code is None:
        for run, path in work.export_best(results).items():
            print_status(f"best: {run}, copied to {path}")
    print_status(f"table: {work.table}")
    if unfinished:
        left = f"{len(unfinished)} of {len(results)} trials are not finished; to continue them, repeat the command:"
        print_status(f"{left} {shlex.join(command)}")
    if signals.exit_code is not None:
        return signals.exit_code
    if any(result.state in ("failed", "died") for result in unfinished):
        return 1
    return INTERRUPTED if unfinished else 0


def _describe(result: TrialResult) -> str:
    loss = "" if result.best_loss is None else f"  best {result.best_loss:.4f} in epoch {result.best_epoch}"
    error = f"  {result.error}" if result.error else ""
    point = "".join(f"  {key}={value}" for key, value in result.point)
    return f"{result.run}{point}  {result.state}{loss}{error}"


def _table(summaries: Sequence[PointSummary]) -> Table:
    keys = list(dict.fromkeys(key for summary in summaries for key, _ in summary.point))
    table = Table("model", *(key.rpartition(".")[2] for key in keys), box=None, pad_edge=False, padding=(0, 1))
    for column in ("seeds", "loss", "behind the best"):
        table.add_column(column, justify="right", no_wrap=True)
    for summary in summaries:
        point, done = dict(summary.point), len(summary.losses)
        seeds = f"{done} of {done + summary.missing}" if summary.missing else f"{done}"
        values = [str(point.get(key, MISSING)) for key in keys]
        loss, gap = _mean(summary.mean, summary.spread), _mean(summary.behind, summary.behind_spread)
        table.add_row(summary.model, *values, seeds, loss, gap)
    return table


def _mean(mean: float | None, spread: float | None) -> str:
    """Return a mean and, if known, the standard deviation as text."""
    if mean is None:
        return MISSING
    return f"{mean:.4f}" if spread is None else f"{mean:.4f} ± {spread:.4f}"
