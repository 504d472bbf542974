"""Metrics of GroovePredictor: errors of timing, in milliseconds at the recording's tempo, and of accents."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.evaluation.baselines import (
    AROUSAL_QUARTILES,
    CURVE,
    EVERYTHING,
    affect_points,
    constant,
    fit_bin_means,
    fit_curve,
    fit_median,
)
from kelly_core.evaluation.metrics.base import (
    Baselines,
    Criterion,
    Labels,
    ModelMetrics,
    Sums,
    TrainingExamples,
    mean_of,
)
from kelly_core.export.quality_record import PublishedResult
from kelly_core.music.groove import NEUTRAL_ACCENT, POSITIONS, SHIFT_TICKS
from kelly_core.music.notes import PPQ

_MS_PER_MINUTE = 60_000.0
_TIMING_MARGIN = 0.01
"""Allowed loss relative to a constant, 1 %: timing hardly depends on emotion, so no gain is expected."""
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
            # A mean weight of 1, as for accents, so that neither dominates the choice of the penalty.
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
