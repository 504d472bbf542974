"""``kelly-core runs``: commands that control runs: stop, pause, rollback, set, resume and queue."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from kelly_core.cli.console import print_json, print_result, print_status
from kelly_core.cli.foreground import print_resume_command
from kelly_core.cli.help import MODELS_PANEL, TRAINING_PANEL, option
from kelly_core.cli.options import JsonOption, RunIdArgument, complete_model
from kelly_core.errors import RunError
from kelly_core.events import TrainingWarning
from kelly_core.runs.control import CHANGEABLE, parse_changes
from kelly_core.runs.event_log import LogRecord, describe
from kelly_core.runs.launch import resume
from kelly_core.runs.queue import drop, move, waiting_runs
from kelly_core.runs.registry import find_run
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import read_manifest, settings_of
from kelly_core.spec import find_model

_STOP_PANEL = "When to stop (default after the current step)"
_ANSWER_TIMEOUT_SECONDS = 5.0
_SECONDS_TO_START = 30.0
_POLL_SECONDS = 0.1


def _model_option(action: str, **attributes: Any) -> Any:
    text = f"Model to {action} (default the only one in training)."
    return option(MODELS_PANEL, text, "--model", "-m", autocompletion=complete_model, **attributes)


def stop(
    context: typer.Context,
    run_id: RunIdArgument,
    now: Annotated[bool, option(_STOP_PANEL, "Stop immediately, within the current step.", "--now")] = False,
    after_epoch: Annotated[bool, option(_STOP_PANEL, "Stop after the current epoch.", "--after-epoch")] = False,
    after: Annotated[
        int | None,
        option(
            _STOP_PANEL,
            "Stop after N epochs, the current one included (epochs; default none).",
            min=1,
            metavar="N",
        ),
    ] = None,
) -> None:
    """Stop a run after the current step, immediately, or after some epochs.

    The best weights are exported in each case.
    """
    if now + after_epoch + (after is not None) > 1:
        raise typer.BadParameter("give one of --now, --after-epoch and --after")
    run = open_run(context, run_id)
    run.request_stop(at_once=now, after_epochs=1 if after_epoch else after or 0)
    _print_state(run, "stopping")
    print_resume_command(run, config_of(context))


def pause(context: typer.Context, run_id: RunIdArgument) -> None:
    """Pause a run after the current step."""
    run = open_run(context, run_id)
    run.request_pause()
    _print_state(run, "paused", "stopping")


def rollback(
    context: typer.Context,
    run_id: RunIdArgument,
    model: Annotated[str | None, _model_option("roll back", metavar="NAME")] = None,
) -> None:
    """Roll a model in training back to its best weights, and halve its learning rate.

    The new rate is at most the rate of the best epoch, which undoes a later increase with `runs set`.
    """
    run = open_run(context, run_id)
    # A run that is still reading its corpora has no best weights and no model in training yet.
    _wait_until_training(run)
    chosen = run.request_rollback(find_model(model).name if model else "")
    message = _next_rollback(run, chosen)
    print_result(
        message or f"{run.id}: {chosen} rolls back after the current step; a paused run rolls back when it is resumed"
    )


def edit_queue(
    context: typer.Context,
    action: Annotated[str, typer.Argument(metavar="[list|move|drop]", help="Action.")] = "list",
    run_id: Annotated[str, typer.Argument(metavar="[ID]", help="Waiting run to move or to drop.")] = "",
    place: Annotated[int, typer.Argument(metavar="[PLACE]", min=1, help="New position; 1 is the next.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """List, move and drop runs that wait in the queue of `kelly-core train --queue`.

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
        print_json({"waiting": [{"run": each.id, "models": each.manifest.models} for each in waiting]})
        return
    for number, each in enumerate(waiting, 1):
        print_result(
            f"{number}  {each.id}  {', '.join(each.manifest.models)}  {each.manifest.settings['training']['device']}"
        )
    if not waiting:
        print_result("no runs are waiting")


def complete_changes(incomplete: str) -> list[str]:
    """Return ``key=`` for the changeable settings of a live run that begin with the typed text."""
    return [f"{key}=" for key in CHANGEABLE if key.startswith(incomplete)]


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
    model: Annotated[str | None, _model_option("change")] = None,
) -> None:
    """Change settings of a model in training from its next epoch on; a resume keeps the changes.

    Examples:
      kelly-core runs set last learning_rate=0.0005
      kelly-core runs set last epochs=80 patience=20 --model groove
    """
    run = open_run(context, run_id)
    chosen = run.request_change(parse_changes(changes), find_model(model).name if model else "")
    print_result(f"{run.id}: {chosen} trains with {', '.join(changes)} from its next epoch on")


