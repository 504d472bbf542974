"""When a training has stopped getting better."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Keeps the lowest loss, and counts epochs without progress.

    Progress is a gain of ``min_delta`` of the loss at the last progress, so it means the same for losses of .05 and 5.
    The lowest loss is kept apart: a tiny gain is worth a checkpoint, but not more patience.

    Attributes:
        patience: epochs without progress to allow; 0 allows any number.
        min_delta: share of the loss that counts as progress.
        best_loss, best_epoch: the lowest loss so far and its epoch, 0 before the first.
        reference_loss: the loss at the last progress.
        waited: epochs since then.
    """

    patience: int
    min_delta: float
    best_loss: float = math.inf
    best_epoch: int = 0
    reference_loss: float = math.inf
    waited: int = 0

    def update(self, loss: float, epoch: int) -> bool:
        """Take in an epoch's loss; whether it is the lowest so far. A loss that is not a number never is."""
        needed = self.min_delta * abs(self.reference_loss) if math.isfinite(self.reference_loss) else 0.0
        if loss < self.reference_loss - needed:
            self.reference_loss, self.waited = loss, 0
        else:
            self.waited += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
            return True
        return False

    def renew(self) -> None:
        """Begin to wait anew, for a training that was stopped and shall go on."""
        if self.exhausted:
            self.waited = 0

    @property
    def patience_left(self) -> int:
        """Epochs without progress that are still allowed; 0 if any number is."""
        return max(0, self.patience - self.waited)

    @property
    def exhausted(self) -> bool:
        """Whether training should stop."""
        return self.patience > 0 and self.waited >= self.patience
