"""``kelly-core runs``: list, watch, control and compare runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from kelly_core.cli.completion import complete_changes, complete_model, complete_runs
from kelly_core.cli.console import console, print_json, print_result, print_status
from kelly_core.cli.help import MODELS_PANEL, OUTPUT_PANEL, TRAINING_PANEL
from kelly_core.cli.options import ConfigOption, JsonOption, RunIdArgument, settings_from
from kelly_core.cli.run_exports import generate_from_run, validate_run
from kelly_core.cli.run_tables import comparison_table, model_table, run_header, run_table
from kelly_core.cli.training_display import print_resume_command, watch
from kelly_core.errors import RunError
from kelly_core.events import TrainingWarning
from kelly_core.io.json import LineTail, to_json
from kelly_core.runs.control import parse_changes
from kelly_core.runs.event_log import describe
from kelly_core.runs.launch import resume, settings_of
from kelly_core.runs.overview import RunOverview, compare_runs
from kelly_core.runs.queue import drop, ensure_dispatcher, move, waiting_runs
from kelly_core.runs.registry import RunFilter, find_run, list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import change_note, change_tags, read_labels, read_manifest
from kelly_core.runs.state import RunSnapshot
from kelly_core.spec import find_model

app = typer.Typer(invoke_without_command=True, add_completion=False)

_STOP_PANEL = "When to stop (default after the current step)"

_SECONDS_TO_ANSWER = 5.0
FilterOption = Annotated[
    str,
    typer.Option(
        "--filter",
        metavar="TEXT",
        help="Conditions that a run must meet, such as 'state:running model:melody loss<0.03 tag:x age<2d'; "
        "-state:failed excludes; a word alone is searched in ID, state, models, tags and note (default all runs).",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
_SECONDS_TO_START = 30.0
_POLL_SECONDS = 0.1


@app.callback()
def runs(
    context: typer.Context, config: ConfigOption = None, conditions: FilterOption = "", as_json: JsonOption = False
) -> None:
    """List, watch, control and compare runs. Without a subcommand, list all runs and their states.

    Each training is a run: a process of its own, with a folder of its own. Commands find a run by the beginning of
    its ID or of its two words.

    Examples:
      kelly-core runs
      kelly-core runs --filter "model:melody loss<0.03"
      kelly-core runs attach last
      kelly-core runs stop last --after-epoch
      kelly-core runs generate last --play
    """
    folder = settings_from(config, {}).settings.runs.dir
    context.obj = folder
    try:
        ensure_dispatcher(folder)
    except RunError as error:
        # The other commands do not depend on the queue.
        _warn(str(error))
    if context.invoked_subcommand is not None:
        if as_json:
            raise typer.BadParameter("type it after the subcommand: runs show ID --json", param_hint="--json")
        if conditions:
            raise typer.BadParameter("type it after the subcommand: runs list --filter TEXT", param_hint="--filter")
        return
    _show_runs(folder, conditions, as_json)


@app.command("list")
def list_all(context: typer.Context, conditions: FilterOption = "", as_json: JsonOption = False) -> None:
    """List runs and their states.

    Examples:
      kelly-core runs list
      kelly-core runs list --filter "state:finished gain>20% age<7d"
      kelly-core runs list --json
    """
    _show_runs(context.obj, conditions, as_json)


def _show_runs(folder: Path, conditions: str, as_json: bool) -> None:
    run_filter = RunFilter.parse(conditions)
    listing = list_runs(folder)
    runs = [run for run in listing.runs if run_filter.keeps(listing.overviews[run.id])]
    if as_json:
        shown = [_as_json(run) | _labels_as_json(listing.overviews[run.id]) for run in runs]
        print_json({"runs": shown, "unreadable": listing.unreadable})
        return
    none = f"no runs in {folder}" if not listing.runs else f"none of {len(listing.runs)} runs meets the conditions"
    console().print(run_table(runs, listing.overviews) if runs else none, soft_wrap=True)
    for name, problem in listing.unreadable.items():
        _warn(f"{name}: {problem}")
    for run in runs:
        _warn_about_damage(run)


def _labels_as_json(run: RunOverview) -> dict[str, Any]:
    return {"tags": list(run.tags), "note": run.note}


@app.command("show")
def show_run(context: typer.Context, run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Show one run: progress of its models, process, output folder and command."""
    run = Run(find_run(context.obj, run_id), reading="whole")
    if as_json:
        content = {"command": list(run.record.command), "settings": run.record.settings}
        print_json(_as_json(run.snapshot) | content | asdict(read_labels(run.folder)))
        return
    snapshot = run.snapshot
    console().print(run_header(snapshot, run.record, read_labels(run.folder)), soft_wrap=True)
    print_result(model_table(snapshot))
    for model in snapshot.models:
        if model.verdict:
            print_result(f"{model.model}: {model.verdict}")
        if model.alarm:
            print_result(f"{model.model}: {model.alarm}", "yellow")
    _warn_about_damage(snapshot)


