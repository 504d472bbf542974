"""Mixture of several corpora: the main corpus of a model, and additional ones with weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np

from kelly_core.arrays import Indices
from kelly_core.data.corpus_dataset import CorpusDataset
from kelly_core.data.dataset import Batch, ContextKind, Dataset, Example, ExampleMetadata, Normalizer
from kelly_core.data.leakage import IndexPair
from kelly_core.data.splits import PARTLY_OFFICIAL


class MixedDataset(Dataset):
    """Concatenated examples of several corpora, with one loss weight per corpus.

    The weight multiplies the label weights, both in training and in validation. All corpora share the
    normalization of their combined training frames, because the export can fold in only one. Each keeps its split.

    Args:
        parts: datasets of one kind, which the mixture owns and modifies.
        weights: mixing weight of each, above 0.
    """

    def __init__(self, parts: Sequence[CorpusDataset], weights: Sequence[float]) -> None:
        self.parts = list(parts)
        self._weights = [np.float32(weight) for weight in weights]
        self._starts = np.cumsum([0, *(len(part) for part in parts)])
        first = parts[0]
        self.name = " + ".join(part.name for part in parts)
        # The bounds for real music apply if any corpus is real music.
        self.made_by_rules = all(part.made_by_rules for part in parts)
        self.input_size, self.output_size = first.input_size, first.output_size
        self.sequence_length = first.sequence_length
        self.set_rows(ExampleMetadata.joined([part.rows for part in parts]))
        self.normalizer = Normalizer.joint([(part.normalizer, part.training_frames) for part in parts])
        for part in parts:
            part.normalize(self.normalizer)
        content = json.dumps([[part.fingerprint, float(weight)] for part, weight in zip(parts, weights, strict=True)])
        self.fingerprint = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        sources = {part.split_source for part in parts}
        self.split_source = sources.pop() if len(sources) == 1 else PARTLY_OFFICIAL
        self.tables = tuple(f"{part.name}/{table}" for part in parts for table in part.tables)
        self.licenses = {corpus: text for part in parts for corpus, text in part.licenses.items()}
        self.warnings = tuple(warning for part in parts for warning in part.warnings)
        self.averages_weights = any(part.averages_weights for part in parts)
        self.metadata = first.metadata | {"corpora": self._metadata_of_parts()}

    @property
    def has_context(self) -> bool:
        """Return True if the inputs of any corpus contain a musical context."""
        return any(part.has_context for part in self.parts)

    def with_context(self, kind: ContextKind) -> Self:
        """See ``Dataset``."""
        other = copy(self)
        other.parts = [part.with_context(kind) for part in self.parts]
        return other

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        number = int(self._part_of(np.array([index]))[0])
        example = self.parts[number][index - int(self._starts[number])]
        return replace(example, weights=self._weights[number] * example.weights, group=str(self.rows.groups[index]))

    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        """Return training examples with fresh noise and augmentation, all drawn from ``rng``."""
        return self._gather(indices, lambda part, own: part.train_batch(own, rng))

    def eval_batch(self, indices: Indices) -> Batch:
        """Return examples as used in validation; equal calls return equal values."""
        return self._gather(indices, lambda part, own: part.eval_batch(own))

    def find_duplicates(self) -> list[IndexPair]:
        """Return pairs (training example, validation example) with the same content, within a corpus or between two."""
        content = np.concatenate([part.content for part in self.parts])
        return self.parts[0].match(content, self.train, self.validation)

    def _part_of(self, indices: Indices) -> Indices:
        # side="right": an index equal to a start belongs to the corpus that begins there.
        numbers: Indices = np.searchsorted(self._starts, indices, side="right") - 1
        return numbers

    def _gather(self, indices: Indices, take: Callable[[CorpusDataset, Indices], Batch]) -> Batch:
        """Collect the examples from their corpora, in the requested order."""
        numbers = self._part_of(indices)
        batches, places = [], []
        for number, part in enumerate(self.parts):
            own = np.flatnonzero(numbers == number)
            if len(own):
                batch = take(part, indices[own] - self._starts[number])
                batches.append(replace(batch, weights=self._weights[number] * batch.weights))
                places.append(own)
        # Undo the grouping by corpus.
        order = np.argsort(np.concatenate(places), kind="stable")
        pooled = [batch.pooled for batch in batches if batch.pooled is not None]
        return Batch(
            np.concatenate([batch.inputs for batch in batches])[order],
            np.concatenate([batch.targets for batch in batches])[order],
            np.concatenate([batch.weights for batch in batches])[order],
            np.concatenate(pooled)[order] if pooled else None,
        )

    def _metadata_of_parts(self) -> dict[str, Any]:
        """Return size and weight of each corpus, and the metadata that differ from the first corpus."""
        common = self.parts[0].metadata
        return {
            part.name: {
                "weight": float(weight),
                "train_examples": len(part.train),
                "validation_examples": len(part.validation),
                "dataset_hash": part.fingerprint,
                "split_source": part.split_source,
                **{name: value for name, value in part.metadata.items() if common.get(name) != value},
            }
            for part, weight in zip(self.parts, self._weights, strict=True)
        }
