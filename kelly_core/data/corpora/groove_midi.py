"""Groove MIDI: 1,150 recordings of ten drummers on an electronic kit, for GroovePredictor.

Size: 5 MB of MIDI. License: CC BY 4.0. Official train, validation and test splits in ``info.csv``, by recording; the
test split is not used for training.
Citation: Gillick et al., "Learning to Groove with Inverse Sequence Transformations", ICML 2019.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats, Indices
from kelly_core.data.corpus_dataset import CorpusDataset, LoadOptions, extract_selection
from kelly_core.data.dataset import Batch, CorpusReport, ExampleMetadata
from kelly_core.data.files import has_files, select_files
from kelly_core.data.labels import KnownLabels, read_known_labels
from kelly_core.data.leakage import Keys, content_keys
from kelly_core.data.readers import midi
from kelly_core.data.split_tables import TableRow
from kelly_core.data.splits import TEST, TRAIN, assign_splits, has_both_sides
from kelly_core.errors import DataError
from kelly_core.features.extraction import FeatureExtractor, Features, FeatureTable
from kelly_core.music.context import encode_context
from kelly_core.music.emotion import (
    AROUSAL_SPREAD,
    CODE_SIZE,
    CONTEXT,
    AffectScale,
    groove_features,
    imputed_valence,
    noisy_codes,
)
from kelly_core.music.groove import POSITIONS, groove_windows
from kelly_core.music.notes import BEATS_PER_BAR, PPQ

_INDEX = "info.csv"
_ADVICE = "Put info.csv of the archive next to its drummer folders"
_NAME = re.compile(r"_(?P<bpm>\d+)_(?P<beat_type>beat|fill)_(?P<time_signature>\d+-\d+)(?:_(?P<kit>\d+))?$")
_DRUMMER = re.compile(r"drummer\d+/")
_OUTPUTS = 2 * POSITIONS
_DISTINCTIVE_POSITIONS = 4
"""Minimum number of off-grid positions in a window; two recordings can share a window with fewer by chance."""
_OTHER_METER = "not in 4/4"
_VERSION = 3


class GrooveDataset(CorpusDataset):
    """Windows of eight bars: an emotion code as input; timing and accent of the 16 positions of a bar as target."""

    input_size = CODE_SIZE
    output_size = _OUTPUTS
    sequence_length = 1

    def __init__(self, report: CorpusReport, rows: ExampleMetadata, table: FeatureTable, affect: Floats) -> None:
        self._values = table.arrays["values"]
        self._mask = table.arrays["mask"]
        self.bpm = table.arrays["pace"][table.file_indices("values"), 0]
        self.musical_context = encode_context({"tempo": self.bpm})
        hashes = table.hashes_of("values", rows.splits != TEST)
        super().__init__(report, rows, hashes, affect, table.arrays["content"])

    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:  # noqa: ARG002 - part of the interface
        valence, arousal = self.labels[indices].T
        # Drawn for each batch, because the network would learn a fixed value as if it were known.
        valence = np.where(np.isnan(valence), imputed_valence(arousal, rng), valence)
        weights = self._mask[indices][:, np.newaxis] * self._example_weights(indices)
        codes = noisy_codes(valence, arousal, rng)[:, np.newaxis]
        codes[..., CONTEXT] = self._context(indices, rng)[:, np.newaxis]
        return Batch(codes, self._values[indices][:, np.newaxis], weights)


def is_present(root: Path) -> bool:
    """Return True if there is any MIDI file."""
    return has_files(root, midi.SUFFIXES)


def load(root: Path, options: LoadOptions, name: str = "groove_midi") -> GrooveDataset:
    """Read Groove MIDI, or any folder of drum recordings as MIDI files, flat or nested.

    Only beats in 4/4 are used; without ``info.csv``, the meter is read from the file's name (``…_120_beat_4-4.mid``),
    else from the time signature in the file.

    Raises:
        DataError: no usable file, or a damaged table or sidecar.
    """
    selection = select_files(
        root,
        known_tables=[_INDEX],
        table=options.annotations_file,
        advice=_ADVICE,
        unfit=_reason_to_skip,
        max_files=options.max_files,
        include_test=options.include_test,
    )
    known = read_known_labels(root)
    extraction = FeatureExtractor(name, _VERSION, {}, _extract)
    table, official, report = extract_selection(root, selection, known, extraction, options)
    groups, splits = _split(table.files, official, options)
    # Fitted to the training recordings alone, so that validation stays unseen.
    scale = AffectScale.fit(groove_features(*table.arrays["pace"][splits == TRAIN].T), AROUSAL_SPREAD)
    affect, sources = _label(table, scale, known)
    file_indices = table.file_indices("values")
    rows = ExampleMetadata.of_files(name, file_indices, groups, sources, splits)
    dataset = GrooveDataset(report, rows, table, affect[file_indices])
    dataset.metadata = {
        "positions_per_bar": POSITIONS,
        "timing": "value x 60 ticks at 480 PPQ, positive is late",
        "accent": "velocity x (0.8 + 0.4 x value)",
        "arousal": asdict(scale),
    }
    return dataset


def _split(
    files: list[str], official: list[str | None], options: LoadOptions
) -> tuple[Sequence[str], NDArray[np.str_]]:
    """Return groups and splits: official ones by recording; otherwise all recordings of a session stay together.

    An official test recording is not grouped with its session, whose other recordings may be used for training.
    """
    recordings = [recording_of(name) for name in files]
    if has_both_sides(official):
        return recordings, np.array(official)
    places = zip(recordings, official, strict=True)
    groups = [name if split == TEST else name.rpartition("/")[0] or name for name, split in places]
    return groups, assign_splits(groups, official, options.validation_split, options.seed)


def recording_of(file: str) -> str:
    """Return the recording of a file: E-GMD has each recording once per kit, with the kit number at its end.

    The folders above ``drummer<n>`` are ignored, because Groove and E-GMD contain the same recordings.
    """
    path = file[match.start() :] if (match := _DRUMMER.search(file)) else file
    stem, dot, ending = path.rpartition(".")
    named = _NAME.search(stem)
    return f"{stem[: named.end('time_signature')]}{dot}{ending}" if named and named["kit"] else path


def _label(table: FeatureTable, scale: AffectScale, known: KnownLabels) -> tuple[Floats, list[str]]:
    """Return affect [F, 2] and its source; valence is NaN if it is to be imputed."""
    arousal = scale(groove_features(*table.arrays["pace"].T))
    affect = np.column_stack([np.full_like(arousal, np.nan), arousal])
    sources = ["imputed"] * len(table.files)
    known.replace(table.files, affect, sources)
    return affect, sources


def _extract(path: Path) -> Features:
    notes = midi.read_notes(path)
    if notes.beats_per_bar != BEATS_PER_BAR:
        raise DataError(_OTHER_METER, where=path)
    windows = groove_windows(notes.onset_beats * PPQ, notes.velocity)
    if not len(windows.values):
        raise DataError("too short: fewer than two bars", where=path)
    # Over less than a second, notes per second would not be a meaningful measure of the pace.
    seconds = max(1.0, float(notes.onset[-1] - notes.onset[0]))
    pace = np.array([[notes.bpm, len(notes) / seconds]])
    content = _content(windows.values * windows.mask)
    return {"values": windows.values, "mask": windows.mask, "content": content, "pace": pace}


def _content(played: Floats) -> Keys:
    """Return keys of windows [w, 32]: timing and accents to three decimals; ``NO_KEY`` if few are off the grid."""
    played = np.round(played, 3)
    return content_keys(played, np.count_nonzero(played[:, :POSITIONS], axis=1) >= _DISTINCTIVE_POSITIONS)


def _reason_to_skip(name: str, row: TableRow | None) -> str:
    """Return why a recording cannot be used, according to the official table or its name; "" if it can."""
    named = _NAME.search(Path(name).stem)
    columns: Mapping[str, str] = row or (named.groupdict() if named else {})
    if columns.get("beat_type", "beat") != "beat":
        return "a fill, not a beat"
    return _OTHER_METER if columns.get("time_signature", "4-4") != "4-4" else ""
