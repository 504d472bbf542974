"""Metrics of the four models downstream of the recognizer: melody, harmony, dynamics and groove."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.evaluation.baselines import (
    AROUSAL_QUARTILES,
    CURVE,
    EVERYTHING,
    QUADRANTS,
    VALENCE_QUARTILES,
    affect_points,
    constant,
    fit_bin_means,
    fit_curve,
    fit_median,
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
    log_likelihood,
    mean_of,
    ratio,
)
from kelly_core.export.quality_record import PublishedResult
from kelly_core.music.chords import CHORD_NAMES
from kelly_core.music.dynamics import PARAMETER_NAMES
from kelly_core.music.groove import NEUTRAL_ACCENT, POSITIONS, SHIFT_TICKS
from kelly_core.music.key import MAJOR_SCALE
from kelly_core.music.melody import PITCHES
from kelly_core.music.notes import PPQ

_TOP = 5
_DIATONIC = np.isin(np.arange(PITCHES) % 12, MAJOR_SCALE)
_POP909 = "POP909, 909 songs"


class MelodyMetrics(ModelMetrics):
    """Nats per beat, the share of beats whose five likeliest pitches hold one that sounds, and the diatonic mass."""

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
        """Fit one rate for all pitches, one for each, and that by a curve and by quartiles of valence.

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


_CHORDS = len(CHORD_NAMES)


class HarmonyMetrics(ModelMetrics):
    """Perplexity, the share of a song's time that its likeliest one and three chords take, and KL divergence (nats)."""

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
        # The three largest, in falling order.
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
        """Fit the uniform distribution, the mean distribution, and that by a curve and by quartiles of valence.

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


_PARAMETERS = tuple(name.replace(" ", "_") for name in PARAMETER_NAMES)
_EMOPIA = "EMOPIA's human quadrants"


class DynamicsMetrics(ModelMetrics):
    """RMSE, MAE and R² over all parameters (R² as the mean over parameters), and MAE and R² of each."""

    criteria = (
        Criterion(
            "rmse",
            ("all_squares", "weight"),
            lambda sums: np.sqrt(ratio(sums["all_squares"], sums["weight"] * len(_PARAMETERS))),
        ),
    )
    published: ClassVar[tuple[PublishedResult, ...]] = (
        PublishedResult("quadrant", "base_velocity_r2", 0.54, _EMOPIA),
        PublishedResult("quadrant", "density_r2", 0.43, _EMOPIA),
    )

    def truth(self, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        weight, targets = labels.weights.astype(np.float64), labels.targets.astype(np.float64)
        return {
            "weight": weight.sum(axis=(1, 2)),
            "values": (weight * targets).sum(axis=1),
            "values_squared": (weight * targets**2).sum(axis=1),
        }

    def errors(self, outputs: Floats, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        weight = labels.weights.astype(np.float64)
        off = outputs.astype(np.float64) - labels.targets
        squares = (weight * off**2).sum(axis=1)
        return {
            "absolute": (weight * np.abs(off)).sum(axis=1),
            "squares": squares,
            "all_squares": squares.sum(axis=1),
        }

    def derived_metrics(self, sums: Sums) -> dict[str, float]:
        """See ``ModelMetrics``."""
        weight = sums["weight"]
        mae = ratio(sums["absolute"], weight)
        mean = ratio(sums["values"], weight)
        variation = sums["values_squared"] - weight * mean**2
        # A smaller variance is the rounding error of a constant, for which R² is not defined.
        r2 = np.where(variation > 1e-9 * weight, 1 - ratio(sums["squares"], variation), np.nan)
        defined = r2[np.isfinite(r2)]
        metrics = {
            "mae": float(mae.mean()),
            "r2": float(defined.mean()) if len(defined) else float("nan"),
        }
        for name, error, explained in zip(_PARAMETERS, mae, r2, strict=True):
            metrics |= {f"{name}_mae": float(error), f"{name}_r2": float(explained)}
        return metrics

    def fit_baselines(self, training: TrainingExamples) -> Baselines:
        """Fit the mean of each parameter, and that by a curve and by the quadrant of the piece's emotion."""
        fitted = fit_bin_means(training, {"mean": EVERYTHING, "quadrant": QUADRANTS})
        baselines = {"mean": fitted["mean"], CURVE: fit_curve(affect_points(training), "mse")}
        return Baselines(baselines, {"quadrant": fitted["quadrant"]})


