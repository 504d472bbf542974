"""Loss curves as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from kelly_core.training.plots import plot_losses


def rows_of(losses: list[float]) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "train_loss": loss, "val_loss": 1.2 * loss} for epoch, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    "losses", [[0.5], [3.0, 1.0, 0.01], [0.2] * 300, [1e-30, 1e30], [0.0, 0.0], [-1.0, -2.0]], ids=str
)
def test_any_finite_history_can_be_drawn(losses: list[float], tmp_path: Path) -> None:
    path = tmp_path / "plots" / "loss.png"
    metrics = {"best_epoch": 1, "val_loss": losses[0], "baseline_loss": 0.7, "bayes_loss": 0.1}
    plot_losses(path, "model", rows_of(losses), metrics)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_a_baseline_that_is_not_finite_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "loss.png"
    plot_losses(path, "model", rows_of([0.5, 0.4]), {"best_epoch": 2, "val_loss": 0.4, "baseline_loss": math.inf})
    assert path.exists()
