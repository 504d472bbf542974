"""A trial that foretells, against the training itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from kelly_core.data.synthetic.dataset import create_synthetic
from kelly_core.events import EpochDone, Event, ModelStarted
from kelly_core.spec import model_spec
from kelly_core.training.estimate import estimate
from kelly_core.training.fit import fit
from tests.training.toy import settings

SPEC = model_spec("DynamicsEngine")


@pytest.mark.slow
@pytest.mark.parametrize(("examples", "trial"), [(256, 1.5), (40_000, 0.3)])
def test_it_foretells_the_order_of_size(tmp_path: Path, examples: int, trial: float) -> None:
    """Once with epochs far shorter than the trial, once with the first epoch longer than it."""
    dataset = create_synthetic(SPEC.dataset, examples=examples)
    asked = settings(SPEC, epochs=2, batch_size=32)
    foretold = estimate(SPEC, dataset, asked, trial_seconds=trial)
    epochs: list[float] = []

    def listen(event: Event) -> None:
        if isinstance(event, ModelStarted | EpochDone):
            epochs.append(time.perf_counter())

    fit(SPEC, dataset, asked, tmp_path, listen=listen)
    took = epochs[-1] - epochs[0]
    assert foretold.steps == examples // 32
    assert foretold.epochs == 2
    assert took / 3 < foretold.seconds < took * 3
    assert foretold.memory_bytes > 50 * 2**20
    assert not list(Path.cwd().glob("checkpoints"))
