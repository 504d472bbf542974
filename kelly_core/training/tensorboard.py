"""Losses and speed as TensorBoard events."""

from __future__ import annotations

from pathlib import Path

from kelly_core.errors import TrainingError
from kelly_core.events import EpochDone, Event


class TensorBoardWriter:
    """Writer of every epoch of every model to ``folder``; pass ``listen`` to a training.

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
            losses = {"train": event.train_loss, "validation": event.val_loss}
            for name, loss in losses.items():
                self._writer.add_scalar(f"{event.model}/loss/{name}", loss, event.epoch)
            self._writer.add_scalar(f"{event.model}/frames_per_second", event.frames_per_second, event.epoch)
            self._writer.add_scalar(f"{event.model}/learning_rate", event.learning_rate, event.epoch)
            self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
