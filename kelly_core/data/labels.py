"""Emotion labels of MIDI files: from a sidecar, else from human quadrants, else estimated from the notes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats
from kelly_core.data.affect_tables import DAMAGED_ROW
from kelly_core.data.corpora.emopia import LABEL_FILE, read_quadrants
from kelly_core.data.files import DAMAGED_ENTRY, SIDECAR, LeftOut, ValenceArousal, lookup, read_sidecar
from kelly_core.data.splits import TRAIN
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.music.emotion import AffectEstimator

UNREADABLE_LABELS = "file of emotion labels that cannot be read"

_log = logging.getLogger(__name__)


@dataclass
class KnownLabels:
    """Labels that files of a corpus hold.

    Attributes:
        by_source: valence and arousal by file name, by label source; the first source that knows a file wins.
        left_out: entries, rows and files of labels that cannot be used, by reason.
        warnings: one sentence on each file of labels that cannot be read.
    """

    by_source: dict[str, dict[str, ValenceArousal]] = field(default_factory=dict)
    left_out: LeftOut = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def find(self, file: str) -> tuple[ValenceArousal, str] | None:
        """Return label and label source of a file, given by its path in the corpus, or None."""
        for source, labels in self.by_source.items():
            known = lookup(labels, file)
            if known is not None:
                return known, source
        return None

    def add(
        self, source: str, name: str, damage: str, read: Callable[[], tuple[dict[str, ValenceArousal], list[str]]]
    ) -> None:
        """Add the labels of one file; a file that cannot be read is left out with a warning.

        Args:
            source: where the labels come from.
            name: the file, by path in the corpus.
            damage: reason to leave out a part of the file.
            read: returns labels, and the names of the file's damaged parts.
        """
        try:
            labels, damaged = read()
        except DataError as error:
            _log.warning("%s: %s", UNREADABLE_LABELS, printable(str(error)))
            self.left_out.setdefault(UNREADABLE_LABELS, []).append(name)
            self.warnings.append(f"{UNREADABLE_LABELS}, left out: {error}")
            return
        self.by_source.setdefault(source, {}).update(labels)
        if damaged:
            self.left_out.setdefault(damage, []).extend(damaged)


def read_known_labels(root: Path, tables: Sequence[str] = (), sidecar_file: str = "") -> KnownLabels:
    """Read the labels of a corpus of MIDI files.

    Args:
        root: the corpus folder, in which a sidecar is looked for; it wins over quadrants.
        tables: tables of the corpus, by path below ``root``; each ``label.csv`` may hold quadrants.
        sidecar_file: another name for the sidecar, relative to ``root``; it must then exist.

    Raises:
        DataError: the sidecar that ``sidecar_file`` names cannot be read.
    """
    known = KnownLabels()
    if sidecar_file:
        known.by_source["sidecar"], damaged = read_sidecar(root, sidecar_file)
        if damaged:
            known.left_out[DAMAGED_ENTRY] = damaged
    else:
        known.add("sidecar", SIDECAR, DAMAGED_ENTRY, partial(read_sidecar, root))
    for name in tables:
        if name.rpartition("/")[2].lower() == LABEL_FILE:
            known.add("human_quadrant", name, DAMAGED_ROW, partial(read_quadrants, root / name))
    return known


def label_files(
    files: Sequence[str],
    features: NDArray[np.float64],
    splits: NDArray[np.str_],
    known: KnownLabels,
    *,
    use_velocity: bool = True,
) -> tuple[Floats, list[str], AffectEstimator]:
    """Valence and arousal of each file.

    The estimator is fitted to the training files alone, so that validation stays unseen.

    Args:
        files: path of each file in the corpus, F of them.
        features: [F, 5], rows of ``music.key.AffectFeatures``.
        splits: split of each file.
        known: labels that files of the corpus hold.
        use_velocity: as in ``AffectEstimator``.

    Returns:
        Affect [F, 2], the label source of each file, and the estimator.
    """
    estimator = AffectEstimator.fit(features[splits == TRAIN], use_velocity=use_velocity)
    affect = np.stack(estimator(features), axis=1)
    sources = ["estimated"] * len(files)
    for row, file in enumerate(files):
        if (found := known.find(file)) is not None:
            affect[row], sources[row] = found
    return affect, sources, estimator
