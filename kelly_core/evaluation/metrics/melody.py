"""Metrics of MelodyTransformer: how well it predicts the pitches of each beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kelly_core.arrays import Doubles, Floats
from kelly_core.evaluation.baselines import (
    CURVE,
    EVERYTHING,
    VALENCE_QUARTILES,
    affect_points,
    constant,
    fit_bin_means,
    fit_curve,
    mean_target,
)
from kelly_core.evaluation.metrics.base import (
    Baselines,
    Criterion,
    Labels,
    ModelMetrics,
    Sums,
    TrainingExamples,
    bernoulli_nats,
    mean_of,
    ratio,
)
from kelly_core.export.quality_record import PublishedResult
from kelly_core.music.key import MAJOR_SCALE
from kelly_core.music.melody import PITCHES

_TOP = 5
_DIATONIC = np.isin(np.arange(PITCHES) % 12, MAJOR_SCALE)
_POP909 = "POP909, 909 songs"


class MelodyMetrics(ModelMetrics):
    """Nats per beat, the share of beats with a sounding pitch among the five most likely, and the diatonic mass."""

    criteria = (Criterion("nats_per_beat", *mean_of("nats", "weight")),)
    published: ClassVar[tuple[PublishedResult, ...]] = (
        PublishedResult("constant rate", "nats_per_beat", 6.36, _POP909),
        PublishedResult("marginal", "nats_per_beat", 4.185, _POP909),
        PublishedResult("valence quartile", "nats_per_beat", 4.158, _POP909),
        PublishedResult("song oracle", "nats_per_beat", 3.24, _POP909),
    )

    def truth(self, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        weight = _beat_weights(labels)
        return {
            "weight": weight.sum(axis=1),
            "sounding_weight": (weight * labels.targets.any(axis=-1)).sum(axis=1),
            "pitches": np.einsum("nt,ntp->np", weight, labels.targets),
        }

    def errors(self, outputs: Floats, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        weight = _beat_weights(labels)
        # The set of the five likeliest, in any order: a partition is cheaper than a sort.
        likeliest = np.argpartition(outputs, -_TOP, axis=-1)[..., -_TOP:]
        hit = np.take_along_axis(labels.targets, likeliest, axis=-1).any(axis=-1)
        return {
            "nats": (weight * bernoulli_nats(outputs, labels.targets).sum(axis=-1, dtype=np.float64)).sum(axis=1),
            "hits": (weight * hit).sum(axis=1),
            "mass": (weight * outputs.sum(axis=-1, dtype=np.float64)).sum(axis=1),
            "diatonic": (weight * outputs[..., _DIATONIC].sum(axis=-1, dtype=np.float64)).sum(axis=1),
        }

    def derived_metrics(self, sums: Sums) -> dict[str, float]:
        """See ``ModelMetrics``."""
        return {
            "top5_hit_rate": float(ratio(sums["hits"], sums["sounding_weight"])),
            "diatonic_mass": float(ratio(sums["diatonic"], sums["mass"])),
        }

    def fit_baselines(self, training: TrainingExamples) -> Baselines:
        """Fit one rate for all pitches, and one per pitch: overall, as a curve, and by quartiles of valence.

        One beat with a note of any pitch is assumed in addition to the training examples.
        """
        partitions = {"marginal": EVERYTHING, "valence quartile": VALENCE_QUARTILES}
        fitted = fit_bin_means(training, partitions, prior=1 / PITCHES, strength=1.0)
        rate = np.full(PITCHES, mean_target(training.dataset).mean(), np.float32)
        curve = fit_curve(affect_points(training), "bce")
        baselines = {"constant rate": constant(rate), "marginal": fitted["marginal"], CURVE: curve}
        return Baselines(baselines, {"valence quartile": fitted["valence quartile"]})

    def oracle(self, groups: Sums) -> tuple[PublishedResult, ...]:
        """Return the results of each song's own pitch rates, and the diatonic share of the notes themselves."""
        played = groups["pitches"]
        rate = ratio(played, groups["weight"][:, np.newaxis]).astype(np.float32)
        nats = groups["weight"][:, np.newaxis] * bernoulli_nats(rate, rate)
        return (
            PublishedResult("song oracle", "nats_per_beat", float(ratio(nats.sum(), groups["weight"].sum()))),
            PublishedResult("the notes", "diatonic_mass", float(ratio(played[:, _DIATONIC].sum(), played.sum()))),
        )


def _beat_weights(labels: Labels) -> Doubles:
    return labels.weights[..., 0].astype(np.float64)
