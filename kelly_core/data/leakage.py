"""Leakage checks: content shared by training and validation, targets among the inputs, implausible gains."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats, Indices
from kelly_core.data.dataset import Dataset
from kelly_core.data.files import RULES_FILE
from kelly_core.formatting import printable
from kelly_core.spec import ModelSpec

_SHOWN = 3
_EXAMPLES, _FRAMES = 512, 2048
"""Number of training examples, and of frames of them, searched for copies."""
_RUN = 16
"""Number of neighboring examples searched together, since the disk reads neighbors anyway."""
_LEAST_GROUPS = 12
"""Fewer independent examples than this agree by chance."""
_COPY = 0.999
"""Correlation from which on an input is a copy of a target."""


def find_leakage(dataset: Dataset) -> list[str]:
    """Return one sentence per leak between training and validation; empty if there is none or all data is generated."""
    return [] if dataset.synthetic else [*_shared_content(dataset), *_copied_targets(dataset)]


def implausible_gain(spec: ModelSpec, loss: float, baseline: float) -> str:
    """Return a warning about an implausible gain over the constant baseline; "" if the gain is plausible.

    Args:
        spec: the model, trained with its own loss on real music.
        loss: its validation loss.
        baseline: that of the best constant answer.
    """
    bound = spec.plausible_gain
    if bound is None or loss >= (1 - bound) * baseline:
        return ""
    return (
        f"too good to be true: {1 - loss / baseline:.0%} below the best constant answer, where real music allows for "
        f"{bound:.0%} at most; look for validation songs among the training ones and for labels made from the targets "
        f"(a corpus made by rules may be that easy; {RULES_FILE} in its folder marks one)"
    )


def _shared_content(dataset: Dataset) -> Iterator[str]:
    pairs = dataset.find_duplicates()
    if not pairs:
        return
    groups = dataset.rows.groups
    songs = {str(groups[held_out]): str(groups[trained]) for trained, held_out in pairs}
    shown = ", ".join(printable(f"{song} = {other}") for song, other in list(songs.items())[:_SHOWN])
    more = ", …" if len(songs) > _SHOWN else ""
    count = len(np.unique(groups[dataset.validation]))
    yield f"same content in training and validation: {len(songs)} of {count} validation groups ({shown}{more})"


def _copied_targets(dataset: Dataset) -> Iterator[str]:
    chosen = _spread(dataset.train, _EXAMPLES, _RUN)
    if len(np.unique(dataset.rows.groups[chosen])) < _LEAST_GROUPS:
        return
    batch = dataset.eval_batch(chosen)
    weights = np.broadcast_to(batch.weights, batch.targets.shape).reshape(-1, dataset.output_size)
    frames = _spread(np.flatnonzero(weights.any(axis=1)), _FRAMES)
    inputs = batch.inputs.reshape(-1, dataset.input_size)[frames]
    targets, counts = batch.targets.reshape(-1, dataset.output_size)[frames], weights[frames] > 0
    groups = dataset.rows.groups[chosen][frames // dataset.sequence_length]
    # A mask can leave an output known in a few groups only, even where there are many.
    outputs = [n for n in range(dataset.output_size) if len(np.unique(groups[counts[:, n]])) >= _LEAST_GROUPS]
    copies = [
        f"{column} repeats output {output}"
        for output in outputs
        for column in _copies(inputs[counts[:, output]], targets[counts[:, output], output])
    ]
    if copies:
        shown = ", ".join(copies[:_SHOWN]) + (", …" if len(copies) > _SHOWN else "")
        yield f"targets copied into inputs: input {shown}"


def _spread(indices: Indices, most: int, run: int = 1) -> Indices:
    """Return at most ``count`` indices, in runs of neighbors spread evenly."""
    if len(indices) <= most:
        return indices
    starts = np.linspace(0, len(indices) - run, most // run).astype(np.intp)
    chosen: Indices = indices[(starts[:, np.newaxis] + np.arange(run)).reshape(-1)]
    return chosen


def _copies(inputs: Floats, target: Floats) -> NDArray[np.intp]:
    """Return the columns of ``inputs`` [n, in] that are a linear function of ``target`` [n]."""
    if not len(target):
        return np.empty(0, np.intp)
    centered, aim = inputs - inputs.mean(axis=0), target - target.mean()
    size = np.linalg.norm(centered, axis=0) * np.linalg.norm(aim)
    correlation = np.divide(aim @ centered, size, out=np.zeros_like(size), where=size > 1e-6)
    return np.flatnonzero(np.abs(correlation) > _COPY)
