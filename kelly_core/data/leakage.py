"""Leakage between training and validation: the same music in both, targets copied into the inputs, implausible gains.

Music as notes is compared by a hash key. Two encodings of one recording have different samples, so recordings are
compared by a fingerprint of signs, most of which survive encoding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats, Indices
from kelly_core.corpora import RULES_FILE
from kelly_core.data.dataset import Dataset
from kelly_core.formatting import printable
from kelly_core.music.mel import BANDS
from kelly_core.spec import ModelSpec

Keys = NDArray[np.uint64]
Signs = NDArray[np.int8]
IndexPair = tuple[int, int]

NO_KEY = 0
"""Key of an example with too little content to distinguish it from another."""

_BANDS_PER_GROUP = 4
_SAME_SIGNS = 0.75
"""Clips of DEAM and EMOPIA that are re-encoded at 48 kbit/s, halved or shifted by 50 ms keep at least .85 of the
signs; 1,770 pairs of different clips share at most .60."""
_MIN_SIGNS = 150
_CHUNK = 256


def content_keys(rows: NDArray[Any], distinctive: NDArray[np.bool_]) -> Keys:
    """Return one key per row [n, ...], equal for equal rows; ``NO_KEY`` where ``distinctive`` [n] is False."""
    # Adding 0 turns -0.0 into 0.0, which is equal but has different bytes.
    digests = (
        hashlib.blake2b((row + 0).tobytes(), digest_size=8).digest() if distinct else bytes(8)
        for row, distinct in zip(rows, distinctive, strict=True)
    )
    return np.frombuffer(b"".join(digests), np.uint64)


def equal_keys(keys: Keys, first: Indices, second: Indices) -> list[IndexPair]:
    """Return pairs (index in ``first`` [n], index in ``second`` [m]) with equal keys, one for each second index."""
    ours = keys[first]
    second = second[np.isin(keys[second], ours) & (keys[second] != NO_KEY)]
    order = np.argsort(ours, kind="stable")
    # A stable order keeps equal keys in the order of ``first``; the last one is used.
    last = np.searchsorted(ours, keys[second], side="right", sorter=order) - 1
    return list(zip(first[order[last]].tolist(), second.tolist(), strict=True))


def audio_fingerprints(frames: Floats, length: int) -> Signs:
    """Return a recording's fingerprint: the signs of second differences, over adjacent bands and then over frames.

    Follows Haitsma & Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002, with groups of four mel bands.
    Loudness and a fixed equalizer cancel out.

    Args:
        frames: [T, 128] in dB, T at least 1.
        length: number of frames in a fingerprint; later frames are ignored, missing frames have sign 0.

    Returns:
        Signs [(length - 1) · 31]: -1, 0 or 1; 0 means unknown.
    """
    groups = frames[:length].reshape(-1, BANDS // _BANDS_PER_GROUP, _BANDS_PER_GROUP).mean(axis=2)
    # The difference between bands cancels loudness, the difference between frames cancels a fixed equalizer.
    changes = np.diff(np.diff(groups, axis=1), axis=0)
    signs = np.zeros((length - 1, changes.shape[1]), np.int8)
    signs[: len(changes)] = np.sign(changes)
    return signs.reshape(-1)


def similar_fingerprints(signs: Signs, first: Indices, second: Indices) -> list[IndexPair]:
    """Return pairs like ``equal_keys``: each of ``second`` with its best match, if 3/4 of the signs are equal."""
    return [
        pair
        for start in range(0, len(second), _CHUNK)
        for pair in _most_similar(signs, first, second[start : start + _CHUNK])
    ]


def _most_similar(signs: Signs, first: Indices, second: Indices) -> Iterator[IndexPair]:
    ours = signs[second].astype(np.float32)
    nearest, most = first[np.zeros(len(second), np.intp)], np.zeros(len(second), np.float32)
    # In chunks, because the matrix of all pairs would not fit into memory for a large corpus.
    for start in range(0, len(first), _CHUNK):
        some = first[start : start + _CHUNK]
        share = _share_of_same(ours, signs[some].astype(np.float32))
        column, best = share.argmax(axis=1), share.max(axis=1)
        nearest, most = np.where(best > most, some[column], nearest), np.maximum(best, most)
    alike = most >= _SAME_SIGNS
    yield from zip(nearest[alike].tolist(), second[alike].tolist(), strict=True)


def _share_of_same(ours: Floats, theirs: Floats) -> Floats:
    """Return the share of equal signs per pair, [n, m], counting signs known in both; 0 if too few are known."""
    # |s| is 1 where a sign is known, so this product counts the positions known in both; s·t adds 1 for equal and -1
    # for opposite signs, and equal = (known + s·t) / 2.
    compared = np.abs(ours) @ np.abs(theirs).T
    same = (compared + ours @ theirs.T) / 2
    share: Floats = np.divide(same, compared, out=np.zeros_like(same), where=compared >= _MIN_SIGNS)
    return share


_SHOWN = 3
_EXAMPLES, _FRAMES = 512, 2048
"""Maximum number of training examples, and of their frames, that are searched for copies."""
_RUN = 16
"""Number of adjacent examples searched together; adjacent data is read faster from disk."""
_MIN_GROUPS = 12
"""With fewer independent examples than this, an input may equal a target by chance."""
_COPY = 0.999
"""Minimum correlation at which an input counts as a copy of a target."""


def find_leakage(dataset: Dataset) -> list[str]:
    """Return one sentence per leak between training and validation; empty if there is none or all data is generated."""
    return [] if dataset.synthetic else [*_shared_content(dataset), *_copied_targets(dataset)]


def implausible_gain(spec: ModelSpec, loss: float, baseline: float) -> str:
    """Return a warning about an implausible gain over the constant baseline; "" if the gain is plausible.

    Args:
        spec: the model, trained with the loss of its spec on real music.
        loss: the model's validation loss.
        baseline: validation loss of the best constant output.
    """
    bound = spec.plausible_gain
    if bound is None or loss >= (1 - bound) * baseline:
        return ""
    return (
        f"implausible gain: {1 - loss / baseline:.0%} below the best constant output, expected at most {bound:.0%} on "
        "real music; look for validation songs among the training ones and for labels made from the targets "
        f"(a corpus generated by rules can be this easy; mark such a corpus with {RULES_FILE} in its folder)"
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
    chosen = _evenly_spaced(dataset.train, _EXAMPLES, _RUN)
    if len(np.unique(dataset.rows.groups[chosen])) < _MIN_GROUPS:
        return
    batch = dataset.eval_batch(chosen)
    weights = np.broadcast_to(batch.weights, batch.targets.shape).reshape(-1, dataset.output_size)
    frames = _evenly_spaced(np.flatnonzero(weights.any(axis=1)), _FRAMES)
    inputs = batch.inputs.reshape(-1, dataset.input_size)[frames]
    targets, counts = batch.targets.reshape(-1, dataset.output_size)[frames], weights[frames] > 0
    groups = dataset.rows.groups[chosen][frames // dataset.sequence_length]
    # Because of masks, an output may be known in only a few groups, even if there are many.
    outputs = [n for n in range(dataset.output_size) if len(np.unique(groups[counts[:, n]])) >= _MIN_GROUPS]
    copies = [
        f"{column} repeats output {output}"
        for output in outputs
        for column in _copies(inputs[counts[:, output]], targets[counts[:, output], output])
    ]
    if copies:
        shown = ", ".join(copies[:_SHOWN]) + (", …" if len(copies) > _SHOWN else "")
        yield f"targets copied into inputs: input {shown}"


def _evenly_spaced(indices: Indices, most: int, run: int = 1) -> Indices:
    """Return at most ``most`` indices, in evenly spread runs of ``run`` adjacent ones."""
    if len(indices) <= most:
        return indices
    starts = np.linspace(0, len(indices) - run, most // run).astype(np.intp)
    chosen: Indices = indices[(starts[:, np.newaxis] + np.arange(run)).reshape(-1)]
    return chosen


def _copies(inputs: Floats, target: Floats) -> Indices:
    """Return the columns of ``inputs`` [n, in] that are a linear function of ``target`` [n]."""
    if not len(target):
        return np.empty(0, np.intp)
    centered, aim = inputs - inputs.mean(axis=0), target - target.mean()
    size = np.linalg.norm(centered, axis=0) * np.linalg.norm(aim)
    # A constant column differs from its mean only by rounding errors, so it gets the correlation 0.
    correlation = np.divide(aim @ centered, size, out=np.zeros_like(size), where=size > 1e-6)
    return np.flatnonzero(np.abs(correlation) > _COPY)
