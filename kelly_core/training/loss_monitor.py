"""What the loss curves of a training give reason to worry about."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median

from kelly_core.events import Concern
from kelly_core.training.early_stopping import EarlyStopping

SEVERAL = 5
"""Epochs that show something: one or two may lie anywhere."""
LONG_WITHOUT_PATIENCE = 10
"""Epochs without progress that are a plateau where early stopping allows any number."""
CLEAR_RISE = 0.02
"""Share of the loss that a rise must have to be worth a word, however little noise there is."""
_RECENT = 40
"""Epochs from which noise is measured; from twenty it came out so low now and then that noise passed for a rise."""


class LossMonitor:
    """Takes in epoch after epoch and knows nothing else, so that a resumed training comes to the same judgement.

    **Plateau**: for half the patience, and several epochs at least, nothing was gained that early stopping calls
    progress. Half the patience warns while there is time to do something.

    **Overfitting**: each of the last five validation losses is above the level around the best epoch, by three
    times their noise and by 2 %, while the training loss kept falling. Levels are medians of five epochs, since the
    best loss itself is the minimum of noisy values and typical losses are above it. A falling training loss
    distinguishes overfitting from divergence. Of 200 curves of 100 epochs of noise around a constant, none was
    reported; a rise of 5 % per epoch is reported 9 to 14 epochs after the best, with noise of 5 %.

    A concern stays until there is progress, an overfitting also until there is a new best; then it may come again.

    Attributes:
        concern: what there is to worry about now.
        is_new: whether it came with the last epoch.

    Args:
        patience, min_delta: those of early stopping.
    """

    def __init__(self, patience: int, min_delta: float) -> None:
        self._progress = EarlyStopping(patience, min_delta)
        self._train: list[float] = []
        self._val: list[float] = []
        self.concern: Concern = ""
        self.is_new = False

    @classmethod
    def of(cls, epochs: Iterable[tuple[float, float]], patience: int, min_delta: float) -> LossMonitor:
        """A watch that has seen these training and validation losses."""
        watch = cls(patience, min_delta)
        for train_loss, val_loss in epochs:
            watch.update(train_loss, val_loss)
        return watch

    def update(self, train_loss: float, val_loss: float) -> None:
        """See the finite losses of one more epoch."""
        self._train.append(train_loss)
        self._val.append(val_loss)
        is_best = self._progress.update(val_loss, len(self._val))
        former = self.concern
        if self._progress.num_bad_epochs == 0 or (former == "overfitting" and is_best):
            self.concern = ""
        if self.concern != "overfitting" and self._is_overfitting():
            self.concern = "overfitting"
        elif self.concern == "" and self._is_on_plateau():
            self.concern = "plateau"
        self.is_new = self.concern not in ("", former)

    def advice(self, patience_left: int) -> str:
        """The concern in words, with what can be done about it.

        Args:
            patience_left: epochs until early stopping ends the training; 0 if it never does.
        """
        if self.concern == "overfitting":
            best = self._progress.best_loss
            rise = (median(self._val[-SEVERAL:]) - best) / abs(best) if best else math.inf
            since = f"validation loss {100 * rise:.0f} % above its best of epoch {self._progress.best_epoch}"
            return f"overfitting, {since}: stop, or roll back to half the learning rate"
        since = f"no progress since epoch {len(self._val) - self._progress.num_bad_epochs}"
        end = f" (it stops in {patience_left} epochs)" if patience_left else ""
        return f"on a plateau, {since}: wait{end}, or roll back to half the learning rate"

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
        margin = max(3 * noise(self._val[-_RECENT:]), CLEAR_RISE * abs(level))
        still_learning = median(self._train[-SEVERAL:]) < learned - self._progress.min_delta * abs(learned)
        return min(self._val[-SEVERAL:]) > level + margin and still_learning


def noise(losses: Sequence[float]) -> float:
    """Standard deviation of what is noise in a curve, whatever its slope; 0 for fewer than three losses.

    Second differences take the slope away. Those of white noise of deviation σ have the deviation √6 σ, and the median
    of |x| for normal x is .6745 of its deviation.
    """
    bends = [abs(a - 2 * b + c) for a, b, c in zip(losses, losses[1:], losses[2:], strict=False)]
    return median(bends) / (0.6745 * math.sqrt(6)) if bends else 0.0