@app.command()
def attach(context: typer.Context, run_id: RunIdArgument) -> None:
    """Watch a run live. Ctrl-C detaches; the run continues."""
    run = _open(context, run_id)
    try:
        watch(run)
    except KeyboardInterrupt:
        print_status(f"\ndetached; {run.id} continues")
        return
    show_run(context, run.id)
    print_resume_command(run, _config(context))
    raise typer.Exit(0 if run.snapshot.state in ("finished", "stopped") else 1)


@app.command()
def stop(
    context: typer.Context,
    run_id: RunIdArgument,
    now: Annotated[
        bool, typer.Option("--now", help="Stop immediately, within the current step.", rich_help_panel=_STOP_PANEL)
    ] = False,
    after_epoch: Annotated[
        bool, typer.Option("--after-epoch", help="Stop after the current epoch.", rich_help_panel=_STOP_PANEL)
    ] = False,
    after: Annotated[
        int | None,
        typer.Option(
            "--after",
            min=1,
            metavar="N",
            help="Stop after N epochs, the current one included (epochs; default none).",
            rich_help_panel=_STOP_PANEL,
        ),
    ] = None,
) -> None:
    """Stop a run after the current step, immediately, or after some epochs.

    The best weights are exported in each case.
    """
    if now + after_epoch + (after is not None) > 1:
        raise typer.BadParameter("give one of --now, --after-epoch and --after")
    run = _open(context, run_id)
    run.request_stop(at_once=now, after_epochs=1 if after_epoch else after or 0)
    _print_state(run, "stopping")
    print_resume_command(run, _config(context))


@app.command()
def pause(context: typer.Context, run_id: RunIdArgument) -> None:
    """Pause a run after the current step."""
    run = _open(context, run_id)
    run.request_pause()
    _print_state(run, "paused", "stopping")


@app.command()
def rollback(
    context: typer.Context,
    run_id: RunIdArgument,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Model to roll back (default the only one in training).",
            rich_help_panel=MODELS_PANEL,
            autocompletion=complete_model,
        ),
    ] = None,
) -> None:
    """Roll a model in training back to its best weights, and halve its learning rate."""
    run = _open(context, run_id)
    _wait_until_training(run)
    chosen = run.request_rollback(find_model(model).name if model else "")
    message = _next_rollback(run, chosen)
    print_result(
        message or f"{run.id}: {chosen} rolls back after the current step; a paused run rolls back when it is resumed"
    )


