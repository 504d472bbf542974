"""MAESTRO v3: 1,276 piano performances with exact velocities and pedals, for DynamicsEngine.

Size: 57 MB of MIDI (the audio is not needed). Licence: CC BY-NC-SA 4.0, non-commercial. Official train, validation and
test splits by composition, in ``maestro-v3.0.0.csv`` and ``.json``; the test split is never trained on.
Citation: Hawthorne et al., "Enabling Factorized Piano Music Modeling and Generation with the MAESTRO Dataset", 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kelly_core.data.corpora import emopia
from kelly_core.data.corpus_dataset import CorpusDataset, LoadOptions, assign_splits, extract, require_usable
from kelly_core.data.dataset import Batch, CorpusReport, ExampleMetadata, Floats, Indices
from kelly_core.data.duplicates import Keys, content_keys
from kelly_core.data.files import has_files, read_json, read_table
from kelly_core.data.labels import label_files
from kelly_core.data.official_splits import Row, check_table, select_files
from kelly_core.data.readers import midi
from kelly_core.data.splits import TEST
from kelly_core.errors import DataError
from kelly_core.features.extraction import FeatureExtractor, Features, FeatureTable
from kelly_core.music.dynamics import HOP_SECONDS, MIN_NOTES, PARAMETER_NAMES, WINDOW_SECONDS, expression_windows
from kelly_core.music.emotion import noisy_codes
from kelly_core.music.key import affect_features

_CODE_HALF = 32
_VERSION = 3


class DynamicsDataset(CorpusDataset):
    """Windows of 15 s: the valence and arousal half of the piece's code in, 16 expression parameters out."""

    input_size = _CODE_HALF
    output_size = len(PARAMETER_NAMES)
    sequence_length = 1

    def __init__(self, report: CorpusReport, rows: ExampleMetadata, table: FeatureTable, affect: Floats) -> None:
        self._affect = affect
        self._values = table.arrays["values"]
        hashes = table.hashes_of("values", rows.splits != TEST)
        super().__init__(report, rows, hashes, affect, table.arrays["content"])

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:
        valence, arousal = self._affect[indices].T
        codes = noisy_codes(valence, arousal, rng)[:, np.newaxis, :_CODE_HALF]
        return Batch(codes, self._values[indices][:, np.newaxis], self._example_weights(indices))


def is_present(root: Path) -> bool:
    """Whether there is any MIDI file."""
    return has_files(root, midi.SUFFIXES)


def load(root: Path, options: LoadOptions, name: str = "maestro") -> DynamicsDataset:
    """Read MAESTRO, or any folder of piano performances as MIDI files, flat or nested; ``name`` is the corpus's.

    Where the official table is there, files that it does not name are skipped. EMOPIA's tables are understood too.

    Raises:
        DataError: no usable file, or a damaged table or sidecar.
    """
    selection = select_files(
        root,
        midi.SUFFIXES,
        _official_table(root, options),
        max_files=options.max_files,
        include_test=options.include_test,
    )
    settings = {"window": WINDOW_SECONDS, "hop": HOP_SECONDS, "least": MIN_NOTES}
    table = extract(root, selection.files, FeatureExtractor(name, _VERSION, settings, _extract), options)
    skipped = selection.skipped | table.skipped
    require_usable(table.files, skipped, root)
    groups = [_composition(selection.rows.get(file), file) for file in table.files]
    splits = assign_splits(groups, selection.official(table.files), options)
    affect, sources, estimator = label_files(root, table.files, table.arrays["affect"], splits, use_velocity=False)
    owner = table.owner("values")
    rows = ExampleMetadata.of_files(name, owner, groups, sources, splits)
    report = CorpusReport(name, str(root), found=True, files=selection.found, skipped=skipped)
    dataset = DynamicsDataset(report, rows, table, affect[owner])
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
    """Keys of windows [w, 16]: all parameters equal to three decimals, which transposing does not change."""
    return content_keys(np.round(values, 3), np.ones(len(values), bool))


def _composition(row: Row | None, file: str) -> str:
    """Performances of one composition, or clips of one song, stay together."""
    if row and "canonical_title" in row:
        return f"{row.get('canonical_composer')}: {row['canonical_title']}"
    return emopia.song_of(file)


def _official_table(root: Path, options: LoadOptions) -> Sequence[Row]:
    """Rows of the official table, CSV before JSON before EMOPIA's; none where there is no table."""
    if options.annotations_file and not (root / options.annotations_file).is_file():
        raise DataError("the official table is not there", where=root / options.annotations_file)
    names = [options.annotations_file] if options.annotations_file else ["maestro-v*.csv", "maestro-v*.json"]
    for path in (path for name in names for path in sorted(root.glob(name))):
        rows = _json_rows(path) if path.suffix.lower() == ".json" else read_table(path)
        return check_table(rows, path)
    return emopia.official_table(root)


def _json_rows(path: Path) -> list[dict[str, str]]:
    """MAESTRO's JSON holds columns: {column: {row number: value}}."""
    document = read_json(path)
    if not isinstance(document, dict) or not all(isinstance(column, dict) for column in document.values()):
        raise DataError("must hold {column: {row: value}}", where=path)
    numbers = list(next(iter(document.values()), {}))
    return [{name: str(column.get(number, "")) for name, column in document.items()} for number in numbers]
