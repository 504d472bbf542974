"""Five exports with random weights for the chain, and chosen outputs of the chain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kelly_core.chain import NEUTRAL_INPUT, ChainOutput
from kelly_core.composition.composer import compose
from kelly_core.composition.score import Score
from kelly_core.export.writer import write_export
from kelly_core.music.dynamics import PARAMETER_NAMES
from kelly_core.music.emotion import Affect, decode_affect, encode_affect
from kelly_core.spec import MODELS
from tests.helpers.networks import metadata_of, spec_network
from tests.seeds import shifted

C_MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
C, F, G, AM, NO_CHORD = 0, 5, 7, 21, 63


def joined(first: ChainOutput, second: ChainOutput) -> ChainOutput:
    """Concatenate two outputs in time."""
    affect = Affect(*map(np.concatenate, zip(first.affect, second.affect, strict=True)))
    code, _, *others = map(list, zip(first, second, strict=True))
    return ChainOutput(np.concatenate(code), affect, *map(np.concatenate, others))


def output(
    *,
    valence: float = 0.3,
    arousal: float = 0.0,
    chords: Mapping[int, float] | None = None,
    pitches: Mapping[int, float] | None = None,
    dynamics: Mapping[str, float] | None = None,
    groove: np.ndarray | None = None,
    frames: int = 8,
) -> ChainOutput:
    """The same output in every frame: the middle of each range, except for the given values."""
    code = encode_affect(valence, arousal)
    melody = np.zeros(128, np.float32)
    pitches = pitches or {pitch: 0.25 for pitch in range(60, 80) if pitch % 12 in C_MAJOR_SCALE}
    melody[list(pitches)] = list(pitches.values())
    shares = np.zeros(64, np.float32)
    chords = chords or {C: 0.5, F: 0.3, G: 0.2}
    shares[list(chords)] = list(chords.values())
    parameters = dict.fromkeys(PARAMETER_NAMES, 0.5) | dict(dynamics or {})
    rows = (
        code,
        melody,
        shares,
        np.array([parameters[name] for name in PARAMETER_NAMES], np.float32),
        np.zeros(32, np.float32) if groove is None else groove.astype(np.float32),
    )
    code, melody, shares, expression, groove = (np.tile(row, (frames, 1)) for row in rows)
    return ChainOutput(code, decode_affect(code), melody, shares, expression, groove)


def composed(said: ChainOutput, **options: Any) -> Score:
    """Compose with the shifted seed 0."""
    return compose(said, seed=shifted(0), **options)


NEUTRAL_DECIBELS = -0.5


def write_chain(folder: Path, seed: int = 0) -> Path:
    """Write the five exports; the neutral audio input is ``NEUTRAL_DECIBELS``."""
    for number, spec in enumerate(MODELS):
        layers = spec_network(spec, seed + number)
        state = "stateful" if spec.recurrent else "stateless"
        metadata = metadata_of(layers, spec.name, state)
        metadata["features"] = {NEUTRAL_INPUT: np.full(spec.input_size, NEUTRAL_DECIBELS).tolist()}
        write_export(folder / f"{spec.file_stem}.json", layers, metadata)
    return folder
