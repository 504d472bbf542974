"""Interface between corpora and training: examples, splits and batches."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.data.splits import BY_SEED, TEST, TRAIN, VALIDATION, judging_part
from kelly_core.entry_points import load_reference

Names = NDArray[np.object_]
"""Array of shared strings: each example stores only a reference, regardless of the length of the file's name."""

UNLABELED = "none"
"""Label source of recordings without an emotion label; the model learns only their musical context, from the notes."""

LABEL_WEIGHTS = {
    "sidecar": 1.0,
    "dynamic": 1.0,
    "static": 1.0,
    "human_quadrant": 1.0,
    "estimated": 0.5,
    "imputed": 0.25,
    "synthetic": 1.0,
    UNLABELED: 1.0,
}
"""Loss weight of an example by the source of its emotion label; 1 for a source that is not listed."""

ContextKind = Literal["noisy", "known", "unknown"]
"""Musical context in the inputs: with the noise of a recognizer's outputs, exact, or unknown."""

COMPUTED_SOURCES = ("estimated", "imputed")
"""Sources whose labels are computed from the files' notes or chords, in floating point."""

_CONSTANT = 1e-6
"""Standard deviation below which an input counts as constant."""


@dataclass(frozen=True)
class Batch:
    """N examples of T frames each, as arrays.

    Attributes:
        inputs: [N, T, in], standardized, as the network receives them in training.
        targets: [N, T, out].
        weights: loss weights that broadcast to the targets, [N, T, 1] or [N, T, out]; 0 masks a target.
        pooled: None, or [N] booleans: if True, the label applies to the entire sequence, and the target is compared
            with the weighted mean of the outputs over time instead of with each frame.
    """

    inputs: Floats
    targets: Floats
    weights: Floats
    pooled: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, start: int, stop: int) -> Batch:
        """Return the examples from ``start`` to ``stop`` as views."""
        pooled = None if self.pooled is None else self.pooled[start:stop]
        return Batch(self.inputs[start:stop], self.targets[start:stop], self.weights[start:stop], pooled)


@dataclass(frozen=True)
class Normalizer:
    """Maps raw inputs to network inputs: ``(x - mean) * scale``, both [in]; scale 0 disables an input."""

    mean: Doubles
    scale: Doubles

    @classmethod
    def identity(cls, size: int) -> Normalizer:
        """Return a normalizer that leaves inputs unchanged."""
        return cls(np.zeros(size), np.ones(size))

    @classmethod
    def of_moments(cls, mean: Doubles, deviation: Doubles) -> Normalizer:
        """Return the normalizer to mean 0 and deviation 1 from these moments [in]; constant inputs get scale 0."""
        # Division by a deviation near 0 would amplify the rounding errors of an input.
        scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > _CONSTANT)
        return cls(mean, scale)

    @classmethod
    def joint(cls, parts: Sequence[tuple[Normalizer, int]]) -> Normalizer:
        """Return the normalizer of the combined frames of several corpora, given their normalizers and frame counts.

        The joint variance is the mean of the variances plus the variance of the means.
        """
        counts = np.array([frames for _, frames in parts], np.float64)[:, np.newaxis]
        means = np.stack([part.mean for part, _ in parts])
        variances = np.stack([part.deviation for part, _ in parts]) ** 2
        mean = (counts * means).sum(axis=0) / counts.sum()
        variance = (counts * (variances + (means - mean) ** 2)).sum(axis=0) / counts.sum()
        return cls.of_moments(mean, np.sqrt(variance))

    @property
    def deviation(self) -> Doubles:
        """Return the standard deviation of the raw inputs, [in]; 0 for a disabled input."""
        return np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=self.scale > 0)

    def apply(self, raw: Floats) -> Floats:
        """Normalize raw inputs of shape [..., in]."""
        return ((raw - self.mean) * self.scale).astype(np.float32)

    def invert(self, standardized: Floats) -> Floats:
        """Return the raw inputs [..., in] of normalized ones; a disabled input gets its mean."""
        return (standardized * self.deviation + self.mean).astype(np.float32)


@dataclass(frozen=True)
class Example:
    """One example for display: raw inputs, targets and origin."""

    inputs: Floats
    targets: Floats
    weights: Floats
    group: str
    label_source: str
    split: str


