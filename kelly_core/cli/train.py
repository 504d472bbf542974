"""``kelly-core train``: data, training, checkpoints, history, plots and exports in one go."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kelly_core.cli.display import TrainingDisplay
from kelly_core.cli.options import ConfigOption, DatasetsDirOption, JsonOption, MaxFilesOption, settings_from
from kelly_core.spec import MODELS, model_spec

if TYPE_CHECKING:
    from kelly_core.training.session import ModelOutcome

INTERRUPTED = 130


def train(
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A model; repeat for more.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for exports and all else.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", "-e", help="Epochs in all.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "-b", help="Examples a step.")] = None,
    device: Annotated[str | None, typer.Option("--device", "-d", help="auto, cpu, cuda or mps.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", "-lr", help="Of Adam.")] = None,
    validation_split: Annotated[
        float | None, typer.Option("--validation-split", "-v", help="Share of the songs held out.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option("--early-stopping-patience", help="Epochs without progress; 0 never stops.")
    ] = None,
    min_delta: Annotated[
        float | None, typer.Option("--early-stopping-min-delta", help="Relative gain that counts as progress.")
    ] = None,
    datasets_dir: DatasetsDirOption = None,
    use_synthetic: Annotated[bool, typer.Option("--use-synthetic", help="Train on generated data.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the latest checkpoints.")] = False,
    seed: Annotated[int | None, typer.Option("--seed", help="Of everything random.")] = None,
    max_files: MaxFilesOption = None,
    no_history: Annotated[bool, typer.Option("--no-history", help="Write no history.")] = False,
    no_plots: Annotated[bool, typer.Option("--no-plots", help="Draw no plots.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train models, keep checkpoints, and export the best weights as RTNeural files.

    Ctrl-C ends the step in hand, keeps what was reached, exports the best so far and exits with 130.
    """
    specs = tuple(dict.fromkeys(model_spec(name) for name in model)) if model else MODELS
    typed = {
        "training.epochs": ("--epochs", epochs),
        "training.batch_size": ("--batch-size", batch_size),
        "training.device": ("--device", device),
        "training.learning_rate": ("--learning-rate", learning_rate),
        "training.validation_split": ("--validation-split", validation_split),
        "training.early_stopping.patience": ("--early-stopping-patience", patience),
        "training.early_stopping.min_delta": ("--early-stopping-min-delta", min_delta),
        "training.seed": ("--seed", seed),
        "datasets.dir": ("--datasets-dir", datasets_dir),
        "datasets.max_files": ("--max-files", max_files),
        "datasets.use_synthetic": ("--use-synthetic", use_synthetic or None),
        "output.dir": ("--output", output),
        "output.history": ("--no-history", False if no_history else None),
        "output.plots": ("--no-plots", False if no_plots else None),
    }
    settings = settings_from(config, typed).settings

    from kelly_core.training.session import train_models

    with _stop_on_interrupt() as stop, TrainingDisplay() as display:
        outcomes = train_models(
            settings,
            specs,
            resume=resume,
            listen=display.listen,
            should_stop=stop.is_requested,
            progress=display.features,
        )
    if as_json:
        typer.echo(json.dumps({"models": [_as_json(outcome) for outcome in outcomes]}, indent=2))
    else:
        Console().print(_table(outcomes))
    for outcome in outcomes:
        if outcome.error:
            Console(stderr=True, highlight=False).print(
                f"[bold red]{outcome.model}:[/] {outcome.error}", soft_wrap=True
            )
    if stop.is_requested():
        raise typer.Exit(INTERRUPTED)
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


class _Stop:
    """Remembers that a person pressed Ctrl-C; a second press ends the program at once."""

    def __init__(self) -> None:
        self._requested = False

    def is_requested(self) -> bool:
        return self._requested

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True


@contextmanager
def _stop_on_interrupt() -> Iterator[_Stop]:
    stop = _Stop()
    former = signal.signal(signal.SIGINT, stop.handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, former)


def _as_json(outcome: ModelOutcome) -> dict[str, Any]:
    result = outcome.result
    return {
        "model": outcome.model,
        "dataset": outcome.dataset,
        "synthetic": outcome.synthetic,
        "export": None if outcome.export is None else str(outcome.export),
        "reason": None if result is None else result.reason,
        "epochs": 0 if result is None else result.epoch,
        "metrics": {} if result is None else result.metrics,
        "seconds": round(outcome.seconds, 3),
        "error": outcome.error or None,
    }


def _table(outcomes: Sequence[ModelOutcome]) -> Table:
    columns = ("model", "data", "epochs", "best", "loss", "baseline", "ε", "seconds")
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 1))
    for outcome in outcomes:
        data = "[yellow]synthetic[/]" if outcome.synthetic else outcome.dataset
        table.add_row(outcome.model, data, *_figures(outcome), f"{outcome.seconds:.1f}")
    return table


def _figures(outcome: ModelOutcome) -> list[str]:
    """Epochs, best epoch, its loss, the baseline's, and ε on synthetic data."""
    if outcome.result is None:
        return ["–"] * 5
    metrics = outcome.result.metrics
    losses = [f"{metrics[key]:.4f}" for key in ("val_loss", "baseline_loss")]
    epsilon = f"{metrics['epsilon']:.3f}" if "epsilon" in metrics else "–"
    return [str(outcome.result.epoch), str(metrics["best_epoch"]), *losses, epsilon]
