"""Following a run loses no epoch, and unchanged parts are the same objects as before."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from kelly_core.runs.overview import Curves
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui import run_watcher
from kelly_tui.run_watcher import RunWatcher
from tests.tui.conftest import epoch, make_run, report, trained

MODEL = "EmotionRecognizer"


def curves_of(*losses: float) -> Curves:
    curves = Curves()
    for number, loss in enumerate(losses, 1):
        curves.add(epoch(MODEL, number, val=loss))
    return curves


def test_the_best_epoch_is_the_first_with_the_least_loss() -> None:
    assert Curves().best is None
    assert curves_of(math.nan).best is None
    assert curves_of(math.nan, 3.0, 1.0, 2.0, 1.0).best == 2


def test_repeated_epochs_replace_the_earlier_ones() -> None:
    curves = curves_of(3.0, 2.0, 1.0, 0.5)
    before = curves.copy()
    curves.add(epoch(MODEL, 3, val=4.0))
    assert list(curves.epochs) == [1, 2, 3]
    assert list(curves.val_loss) == [3.0, 2.0, 4.0]
    assert len(curves.train_loss) == len(curves.learning_rate) == len(curves.frames_per_second) == 3
    assert curves.best == 1
    assert (list(before.val_loss), before.best) == ([3.0, 2.0, 1.0, 0.5], 3)


def test_a_log_that_takes_several_polls_is_read_completely(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", [MODEL], trained(MODEL, 9, of=20))
    clock = itertools.count()
    monkeypatch.setattr(run_watcher, "_RECORDS_AT_ONCE", 2)
    monkeypatch.setattr(run_watcher, "_SECONDS_PER_POLL", 2.5)
    follower = RunWatcher(folder)
    seen = []
    with monkeypatch.context() as patch:
        patch.setattr("kelly_tui.run_watcher.time.monotonic", lambda: float(next(clock)))
        for _ in range(5):
            view = follower.poll()
            seen.append(len(view.curves[MODEL].epochs) if MODEL in view.curves else 0)
            assert follower.has_more or seen[-1] == 9
    assert seen[0] < 9
    assert not follower.has_more
    assert list(view.curves[MODEL].epochs) == [*range(1, 10)]
    assert seen == sorted(seen)


def test_curves_stay_the_same_object_until_an_epoch_is_added(workplace: Path) -> None:
    folder: RunDirectory = make_run(
        workplace / "runs", "2026-09-21-1100-brave-cadence", [MODEL], trained(MODEL, 3, of=20)
    )
    follower = RunWatcher(folder)
    first = follower.poll().curves[MODEL]
    assert follower.poll().curves[MODEL] is first
    report(folder, epoch(MODEL, 4, 20))
    assert list(follower.poll().curves[MODEL].epochs) == [1, 2, 3, 4]
    assert list(first.epochs) == [1, 2, 3]
