"""The plugin's wiring, by which entries of what each model is fed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from kelly_core.chain import run_chain
from kelly_core.engines.weights import Array
from kelly_core.spec import MODELS


@pytest.mark.parametrize("frames", [(), (3,)])
def test_each_model_gets_what_the_plugin_feeds_it(frames: tuple[int, ...]) -> None:
    fed: dict[str, Array] = {}
    sizes = {spec.name: spec.output_size for spec in MODELS}

    def model(name: str, inputs: Array) -> Array:
        fed[name] = inputs
        start = 1000 if name == "EmotionRecognizer" else 0
        return np.broadcast_to(np.arange(start, start + sizes[name], dtype=np.float32), (*frames, sizes[name]))

    mel = np.broadcast_to(np.arange(128, dtype=np.float32), (*frames, 128))
    result = run_chain({spec.name: partial(model, spec.name) for spec in MODELS}, mel)
    code, bands = list(range(1000, 1064)), list(range(64))
    expected = {
        "EmotionRecognizer": list(range(128)),
        "MelodyTransformer": code,
        "HarmonyPredictor": code + bands,
        "DynamicsEngine": code[:32],
        "GroovePredictor": code,
    }
    for name, inputs in expected.items():
        np.testing.assert_array_equal(fed[name], np.broadcast_to(inputs, (*frames, len(inputs))))
    assert [part.shape for part in result] == [(*frames, size) for size in (64, 128, 64, 16, 32)]
    assert result.emotion[..., 0].max() == 1000
