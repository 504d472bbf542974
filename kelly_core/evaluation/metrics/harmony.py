"""Metrics of HarmonyPredictor: how well it predicts a song's distribution of chords."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.evaluation.baselines import (
    CURVE,
    EVERYTHING,
    VALENCE_QUARTILES,
    affect_points,
    constant,
    fit_bin_means,
    fit_curve,
)
from kelly_core.evaluation.metrics.base import (
    Baselines,
    Criterion,
    Labels,
    ModelMetrics,
    Sums,
    TrainingExamples,
    log_likelihood,
    ratio,
)
from kelly_core.export.quality_record import PublishedResult
from kelly_core.music.chords import CHORD_NAMES

_CHORDS = len(CHORD_NAMES)
_POP909 = "POP909, 909 songs"


class HarmonyMetrics(ModelMetrics):
    """Perplexity, shares of a song's time with the likeliest chord and the likeliest three, KL divergence (nats)."""

    criteria = (Criterion("perplexity", ("nats", "weight"), lambda sums: np.exp(ratio(sums["nats"], sums["weight"]))),)
    epsilon_limit = 0.10
    published: ClassVar[tuple[PublishedResult, ...]] = (
        PublishedResult("unigram", "perplexity", 13.0, _POP909),
        PublishedResult("mode", "perplexity", 12.4, _POP909),
        PublishedResult("valence quartile", "perplexity", 12.2, _POP909),
        PublishedResult("song oracle", "perplexity", 8.4, _POP909),
    )

    def truth(self, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        weight = labels.weights.astype(np.float64)
        entropy = -(labels.targets * log_likelihood(labels.targets)).sum(axis=-1, keepdims=True, dtype=np.float64)
        return {"weight": weight.sum(axis=(1, 2)), "entropy": (weight * entropy).sum(axis=(1, 2))}

    def errors(self, outputs: Floats, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        weight = labels.weights[..., 0].astype(np.float64)
        nats = -(labels.targets * log_likelihood(outputs)).sum(axis=-1, dtype=np.float64)
        # The three largest, in descending order.
        likeliest = np.argsort(outputs, axis=-1)[..., :-4:-1]
        taken = np.take_along_axis(labels.targets, likeliest, axis=-1)
        return {
            "nats": (weight * nats).sum(axis=1),
            "top1": (weight * taken[..., 0]).sum(axis=1),
            "top3": (weight * taken.sum(axis=-1)).sum(axis=1),
        }

    def derived_metrics(self, sums: Sums) -> dict[str, float]:
        """See ``ModelMetrics``."""
        weight = sums["weight"]
        return {
            "kl": float(ratio(sums["nats"] - sums["entropy"], weight)),
            "top1": float(ratio(sums["top1"], weight)),
            "top3": float(ratio(sums["top3"], weight)),
        }

    def fit_baselines(self, training: TrainingExamples) -> Baselines:
        """Fit the uniform distribution, and the mean distribution: overall, as a curve, and by quartiles of valence.

        One song with all chords is assumed in addition to the training examples.
        """
        partitions = {"unigram": EVERYTHING, "valence quartile": VALENCE_QUARTILES}
        fitted = fit_bin_means(training, partitions, prior=1 / _CHORDS, strength=1.0)
        uniform = constant(np.full(_CHORDS, 1 / _CHORDS, np.float32))
        curve = fit_curve(affect_points(training), "soft_cross_entropy")
        baselines = {"uniform": uniform, "unigram": fitted["unigram"], CURVE: curve}
        return Baselines(baselines, {"valence quartile": fitted["valence quartile"]})

    def oracle(self, groups: Sums) -> tuple[PublishedResult, ...]:
        """Return the results of each song's own distribution."""
        nats = ratio(groups["entropy"].sum(), groups["weight"].sum())
        return (PublishedResult("song oracle", "perplexity", float(np.exp(nats))),)
