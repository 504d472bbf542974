"""Losses of a training: as a picture, and read back from a file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from kelly_core.errors import KellyError
from kelly_core.training.history import read_history, write_history
from kelly_core.training.plots import draw_losses, plot_losses


def rows_of(losses: list[float]) -> list[dict[str, Any]]:
    return [{"epoch": epoch, "train_loss": loss, "val_loss": 1.2 * loss} for epoch, loss in enumerate(losses, 1)]


@pytest.mark.parametrize(
    "losses", [[0.5], [3.0, 1.0, 0.01], [0.2] * 300, [1e-30, 1e30], [0.0, 0.0], [-1.0, -2.0]], ids=str
)
def test_any_finite_history_can_be_drawn(losses: list[float], tmp_path: Path) -> None:
    path = tmp_path / "plots" / "loss.png"
    metrics = {"best_epoch": 1, "val_loss": losses[0], "baseline_loss": 0.7, "bayes_loss": 0.1}
    plot_losses(path, "model", rows_of(losses), metrics)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 5000


def test_a_baseline_that_is_not_finite_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "loss.png"
    plot_losses(path, "model", rows_of([0.5, 0.4]), {"best_epoch": 2, "val_loss": 0.4, "baseline_loss": math.inf})
    assert path.exists()


def test_a_history_of_nothing_but_nan_can_be_drawn() -> None:
    figure = draw_losses("", rows_of([math.nan, math.nan]), {"best_epoch": 1, "val_loss": math.nan}, ink="#ffffff")
    assert figure.axes[0].xaxis.label.get_color() == "#ffffff"


def test_a_history_is_read_back_as_far_as_a_curve_needs_it(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    assert read_history(path) is None
    metrics = {"best_epoch": 2, "val_loss": 0.4, "baseline_loss": 0.9, "epsilon": 0.1}
    write_history(path, "model", [row | {"seconds": 1.5} for row in rows_of([0.5, 0.4])], metrics)
    history = read_history(path)
    assert list(history.rows) == rows_of([0.5, 0.4])
    assert history.metrics == {key: metrics[key] for key in ("best_epoch", "val_loss", "baseline_loss")}


@pytest.mark.parametrize("content", ["", "[]", '{"epochs": [], "metrics": {}}', '{"epochs": [{"epoch": "x"}]}'])
def test_a_file_that_is_not_a_history_is_an_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text(content)
    with pytest.raises(KellyError, match="is not a history"):
        read_history(tmp_path / "history.json")


def test_the_error_of_a_history_without_a_best_epoch_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text(json.dumps({"epochs": rows_of([1.0]), "metrics": {"val_loss": 1}}))
    with pytest.raises(KellyError, match=r"at metrics\.best_epoch"):
        read_history(tmp_path / "history.json")