@app.command("queue")
def edit_queue(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="[list|move|drop]", help="What to do.")] = "list",
    run_id: Annotated[str, typer.Argument(metavar="[ID]", help="Waiting run to move or to drop.")] = "",
    place: Annotated[int, typer.Argument(metavar="[PLACE]", min=1, help="Place to move to; 1 is the next.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """List, move and drop runs that `kelly-core train --queue` lets wait.

    Examples:
      kelly-core runs queue
      kelly-core runs queue move brave-cadence 1
      kelly-core runs queue drop brave-cadence
    """
    runs: Path = context.obj
    if action == "move":
        move(runs, run_id, place)
    elif action == "drop":
        print_result(f"dropped {drop(runs, run_id).id}")
    elif action != "list":
        raise typer.BadParameter(f"{action!r} is not one of list, move, drop", param_hint="action")
    waiting = waiting_runs(runs)
    if as_json:
        print_json({"waiting": [{"run": each.id, "models": each.record.models} for each in waiting]})
        return
    for number, each in enumerate(waiting, 1):
        print_result(
            f"{number}  {each.id}  {', '.join(each.record.models)}  {each.record.settings['training']['device']}"
        )
    if not waiting:
        print_result("no run waits")


@app.command("set")
def set_settings(
    context: typer.Context,
    run_id: RunIdArgument,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE",
            help="New value of learning_rate, patience (epochs) or epochs (in total).",
            autocompletion=complete_changes,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model to change (default the only one in training).",
            rich_help_panel=MODELS_PANEL,
            autocompletion=complete_model,
        ),
    ] = None,
) -> None:
    """Change settings of a model in training from its next epoch on; a resume keeps the changes.

    Examples:
      kelly-core runs set last learning_rate=0.0005
      kelly-core runs set last epochs=80 patience=20 --model groove
    """
    run = _open(context, run_id)
    chosen = run.request_change(parse_changes(changes), find_model(model).name if model else "")
    print_result(f"{run.id}: {chosen} trains with {', '.join(changes)} from its next epoch on")


@app.command("resume")
def resume_run(
    context: typer.Context,
    run_id: RunIdArgument,
    epochs: Annotated[
        str | None,
        typer.Option(
            "--epochs",
            metavar="+N",
            help="Train N epochs more than are done (epochs; default the rest of those asked for).",
            rich_help_panel=TRAINING_PANEL,
        ),
    ] = None,
) -> None:
    """Continue a paused run, or restart an ended or stopping one from its checkpoints with its own settings.

    Examples:
      kelly-core runs resume last
      kelly-core runs resume last --epochs +50
      kelly-core runs resume 2026-11-22
    """
    more = _more_epochs(epochs)
    run = _open(context, run_id)
    if run.live and run.requested() == "pause":
        if more:
            raise RunError("a paused run cannot be extended", where=run.id, hint="Resume it, stop it, then extend it")
        run.request_resume()
        _print_state(run, "running", "stopping")
        return
    _wait_until_stopped(run)
    run = resume(run, more)
    print_result(run.id)
    if more:
        _print_totals(run, more)


@app.command()
def logs(
    context: typer.Context,
    run_id: RunIdArgument,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Print new lines until the run ends or Ctrl-C.", rich_help_panel=OUTPUT_PANEL
        ),
    ] = False,
) -> None:
    """Print the log of a run."""
    run = _open(context, run_id)
    tail = LineTail(run.folder.console)
    while True:
        live = run.snapshot.live
        # In bounded pieces: a log may be larger than memory.
        while lines := tail.read():
            for line in lines:
                print_result(line.decode(errors="replace"))
        if not (follow and live):
            return
        time.sleep(_POLL_SECONDS)
        run.poll()


@app.command("rm")
def remove(
    context: typer.Context,
    run_id: RunIdArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without a question.")] = False,
) -> None:
    """Delete the log and the settings of an ended or stopping run; its output folder stays."""
    run = _open(context, run_id)
    _wait_until_stopped(run)
    # Taking the lock shows that no process works on the run; the question must not hold it.
    run.take().release()
    if not yes:
        typer.confirm(f"Delete {run.id} ({run.snapshot.state})? Its output in {run.snapshot.output} stays", abort=True)
    run.remove()
    print_result(f"deleted {run.id}")


@app.command()
def diff(context: typer.Context, first: RunIdArgument, second: RunIdArgument, as_json: JsonOption = False) -> None:
    """Compare two runs: different settings, and the best epoch of each model.

    Examples:
      kelly-core runs diff last 2026-11-21
      kelly-core runs diff last 2026-11-21 --json
    """
    compare(context, [first, second], only_differences=True, as_json=as_json)


@app.command()
def compare(
    context: typer.Context,
    run_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID", help="Two or more runs; the first one is the reference.", autocompletion=complete_runs
        ),
    ],
    only_differences: Annotated[
        bool,
        typer.Option("--only-differences", help="Show only settings that differ.", rich_help_panel=OUTPUT_PANEL),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare several runs: settings, and the best epoch of each model against the first run.

    Examples:
      kelly-core runs compare last last~1 last~2 --only-differences
      kelly-core runs compare brave-cadence calm-melody --json
    """
    runs = [_open(context, run_id) for run_id in run_ids]
    if len(runs) < 2:
        raise typer.BadParameter("give two or more runs", param_hint="ID")
    comparison = compare_runs(*runs, only_differences=only_differences)
    if as_json:
        print_json({"runs": [run.id for run in runs]} | to_json(comparison))
        return
    print_result(comparison_table([run.id for run in runs], comparison))


@app.command()
def tag(
    context: typer.Context,
    run_id: RunIdArgument,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG", help="Tags to add.")] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove",
            "-r",
            metavar="TAG",
            help="Tag to remove (may be repeated; default none).",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
) -> None:
    """Add and remove tags of a run, and print its tags."""
    labels = change_tags(find_run(context.obj, run_id), tags or [], remove or [])
    print_result(" ".join(labels.tags) or "no tags")


@app.command()
def note(
    context: typer.Context,
    run_id: RunIdArgument,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help='New note; "" removes it.')] = None,
) -> None:
    """Set the note of a run, or print it.

    Examples:
      kelly-core runs note last "twice the data"
      kelly-core runs note last
    """
    folder = find_run(context.obj, run_id)
    labels = read_labels(folder) if text is None else change_note(folder, text)
    print_result(labels.note or "no note")


