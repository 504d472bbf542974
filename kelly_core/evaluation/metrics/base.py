"""Common parts of the metrics of all models: sums over examples, metrics from sums, and predictors to compare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.data.dataset import Batch, Dataset, Names, custom_loss_sums
from kelly_core.export.quality_record import Calibration, PublishedResult
from kelly_core.music.notes import DEFAULT_BPM
from kelly_core.spec import is_custom_loss

Reals = NDArray[np.floating]

Sums = dict[str, Doubles]
"""Sums by name, [n, ...] per example or group, or [...] in total; they add up over examples, groups and sources."""

Predictor = Callable[[Batch], Floats]
"""Predictor: outputs [N, T, out] for a batch whose targets are hidden."""

LIKELIHOOD_FLOOR = 1e-7
"""Smallest probability in a logarithm, so that a single impossible note cannot outweigh everything."""

CHUNK = 512
"""Number of examples that are processed at once."""


@dataclass(frozen=True)
class Labels:
    """Labels and metadata of N examples.

    Attributes:
        targets, weights, pooled: as in ``data.dataset.Batch``.
        bpm: [N], tempo.
    """

    targets: Floats
    weights: Floats
    pooled: NDArray[np.bool_]
    bpm: Doubles

    @classmethod
    def of(cls, batch: Batch, dataset: Dataset, indices: Indices) -> Labels:
        """Return the labels of a batch that was read at ``indices``."""
        return cls(batch.targets, batch.weights, pooled_examples(batch), example_bpm(dataset, indices))


def pooled_examples(batch: Batch) -> NDArray[np.bool_]:
    """Return the mask [N] of examples with one label for the entire sequence."""
    return np.zeros(len(batch), bool) if batch.pooled is None else batch.pooled


def example_bpm(dataset: Dataset, indices: Indices) -> Doubles:
    """Return the tempo of each example, [n]; MIDI's default where the corpus has none."""
    if dataset.bpm is None:
        return np.full(len(indices), DEFAULT_BPM)
    return dataset.bpm[indices].astype(np.float64)


