"""Layers of an export in PyTorch against the NumPy runtime."""

from __future__ import annotations

import numpy as np
import pytest

from kelly_core.engines.numpy_engine import ActivationLayer, Layer, NumpyEngine
from kelly_core.engines.weights import DenseWeights
from kelly_core.errors import ExportError
from kelly_core.training.torch_engine import TorchEngine
from tests.helpers.networks import tiny_network
from tests.seeds import seeded_rng


def test_state_continues_from_frame_to_frame() -> None:
    frames = seeded_rng(1).standard_normal((40, 4)).astype(np.float32)
    runtime = TorchEngine(tiny_network())
    outputs = np.stack([runtime.step(frame) for frame in frames])
    assert np.abs(outputs - NumpyEngine(tiny_network()).run(frames)).max() < 1e-6


@pytest.mark.parametrize(
    ("layer", "reported"),
    [
        (ActivationLayer("tanh", 4), "has the layer activation tanh"),
        (DenseWeights(np.ones((2, 4), np.float32), np.ones(2, np.float32), "elu"), "has the layer dense elu 4→2"),
    ],
)
def test_layers_that_the_five_networks_do_not_have_are_an_error(layer: Layer, reported: str) -> None:
    with pytest.raises(ExportError, match=reported):
        TorchEngine([layer])
