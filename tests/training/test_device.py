"""Choosing where to compute."""

from __future__ import annotations

from threading import Barrier

import pytest
import torch

from kelly_core.errors import TrainingError
from kelly_core.training.device import available_devices, cpu_workers, resolve_device


def test_auto_takes_the_fastest_there_is() -> None:
    assert resolve_device("auto").type == available_devices()[0]
    assert resolve_device("cpu").type == "cpu"


def test_a_device_that_is_not_there_is_an_error_that_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
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
        meet = Barrier(3, timeout=20)

        def look(_: int) -> tuple[int, float]:
            meet.wait()
            return settings_of_a_thread()

        assert list(pool.map(look, range(3))) == [(1, 0.0)] * 3
    assert settings_of_a_thread() == before
    with pytest.raises(ZeroDivisionError), cpu_workers(0):
        _ = 1 / 0
    assert settings_of_a_thread() == before
