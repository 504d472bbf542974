"""Emotion labels of MIDI files: from a sidecar, else from human quadrants, else estimated from the notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.data.corpora.emopia import find_quadrants
from kelly_core.data.dataset import Floats
from kelly_core.data.files import lookup, read_sidecar
from kelly_core.data.splits import TRAIN
from kelly_core.music.emotion import AffectEstimator


def label_files(
    root: Path,
    files: Sequence[str],
    features: NDArray[np.float64],
    splits: NDArray[np.str_],
    tables: Sequence[str],
    sidecar_file: str = "",
    *,
    use_velocity: bool = True,
) -> tuple[Floats, list[str], AffectEstimator]:
    """Valence and arousal of each file.

    The estimator is fitted to the training files alone, so that validation stays unseen.

    Args:
        root: the corpus folder, in which a sidecar is looked for; it wins over quadrants.
        files: path of each file in the corpus, F of them.
        features: [F, 5], rows of ``music.key.AffectFeatures``.
        splits: split of each file.
        tables: tables of the corpus, by path below ``root``; each ``label.csv`` may hold quadrants.
        sidecar_file: another name for the sidecar, relative to ``root``.
        use_velocity: as in ``AffectEstimator``.

    Returns:
        Affect [F, 2], the label source of each file, and the estimator.

    Raises:
        DataError: the sidecar or the table is damaged.
    """
    estimator = AffectEstimator.fit(features[splits == TRAIN], use_velocity=use_velocity)
    affect = np.stack(estimator(features), axis=1)
    known_labels = {"sidecar": read_sidecar(root, sidecar_file), "human_quadrant": find_quadrants(root, tables)}
    sources = ["estimated"] * len(files)
    for row, file in enumerate(files):
        for source, table in known_labels.items():
            known = lookup(table, file)
            if known is not None:
                affect[row], sources[row] = known, source
                break
    return affect, sources, estimator
