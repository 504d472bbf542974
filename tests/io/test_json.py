"""JSON that the program writes: null for every number that is not finite."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from kelly_core.cli.console import print_json
from kelly_core.io.json import dumps
from kelly_core.training.history import read_history, write_history

NOT_FINITE = (math.nan, math.inf, -math.inf, np.float64("nan"))


@dataclass(frozen=True)
class PairOfValues:
    name: str
    values: tuple[float, ...]


def parse_strictly(text: str) -> object:
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_numbers_that_are_not_finite_become_null_at_any_depth() -> None:
    content = {"pair": PairOfValues("a", (1.5, *NOT_FINITE)), "list": [{"b": [math.nan]}], "count": 3, "text": "NaN"}
    null = [None] * len(NOT_FINITE)
    expected = {"pair": {"name": "a", "values": [1.5, *null]}, "list": [{"b": [None]}], "count": 3, "text": "NaN"}
    assert parse_strictly(dumps(content)) == expected
    assert parse_strictly(dumps(content, indent=2)) == expected


def test_commands_print_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": math.inf})
    assert parse_strictly(capsys.readouterr().out) == {"loss": None}


def test_a_history_holds_null_and_is_read_again(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "train_loss": 0.5, "val_loss": 0.4, "frames_per_second": math.inf}]
    write_history(
        tmp_path / "a.json", "GroovePredictor", rows, {"best_epoch": 1, "val_loss": 0.4, "bayes_loss": math.nan}
    )
    document = parse_strictly((tmp_path / "a.json").read_text())
    assert isinstance(document, dict)
    assert document["epochs"][0]["frames_per_second"] is None
    history = read_history(tmp_path / "a.json")
    assert history is not None
    assert history.metrics == {"best_epoch": 1, "val_loss": 0.4}
