"""``kelly-core train``: start a training as a run, watch it, and print its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from kelly_core.cli import options
from kelly_core.cli.console import FIRST_STEPS, feature_progress, print_error, print_json, print_result, print_status
from kelly_core.cli.foreground import Signals, print_resume_command, watch
from kelly_core.cli.help import EXECUTION_PANEL, OUTPUT_PANEL, TRAINING_PANEL, option
from kelly_core.config.schema import Settings
from kelly_core.events import ModelResult
from kelly_core.formatting import MISSING, format_bytes, format_duration
from kelly_core.interrupts import INTERRUPTED
from kelly_core.runs.launch import start
from kelly_core.runs.queue import enqueue
from kelly_core.runs.run import Run
from kelly_core.spec import ModelSpec

if TYPE_CHECKING:
    from kelly_core.training.estimate import Estimate

ResumeOption = Annotated[
    bool, option(TRAINING_PANEL, "Continue from the latest checkpoints in the output folder.", "--resume")
]
DetachOption = Annotated[bool, option(EXECUTION_PANEL, "Run in the background: print the run ID and exit.", "--detach")]
EstimateOption = Annotated[
    bool, option(EXECUTION_PANEL, "Estimate time and memory from a few seconds of training, then exit.", "--estimate")
]
QueueOption = Annotated[
    bool,
    option(EXECUTION_PANEL, "Wait in the background until the device is free: print the run ID and exit.", "--queue"),
]
NotifyOption = Annotated[
    list[str] | None,
    option(
        EXECUTION_PANEL,
        "Where to send a message when the run ends, diverges or is on a plateau: bell, osc9 or osc777 for "
        "this terminal, https://... for a webhook, other addresses (ntfy://...) for Apprise, or else a command; may be "
        "repeated (default as in [notify]).",
        metavar="WHERE",
    ),
]
NoHistoryOption = Annotated[bool, option(OUTPUT_PANEL, "Do not write the training history.", "--no-history")]
NoPlotsOption = Annotated[bool, option(OUTPUT_PANEL, "Do not draw loss plots.", "--no-plots")]


def train(
    model: options.ModelsOption = None,
    datasets_dir: options.DatasetsDirOption = None,
    max_files: options.MaxFilesOption = None,
    use_synthetic: options.UseSyntheticOption = False,
    epochs: options.EpochsOption = None,
    batch_size: options.BatchSizeOption = None,
    learning_rate: options.LearningRateOption = None,
    validation_split: options.ValidationSplitOption = None,
    patience: options.PatienceOption = None,
    min_delta: options.MinDeltaOption = None,
    seed: options.SeedOption = None,
    resume: ResumeOption = False,
    device: options.DeviceOption = None,
    jobs: options.JobsOption = None,
    backend: options.BackendOption = None,
    scheduler: options.SchedulerOption = None,
    detach: DetachOption = False,
    estimate: EstimateOption = False,
    queue: QueueOption = False,
    notify: NotifyOption = None,
    output: options.OutputDirOption = None,
    keep_best: options.KeepBestOption = False,
    tensorboard: options.TensorboardOption = False,
    no_history: NoHistoryOption = False,
    no_plots: NoPlotsOption = False,
    config: options.ConfigOption = None,
    as_json: options.JsonOption = False,
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
    specs = options.selected_models(model)
    typed = options.typed_settings(locals())
    settings = options.settings_from(config, locals(), read_corpora=True).settings
    options.check_training_outputs(config, settings)
    _hint_at_corpora(settings, specs)
    names, command = [spec.name for spec in specs], _command_line(specs if model else (), typed, config, resume)
    if estimate:
        _show_estimates(settings, specs, as_json)
    elif queue:
        waiting = enqueue(settings, names, resume=resume, command=command)
        then = "it starts when its device is free; `kelly-core runs queue` lists the waiting runs"
        _print_started(waiting.id, str(waiting.manifest.output), then, as_json)
    else:
        _start(partial(start, settings, names, resume=resume, command=command), config, detach, as_json)


def _start(start_run: Callable[[], Run], config: Path | None, detach: bool, as_json: bool) -> None:
    """Start a run and, unless it is detached, show it until it ends."""
    with Signals() as signals:
        # Signals are handled before the start: an early Ctrl-C is sent to the run when it exists.
        run = start_run()
        if not detach:
            _watch_to_the_end(run, signals, config, as_json)
        then = f"training continues in the background; watch it with `kelly-core runs attach {run.id}`"
        _print_started(run.id, run.snapshot.output, then, as_json)


def _watch_to_the_end(run: Run, signals: Signals, config: Path | None, as_json: bool) -> NoReturn:
    """Show a run until it ends, print its results, and exit with its status."""
    print_status(f"run {run.id}; watch it from any terminal with `kelly-core runs attach {run.id}`")
    signals.send_to(run)
    results = watch(run)
    _print_results(run, results, as_json)
    print_resume_command(run, config)
    raise typer.Exit(_exit_code(run, results, signals))


def _show_estimates(settings: Settings, specs: Sequence[ModelSpec], as_json: bool) -> None:
    """Train each model for a few seconds in this process, and print estimates for the requested epochs."""
    from kelly_core.data.catalog import open_dataset
    from kelly_core.training.estimate import estimate
    from kelly_core.training.hyperparameters import training_settings

    estimates = []
    for spec in specs:
        corpus = settings.models[spec.name].dataset
        with feature_progress(corpus) as progress:
            dataset = open_dataset(corpus, settings, progress)
        estimates.append(estimate(spec, dataset, training_settings(settings, spec)))
    if as_json:
        print_json({"models": estimates})
    else:
        print_result(_estimate_table(estimates))


def _estimate_table(estimates: Sequence[Estimate]) -> Table:
    columns = ("model", "epochs", "steps", "an epoch", "in all", "memory", "on the GPU")
    table = Table(*columns, box=None, pad_edge=False)
    for row in estimates:
        gpu = format_bytes(row.device_memory_bytes or None)
        times = [f"{row.seconds_per_epoch:.2f} s", format_duration(row.seconds)]
        table.add_row(row.model, str(row.epochs), f"{row.steps:,}", *times, format_bytes(row.memory_bytes), gpu)
    table.add_row("all", "", "", "", format_duration(sum(row.seconds for row in estimates)))
    return table


def _hint_at_corpora(settings: Settings, specs: Sequence[ModelSpec]) -> None:
    """Print how to get corpora if all selected models would train on generated data without a request for it."""
    from kelly_core.data.catalog import active_corpora
    from kelly_core.data.download.inventory import find_unclaimed

    if settings.datasets.use_synthetic or any(active_corpora(spec.dataset, settings) for spec in specs):
        return
    for each in find_unclaimed(settings.datasets):
        print_status(each.text, "yellow")
    print_status(FIRST_STEPS, "yellow")


def _print_started(run_id: str, output: str, then: str, as_json: bool) -> None:
    """Print the ID of a run that continues after this command, and a note about its next step."""
    if as_json:
        print_json({"run": run_id, "output": output})
    else:
        print_result(run_id)
    print_status(then)


def _command_line(
    specs: Sequence[ModelSpec], typed: Mapping[str, tuple[str, object]], config: Path | None, resume: bool
) -> list[str]:
    """Return an equivalent command line."""
    words = ["kelly-core", "train"]
    for spec in specs:
        words += ["--model", spec.name]
    for name, value in typed.values():
        if isinstance(value, bool):
            words.append(name)
        elif isinstance(value, list):
            words += [word for each in value for word in (name, str(each))]
        elif value is not None:
            words += [name, str(value)]
    return words + (["--resume"] if resume else []) + (["--config", str(config)] if config else [])


def _print_results(run: Run, results: Sequence[ModelResult], as_json: bool) -> None:
    if as_json:
        print_json(_as_json(run, results))
    else:
        print_result(_table(results))
        for result in results:
            if result.verdict:
                print_result(f"{result.model}: {result.verdict}")
    for result in results:
        if result.error:
            print_error(result.model, result.error)


def _exit_code(run: Run, results: Sequence[ModelResult], signals: Signals) -> int:
    """Return the exit code of an ended run; print the error of the run unless the result of a model has one."""
    ended = run.snapshot
    # The third Ctrl-C kills the run at the user's request, which is not an error.
    if ended.state == "died" and not signals.killed:
        print_error(f"run {run.id} died", f"{ended.error}. Its log: kelly-core runs logs {run.id}")
    if ended.state == "failed" and not any(result.error for result in results):
        print_error(f"run {run.id} failed", ended.error)
    if signals.exit_code is not None:
        return signals.exit_code
    return {"finished": 0, "stopped": INTERRUPTED}.get(ended.state, 1)


def _as_json(run: Run, results: Sequence[ModelResult]) -> dict[str, Any]:
    """Return the state of an ended run and the results of its trained models as JSON types."""
    models = [
        asdict(result) | {"seconds": round(result.seconds, 3), "error": result.error or None} for result in results
    ]
    return {"run": run.id, "state": run.snapshot.state, "error": run.snapshot.error or None, "models": models}


def _table(results: Sequence[ModelResult]) -> Table:
    # Only generated data has a known best possible loss, from which ε is computed.
    generated = any("epsilon" in result.metrics for result in results)
    unlearned = ("unlearned (ε)",) if generated else ()
    columns = ("model", "data", "epochs", "best", "loss", "baseline", *unlearned, "seconds")
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 1))
    for result in results:
        data = Text("synthetic", "yellow") if result.synthetic else result.dataset
        cells = _number_cells(result)[: 5 if generated else 4]
        table.add_row(result.model, data, *cells, f"{result.seconds:.1f}")
    return table


def _number_cells(result: ModelResult) -> list[str]:
    """Return the cells for epochs, best epoch, best loss, baseline loss, and ε on synthetic data."""
    if not result.metrics:
        return [MISSING] * 5
    metrics = result.metrics
    losses = [f"{metrics[key]:.4f}" for key in ("val_loss", "baseline_loss")]
    epsilon = f"{metrics['epsilon']:.3f}" if "epsilon" in metrics else MISSING
    return [str(result.epochs), str(metrics["best_epoch"]), *losses, epsilon]
