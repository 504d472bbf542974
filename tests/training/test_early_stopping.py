"""When training stops, and which epoch is the best."""

from __future__ import annotations

import math

import pytest

from kelly_core.training.loss_monitor import EarlyStopping


def epochs_until_stop(stopping: EarlyStopping, losses: list[float]) -> int:
    for epoch, loss in enumerate(losses, start=1):
        stopping.update(loss, epoch)
        if stopping.exhausted:
            return epoch
    return 0


def test_it_waits_for_as_many_epochs_as_it_has_patience() -> None:
    stopping = EarlyStopping(patience=3, min_delta=0.0)
    assert epochs_until_stop(stopping, [5, 4, 4, 4, 4, 1]) == 5
    assert (stopping.best_loss, stopping.best_epoch) == (4, 2)


def test_progress_restores_patience() -> None:
    stopping = EarlyStopping(patience=2, min_delta=0.0)
    assert epochs_until_stop(stopping, [5, 6, 4, 6, 3, 6, 6]) == 7


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_progress_is_relative(scale: float) -> None:
    gains_of_two_percent = [scale * 0.98**epoch for epoch in range(20)]
    assert epochs_until_stop(EarlyStopping(patience=3, min_delta=0.01), gains_of_two_percent) == 0
    assert epochs_until_stop(EarlyStopping(patience=3, min_delta=0.10), gains_of_two_percent) != 0


def test_small_gains_are_the_best_without_being_progress() -> None:
    stopping = EarlyStopping(patience=2, min_delta=0.1)
    assert [stopping.update(loss, epoch) for epoch, loss in enumerate([1.0, 0.99, 0.98], 1)] == [True, True, True]
    assert stopping.exhausted
    assert (stopping.best_loss, stopping.best_epoch) == (0.98, 3)


def test_small_gains_add_up_to_progress() -> None:
    stopping = EarlyStopping(patience=3, min_delta=0.05)
    assert epochs_until_stop(stopping, [1.0, 0.98, 0.96, 0.94, 0.93, 0.92]) == 0


def test_a_loss_that_is_not_a_number_is_never_the_best() -> None:
    stopping = EarlyStopping(patience=2, min_delta=0.0)
    assert not stopping.update(math.nan, 1)
    assert stopping.update(0.5, 2)
    assert not stopping.update(math.nan, 3)
    assert (stopping.best_loss, stopping.best_epoch, stopping.patience_left) == (0.5, 2, 1)


def test_a_negative_loss_can_improve() -> None:
    stopping = EarlyStopping(patience=1, min_delta=0.1)
    assert epochs_until_stop(stopping, [-1.0, -1.2, -1.4]) == 0
    assert epochs_until_stop(EarlyStopping(patience=1, min_delta=0.1), [-1.0, -1.05]) == 2


def test_no_patience_means_no_end() -> None:
    assert epochs_until_stop(EarlyStopping(patience=0, min_delta=0.0), [1.0] * 100) == 0
