"""The device that is chosen, and the estimate from a trial on a clock that steps and validations advance."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier
from types import SimpleNamespace

import pytest
import torch

from kelly_core.errors import TrainingError
from kelly_core.spec import model_spec
from kelly_core.training import estimate as module
from kelly_core.training.batches import TensorBatch
from kelly_core.training.device import available_devices, cpu_workers, resolve_device
from kelly_core.training.estimate import estimate
from kelly_core.training.trainer import Trainer
from tests.helpers.toy_training import ToyDataset, settings, watch_batches

SPEC = model_spec("DynamicsEngine")
STEP_SECONDS, VALIDATION_SECONDS = 0.01, 0.05


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that passes only in steps and validations, so that the machine's load does not matter."""
    now = [0.0]
    validate = Trainer.validate

    def step(_batch: TensorBatch) -> None:
        now[0] += STEP_SECONDS

    def validation(loop: Trainer) -> float:
        now[0] += VALIDATION_SECONDS
        return validate(loop)

    watch_batches(monkeypatch, step)
    monkeypatch.setattr(Trainer, "validate", validation)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))


@pytest.mark.usefixtures("_clock")
@pytest.mark.parametrize(
    ("epochs", "trial_seconds"),
    [pytest.param(3, 9.0, id="epochs"), pytest.param(1, 9.0, id="one epoch"), pytest.param(3, 0.05, id="steps")],
)
def test_it_estimates_steps_and_validations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, trial_seconds: float
) -> None:
    """With several epochs in the trial, with one, and with a trial that ends within the first epoch."""
    monkeypatch.chdir(tmp_path)
    estimated = estimate(
        SPEC, ToyDataset(SPEC, examples=48), settings(SPEC, epochs=epochs), trial_seconds=trial_seconds
    )
    assert (estimated.steps, estimated.epochs) == (8, epochs)
    assert estimated.seconds_per_epoch == pytest.approx(8 * STEP_SECONDS + VALIDATION_SECONDS)
    assert estimated.seconds == pytest.approx(epochs * estimated.seconds_per_epoch)
    assert estimated.memory_bytes > 50 * 2**20
    assert not list(tmp_path.iterdir())


def test_auto_takes_the_fastest_there_is() -> None:
    assert resolve_device("auto").type == available_devices()[0]
    assert resolve_device("cpu").type == "cpu"


def test_a_missing_device_is_an_error_that_lists_the_available_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(TrainingError, match=r"'cuda'.*mps, cpu"):
        resolve_device("cuda")


def settings_of_a_thread() -> tuple[int, float]:
    """Its threads for one operation, and what half the smallest normal number becomes in it."""
    halved = torch.tensor(torch.finfo(torch.float32).tiny) * 0.5
    return torch.get_num_threads(), float(halved)


def test_workers_compute_alone_and_without_denormals_for_a_while() -> None:
    before = settings_of_a_thread()
    assert before[1] > 0
    with cpu_workers(3) as pool:
        assert settings_of_a_thread() == (1, 0.0)
        meet = Barrier(3, timeout=600)

        def look(_: int) -> tuple[int, float]:
            meet.wait()
            return settings_of_a_thread()

        assert list(pool.map(look, range(3))) == [(1, 0.0)] * 3
    assert settings_of_a_thread() == before
    with pytest.raises(ZeroDivisionError), cpu_workers(0):
        _ = 1 / 0
    assert settings_of_a_thread() == before
