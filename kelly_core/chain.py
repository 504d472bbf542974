"""The plugin's chain: five models, once per frame, from mel bands to music."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from kelly_core.engines.weights import Array
from kelly_core.spec import MODELS

Compute = Callable[[Array], Array]
"""One model in whatever engine: [..., in] → [..., out], moving its state on."""

_EMOTION, _MELODY, _HARMONY, _DYNAMICS, _GROOVE = MODELS
_HEARD_BANDS = _HARMONY.input_size - _EMOTION.output_size


class ChainFrame(NamedTuple):
    """What the five models give: ``emotion`` [..., 64], ``melody`` [..., 128], ``harmony`` [..., 64], ``dynamics``
    [..., 16], ``groove`` [..., 32].
    """

    emotion: Array
    melody: Array
    harmony: Array
    dynamics: Array
    groove: Array


def run_chain(models: Mapping[str, Compute], mel: Array) -> ChainFrame:
    """e = Emotion(mel); Melody(e); Harmony([e, mel[0:64]]); Dynamics(e[0:32]); Groove(e).

    Args:
        models: one a model, by the model's name; each keeps its own state.
        mel: [..., 128] in dB, see ``music.mel``; one frame, or as many in sequence as the models take at once.
    """
    code = models[_EMOTION.name](mel)
    return ChainFrame(
        emotion=code,
        melody=models[_MELODY.name](code),
        harmony=models[_HARMONY.name](np.concatenate([code, mel[..., :_HEARD_BANDS]], axis=-1)),
        dynamics=models[_DYNAMICS.name](code[..., : _DYNAMICS.input_size]),
        groove=models[_GROOVE.name](code),
    )