@dataclass(frozen=True)
class TrainingExamples:
    """Training examples of a dataset, without access to its other examples; baselines are fitted to them."""

    dataset: Dataset

    def batches(self, most: int = 0) -> Iterator[tuple[Batch, Indices]]:
        """Yield the examples without augmentation, and their indices.

        Args:
            most: maximum number of examples, spread evenly; 0 yields all.
        """
        indices = self.dataset.train
        if most and len(indices) > most:
            # Neighbors in a corpus come from the same files, so the first ones would come from few songs.
            indices = indices[np.arange(most) * len(indices) // most]
        for start in range(0, len(indices), CHUNK):
            chosen = indices[start : start + CHUNK]
            yield self.dataset.eval_batch(chosen), chosen

    def groups(self, indices: Indices) -> Names:
        """Return the group of each example, [n]."""
        groups: Names = self.dataset.rows.groups[indices]
        return groups

    def bpm(self, indices: Indices) -> Doubles:
        """Return the tempo of each example, [n]."""
        return example_bpm(self.dataset, indices)


@dataclass(frozen=True)
class Baselines:
    """Predictors fitted to the training examples: ``baselines`` to beat, and ``references`` for information."""

    baselines: dict[str, Predictor] = field(default_factory=dict)
    references: dict[str, Predictor] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Criterion:
    """Metric by which a model must beat its baselines; smaller is better.

    Attributes:
        measure: name of the metric.
        columns: the sums from which it is computed.
        value: computes the metric from those sums, which may have any shape.
        margin: share of the baseline's metric by which the model may be worse.
    """

    measure: str
    columns: tuple[str, ...]
    value: Callable[[Mapping[str, Doubles]], Doubles]
    margin: float = 0.0


class ModelMetrics(ABC):
    """Metrics and baselines of one model.

    Attributes:
        criteria: the deciding metrics; predictors are ranked by the first one.
        epsilon_limit: largest ε on generated data that counts as trained.
        published: results of others to compare with.
    """

    criteria: ClassVar[tuple[Criterion, ...]]
    epsilon_limit: ClassVar[float] = 0.05
    published: ClassVar[tuple[PublishedResult, ...]] = ()

    @abstractmethod
    def truth(self, labels: Labels) -> Sums:
        """Return sums [N, ...] that do not depend on a prediction, including "weight" [N]."""

    @abstractmethod
    def errors(self, outputs: Floats, labels: Labels) -> Sums:
        """Return sums [N, ...] over the frames of each example for outputs [N, T, out]."""

    def derived_metrics(self, sums: Sums) -> dict[str, float]:  # noqa: ARG002 - part of the interface
        """Return further metrics from the sums over some examples; NaN if not defined."""
        return {}

    def calibration(self, sums: Sums) -> dict[str, Calibration]:  # noqa: ARG002 - part of the interface
        """Return the distributions of predictions and labels from the sums over some examples, by dimension."""
        return {}

    @abstractmethod
    def fit_baselines(self, training: TrainingExamples) -> Baselines:
        """Fit the baselines and references."""

    def oracle(self, groups: Sums) -> tuple[PublishedResult, ...]:  # noqa: ARG002 - part of the interface
        """Return references that use the targets, from the sums of ``truth`` by group [G, ...]."""
        return ()


def ratio(part: Doubles, whole: Doubles) -> Doubles:
    """Return ``part / whole``, 0 where ``whole`` is 0: without data, no predictor is better than another."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole != 0)


def mean_of(total: str, weight: str) -> tuple[tuple[str, str], Callable[[Mapping[str, Doubles]], Doubles]]:
    """Return columns and value of a criterion that is a weighted mean."""
    return (total, weight), lambda sums: ratio(sums[total], sums[weight])


def loss_sums(loss: str, outputs: Floats, labels: Labels) -> tuple[Doubles, Doubles]:
    """Return the weighted loss of each example and its weight, both [N]; the losses are the same as in training.

    Squared and absolute error and binary cross-entropy (nats) are per output, soft cross-entropy (nats) is per frame.
    If a label applies to an entire sequence, squared and absolute error compare it with the mean output.
    """
    weights = labels.weights
    if is_custom_loss(loss):
        return custom_loss_sums(loss, outputs, labels.targets, weights)
    compared = outputs if loss in ("bce", "soft_cross_entropy") else pool(outputs, labels)
    each = elementwise_loss(loss, compared, labels.targets)
    # One weight may apply to all outputs of a frame; the mean is over outputs, so it counts once per output.
    repeats = each.shape[-1] // weights.shape[-1]
    total: Doubles = (each * weights).sum(axis=(1, 2), dtype=np.float64)
    return total, weights.sum(axis=(1, 2), dtype=np.float64) * repeats


def elementwise_loss(loss: str, outputs: Reals, targets: Reals) -> Reals:
    """Return the loss of each output [..., out], or for soft cross-entropy of each frame [..., 1]."""
    if loss == "soft_cross_entropy":
        nats: Reals = -(targets * log_likelihood(outputs)).sum(axis=-1, keepdims=True)
        return nats
    if loss == "bce":
        return bernoulli_nats(outputs, targets)
    off = outputs - targets
    return np.abs(off) if loss == "masked_l1" else off * off


def pool(values: Floats, labels: Labels) -> Floats:
    """Replace the values [N, T, k] of pooled examples by their weighted mean over time."""
    if not labels.pooled.any():
        return values
    weights = labels.weights[labels.pooled]
    total, weight = (values[labels.pooled] * weights).sum(axis=1, keepdims=True), weights.sum(axis=1, keepdims=True)
    # A copy, because the outputs themselves are also measured frame by frame.
    pooled = values.copy()
    pooled[labels.pooled] = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)
    return pooled


def log_likelihood(probabilities: Reals) -> Reals:
    """Return the natural logarithm of probabilities, clipped at ``LIKELIHOOD_FLOOR``."""
    logarithms: Reals = np.log(np.maximum(probabilities, np.float32(LIKELIHOOD_FLOOR)))
    return logarithms


def bernoulli_nats(probabilities: Reals, targets: Reals) -> Reals:
    """Return the binary cross-entropy of each output."""
    return -(targets * log_likelihood(probabilities) + (1 - targets) * log_likelihood(1 - probabilities))
