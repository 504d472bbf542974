"""MAESTRO v3: 1,276 piano performances with exact velocities and pedals, for DynamicsEngine.

Size: 57 MB of MIDI (the audio is not needed). License: CC BY-NC-SA 4.0, non-commercial. Official train, validation and
test splits by composition, in ``maestro-v3.0.0.csv`` and ``.json``; the test split is not used for training.
Citation: Hawthorne et al., "Enabling Factorized Piano Music Modeling and Generation with the MAESTRO Dataset", 2019.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kelly_core.arrays import Floats, Indices
from kelly_core.data.corpus_dataset import CorpusDataset, LoadOptions, extract_selection
from kelly_core.data.dataset import Batch, CorpusReport, ExampleMetadata
from kelly_core.data.files import has_files, select_files
from kelly_core.data.labels import label_files, read_known_labels
from kelly_core.data.leakage import Keys, content_keys
from kelly_core.data.readers import midi
from kelly_core.data.split_tables import TableRow
from kelly_core.data.splits import TEST, assign_splits, song_of_clip
from kelly_core.errors import DataError
from kelly_core.features.extraction import FeatureExtractor, Features, FeatureTable
from kelly_core.music.dynamics import HOP_SECONDS, MIN_NOTES, PARAMETER_NAMES, WINDOW_SECONDS, expression_windows
from kelly_core.music.emotion import noisy_codes
from kelly_core.music.key import affect_features

_NAME = "maestro"
_ADVICE = "Put maestro-v3.0.0.csv of the archive next to its year folders"
_CODE_HALF = 32
_VERSION = 4


class DynamicsDataset(CorpusDataset):
    """Windows of 15 s: valence and arousal of the piece's code as input; 16 expression parameters as target."""

    input_size = _CODE_HALF
    output_size = len(PARAMETER_NAMES)
    sequence_length = 1

    def __init__(self, report: CorpusReport, rows: ExampleMetadata, table: FeatureTable, affect: Floats) -> None:
        self._values = table.arrays["values"]
        hashes = table.hashes_of("values", rows.splits != TEST)
        super().__init__(report, rows, hashes, affect, table.arrays["content"])

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:  # noqa: ARG002 - part of the interface
        valence, arousal = self.labels[indices].T
        codes = noisy_codes(valence, arousal, rng)[:, np.newaxis, :_CODE_HALF]
        return Batch(codes, self._values[indices][:, np.newaxis], self._example_weights(indices))


def is_present(root: Path) -> bool:
    """Return True if there is any MIDI file."""
    return has_files(root, midi.SUFFIXES)


def load(root: Path, options: LoadOptions, name: str = _NAME) -> DynamicsDataset:
    """Read MAESTRO, or any folder of piano performances as MIDI files, flat or nested; ``name`` names the corpus.

    Official tables, including those of EMOPIA, are found at any depth. Files that are not in MAESTRO's table are
    skipped.

    Raises:
        DataError: no usable file, or a damaged table or sidecar.
    """
    selection = select_files(
        root,
        table=options.annotations_file,
        advice=_ADVICE if name == _NAME else "",
        max_files=options.max_files,
        include_test=options.include_test,
    )
    settings = {"window": WINDOW_SECONDS, "hop": HOP_SECONDS, "least": MIN_NOTES}
    known = read_known_labels(root, selection.other_tables)
    extraction = FeatureExtractor(name, _VERSION, settings, _extract)
    table, official, report = extract_selection(root, selection, known, extraction, options)
    groups = [_composition(selection.rows.get(file), file) for file in table.files]
    splits = assign_splits(groups, official, options.validation_split, options.seed)
    affect, sources, estimator = label_files(table.files, table.arrays["affect"], splits, known, use_velocity=False)
    file_indices = table.file_indices("values")
    rows = ExampleMetadata.of_files(name, file_indices, groups, sources, splits)
    dataset = DynamicsDataset(report, rows, table, affect[file_indices])
    dataset.metadata = {
        "window_seconds": WINDOW_SECONDS,
        "parameters": list(PARAMETER_NAMES),
        "emotion": estimator.to_json(),
    }
    return dataset


def _extract(path: Path) -> Features:
    notes = midi.read_notes(path)
    values, _ = expression_windows(notes)
    if not len(values):
        raise DataError(f"no window of {WINDOW_SECONDS:g} s with {MIN_NOTES} notes", where=path)
    return {"values": values, "content": _content(values), "affect": np.array([affect_features(notes)])}


def _content(values: Floats) -> Keys:
    """Return keys of windows [w, 16]: all parameters to three decimals; transposition does not change them."""
    return content_keys(np.round(values, 3), np.ones(len(values), bool))


def _composition(row: TableRow | None, file: str) -> str:
    """Return the group of a file: performances of one composition, or clips of one song, stay together."""
    if row and "canonical_title" in row:
        return f"{row.get('canonical_composer')}: {row['canonical_title']}"
    return song_of_clip(file)