def resume_run(
    context: typer.Context,
    run_id: RunIdArgument,
    epochs: Annotated[
        str | None,
        option(
            TRAINING_PANEL,
            "Additional epochs to train (default the remaining requested epochs).",
            metavar="+N",
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
    run = open_run(context, run_id)
    # A paused run with a request to stop later is still paused.
    if run.live and (run.pending_request() == "pause" or run.snapshot.state == "paused"):
        if more:
            raise RunError("a paused run cannot be extended", where=run.id, hint="Resume it, stop it, then extend it")
        run.request_resume()
        _print_state(run, "running", "stopping")
        return
    wait_until_stopped(run)
    run = resume(run, more)
    print_result(run.id)
    if more:
        _print_totals(run, more)


def wait_until_stopped(run: Run) -> None:
    """Wait for the end of a run with a pending stop request; return at once for other runs."""
    if not run.live or run.pending_request() != "stop":
        return
    print_status(f"waiting for {run.id} to stop; Ctrl-C stops waiting")
    for _ in run.follow():
        pass


def _new_records(run: Run, seconds: float) -> Iterator[list[LogRecord]]:
    """Poll the log of a run for ``seconds``; first yield [], then the records of each poll."""
    deadline = time.monotonic() + seconds
    records: list[LogRecord] = []
    while True:
        yield records
        if time.monotonic() >= deadline:
            return
        time.sleep(_POLL_SECONDS)
        records = run.poll()


def _wait(run: Run, seconds: float, done: Callable[[], bool]) -> None:
    """Poll the log of a run until ``done`` returns True, at most for ``seconds``."""
    any(done() for _ in _new_records(run, seconds))


def _wait_until_training(run: Run) -> None:
    """Wait until a model of a starting run is in training, at most 30 s."""
    _wait(
        run,
        _SECONDS_TO_START,
        lambda: not run.live or any(model.state in ("running", "paused") for model in run.snapshot.models),
    )


def config_of(context: typer.Context) -> Path | None:
    """Return the settings file that was typed between ``runs`` and the subcommand."""
    config: Path | None = context.parent.params["config"] if context.parent else None
    return config


def open_run(context: typer.Context, run_id: str) -> Run:
    """Return the run that an ID or the beginning of an ID names.

    Raises:
        RunError: no run or several runs match, or the run cannot be read.
    """
    runs: Path = context.obj
    return Run(find_run(runs, run_id))


def _more_epochs(text: str | None) -> int:
    if text is None:
        return 0
    if re.fullmatch(r"\+0*[1-9]\d{0,8}", text):
        return int(text[1:])
    raise typer.BadParameter(f"{text!r} is not of the form +N, such as +20", param_hint="--epochs")


def _print_totals(run: Run, more: int) -> None:
    """Wait until the run has counted its finished epochs, then print the first and last epoch of each model."""
    _wait(run, _SECONDS_TO_START, lambda: not (read_manifest(run.folder).more_epochs and run.live))
    manifest = read_manifest(run.folder)
    if manifest.more_epochs:
        print_status(f"each model trains {more} epochs beyond those it has done")
        return
    settings = settings_of(run.folder, manifest)
    for name in manifest.models:
        total = settings.models[name].epochs or settings.training.epochs
        print_status(f"{name}: continues at epoch {total - more + 1}, trains {more} more, until {total} in total")


def _print_state(run: Run, *expected: str) -> None:
    """Wait until the run is in an expected state or has ended, then print its state."""
    _wait(run, _ANSWER_TIMEOUT_SECONDS, lambda: not run.snapshot.live or run.snapshot.state in expected)
    print_result(f"{run.id}: {run.snapshot.state}")


def _next_rollback(run: Run, model: str) -> str:
    """Return the next message about a rollback of a model; "" if none arrives in time."""
    for records in _new_records(run, _ANSWER_TIMEOUT_SECONDS):
        for event in (record.event for record in records):
            if isinstance(event, TrainingWarning) and (event.model, event.kind) == (model, "rollback"):
                return describe(event) or ""
        if not run.snapshot.live:
            break
    return ""
