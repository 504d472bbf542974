"""Code shared by all real corpora: options, splits, reports, emotion codes as inputs."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats, Indices
from kelly_core.data.dataset import (
    COMPUTED_SOURCES,
    LABEL_WEIGHTS,
    Batch,
    ContextKind,
    CorpusReport,
    Dataset,
    Example,
    ExampleMetadata,
    Normalizer,
)
from kelly_core.data.files import Selection, is_made_by_rules, merge_skipped, no_usable_example
from kelly_core.data.labels import KnownLabels
from kelly_core.data.leakage import IndexPair, equal_keys
from kelly_core.data.splits import TEST, TRAIN, VALIDATION, split_source
from kelly_core.errors import DataError
from kelly_core.features.extraction import ExtractionOptions, FeatureExtractor, FeatureTable, load_features
from kelly_core.music.context import noisy_context
from kelly_core.music.emotion import CODE_VERSION, CONTEXT_SIZE, LABEL_VERSION
from kelly_core.spec import LabelScale

_VALIDATION_SEED = 0
_PIECE = 4096


@dataclass(frozen=True)
class LoadOptions(ExtractionOptions):
    """Options for reading a corpus.

    Attributes:
        validation_split: share of the groups held out if the corpus has no official split, 0..1 exclusive.
        seed: seed of the split.
        annotations_file: path of the labels or index, relative to the corpus, if it is not the usual one.
        label_scale: scale of valence and arousal in tables without known columns; "" rejects such tables.
        duration: seconds of each audio file that are used.
        context: training frames that supply the audio half of harmony examples.
        include_test: also read the official test split; training never uses it.
    """

    validation_split: float = 0.2
    seed: int = 0
    annotations_file: str = ""
    label_scale: LabelScale = ""
    duration: float = 45.0
    context: AudioContext | None = None
    include_test: bool = False


@dataclass(frozen=True)
class AudioContext:
    """Mel frames of a training split, with the valence and arousal of each frame.

    Attributes:
        frames: [all, 128] in dB, of the entire corpus.
        rows: [F] indices of the frames of the training split.
        valence, arousal: [F].
        normalizer: normalization of the 128 bands in that corpus.
        corpus, fingerprint: name and fingerprint of the corpus of the frames.
    """

    frames: Floats
    rows: Indices
    valence: Floats
    arousal: Floats
    normalizer: Normalizer
    corpus: str
    fingerprint: str


def extract_selection(
    root: Path, selection: Selection, known: KnownLabels, extraction: FeatureExtractor, options: LoadOptions
) -> tuple[FeatureTable, list[str | None], CorpusReport]:
    """Return the features of the selected files, the official split of each usable one, and the report.

    Raises:
        DataError: no file has a usable example.
    """
    table = load_features(root, selection.files, extraction, options)
    skipped = merge_skipped(selection.skipped, table.skipped, known.skipped)
    if not table.files:
        raise no_usable_example(skipped, root)
    official = selection.official(table.files)
    report = CorpusReport(
        extraction.corpus,
        str(root),
        found=True,
        files=selection.found,
        skipped=skipped,
        split_source=split_source(official, selection.tables),
        tables=selection.tables,
        warnings=[*selection.warnings, *known.warnings],
    )
    return table, official, report


class CorpusDataset(Dataset):
    """Examples read from files.

    Subclasses implement ``_assemble``; batches, indexing and reports are common to all.

    Attributes:
        report: report on the contents of the corpus and their use.
        labels: valence and arousal in -1..1, [n, 2] or per frame [n, T, 2], NaN where unknown; a corpus without
            emotions uses any other array with one entry per example.
        content: keys [n] or fingerprints [n, k] of each example's musical content, independent of the file's encoding;
            ``match`` compares them.
        training_frames: number of frames from which the normalization was computed.
        musical_context: musical context of each example, [n, 8] in the units of the code; None if the inputs have none.
    """

    musical_context: Floats | None = None
    _context_kind: ContextKind = "noisy"

    def __init__(
        self,
        report: CorpusReport,
        rows: ExampleMetadata,
        hashes: Sequence[str] | NDArray[np.bytes_],
        labels: Floats,
        content: NDArray[Any],
    ) -> None:
        self.name = report.name
        self.made_by_rules = is_made_by_rules(Path(report.path))
        self.labels = labels
        self.content = content
        self.set_rows(rows)
        if not len(self.train) or not len(self.validation):
            raise DataError("too few usable examples to train and to validate", where=report.path)
        self.weights = np.array([LABEL_WEIGHTS.get(source, 1.0) for source in rows.sources], np.float32)
        self.report = replace(
            report,
            examples=len(rows.groups),
            label_sources=dict(Counter(rows.sources.tolist())),
            splits={TRAIN: len(self.train), VALIDATION: len(self.validation)},
            made_by_rules=self.made_by_rules,
        )
        self.fingerprint = _fingerprint(self.name, hashes, rows, labels)
        self.metadata = {}
        self.split_source, self.tables = report.split_source, tuple(report.tables)
        self.warnings = tuple(f"{report.name}: {warning}" for warning in report.warnings)
        self.training_frames = len(self.train) * self.sequence_length
        self.normalize(Normalizer.identity(self.input_size))

    @property
    def has_context(self) -> bool:
        """Return True if the inputs contain a musical context."""
        return self.musical_context is not None

    def with_context(self, kind: ContextKind) -> Self:
        """See ``Dataset``."""
        if self.musical_context is None:
            return self
        other = copy(self)
        other._context_kind = kind
        return other

    def _context(self, indices: Indices, rng: np.random.Generator) -> Floats:
        """Return the context inputs [n, 8] of some examples; ``_assemble`` must draw them last."""
        if self.musical_context is None or self._context_kind == "unknown":
            return np.zeros((len(indices), CONTEXT_SIZE), np.float32)
        known = self.musical_context[indices]
        return known if self._context_kind == "known" else noisy_context(known, rng)

    def normalize(self, normalizer: Normalizer) -> None:
        """Set the normalization of the inputs; corpora that train together share one."""
        self.normalizer = normalizer

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        raw = self._assemble(np.array([index]), np.random.default_rng(_VALIDATION_SEED), augment=False)
        return Example(raw.inputs[0], raw.targets[0], raw.weights[0], **self.rows.origin(index))

    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        """Return training examples with fresh noise and augmentation, all drawn from ``rng``."""
        return self._standardized(self._assemble(indices, rng, augment=True))

    def eval_batch(self, indices: Indices) -> Batch:
        """Return examples as used in validation; equal calls return equal values."""
        # A new generator with the same seed for each call, so that the noise in the codes is always the same.
        rng = np.random.default_rng(_VALIDATION_SEED)
        return self._standardized(self._assemble(indices, rng, augment=False))

    def _standardized(self, raw: Batch) -> Batch:
        return replace(raw, inputs=self.normalizer.apply(raw.inputs))

    def find_duplicates(self) -> list[IndexPair]:
        """Return pairs (training example, validation example) with the same content, at most one per validation
        example.
        """
        return self.match(self.content, self.train, self.validation)

    @staticmethod
    def match(content: NDArray[Any], first: Indices, second: Indices) -> list[IndexPair]:
        """Return pairs (index from ``first``, index from ``second``) with equal ``content``."""
        return equal_keys(content, first, second)

    @abstractmethod
    def _assemble(self, indices: Indices, rng: np.random.Generator, *, augment: bool) -> Batch:
        """Return examples with raw inputs; ``augment`` adds training-only noise."""

    def _example_weights(self, indices: Indices) -> Floats:
        """Return label weights [n, 1, 1], which the subclass masks."""
        return self.weights[indices][:, np.newaxis, np.newaxis]


def _fingerprint(name: str, hashes: Sequence[str] | NDArray[np.bytes_], rows: ExampleMetadata, labels: Floats) -> str:
    """Return a hash of all data used for training and validation; the test split does not affect it.

    The hash is the same on every processor. Labels read from files are hashed bit by bit. Computed labels differ in
    their last bits between processors, so the files' hashes and the version of the computation are hashed instead.
    """
    seen = rows.splits != TEST
    splits, sources, labels = rows.splits[seen], rows.sources[seen], labels[seen]
    computed = np.isin(sources.astype(str), COMPUTED_SOURCES)
    # Digits as bytes: one str object per hash would use most of the memory of a corpus of short files.
    columns: list[Any] = [name, np.sort(np.asarray(hashes, np.bytes_)), splits, labels.shape, [CODE_VERSION]]
    if computed.any():
        columns += [[LABEL_VERSION], sources]
    read = labels.copy()
    read[computed] = 0.0
    read[np.isnan(read)] = np.nan  # NaN has many bit patterns.
    digest = hashlib.blake2b(digest_size=16)
    for text in _json_pieces(columns):
        digest.update(text.encode())
    # Labels read from files have the same bits on every processor.
    digest.update(read.data)
    return digest.hexdigest()


def _json_pieces(columns: Sequence[Any]) -> Iterator[str]:
    """Yield the columns as one JSON list in pieces: the complete list would be the largest object in memory."""
    for number, column in enumerate(columns):
        yield ", " if number else "["
        if isinstance(column, str):
            yield json.dumps(column)
            continue
        for start in range(0, len(column), _PIECE):
            piece = column[start : start + _PIECE]
            is_bytes = isinstance(piece, np.ndarray) and piece.dtype.kind == "S"
            yield (", " if start else "[") + json.dumps(list(piece.astype(np.str_) if is_bytes else piece))[1:-1]
        yield "]" if len(column) else "[]"
    yield "]"
