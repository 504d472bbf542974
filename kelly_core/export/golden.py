"""Golden vectors recorded in an export (inputs and expected outputs), and probe frames with the same statistics."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.export.json_values import FormatError, read_matrix
from kelly_core.export.reader import Export
from kelly_core.music.context import DESCRIPTORS
from kelly_core.music.emotion import CONTEXT_SIZE, encode_affect

_GOLDEN_FRAMES = 8
_GOLDEN_SEED = 20
_PROBE_SEED = 7


class Golden(NamedTuple):
    """Recorded frames: ``inputs`` [T, in] and ``outputs`` [T, out], computed in sequence from zero state."""

    inputs: Floats
    outputs: Floats


def golden_inputs(mean: Floats, std: Floats, code_inputs: int = 0) -> Floats:
    """Draw golden input frames, [8, in] or [16, in] with a code, from a normal distribution with a fixed seed.

    Args:
        mean, std: mean and standard deviation of each input, [in]; they must be plausible, because saturated units
            would hide a wrong weight.
        code_inputs: number of leading inputs that form an emotion code. The first eight frames then have real codes:
            four without a musical context, four with a known context.
    """
    noise = np.random.default_rng(_GOLDEN_SEED).standard_normal((_GOLDEN_FRAMES, len(mean)))
    frames: Floats = (mean + std * noise).astype(np.float32)
    if not code_inputs:
        return frames
    corners = np.array([[-0.6, -0.6], [-0.6, 0.6], [0.6, -0.6], [0.6, 0.6]])
    unknown = np.zeros((len(corners), CONTEXT_SIZE))
    signs = np.where(np.arange(CONTEXT_SIZE) % 2, -1, 1)
    known = np.outer([0.3, -0.3, 0.6, -0.6], signs)
    # Entries after the descriptors are unused, and 0 in every code.
    known[:, len(DESCRIPTORS) :] = 0
    valence, arousal = np.tile(corners, (2, 1)).T
    codes = encode_affect(valence, arousal, context=np.concatenate([unknown, known]))
    # The noise of the other inputs is the same in frames with a code and in those without.
    coded = frames[np.arange(len(codes)) % len(frames)]
    coded[:, :code_inputs] = codes[:, :code_inputs]
    return np.concatenate([coded, frames])


def read_golden(record: object, in_size: int, out_size: int) -> Golden:
    """Read the ``golden`` entry of an export's metadata.

    Raises:
        FormatError: the entry has the wrong type, or its sizes do not match the network.
    """
    if not isinstance(record, dict) or not isinstance(record.get("inputs"), list) or not record["inputs"]:
        raise FormatError("structure", '"golden" must contain "inputs" and "outputs", lists of frames')
    frames = len(record["inputs"])
    inputs = read_matrix(record["inputs"], frames, in_size, "the golden inputs")
    return Golden(inputs, read_matrix(record.get("outputs"), frames, out_size, "the golden outputs"))


def probe_frames(count: int, in_size: int, golden: Golden | None) -> Floats:
    """Return noise [count, in] with mean and standard deviation of the golden inputs, or standard normal noise.

    The seed is fixed, and a longer sequence starts with the same frames as a shorter one.
    """
    noise = np.random.default_rng(_PROBE_SEED).standard_normal((count, in_size))
    if golden is None:
        return noise.astype(np.float32)
    wide = golden.inputs.astype(np.float64)
    # Finite inputs of any size are valid; the check of the outputs reports an overflow.
    with np.errstate(over="ignore"):
        probe: Floats = (wide.mean(axis=0) + wide.std(axis=0) * noise).astype(np.float32)
    return probe


def probe_export(export: Export, count: int) -> Floats:
    """Return probe frames [count, in] for an export; missing or invalid golden vectors are ignored."""
    try:
        golden = read_golden(export.metadata.get("golden"), export.in_size, export.out_size)
    except FormatError:  # legacy and foreign files have no golden vectors; validation reports invalid ones
        golden = None
    return probe_frames(count, export.in_size, golden)