@dataclass(frozen=True)
class ExampleMetadata:
    """Origin of each example; every list has one entry per example.

    Attributes:
        corpora: corpus of each example.
        groups: song, piece or session; no group is in two splits.
        sources: label source of each example.
        splits: "train", "validation" or "test".
    """

    corpora: Names
    groups: Names
    sources: Names
    splits: Names

    @classmethod
    def of_files(
        cls, corpus: str, file_indices: Indices, groups: Sequence[str], sources: Sequence[str], splits: NDArray[np.str_]
    ) -> ExampleMetadata:
        """Repeat per-file values for each example; ``file_indices`` [n] is the index of each example's file."""
        # tolist() creates one string per file; interning reduces them to three.
        shared = [sys.intern(split) for split in splits.tolist()]
        columns = [np.array(column, object)[file_indices] for column in (groups, sources, shared)]
        corpora = np.empty(len(file_indices), object)
        # np.full would create a separate string for each example.
        corpora.fill(corpus)
        return cls(corpora, *columns)

    @classmethod
    def joined(cls, parts: Sequence[ExampleMetadata]) -> ExampleMetadata:
        """Concatenate the examples of several corpora; equal group names of different corpora stay separate."""
        names: dict[tuple[str, str], str] = {}
        pairs = [(c, g) for part in parts for c, g in zip(part.corpora, part.groups, strict=True)]
        return cls(
            np.concatenate([part.corpora for part in parts]),
            # One string per group, shared by all its examples.
            np.array([names.setdefault((corpus, group), f"{corpus}/{group}") for corpus, group in pairs], object),
            np.concatenate([part.sources for part in parts]),
            np.concatenate([part.splits for part in parts]),
        )

    def origin(self, index: int) -> dict[str, str]:
        """Return the origin of an example as text."""
        return {
            "group": str(self.groups[index]),
            "label_source": str(self.sources[index]),
            "split": str(self.splits[index]),
        }


@dataclass(frozen=True)
class ReferenceLosses:
    """Reference losses of a synthetic dataset."""

    bayes: float
    prior: float

    def excess(self, loss: float) -> float:
        """Return the share of the learnable loss that remains: (L - L_Bayes) / (L_prior - L_Bayes); 0 is perfect."""
        return (loss - self.bayes) / (self.prior - self.bayes)


class Dataset(ABC):
    """Examples of one corpus, split by group; a trainer draws batches from it.

    Attributes:
        name: the corpus ("deam", ...).
        synthetic: whether the examples were generated instead of read.
        made_by_rules: True if the corpus is marked as generated by rules, like the demo corpus.
        input_size, output_size, sequence_length: sizes of one example, [T, in] and [T, out].
        fingerprint: hash of the content and of the settings that affect it.
        normalizer: normalization of the inputs, which the export folds into the first layer.
        rows: origin of each example.
        train, validation: indices of the two splits; no group is in both.
        judging: validation examples whose groups are not used to choose the epoch; None if all of them are used.
        test: indices of the official test split, which is not trained on; empty unless it was requested.
        metadata: description of the features for the export (JSON types only).
        reference: loss of the best possible predictor and of the best constant one, if the examples were generated.
        bpm: tempo of each example, if it is known and used.
        split_source: origin of training and validation: "official", "by seed", or "official and by seed".
        tables: official tables that were used, by path in the corpus folder.
        licenses: short license name of each corpus that provides training data, by corpus name.
        warnings: warnings about the data to show to the user, one sentence each.
        averages_weights: True if a moving average of the weights over the epochs is validated and kept, instead of the
            weights of single epochs.
    """

    name: str
    synthetic: bool = False
    made_by_rules: bool = False
    input_size: int
    output_size: int
    sequence_length: int
    fingerprint: str
    normalizer: Normalizer
    rows: ExampleMetadata
    train: Indices
    validation: Indices
    judging: Indices | None = None
    test: Indices
    metadata: dict[str, Any]
    reference: ReferenceLosses | None = None
    bpm: Doubles | None = None
    split_source: str = BY_SEED
    tables: tuple[str, ...] = ()
    licenses: Mapping[str, str] = MappingProxyType({})
    warnings: tuple[str, ...] = ()
    averages_weights: bool = False

    @property
    def has_context(self) -> bool:
        """Return True if the inputs contain a musical context (``music.context``), which is noisy by default."""
        return False

    def with_context(self, kind: ContextKind) -> Self:  # noqa: ARG002 - for datasets that have a context
        """Return a dataset with another kind of musical context; return this dataset if it has no context."""
        return self

    @property
    def choosing(self) -> Indices:
        """Validation examples that are used to choose the epoch."""
        return self.validation if self.judging is None else np.setdiff1d(self.validation, self.judging)

    def set_rows(self, rows: ExampleMetadata) -> None:
        """Set the origin of each example and the indices of the splits.

        If there are enough validation groups, one half is used to choose the epoch and the other half to judge.
        """
        self.rows = rows
        self.train, self.validation, self.test = (
            np.flatnonzero(rows.splits == split) for split in (TRAIN, VALIDATION, TEST)
        )
        judges = judging_part(rows.groups[self.validation].tolist())
        self.judging = None if judges is None else self.validation[judges]

    def __len__(self) -> int:
        return len(self.rows.groups)

    @abstractmethod
    def __getitem__(self, index: int) -> Example: ...

    @abstractmethod
    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        """Return training examples with fresh noise and augmentation, all drawn from ``rng``."""

    @abstractmethod
    def eval_batch(self, indices: Indices) -> Batch:
        """Return examples as used in validation; equal calls return equal values."""

    def find_duplicates(self) -> list[tuple[int, int]]:
        """Return pairs (training example, validation example) with the same content; empty if content is not known."""
        return []


