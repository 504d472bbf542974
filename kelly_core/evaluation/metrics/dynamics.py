"""Metrics of DynamicsEngine: errors of the sixteen expression parameters, and explained variance."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.evaluation.baselines import CURVE, EVERYTHING, QUADRANTS, affect_points, fit_bin_means, fit_curve
from kelly_core.evaluation.metrics.base import (
    Baselines,
    Criterion,
    Labels,
    ModelMetrics,
    Sums,
    TrainingExamples,
    ratio,
)
from kelly_core.export.quality_record import PublishedResult
from kelly_core.music.dynamics import PARAMETER_NAMES

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
        """Fit the mean of each parameter: overall, as a curve, and by the quadrant of the piece's emotion."""
        fitted = fit_bin_means(training, {"mean": EVERYTHING, "quadrant": QUADRANTS})
        baselines = {"mean": fitted["mean"], CURVE: fit_curve(affect_points(training), "mse")}
        return Baselines(baselines, {"quadrant": fitted["quadrant"]})
