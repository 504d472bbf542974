"""Conditions choose runs by what lists show of them."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from kelly_core.errors import RunError
from kelly_core.runs.overview import RunOverview
from kelly_core.runs.run_filter import RunFilter

RUN = RunOverview(
    id="2026-11-22-1431-brave-cadence",
    state="running",
    concerns=("plateau",),
    models=("MelodyTransformer", "GroovePredictor"),
    datasets=("lakh_midi",),
    output="/home/ada/models",
    created=time.time() - 7200.0,
    epoch=12,
    epochs=50,
    losses=(0.02, 0.4),
    best_epoch=None,
    gain=0.35,
    verdicts=("trained",),
    learning_rate=0.001,
    seed=3,
    duration=600.0,
    tags=("baseline", "v2"),
    note="first try with more data",
    sweep="lr",
    device="cpu",
)


@pytest.mark.parametrize(
    "text",
    [
        "", "brave", "MELODY", "state:running", "state:plateau", "state:run", "state:failed,running", "model:melody",
        "model:groove loss<0.03", "loss>=0.4", "gain>30%", "gain>0.3", "tag:v2", "tags:baseline", "note:'more data'",
        "verdict:trained", "sweep:lr", "lr:0.001", "learning_rate<=1e-3", "seed=3", "seed:3", "duration<11min",
        "age>1h age<1d", "-state:failed", "-tag:v3", "epoch:12", "data:lakh", "-", "note:'more dat",
    ],
)  # fmt: skip
def test_a_run_that_meets_all_conditions_is_kept(text: str) -> None:
    assert RunFilter.parse(text).keeps(RUN)


@pytest.mark.parametrize(
    "text",
    [
        "calm", "state:finished", "state:unning", "model:emotion", "loss<0.01", "gain>36%", "tag:v", "tag:V3",
        "verdict:rain", "seed!=3", "age<1h", "-brave", "brave state:failed", "duration>1h",
    ],
)  # fmt: skip
def test_a_run_that_misses_one_condition_is_left_out(text: str) -> None:
    assert not RunFilter.parse(text).keeps(RUN)


def test_what_is_not_known_meets_no_condition_on_numbers() -> None:
    unknown = replace(RUN, losses=(), gain=None, seed=None)
    assert not RunFilter.parse("loss<1").keeps(unknown)
    assert not RunFilter.parse("gain>0").keeps(unknown)
    assert RunFilter.parse("-seed:3").keeps(unknown)


@pytest.mark.parametrize(
    ("text", "words"),
    [("stat:running", "Did you mean state"), ("loss<x", "not a number"), ("state<3", "does not apply")],
)
def test_a_condition_that_cannot_be_read_is_an_error(text: str, words: str) -> None:
    with pytest.raises(RunError, match=words):
        RunFilter.parse(text)