@dataclass(frozen=True)
class CorpusReport:
    """Report on the contents of one corpus and their use.

    Attributes:
        name: the corpus.
        path: its folder, whether it exists or not.
        found: True if the folder contains the corpus.
        files: files (songs for chords) that were found.
        examples: usable examples, over both splits.
        seconds: total length of the audio that is used; None for a corpus without audio.
        skipped: names of unused files and entries, by reason.
        label_sources: number of examples by source of their emotion label.
        splits: number of examples by split.
        split_source: origin of the splits: "official", "by seed", or "official and by seed".
        tables: official tables that were used, by path in the corpus folder.
        label_tables: tables of emotion labels that were used, by path in the corpus folder.
        license: short name of the license.
        advice: what to do if the corpus is missing.
        warnings: warnings about the data to show to the user.
        joins: number of examples by the main corpus that they are mixed into; empty for a main corpus.
        weight: mixing weight of these examples; with 0, they are used only if the main corpus is missing.
        problem: reason why the corpus cannot be used, "" if it can.
        made_by_rules: True if the corpus is marked as generated by rules.
    """

    name: str
    path: str
    found: bool
    files: int = 0
    examples: int = 0
    seconds: float | None = None
    skipped: dict[str, list[str]] = field(default_factory=dict)
    label_sources: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    split_source: str = BY_SEED
    tables: list[str] = field(default_factory=list)
    label_tables: list[str] = field(default_factory=list)
    license: str = ""
    advice: str = ""
    warnings: list[str] = field(default_factory=list)
    joins: dict[str, int] = field(default_factory=dict)
    weight: float = 1.0
    problem: str = ""
    made_by_rules: bool = False

    def as_json(self, names: int) -> dict[str, Any]:
        """Return the report as JSON types, with the count and the first ``names`` skipped names by reason."""
        skipped = {reason: {"count": len(files), "first": files[:names]} for reason, files in self.skipped.items()}
        content = {"licence" if key == "license" else key: value for key, value in asdict(self).items()}
        return content | {"skipped": skipped}


def custom_loss_sums(
    loss: str, outputs: NDArray[np.floating], targets: NDArray[np.floating], weights: NDArray[np.floating]
) -> tuple[Doubles, Doubles]:
    """Return the weighted loss of each example and its size, both [N], computed by a custom PyTorch function.

    Args:
        loss: reference to the function, see ``training.losses``.
        outputs, targets: [N, T, out].
        weights: [N, T, 1 or out].
    """
    import torch

    # In single precision, sums over many frames lose digits. The copy makes a broadcast array writable for torch.
    tensors = (torch.from_numpy(np.array(array, np.float64)) for array in (outputs, targets, weights))
    with torch.inference_mode():
        totals, sizes = load_reference(loss)(*tensors)
    return totals.numpy(), sizes.numpy()
