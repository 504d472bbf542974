"""``kelly-core runs``: trainings, live or ended; watch them, steer them, compare them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from kelly_core.cli.console import console, print_json, print_result, print_status
from kelly_core.cli.options import ConfigOption, JsonOption, settings_from
from kelly_core.cli.run_tables import comparison_table, model_table, run_header, run_table
from kelly_core.cli.training_display import tell_how_to_resume, watch
from kelly_core.errors import RunError
from kelly_core.events import TrainingWarning
from kelly_core.io.jsonl import LineTail
from kelly_core.runs.diff import compare_runs
from kelly_core.runs.launch import resume, settings_of
from kelly_core.runs.log_records import to_json
from kelly_core.runs.messages import describe
from kelly_core.runs.registry import find_run, list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import read_manifest
from kelly_core.runs.snapshot import RunSnapshot
from kelly_core.spec import find_model

app = typer.Typer(
    help="Trainings, live or ended: list, watch, steer, compare.", invoke_without_command=True, add_completion=False
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="A run: the beginning of its id, or last.")]

_SECONDS_FOR_AN_ANSWER = 5.0
_SECONDS_TO_START = 30.0
_SECONDS_BETWEEN_LOOKS = 0.1


@app.callback()
def runs(context: typer.Context, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List all runs with how they stand; or do something with one of them."""
    folder = settings_from(config, {}).settings.runs.dir
    context.obj = folder
    if context.invoked_subcommand is not None:
        if as_json:
            raise typer.BadParameter("behind the subcommand, please: runs show ID --json", param_hint="--json")
        return
    _show_runs(folder, as_json)


@app.command("list")
def list_all(context: typer.Context, as_json: JsonOption = False) -> None:
    """List all runs and their states."""
    _show_runs(context.obj, as_json)


def _show_runs(folder: Path, as_json: bool) -> None:
    listing = list_runs(folder)
    if as_json:
        print_json({"runs": [_as_json(run) for run in listing.runs], "unreadable": listing.unreadable})
        return
    console().print(run_table(listing.runs) if listing.runs else f"no runs in {folder}", soft_wrap=True)
    for name, problem in listing.unreadable.items():
        _warn(f"{name}: {problem}")
    for run in listing.runs:
        _tell_of_damage(run)


@app.command("show")
def show_run(context: typer.Context, run_id: IdArgument, as_json: JsonOption = False) -> None:
    """Show one run: how its models stand, where it runs, what it was asked for."""
    run = Run(find_run(context.obj, run_id), reading="whole")
    if as_json:
        content = {"command": list(run.record.command), "settings": run.record.settings}
        print_json(_as_json(run.snapshot) | content)
        return
    snapshot = run.snapshot
    console().print(run_header(snapshot, run.record), soft_wrap=True)
    print_result(model_table(snapshot))
    for model in snapshot.models:
        if model.verdict:
            print_result(f"{model.model}: {model.verdict}")
        if model.alarm:
            print_result(f"{model.model}: {model.alarm}", "yellow")
    _tell_of_damage(snapshot)


@app.command()
def attach(context: typer.Context, run_id: IdArgument) -> None:
    """Watch a run live; Ctrl-C only ends the watching."""
    run = _open(context, run_id)
    try:
        watch(run)
    except KeyboardInterrupt:
        print_status(f"\nno longer watching; {run.id} goes on")
        return
    show_run(context, run.id)
    tell_how_to_resume(run, _config(context))
    raise typer.Exit(0 if run.snapshot.state in ("finished", "stopped") else 1)


@app.command()
def stop(
    context: typer.Context,
    run_id: IdArgument,
    now: Annotated[bool, typer.Option("--now", help="Do not even finish what is being done.")] = False,
    after_epoch: Annotated[bool, typer.Option("--after-epoch", help="Finish the epoch in progress.")] = False,
    after: Annotated[
        int | None, typer.Option("--after", min=1, metavar="N", help="Finish N epochs, the one in progress included.")
    ] = None,
) -> None:
    """Stop a run after the current step, at once, or after some epochs; the best weights are exported in any case."""
    if now + after_epoch + (after is not None) > 1:
        raise typer.BadParameter("give one of --now, --after-epoch and --after")
    run = _open(context, run_id)
    run.request_stop(at_once=now, after_epochs=1 if after_epoch else after or 0)
    _tell_answer(run, "stopping")
    tell_how_to_resume(run, _config(context))


@app.command()
def pause(context: typer.Context, run_id: IdArgument) -> None:
    """Pause a run after the current step."""
    run = _open(context, run_id)
    run.request_pause()
    _tell_answer(run, "paused", "stopping")


