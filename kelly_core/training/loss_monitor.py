"""Early stopping, and detection of divergence, plateaus and overfitting in the losses of a training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from kelly_core.events import Concern


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
        values = state | {"patience": patience, "min_delta": min_delta}
        return cls(num_bad_epochs=values.pop("waited"), **values)

    def state_dict(self) -> dict[str, Any]:
        """Return all values under the keys of the checkpoint format."""
        values = asdict(self)
        return values | {"waited": values.pop("num_bad_epochs")}

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
        """Reset the count of epochs without progress if it has ended the training, so that training can continue."""
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


SEVERAL = 5
"""Epochs from which a trend is judged; one or two losses may be outliers."""
LONG_WITHOUT_PATIENCE = 10
"""Epochs without progress that count as a plateau if early stopping allows any number."""
CLEAR_RISE = 0.02
"""Minimum relative rise of the loss that is reported, even with little noise."""
DIVERGENCE_FACTOR = 10.0
"""Multiple of the first and of the best validation loss above which a loss counts as divergence."""
_RECENT = 40
"""Epochs from which noise is estimated; with twenty the estimate was sometimes so low that noise counted as a rise."""


class LossMonitor:
    """Detector of plateaus and overfitting. It depends on the losses only, so a resumed training gets the same result.

    **Plateau**: no progress, as early stopping defines it, for half the patience and at least several epochs. Half the
    patience leaves time to act on the warning.

    **Overfitting**: each of the last five validation losses is above the level around the best epoch, by three
    times their noise and by 2 %, while the training loss kept falling. Levels are medians of five epochs, since the
    best loss itself is the minimum of noisy values and typical losses are above it. A falling training loss
    distinguishes overfitting from divergence. None of 200 curves of 100 epochs of noise around a constant was
    reported; a rise of 5 % per epoch is reported 9 to 14 epochs after the best, with noise of 5 %.

    Progress ends a concern, and a new best epoch also ends overfitting; afterwards it can be reported again.

    Attributes:
        concern: current concern, "" if there is none.
        is_new: True if the last epoch raised it.

    Args:
        patience, min_delta: as in ``EarlyStopping``.
    """

    def __init__(self, patience: int, min_delta: float) -> None:
        self._progress = EarlyStopping(patience, min_delta)
        self._train: list[float] = []
        self._val: list[float] = []
        self.concern: Concern = ""
        self.is_new = False

    @classmethod
    def of(cls, epochs: Iterable[tuple[float, float]], patience: int, min_delta: float) -> LossMonitor:
        """Return a monitor that has processed these training and validation losses."""
        monitor = cls(patience, min_delta)
        for train_loss, val_loss in epochs:
            monitor.update(train_loss, val_loss)
        return monitor

    def update(self, train_loss: float, val_loss: float) -> None:
        """Process the finite losses of one more epoch."""
        self._train.append(train_loss)
        self._val.append(val_loss)
        is_best = self._progress.update(val_loss, len(self._val))
        previous = self.concern
        if self._progress.num_bad_epochs == 0 or (previous == "overfitting" and is_best):
            self.concern = ""
        if self.concern != "overfitting" and self._is_overfitting():
            self.concern = "overfitting"
        elif self.concern == "" and self._is_on_plateau():
            self.concern = "plateau"
        self.is_new = self.concern not in ("", previous)

    def advice(self) -> str:
        """Describe the concern and a remedy.

        The text omits the remaining patience: screens keep the text while the patience decreases.
        """
        if self.concern == "overfitting":
            best = self._progress.best_loss
            rise = (median(self._val[-SEVERAL:]) - best) / abs(best) if best else math.inf
            since = f"validation loss {100 * rise:.0f} % above its best of epoch {self._progress.best_epoch}"
            return f"overfitting, {since}: stop, or roll back to half the learning rate"
        since = f"no progress since epoch {len(self._val) - self._progress.num_bad_epochs}"
        return f"on a plateau, {since}: wait, or roll back to half the learning rate"

    def _is_on_plateau(self) -> bool:
        bad_epochs, patience = self._progress.num_bad_epochs, self._progress.patience
        long = max(SEVERAL, patience // 2) if patience else LONG_WITHOUT_PATIENCE
        return bad_epochs >= long and not self._progress.exhausted

    def _is_overfitting(self) -> bool:
        best = self._progress.best_epoch - 1
        if len(self._val) - 1 - best < SEVERAL:
            return False
        around = slice(max(0, best - SEVERAL // 2), best + SEVERAL // 2 + 1)
        level, learned = median(self._val[around]), median(self._train[around])
        # Three standard deviations: five values of normal noise in a row almost never exceed this by chance.
        margin = max(3 * noise(self._val[-_RECENT:]), CLEAR_RISE * abs(level))
        still_learning = median(self._train[-SEVERAL:]) < learned - self._progress.min_delta * abs(learned)
        return min(self._val[-SEVERAL:]) > level + margin and still_learning


def divergence(
    epoch: int, train_loss: float, val_loss: float, before: Sequence[tuple[float, float]], best_loss: float
) -> str:
    """Describe why an epoch's losses count as divergence; "" if they do not.

    ``before`` contains the training and validation losses of the earlier epochs.
    """
    # isfinite, because every comparison with NaN is False, and max([0.1, nan]) is 0.1.
    if not (math.isfinite(train_loss) and math.isfinite(val_loss)):
        return f"the loss of epoch {epoch} is not a finite number"
    if before and val_loss > DIVERGENCE_FACTOR * max(before[0][1], best_loss):
        return f"the validation loss of epoch {epoch} diverged to {val_loss:.4g}"
    return ""


def noise(losses: Sequence[float]) -> float:
    """Return the standard deviation of the noise in a curve, independent of its slope; 0 for fewer than three losses.

    Second differences remove the slope. For white noise of standard deviation σ they have the standard deviation √6 σ,
    and for a normal x the median of |x| is 0.6745 standard deviations.
    """
    bends = [abs(a - 2 * b + c) for a, b, c in zip(losses, losses[1:], losses[2:], strict=False)]
    return median(bends) / (0.6745 * math.sqrt(6)) if bends else 0.0