_MS_PER_MINUTE = 60_000.0
_TIMING_MARGIN = 0.01
"""Allowed loss against a constant, 1 %: timing hardly depends on emotion, so no gain is expected."""
_GROOVE_MIDI = "Groove MIDI"
_TIMING, _ACCENT = "timing_mae_ms", "accent_mae"


class GrooveMetrics(ModelMetrics):
    """Mean absolute errors of timing and accent over the known positions."""

    criteria = (
        Criterion(_ACCENT, *mean_of("accent_error", "accent_weight")),
        Criterion(_TIMING, *mean_of("timing_error", "timing_weight"), margin=_TIMING_MARGIN),
    )
    published: ClassVar[tuple[PublishedResult, ...]] = (
        PublishedResult("zero and neutral", _TIMING, 11.8, _GROOVE_MIDI),
        PublishedResult("zero and neutral", _ACCENT, 0.556, _GROOVE_MIDI),
        PublishedResult("position mean", _TIMING, 11.5, _GROOVE_MIDI),
        PublishedResult("position mean", _ACCENT, 0.426, _GROOVE_MIDI),
        PublishedResult("style", _ACCENT, 0.403, _GROOVE_MIDI),
    )

    def truth(self, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        weights = np.broadcast_to(labels.weights, labels.targets.shape).astype(np.float64)
        return {
            "weight": weights.sum(axis=(1, 2)),
            "timing_weight": weights[..., :POSITIONS].sum(axis=(1, 2)),
            "accent_weight": weights[..., POSITIONS:].sum(axis=(1, 2)),
        }

    def errors(self, outputs: Floats, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        off = labels.weights * np.abs(outputs.astype(np.float64) - labels.targets)
        return {
            "timing_error": off[..., :POSITIONS].sum(axis=(1, 2)) * _milliseconds(labels.bpm),
            "accent_error": off[..., POSITIONS:].sum(axis=(1, 2)),
        }

    def fit_baselines(self, training: TrainingExamples) -> Baselines:
        """Fit the grid with even accents, the mean and the median of each position, a curve, and the mean by arousal.

        The median is the best constant for an absolute error.
        """
        fitted = fit_bin_means(training, {"position mean": EVERYTHING, "arousal quartile": AROUSAL_QUARTILES})
        grid = np.repeat(np.array([0.0, NEUTRAL_ACCENT], np.float32), POSITIONS)

        def scale(indices: Indices) -> Doubles:
            """Return the weight of an error of each output: milliseconds for timing, 1 for accents."""
            timing = np.repeat(_milliseconds(training.bpm(indices))[:, np.newaxis], POSITIONS, axis=1)
            # A mean weight of 1, like that of the accents: neither dominates the choice of the penalty.
            return np.concatenate([timing / timing.mean(), np.ones_like(timing)], axis=1)

        baselines = {
            "zero and neutral": constant(grid),
            "position mean": fitted["position mean"],
            "position median": fit_median(affect_points(training, scale, most=0)),
            CURVE: fit_curve(affect_points(training, scale), "masked_l1"),
        }
        return Baselines(baselines, {"arousal quartile": fitted["arousal quartile"]})


def _milliseconds(bpm: Doubles) -> Doubles:
    """Return the milliseconds that correspond to a timing of 1 at each tempo."""
    return SHIFT_TICKS / PPQ * _MS_PER_MINUTE / bpm