@app.command()
def rollback(
    context: typer.Context,
    run_id: IdArgument,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Which model, where several are in training.")
    ] = None,
) -> None:
    """Let a model in training go back to its best weights, and learn half as fast from there."""
    run = _open(context, run_id)
    chosen = run.request_rollback(find_model(model).name if model else "")
    said = _next_rollback(run, chosen)
    print_result(
        said or f"{run.id}: asked; {chosen} rolls back after the current step; a paused run, once it is resumed"
    )


@app.command("resume")
def resume_run(
    context: typer.Context,
    run_id: IdArgument,
    epochs: Annotated[
        str | None, typer.Option("--epochs", metavar="+N", help="Train N epochs beyond those done.")
    ] = None,
) -> None:
    """Let a paused run go on, or start one that has ended again, from its checkpoints and with its own settings."""
    more = _more_epochs(epochs)
    run = _open(context, run_id)
    if run.snapshot.state in ("pausing", "paused"):
        if more:
            raise RunError("a paused run cannot be extended", where=run.id, hint="Resume it, stop it, then extend it")
        run.request_resume()
        _tell_answer(run, "running", "stopping")
        return
    run = resume(run, more)
    print_result(run.id)
    if more:
        _tell_totals(run, more)


@app.command()
def logs(
    context: typer.Context,
    run_id: IdArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the run does; Ctrl-C ends it.")] = False,
) -> None:
    """Print what a run has said."""
    run = _open(context, run_id)
    tail = LineTail(run.folder.console)
    while True:
        live = run.snapshot.live
        while lines := tail.read():
            for line in lines:
                print_result(line.decode(errors="replace"))
        if not (follow and live):
            return
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        run.poll()


@app.command("rm")
def remove(
    context: typer.Context,
    run_id: IdArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete an ended run: its log and settings; what it trained stays."""
    run = _open(context, run_id)
    run.take().release()
    if not yes:
        typer.confirm(f"Delete {run.id} ({run.snapshot.state})? Its output in {run.snapshot.output} stays", abort=True)
    run.remove()
    print_result(f"deleted {run.id}")


@app.command()
def diff(context: typer.Context, first: IdArgument, second: IdArgument, as_json: JsonOption = False) -> None:
    """Compare two runs: settings that differ, and the best of each model."""
    runs = _open(context, first), _open(context, second)
    comparison = compare_runs(*runs)
    if as_json:
        print_json({"runs": [run.id for run in runs]} | to_json(comparison))
        return
    print_result(comparison_table(runs[0].id, runs[1].id, comparison))


def _config(context: typer.Context) -> Path | None:
    """The settings file that was typed between ``runs`` and the subcommand."""
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


def _tell_totals(run: Run, more: int) -> None:
    """Wait until the run has found out how many epochs are done, and print from where to where each model trains."""
    deadline = time.monotonic() + _SECONDS_TO_START
    while (record := read_manifest(run.folder)).more_epochs and run.live and time.monotonic() < deadline:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        run.poll()
    if record.more_epochs:
        print_status(f"each model trains {more} epochs beyond those it has done")
        return
    settings = settings_of(run.folder, record)
    for name in record.models:
        total = settings.models[name].epochs or settings.training.epochs
        print_status(f"{name}: continues at epoch {total - more + 1}, trains {more} more, until {total} in total")


def _tell_answer(run: Run, *expected: str) -> None:
    """Wait until the run does as asked, or has ended, and print how it stands."""
    deadline = time.monotonic() + _SECONDS_FOR_AN_ANSWER
    while run.snapshot.live and run.snapshot.state not in expected and time.monotonic() < deadline:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        run.poll()
    print_result(f"{run.id}: {run.snapshot.state}")


def _next_rollback(run: Run, model: str) -> str:
    """What a run says of going back, "" if it has not said so in time."""
    deadline = time.monotonic() + _SECONDS_FOR_AN_ANSWER
    while run.snapshot.live and time.monotonic() < deadline:
        for record in run.poll():
            event = record.event
            if isinstance(event, TrainingWarning) and (event.model, event.kind) == (model, "rollback"):
                return describe(event) or ""
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return ""


def _tell_of_damage(run: RunSnapshot) -> None:
    if run.damaged_lines:
        _warn(f"{run.id}: {run.damaged_lines} damaged lines of its log were left out")
    if run.unknown_records:
        _warn(f"{run.id}: {run.unknown_records} records of its log are of a newer version of kelly-core")
    if run.silent_seconds:
        _warn(f"{run.id}: its process {run.pid} has given no sign of life for {run.silent_seconds:.0f} s")


def _warn(text: str) -> None:
    print_status(text, "yellow")
