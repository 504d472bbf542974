"""``kelly-core runs generate`` and ``runs validate``: music and checks from the best checkpoints of a run so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from kelly_core.cli.console import print_status
from kelly_core.cli.generate import (
    ArousalOption,
    AudioArgument,
    BarsOption,
    BpmOption,
    KeyOption,
    OutputOption,
    PlayOption,
    PlotOption,
    SeedOption,
    ValenceOption,
    WavOption,
    generate,
)
from kelly_core.cli.options import JsonOption, MkdirOption, RunIdArgument
from kelly_core.errors import RunError
from kelly_core.runs.best_exports import add_stand_ins, export_best
from kelly_core.runs.registry import find_run
from kelly_core.runs.run import Run
from kelly_core.spec import CHAIN_MODELS

_VALENCE, _AROUSAL = 0.4, 0.2
"""Emotion of a piece for which neither audio nor an emotion is given."""


def generate_from_run(
    context: typer.Context,
    run_id: RunIdArgument,
    audio: AudioArgument = None,
    valence: ValenceOption = None,
    arousal: ArousalOption = None,
    bars: BarsOption = None,
    bpm: BpmOption = None,
    key: KeyOption = None,
    seed: SeedOption = 0,
    output: OutputOption = Path("out.mid"),
    plot: PlotOption = None,
    wav: WavOption = None,
    play: PlayOption = False,
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
    with _best_exports(context, run_id) as folder:
        generate(
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


def validate_run(context: typer.Context, run_id: RunIdArgument, as_json: JsonOption = False) -> None:
    """Check exports of the best weights of a run so far: format, sizes, and parity with their checkpoints.

    The exit status is 0 if every check of every file passes.

    Examples:
      kelly-core runs validate last
      kelly-core runs validate brave-cadence --json
    """
    from kelly_core.cli.validate import validate

    with _best_exports(context, run_id, stand_ins=False) as folder:
        validate(sorted(folder.glob("*.json")), check_specs=True, as_json=as_json)


def _check_complete(run: Run, folder: Path) -> None:
    """Raise unless the folder has an export of every model."""
    missing = [spec.name for spec in CHAIN_MODELS if not (folder / f"{spec.file_stem}.json").exists()]
    if missing:
        output = run.snapshot.output
        raise RunError(
            f"expected all five models, got no weights of {', '.join(missing)}, from the run or in {output}",
            where=run.id,
            hint="Train them into the same output folder, or wait for their first epoch",
        )


@contextmanager
def _best_exports(context: typer.Context, run_id: str, *, stand_ins: bool = True) -> Iterator[Path]:
    """Yield a temporary folder with exports of a run, and say of which epochs they are."""
    runs: Path = context.obj
    run = Run(find_run(runs, run_id))
    with TemporaryDirectory(prefix="kelly-run-") as name:
        folder = Path(name)
        best = export_best(run, folder)
        print_status(f"{run.id}: {', '.join(f'{model} of epoch {epoch}' for model, epoch in best.epochs.items())}")
        for model in best.pending:
            print_status(f"{model}: no complete epoch yet", "yellow")
        if stand_ins:
            for model, source in add_stand_ins(folder, [Path(run.snapshot.output)]).items():
                print_status(f"{model}: not of this run; {source} is used in its place", "yellow")
            _check_complete(run, folder)
        yield folder