app.command("generate")(generate_from_run)
app.command("validate")(validate_run)


def _wait_until_stopped(run: Run) -> None:
    """Wait for the end of a run that has been asked to stop; return at once for any other run."""
    if not run.live or run.requested() != "stop":
        return
    print_status(f"waiting for {run.id} to stop; Ctrl-C stops waiting")
    for _ in run.follow():
        pass


def _wait(run: Run, seconds: float, done: Callable[[], bool]) -> None:
    """Read a run's log until ``done``, or for some seconds."""
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        run.poll()


def _wait_until_training(run: Run) -> None:
    """Wait for a run that is starting until a model is in training, or for 30 s."""
    _wait(
        run,
        _SECONDS_TO_START,
        lambda: not run.live or any(model.state in ("running", "paused") for model in run.snapshot.models),
    )


def _config(context: typer.Context) -> Path | None:
    """Return the settings file that was typed between ``runs`` and the subcommand."""
    config: Path | None = context.parent.params["config"] if context.parent else None
    return config


def _open(context: typer.Context, run_id: str) -> Run:
    runs: Path = context.obj
    return Run(find_run(runs, run_id))


def _as_json(run: RunSnapshot) -> dict[str, Any]:
    content: dict[str, Any] = to_json(run)
    return content | {"models": [model.model for model in run.models], "progress": content["models"]}


def _more_epochs(text: str | None) -> int:
    if text is None:
        return 0
    if text.startswith("+") and text[1:].isdecimal():
        return int(text[1:])
    raise typer.BadParameter(f"{text!r} is not of the form +N, such as +20", param_hint="--epochs")


def _print_totals(run: Run, more: int) -> None:
    """Wait until the run has counted its finished epochs, and print first and last epoch of each model."""
    _wait(run, _SECONDS_TO_START, lambda: not (read_manifest(run.folder).more_epochs and run.live))
    record = read_manifest(run.folder)
    if record.more_epochs:
        print_status(f"each model trains {more} epochs beyond those it has done")
        return
    settings = settings_of(run.folder, record)
    for name in record.models:
        total = settings.models[name].epochs or settings.training.epochs
        print_status(f"{name}: continues at epoch {total - more + 1}, trains {more} more, until {total} in total")


def _print_state(run: Run, *expected: str) -> None:
    """Wait until the run is in an expected state or has ended, and print its state."""
    _wait(run, _SECONDS_TO_ANSWER, lambda: not run.snapshot.live or run.snapshot.state in expected)
    print_result(f"{run.id}: {run.snapshot.state}")


def _next_rollback(run: Run, model: str) -> str:
    """Return the next message about a rollback of a model, "" if none arrives in time."""
    deadline = time.monotonic() + _SECONDS_TO_ANSWER
    while run.snapshot.live and time.monotonic() < deadline:
        for record in run.poll():
            event = record.event
            if isinstance(event, TrainingWarning) and (event.model, event.kind) == (model, "rollback"):
                return describe(event) or ""
        time.sleep(_POLL_SECONDS)
    return ""


def _warn_about_damage(run: RunSnapshot) -> None:
    if run.damaged_lines:
        _warn(f"{run.id}: {run.damaged_lines} damaged lines of its log were left out")
    if run.unknown_records:
        _warn(f"{run.id}: {run.unknown_records} records of its log are of a newer version of kelly-core")
    if run.silent_seconds:
        _warn(f"{run.id}: its process {run.pid} has given no sign of life for {run.silent_seconds:.0f} s")


def _warn(text: str) -> None:
    print_status(text, "yellow")
