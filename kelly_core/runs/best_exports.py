"""Export the best checkpoints of a live or ended run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kelly_core.errors import CheckpointError, RunError
from kelly_core.formatting import format_loss
from kelly_core.runs.run import Run
from kelly_core.runs.state import ModelSnapshot
from kelly_core.spec import CHAIN_MODELS, model_spec


@dataclass(frozen=True)
class BestExports:
    """Exports that ``export_best`` wrote.

    Attributes:
        epochs: best epoch by model, of the run's own models.
        pending: models of the run without a checkpoint yet.
    """

    epochs: dict[str, int]
    pending: tuple[str, ...]


def export_best(run: Run, target: Path) -> BestExports:
    """Write an export, and its checkpoint in ``checkpoints/``, for each model with a best checkpoint in a run.

    Args:
        run: live or ended.
        target: an empty folder.

    Raises:
        RunError: no model of the run has a checkpoint yet, or another training has replaced a checkpoint.
        CheckpointError: a checkpoint is damaged.
        ExportError: weights are not finite, or a file cannot be written.
    """
    # torch is imported only here: other uses of runs do not need it.
    from kelly_core.training.checkpoint import load_checkpoint
    from kelly_core.training.exporting import export_network
    from kelly_core.training.files import checkpoint_path

    epochs, pending = {}, []
    output = Path(run.snapshot.output)
    for model in run.snapshot.models:
        stem = model_spec(model.model).file_stem
        source, copied = (checkpoint_path(folder, stem, "best") for folder in (output, target))
        if model.best_epoch is None or not source.is_file():
            pending.append(model.model)
            continue
        copied.parent.mkdir(parents=True, exist_ok=True)
        with CheckpointError.from_os_error("cannot be copied", where=source):
            # Copied because the training replaces the file at its next best epoch.
            shutil.copyfile(source, copied)
        checkpoint = load_checkpoint(copied)
        epoch = int(checkpoint.metrics["best_epoch"])
        _check_owner(run, model, source, epoch, float(checkpoint.metrics["val_loss"]))
        export_network(checkpoint, target / f"{stem}.json")
        epochs[model.model] = epoch
    if not epochs:
        raise RunError("has no checkpoint of a best epoch yet", where=run.id, hint="Wait for its first epoch")
    return BestExports(epochs, tuple(pending))


def add_missing_models(target: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Copy the missing exports of a folder, each from the first of other folders that has it.

    Returns:
        The copied files by model.

    Raises:
        RunError: a file cannot be copied.
    """
    found = {}
    for spec in CHAIN_MODELS:
        name = f"{spec.file_stem}.json"
        if (target / name).exists():
            continue
        source = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if source is not None:
            with RunError.from_os_error("cannot be copied", where=source):
                shutil.copyfile(source, target / name)
            found[spec.name] = source
    return found


def _check_owner(run: Run, model: ModelSnapshot, checkpoint: Path, epoch: int, loss: float) -> None:
    """Raise an error if another training has replaced the checkpoint of an ended run."""
    if not run.snapshot.live and (epoch, loss) != (model.best_epoch, model.best_loss):
        raise RunError(
            f"its best epoch of {model.model} was {model.best_epoch} (loss {format_loss(model.best_loss)}), but "
            f"{checkpoint} is of epoch {epoch} (loss {format_loss(loss)}): another training has replaced it",
            where=run.id,
            hint="Give each training its own output folder with --output",
        )
