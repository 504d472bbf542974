"""Five files for the chain, with random weights, as if exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kelly_core.chain import NEUTRAL_INPUT
from kelly_core.export.writer import write_export
from kelly_core.spec import MODELS
from tests.helpers.networks import metadata_of, spec_network

NEUTRAL_DECIBELS = -0.5


def write_chain(folder: Path, seed: int = 0) -> Path:
    """Write the five exports; inputs whose mean is not 0 are said to be ``NEUTRAL_DECIBELS``."""
    for number, spec in enumerate(MODELS):
        layers = spec_network(spec, seed + number)
        state = "stateful" if spec.recurrent else "stateless"
        metadata = metadata_of(layers, spec.name, state)
        metadata["features"] = {NEUTRAL_INPUT: np.full(spec.input_size, NEUTRAL_DECIBELS).tolist()}
        write_export(folder / f"{spec.file_stem}.json", layers, metadata)
    return folder
