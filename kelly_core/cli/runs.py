"""``kelly-core runs``: list, watch and compare runs, and use their best weights; see also ``run_control``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from rich.text import Text

from kelly_core.cli import export, generate, run_control
from kelly_core.cli.console import console, print_json, print_result, print_status
from kelly_core.cli.foreground import print_resume_command, watch
from kelly_core.cli.help import OUTPUT_PANEL, option
from kelly_core.cli.options import ConfigOption, JsonOption, MkdirOption, RunIdArgument, complete_runs, settings_from
from kelly_core.cli.run_control import config_of, open_run, wait_until_stopped
from kelly_core.cli.run_tables import comparison_table, curves_by_model, model_table, plot_losses, run_header, run_table
from kelly_core.errors import RunError
from kelly_core.io.json import LineTail, to_json
from kelly_core.runs.best_exports import add_missing_models, export_best
from kelly_core.runs.overview import compare_runs
from kelly_core.runs.queue import ensure_dispatcher
from kelly_core.runs.registry import RunFilter, find_run, list_runs
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import change_note, change_tags, read_labels
from kelly_core.runs.state import RunSnapshot
from kelly_core.spec import CHAIN_MODELS

app = typer.Typer(invoke_without_command=True, add_completion=False)


FilterOption = Annotated[
    str,
    option(
        OUTPUT_PANEL,
        "Conditions that a run must meet, such as 'state:running model:melody loss<0.03 tag:x age<2d'; "
        "-state:failed excludes; a word alone is searched in ID, state, models, tags and note (default all runs).",
        "--filter",
        metavar="TEXT",
    ),
]
RunExportsOption = Annotated[
    Path | None,
    option(OUTPUT_PANEL, "Folder for the exports (default the run's output folder).", "--output", "-o", metavar="DIR"),
]
_POLL_SECONDS = 0.1
_VALENCE, _AROUSAL = 0.4, 0.2
"""Emotion of a piece if neither audio nor an emotion is given."""


@app.callback()
def runs(
    context: typer.Context, config: ConfigOption = None, conditions: FilterOption = "", as_json: JsonOption = False
) -> None:
    """List, watch, control and compare runs. Without a subcommand, list all runs and their states.

    Each training is a run: a separate process with its own folder. Commands find a run by the beginning of
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
        # Commands other than the queue do not need the dispatcher.
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
    runs = [run for run in listing.runs if run_filter.keeps(run)]
    if as_json:
        print_json({"runs": list(map(_as_json, runs)), "unreadable": listing.unreadable})
        return
    none = f"no runs in {folder}" if not listing.runs else f"none of {len(listing.runs)} runs meets the conditions"
    console().print(run_table(runs) if runs else none, soft_wrap=True)
    for name, problem in listing.unreadable.items():
        _warn(f"{name}: {problem}")
    for run in runs:
        _warn_about_damage(run)


