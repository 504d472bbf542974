"""Early stopping: the lowest validation loss, and the epochs without progress."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Lowest loss so far, and the number of epochs without progress.

    Progress is a gain of ``min_delta`` relative to the loss at the last progress, so it means the same for losses of
    .05 and 5. The lowest loss is kept separately: a tiny gain justifies a checkpoint, but no more patience.

    Attributes:
        patience: epochs without progress to allow; 0 allows any number.
        min_delta: relative gain that counts as progress.
        best_loss, best_epoch: the lowest loss so far and its epoch, 0 before the first.
        reference_loss: the loss at the last progress.
        num_bad_epochs: epochs since then.
    """

    patience: int
    min_delta: float
    best_loss: float = math.inf
    best_epoch: int = 0
    reference_loss: float = math.inf
    num_bad_epochs: int = 0

    @classmethod
    def from_state(cls, state: dict[str, Any], patience: int, min_delta: float) -> EarlyStopping:
        """Continue from a state of ``state_dict`` with other settings."""
        values = {_NAMES.get(key, key): value for key, value in state.items()}
        return cls(**values | {"patience": patience, "min_delta": min_delta})

    def state_dict(self) -> dict[str, Any]:
        """Return all values under the keys of the checkpoint format."""
        keys = {name: key for key, name in _NAMES.items()}
        return {keys.get(name, name): value for name, value in asdict(self).items()}

    def update(self, loss: float, epoch: int) -> bool:
        """Record an epoch's loss. Return True if it is the lowest so far; NaN never is."""
        needed = self.min_delta * abs(self.reference_loss) if math.isfinite(self.reference_loss) else 0.0
        # NaN compares False with everything, so it counts as an epoch without progress.
        if loss < self.reference_loss - needed:
            self.reference_loss, self.num_bad_epochs = loss, 0
        else:
            self.num_bad_epochs += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            return True
        return False

    def renew_patience(self) -> None:
        """Reset the count of epochs without progress if it has ended the training, so that it can continue."""
        if self.exhausted:
            self.num_bad_epochs = 0

    @property
    def patience_left(self) -> int:
        """Epochs without progress that are still allowed; 0 if any number is."""
        return max(0, self.patience - self.num_bad_epochs)

    @property
    def exhausted(self) -> bool:
        """True if training should stop."""
        return self.patience > 0 and self.num_bad_epochs >= self.patience


_NAMES = {"waited": "num_bad_epochs"}
"""Attribute name for a key of the checkpoint format, if they differ."""
