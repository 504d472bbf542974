"""Emotion label of each file of a corpus: from a sidecar file, EMOPIA's quadrants or the notes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats
from kelly_core.data.files import SkippedFiles, warn_skipped
from kelly_core.data.splits import TRAIN
from kelly_core.data.tables import finite_number, finite_text, read_json, read_table
from kelly_core.errors import DataError
from kelly_core.formatting import printable
from kelly_core.music.emotion import QUADRANT_AFFECT, AffectEstimator

_log = logging.getLogger(__name__)

ValenceArousal = tuple[float, float]
"""Valence and arousal, both -1..1."""
SIDECAR = "emotion_labels.json"
"""Optional file in a corpus: {file name: {"valence": -1..1, "arousal": -1..1}}."""
LABEL_FILE = "label.csv"
"""Quadrants of EMOPIA's clips, or of any files."""

DAMAGED_ENTRY = f"damaged entry of {SIDECAR}"
DAMAGED_ROW = "damaged row of a table of labels"
UNREADABLE_LABELS = "file of emotion labels that cannot be read"
_ID_COLUMNS = ("id", "filename")
_QUADRANT_COLUMN = "4q"


def read_sidecar(path: Path) -> tuple[dict[str, ValenceArousal], list[str]]:
    """Return valence and arousal by file name from a corpus's sidecar, and the names of its damaged entries.

    An entry without numbers in -1..1 is damaged; a logged warning names it.

    Raises:
        DataError: the sidecar is missing, or damaged as a whole.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise DataError("must hold an object {file name: {valence, arousal}}", where=path)
    labels: dict[str, ValenceArousal] = {}
    damaged: list[str] = []
    for name, entry in document.items():
        try:
            labels[name] = parse_affect(entry, f"{path}: {name}")
        except DataError:
            damaged.append(name)
    warn_skipped(path, "entries without valence and arousal, both in -1..1", damaged)
    return labels, damaged


def parse_affect(entry: object, where: str) -> ValenceArousal:
    """Return valence and arousal from {"valence": v, "arousal": a}.

    Raises:
        DataError: one is missing, is not a number, or is outside -1..1.
    """
    values = [entry.get(key) for key in ("valence", "arousal")] if isinstance(entry, dict) else []
    numbers = [number for number in map(finite_number, values) if number is not None]
    if len(numbers) != 2 or max(map(abs, numbers)) > 1:
        raise DataError("must hold valence and arousal, both in -1..1", where=where)
    return numbers[0], numbers[1]


def read_quadrants(path: Path) -> tuple[dict[str, ValenceArousal], list[str]]:
    """Return valence and arousal by clip from one table, and a description of each row without a quadrant.

    Both are empty if the table has no column ``4Q``. A logged warning names the damaged rows. The table of EMOPIA 1.0
    has human quadrant labels of 1,078 piano clips of 387 songs (CC BY-NC-SA 4.0, non-commercial); Hung et al., "EMOPIA:
    A Multi-Modal Pop Piano Dataset For Emotion Recognition and Emotion-based Music Generation", ISMIR 2021.

    Raises:
        DataError: the table cannot be read.
    """
    rows = [{name.casefold(): value for name, value in row.items()} for row in read_table(path)]
    column = next((name for name in _ID_COLUMNS if rows and name in rows[0]), None)
    if column is None or _QUADRANT_COLUMN not in rows[0]:
        return {}, []
    labels: dict[str, ValenceArousal] = {}
    damaged: list[str] = []
    for number, row in enumerate(rows, start=2):
        quadrant = finite_text(row.get(_QUADRANT_COLUMN, ""))
        affect = QUADRANT_AFFECT[int(quadrant)] if row.get(column) and quadrant in QUADRANT_AFFECT else None
        # A clip that is listed twice must have the same quadrant in both rows.
        if affect is None or labels.setdefault(row[column], affect) != affect:
            damaged.append(f"{path.name} row {number}")
    warn_skipped(path, "rows of a clip with another quadrant, and rows whose 4Q is not 1, 2, 3 or 4", damaged)
    return labels, damaged


_MIDI_ENDING = re.compile(r"\.midi?$")


@dataclass
class KnownLabels:
    """Labels from the files of a corpus.

    Attributes:
        by_source: valence and arousal by file name, by label source; the first source with a label for a file is used.
        skipped: entries, rows and files of labels that cannot be used, by reason.
        warnings: one sentence on each file of labels that cannot be read.
    """

    by_source: dict[str, dict[str, ValenceArousal]] = field(default_factory=dict)
    skipped: SkippedFiles = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _loose: dict[str, dict[str, ValenceArousal | None]] = field(default_factory=dict, repr=False)

    def find(self, file: str) -> tuple[ValenceArousal, str] | None:
        """Return label and label source of a file, or None.

        Args:
            file: its path in the corpus. A label matches this path, the name, or the name without ending; else any end
                of the path, apart from case and ending.
        """
        name = file.rpartition("/")[2]
        for source, labels in self.by_source.items():
            for key in (file, name, name.rsplit(".", 1)[0]):
                if key in labels:
                    return labels[key], source
            # Ends of the path, longest first, so that folders distinguish songs of the same name.
            loose = self._loose.get(source, {})
            key = _loose_key(file) if loose else ""
            while key:
                if (found := loose.get(key)) is not None:
                    return found, source
                key = key.partition("/")[2]
        return None

    def put(self, source: str, labels: Mapping[str, ValenceArousal]) -> None:
        """Add labels of a source by file name."""
        self.by_source.setdefault(source, {}).update(labels)
        loose = self._loose.setdefault(source, {})
        for name, value in labels.items():
            key = _loose_key(name)
            # Two names that differ only in case or ending are two files: neither may get the other's label.
            loose[key] = None if loose.get(key, value) != value else value

    def replace(self, files: Sequence[str], affect: Floats, sources: list[str]) -> None:
        """Replace affect [F, 2] and label source of the files that have a label."""
        for row, file in enumerate(files):
            if (found := self.find(file)) is not None:
                affect[row], sources[row] = found


def _loose_key(name: str) -> str:
    return _MIDI_ENDING.sub("", name.strip().replace("\\", "/").casefold()).removeprefix("./")


_Reading = tuple[str, str, str, Callable[[Path], tuple[dict[str, ValenceArousal], list[str]]]]
"""Label source, path in the corpus, reason to leave out a part of the file, and the function that reads it."""


def read_known_labels(root: Path, tables: Sequence[str] = (), sidecar_file: str = "") -> KnownLabels:
    """Read the labels of a corpus of MIDI files.

    Args:
        root: the corpus folder, in which a sidecar may be; it takes precedence over quadrants.
        tables: tables of the corpus, by path below ``root``; each ``label.csv`` may hold quadrants.
        sidecar_file: another name for the sidecar, relative to ``root``; it must then exist.

    Raises:
        DataError: the sidecar that ``sidecar_file`` names cannot be read.
    """
    known = KnownLabels()
    sidecar = sidecar_file or SIDECAR
    readings: list[_Reading] = []
    if sidecar_file or (root / SIDECAR).is_file():
        readings.append(("sidecar", sidecar, DAMAGED_ENTRY, read_sidecar))
    quadrants = [name for name in tables if name.rpartition("/")[2].lower() == LABEL_FILE]
    readings += [("human_quadrant", name, DAMAGED_ROW, read_quadrants) for name in quadrants]
    for source, name, damage, read in readings:
        try:
            labels, damaged = read(root / name)
        except DataError as error:
            if name == sidecar_file:
                raise
            _log.warning("%s: %s", UNREADABLE_LABELS, printable(str(error)))
            known.skipped.setdefault(UNREADABLE_LABELS, []).append(name)
            known.warnings.append(f"{UNREADABLE_LABELS}, left out: {error}")
            continue
        known.put(source, labels)
        if damaged:
            known.skipped.setdefault(damage, []).extend(damaged)
    return known


def label_files(
    files: Sequence[str],
    features: NDArray[np.float64],
    splits: NDArray[np.str_],
    known: KnownLabels,
    *,
    use_velocity: bool = True,
) -> tuple[Floats, list[str], AffectEstimator]:
    """Return valence and arousal of each file.

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
    known.replace(files, affect, sources)
    return affect, sources, estimator
