"""Early stopping, plateaus and overfitting by the losses of epochs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from kelly_core.training.loss_monitor import EarlyStopping, LossMonitor, noise
from tests.seeds import seeded_rng


def epochs_until_stop(stopping: EarlyStopping, losses: list[float]) -> int:
    for epoch, loss in enumerate(losses, start=1):
        stopping.update(loss, epoch)
        if stopping.exhausted:
            return epoch
    return 0


@pytest.mark.parametrize(
    ("patience", "min_delta", "losses", "epochs"),
    [
        pytest.param(3, 0.0, [5, 4, 4, 4, 4, 1], 5, id="as many epochs as it has patience"),
        pytest.param(2, 0.0, [5, 6, 4, 6, 3, 6, 6], 7, id="progress restores patience"),
        pytest.param(3, 0.05, [1.0, 0.98, 0.96, 0.94, 0.93, 0.92], 0, id="small gains add up to progress"),
        pytest.param(1, 0.1, [-1.0, -1.2, -1.4], 0, id="a negative loss can improve"),
        pytest.param(1, 0.1, [-1.0, -1.05], 2, id="a negative loss by too little"),
        pytest.param(0, 0.0, [1.0] * 100, 0, id="no patience means no end"),
    ],
)
def test_it_waits_for_progress(patience: int, min_delta: float, losses: list[float], epochs: int) -> None:
    assert epochs_until_stop(EarlyStopping(patience, min_delta), losses) == epochs


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


def test_a_loss_that_is_not_a_number_is_never_the_best() -> None:
    stopping = EarlyStopping(patience=2, min_delta=0.0)
    assert not stopping.update(math.nan, 1)
    assert stopping.update(0.5, 2)
    assert not stopping.update(math.nan, 3)
    assert (stopping.best_loss, stopping.best_epoch, stopping.patience_left) == (0.5, 2, 1)


def concerns(train: list[float], val: list[float], patience: int = 10, min_delta: float = 0.001) -> list[tuple]:
    """Epoch and kind of each concern that began."""
    watch = LossMonitor(patience, min_delta)
    found = []
    for epoch, losses in enumerate(zip(train, val, strict=True), start=1):
        watch.update(*losses)
        if watch.is_new:
            found.append((epoch, watch.concern))
    return found


def falling(epochs: int, to: float = 0.1) -> list[float]:
    return [to + 0.4 * 0.8**epoch for epoch in range(epochs)]


SHRINKING = [0.5, *(0.3 * 0.9999**epoch for epoch in range(12))]
"""Gains below the minimum after the first epochs."""


@pytest.mark.parametrize(
    ("losses", "settings", "expected"),
    [
        pytest.param([0.99**epoch for epoch in range(300)], {}, [], id="falling"),
        pytest.param([0.5, 0.4, 0.3] + 20 * [0.3], {"patience": 16}, [(11, "plateau")], id="half the patience"),
        pytest.param([0.5, 0.4, 0.3] + 20 * [0.3], {"patience": 0}, [(13, "plateau")], id="without patience"),
        pytest.param(SHRINKING, {"patience": 16}, [(10, "plateau")], id="gains below the minimum"),
        pytest.param(SHRINKING, {"patience": 16, "min_delta": 0.0}, [], id="any gain"),
        pytest.param(
            [0.5, *(8 * [0.3]), *(8 * [0.2])], {"patience": 12}, [(8, "plateau"), (16, "plateau")], id="again"
        ),
        pytest.param([0.5] + 12 * [0.3], {"patience": 3}, [], id="where training ends at once"),
    ],
)
def test_a_plateau_is_reported_once_after_some_epochs_without_progress(
    losses: list[float], settings: dict[str, float], expected: list[tuple]
) -> None:
    assert concerns(losses, losses, **settings) == expected


def test_overfitting_is_reported_once_and_again_after_a_new_best() -> None:
    rise = [0.1 + 0.002 * epoch for epoch in range(1, 12)]
    val = [0.3, 0.2, 0.15, 0.1, *rise, 0.09, *rise]
    train = [0.2 * 0.97**epoch for epoch in range(len(val))]
    found = concerns(train, val, patience=30)
    assert [kind for _, kind in found] == ["overfitting", "overfitting"]
    first, second = (epoch for epoch, _ in found)
    assert 4 + 5 <= first <= 4 + 8
    assert 16 + 5 <= second <= 16 + 8


def test_a_plateau_may_turn_into_overfitting_but_not_back() -> None:
    val = [0.3, 0.1, *(10 * [0.101]), *(0.101 + 0.002 * epoch for epoch in range(8)), *(10 * [0.101])]
    train = [0.2 * 0.97**epoch for epoch in range(len(val))]
    assert [kind for _, kind in concerns(train, val, patience=12)] == ["plateau", "overfitting"]


@pytest.mark.parametrize("train_falls", [False, True], ids=["losses that rise together", "a rise of one per cent"])
def test_other_rises_are_not_overfitting(train_falls: bool) -> None:
    rise = 30 * [0.101] if train_falls else [0.1 + 0.01 * epoch for epoch in range(20)]
    val = [0.3, 0.2, 0.1, *rise]
    train = [0.2 * 0.97**epoch for epoch in range(len(val))] if train_falls else val
    assert "overfitting" not in [kind for _, kind in concerns(train, val, patience=0)]


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_losses_of_any_size_are_judged_alike(scale: float) -> None:
    val = [0.3, 0.2, 0.1, *(0.1 + 0.003 * epoch for epoch in range(1, 15))]
    train = [0.2 * 0.97**epoch for epoch in range(len(val))]
    scaled = concerns([scale * loss for loss in train], [scale * loss for loss in val])
    assert scaled == concerns(train, val) != []


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_noise_on_a_level_is_hardly_ever_overfitting(share: float) -> None:
    """Except for one curve in a hundred; more than 8 in 100 come once in two million draws."""
    rng = seeded_rng(7)
    alarms = 0
    for _ in range(100):
        val = np.abs(0.1 * (1 + share * rng.standard_normal(100)))
        train = 0.1 * 0.99 ** np.arange(100)
        alarms += "overfitting" in [kind for _, kind in concerns(train.tolist(), val.tolist(), patience=0)]
    assert alarms <= 8


def test_noise_does_not_hide_overfitting() -> None:
    rng = seeded_rng(8)
    for _ in range(20):
        val = np.array([*falling(20), *(0.105 + 0.005 * np.arange(20))]) + 0.003 * rng.standard_normal(40)
        train = np.array(falling(40, to=0.0))
        (epoch,) = (at for at, kind in concerns(train.tolist(), val.tolist(), patience=0) if kind == "overfitting")
        assert 20 < epoch <= 34


def test_a_monitor_of_all_losses_equals_one_updated_epoch_by_epoch() -> None:
    val = [0.3, 0.1, *(10 * [0.101]), *(0.101 + 0.002 * epoch for epoch in range(8))]
    train = [0.2 * 0.97**epoch for epoch in range(len(val))]
    for epochs in range(len(val)):
        there = LossMonitor(12, 0.001)
        for losses in zip(train[:epochs], val[:epochs], strict=True):
            there.update(*losses)
        later = LossMonitor.of(zip(train[:epochs], val[:epochs], strict=True), 12, 0.001)
        assert later.concern == there.concern


def test_the_advice_names_the_concern_and_its_first_epoch() -> None:
    plateau = LossMonitor.of([(loss, loss) for loss in [0.5, 0.3, *(5 * [0.3])]], 10, 0.001)
    assert plateau.advice() == "on a plateau, no progress since epoch 2: wait, or roll back to half the learning rate"
    val = [0.3, 0.11, 0.1, 0.1, 0.1, *(6 * [0.11])]
    overfitting = LossMonitor.of([(0.9**epoch, loss) for epoch, loss in enumerate(val)], 0, 0.001)
    assert overfitting.advice().startswith("overfitting, validation loss 10 % above its best of epoch 3: stop")


def test_noise_is_measured_whatever_the_slope() -> None:
    rng = seeded_rng(9)
    white = 0.3 * rng.standard_normal(2000)
    assert noise((white + 5.0 * np.arange(2000)).tolist()) == pytest.approx(0.3, rel=0.1)
    assert noise([3.0, 2.0, 1.0, 0.0]) == 0.0
    assert noise([1.0, 2.0]) == 0.0