@app.command("show")
def show_run(
    context: typer.Context,
    run_id: RunIdArgument,
    plot: Annotated[bool, option(OUTPUT_PANEL, "Also draw the losses of each model.", "--plot")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one run: progress of its models, process, output folder and command.

    Examples:
      kelly-core runs show last
      kelly-core runs show brave-cadence --plot
      kelly-core runs show last --json
    """
    run = Run(find_run(context.obj, run_id), reading="whole")
    if as_json:
        content = {"command": list(run.manifest.command), "settings": run.manifest.settings}
        print_json(_as_json(run.snapshot) | content | asdict(read_labels(run.folder)))
        return
    snapshot = run.snapshot
    console().print(run_header(snapshot, run.manifest, read_labels(run.folder)), soft_wrap=True)
    print_result(model_table(snapshot))
    for model in snapshot.models:
        if model.verdict:
            print_result(f"{model.model}: {model.verdict}")
        if model.alarm:
            print_result(f"{model.model}: {model.alarm}", "yellow")
    if plot:
        target = console()
        for model_name, curves in curves_by_model(run.records()).items():
            target.print()
            target.print(plot_losses(model_name, curves, target), soft_wrap=True)
    _warn_about_damage(snapshot)


@app.command()
def attach(context: typer.Context, run_id: RunIdArgument) -> None:
    """Watch a run live. Ctrl-C detaches; the run continues."""
    run = open_run(context, run_id)
    try:
        watch(run)
    except KeyboardInterrupt:
        print_status(Text(f"\ndetached; {run.id} continues"))
        return
    show_run(context, run.id)
    print_resume_command(run, config_of(context))
    raise typer.Exit(0 if run.snapshot.state in ("finished", "stopped") else 1)


app.command()(run_control.stop)
app.command()(run_control.pause)
app.command()(run_control.rollback)
app.command("queue")(run_control.edit_queue)
app.command("set")(run_control.set_settings)
app.command("resume")(run_control.resume_run)


@app.command()
def logs(
    context: typer.Context,
    run_id: RunIdArgument,
    follow: Annotated[
        bool, option(OUTPUT_PANEL, "Print new lines until the run ends or Ctrl-C.", "--follow", "-f")
    ] = False,
) -> None:
    """Print the log of a run."""
    run = open_run(context, run_id)
    tail = LineTail(run.folder.console)
    while True:
        # Checked before reading: if the process ends during the read, its last lines are read in the next iteration.
        live = run.snapshot.live
        # Read in bounded pieces, because a log may be larger than memory.
        while lines := tail.read():
            for line in lines:
                print_result(Text(line.decode(errors="replace")))
        if not (follow and live):
            return
        time.sleep(_POLL_SECONDS)
        run.poll()


@app.command("rm")
def remove(
    context: typer.Context,
    run_id: RunIdArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without confirmation.")] = False,
) -> None:
    """Delete the log and the settings of an ended or stopping run; keep its output folder."""
    run = open_run(context, run_id)
    wait_until_stopped(run)
    # Acquiring the lock proves that no process works on the run; it must not be held during the question.
    run.acquire_lock().release()
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
        bool, option(OUTPUT_PANEL, "Show only settings that differ.", "--only-differences")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare several runs: settings, and the best epoch of each model against the first run.

    Examples:
      kelly-core runs compare last last~1 last~2 --only-differences
      kelly-core runs compare brave-cadence calm-melody --json
    """
    runs = [open_run(context, run_id) for run_id in run_ids]
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
        option(OUTPUT_PANEL, "Tag to remove (may be repeated; default none).", "--remove", "-r", metavar="TAG"),
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


@app.command("generate")
def generate_from_run(
    context: typer.Context,
    run_id: RunIdArgument,
    audio: generate.AudioArgument = None,
    valence: generate.ValenceOption = None,
    arousal: generate.ArousalOption = None,
    bars: generate.BarsOption = None,
    bpm: generate.BpmOption = None,
    key: generate.KeyOption = None,
    seed: generate.SeedOption = 0,
    output: generate.OutputOption = Path("out.mid"),
    plot: generate.PlotOption = None,
    wav: generate.WavOption = None,
    play: generate.PlayOption = False,
    mkdir: MkdirOption = False,
) -> None:
    """Generate music with the best weights of a run so far, while it trains or after its end.

    Models that the run has not trained, or that have no complete epoch yet, are replaced by exports in its output
    folder. Without AUDIO or an emotion, valence is 0.4 and arousal 0.2.

    Examples:
      kelly-core runs generate last
      kelly-core runs generate brave-cadence song.wav --output tune.mid --play
    """
    if audio is None and valence is None and arousal is None:
        valence, arousal = _VALENCE, _AROUSAL
    with _best_exports(context, run_id) as (_run, folder):
        generate.generate(
            audio=audio,
            valence=valence,
            arousal=arousal,
            models=folder,
            bars=bars,
            bpm=bpm,
            key=key,
            seed=seed,
            output=output,
            plot=plot,
            wav=wav,
            play=play,
            mkdir=mkdir,
        )


@app.command("validate")
def validate_run(context: typer.Context, run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Check exports of the best weights of a run so far: format, sizes, and parity with their checkpoints.

    The exit status is 0 if every check of every file passes.

    Examples:
      kelly-core runs validate last
      kelly-core runs validate brave-cadence --json
    """
    from kelly_core.cli.validate import validate

    with _best_exports(context, run_id, stand_ins=False) as (_run, folder):
        validate(sorted(folder.glob("*.json")), check_specs=True, as_json=as_json)


def _check_complete(run: Run, folder: Path) -> None:
    """Raise an error if the folder lacks the export of a model."""
    missing = [spec.name for spec in CHAIN_MODELS if not (folder / f"{spec.file_stem}.json").exists()]
    if missing:
        output = run.snapshot.output
        raise RunError(
            f"expected all five models, got no weights of {', '.join(missing)}, from the run or in {output}",
            where=run.id,
            hint="Train them into the same output folder, or wait for their first epoch",
        )


@app.command("export")
def export_run(
    context: typer.Context,
    run_id: RunIdArgument,
    layout: export.LayoutOption = "rtneural",
    output: RunExportsOption = None,
    onnx: export.OnnxOption = False,
    mkdir: MkdirOption = False,
) -> None:
    """Write the best weights of a run so far as RTNeural files, only for its own models.

    An existing export of other weights is kept as NAME.previous.json. The command fails if another training has
    replaced a checkpoint of the run.

    Examples:
      kelly-core runs export last
      kelly-core runs export brave-cadence --onnx -o exports --mkdir
    """
    with _best_exports(context, run_id, stand_ins=False) as (run, folder):
        target = output or Path(run.snapshot.output)
        export.export(source=str(folder), layout=layout, output=target, onnx=onnx, mkdir=mkdir)


@contextmanager
def _best_exports(context: typer.Context, run_id: str, *, stand_ins: bool = True) -> Iterator[tuple[Run, Path]]:
    """Yield a run and a temporary folder with its best exports, and print the epochs of the exports."""
    run = open_run(context, run_id)
    with TemporaryDirectory(prefix="kelly-run-") as name:
        folder = Path(name)
        best = export_best(run, folder)
        print_status(f"{run.id}: {', '.join(f'{model} of epoch {epoch}' for model, epoch in best.epochs.items())}")
        for model in best.pending:
            print_status(f"{model}: no complete epoch yet", "yellow")
        if stand_ins:
            for model, source in add_missing_models(folder, [Path(run.snapshot.output)]).items():
                print_status(f"{model}: not of this run; {source} is used in its place", "yellow")
            _check_complete(run, folder)
        yield run, folder


def _as_json(run: RunSnapshot) -> dict[str, Any]:
    content: dict[str, Any] = to_json(run)
    return content | {"models": run.model_names, "progress": content["models"]}


def _warn_about_damage(run: RunSnapshot) -> None:
    if run.damaged_lines:
        _warn(f"{run.id}: {run.damaged_lines} damaged lines of its log were skipped")
    if run.unknown_records:
        _warn(f"{run.id}: {run.unknown_records} records of its log are of a newer version of kelly-core")
    if run.silent_seconds:
        _warn(f"{run.id}: its process {run.pid} has sent no heartbeat for {run.silent_seconds:.0f} s")


def _warn(text: str) -> None:
    print_status(text, "yellow")
