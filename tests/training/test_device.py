"""Choosing where to compute."""

from __future__ import annotations

import pytest
import torch

from kelly_core.errors import TrainingError
from kelly_core.training.device import available_devices, cpu_threads, resolve_device


def test_auto_takes_the_fastest_there_is() -> None:
    assert resolve_device("auto").type == available_devices()[0]
    assert resolve_device("cpu").type == "cpu"


def test_a_device_that_is_not_there_is_an_error_that_says_what_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(TrainingError, match=r"'cuda'.*mps, cpu"):
        resolve_device("cuda")


def test_threads_are_chosen_for_a_while() -> None:
    before = torch.get_num_threads()
    with cpu_threads(0, sequences=False):
        assert torch.get_num_threads() == 1
    with cpu_threads(0, sequences=True):
        assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), cpu_threads(before + 1, sequences=False):
        assert torch.get_num_threads() == before + 1
        _ = 1 / 0
    assert torch.get_num_threads() == before
