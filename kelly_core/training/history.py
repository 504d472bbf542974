"""Losses of a training as JSON, as CSV for spreadsheets, and as TensorBoard events."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from kelly_core.bounds import BoundedLoss, Count
from kelly_core.errors import KellyError, TrainingError
from kelly_core.events import EpochDone, Event
from kelly_core.io.atomic import atomic_write, open_regular
from kelly_core.io.json import dumps

EpochRow = dict[str, Any]
"""One epoch: ``epoch``, ``train_loss``, ``val_loss``, ``learning_rate``, ``seconds``, ``frames_per_second``."""


def epoch_row(
    epoch: int, train_loss: float, val_loss: float, learning_rate: float, seconds: float, frames: int
) -> EpochRow:
    """Return the row of an epoch; training on its ``frames`` took ``seconds``, validation not included."""
    return {
        "epoch": epoch,
        "train_loss": train_loss,
        "val_loss": val_loss,
        "learning_rate": learning_rate,
        "seconds": round(seconds, 4),
        "frames_per_second": round(frames / seconds, 1),
    }


class _Epoch(BaseModel):
    """Columns of a row that a curve needs."""

    epoch: Count
    train_loss: BoundedLoss
    val_loss: BoundedLoss


class _BestEpoch(BaseModel):
    """Metrics of the best epoch that a curve needs; the last two are drawn as horizontal lines."""

    best_epoch: Count
    val_loss: BoundedLoss
    baseline_loss: BoundedLoss | None = None
    bayes_loss: BoundedLoss | None = None


class _Document(BaseModel):
    epochs: list[_Epoch] = Field(min_length=1)
    metrics: _BestEpoch


@dataclass(frozen=True)
class History:
    """Losses of a training: ``rows``, at least one, and the metrics of the best epoch."""

    rows: Sequence[EpochRow]
    metrics: dict[str, Any]


_MAX_BYTES = 64 * 2**20


def read_history(path: Path) -> History | None:
    """Read the losses that ``write_history`` wrote; None if there is no such file.

    Raises:
        KellyError: the file cannot be read, or is not a history.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KellyError(f"cannot be read: {error.strerror}", where=path) from error
    try:
        document = _Document.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise KellyError(f"is not a history: {first['msg']}{f' at {at}' if at else ''}", where=path) from error
    return History([row.model_dump() for row in document.epochs], document.metrics.model_dump(exclude_none=True))


def write_history(
    path: Path, model: str, rows: Sequence[EpochRow], metrics: dict[str, Any], quality: dict[str, Any] | None = None
) -> None:
    """Write ``path`` (JSON) and the same rows as CSV next to it, each atomically.

    Args:
        path, model: the JSON file, and the name of the model.
        rows: one per epoch, all with the same keys.
        metrics: metrics of the best epoch, including ``best_epoch``.
        quality: ``QualityRecord`` of the best epoch as JSON values; None until the training has ended.

    Raises:
        KellyError: a file cannot be written.
    """
    document = {
        "model": model,
        "best_epoch": metrics["best_epoch"],
        "metrics": metrics,
        "quality": quality,
        "epochs": list(rows),
    }
    text = dumps(document, indent=2) + "\n"
    atomic_write(path, text.encode())
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path.with_suffix(".csv"), table.getvalue().encode())


class TensorBoardWriter:
    """TensorBoard writer of every epoch of every model to ``folder``; pass ``listen`` to a training.

    Raises:
        TrainingError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            hint = "Install it: pip install kelly-trainer[tensorboard]"
            raise TrainingError("TensorBoard is not installed", hint=hint) from error
        self._writer = SummaryWriter(str(folder))

    def listen(self, event: Event) -> None:
        """Write the losses of an epoch; other events are ignored."""
        if isinstance(event, EpochDone):
            values = {
                "loss/train": event.train_loss,
                "loss/validation": event.val_loss,
                "frames_per_second": event.frames_per_second,
                "learning_rate": event.learning_rate,
            }
            for name, value in values.items():
                self._writer.add_scalar(f"{event.model}/{name}", value, event.epoch)
            # Without a flush the writer buffers an epoch for up to two minutes, and viewers do not show it.
            self._writer.flush()
