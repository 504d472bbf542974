"""Metrics of EmotionRecognizer: valence and arousal, decoded as in the plugin, against the labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Doubles, Floats
from kelly_core.data.dataset import Batch
from kelly_core.evaluation.baselines import (
    MAX_POINTS,
    NEIGHBORS,
    Points,
    Regression,
    fit_nearest_neighbors,
    fit_ridge,
)
from kelly_core.evaluation.metrics.base import (
    Baselines,
    Criterion,
    Labels,
    ModelMetrics,
    Predictor,
    Sums,
    TrainingExamples,
    pool,
    pooled_examples,
    ratio,
)
from kelly_core.export.quality_record import Calibration, PublishedResult
from kelly_core.music.emotion import decode_affect, encode_affect

_KINDS = ("dynamic", "static")
_DIMENSIONS = ("valence", "arousal")
_PELLEGRINI = "DEAM, Pellegrini & Barrière 2015"
_MUSIC2EMO = "DEAM, Music2Emo"

_Features = Callable[[Floats], Floats]


class EmotionMetrics(ModelMetrics):
    """RMSE of both dimensions together; RMSE, r, CCC and R² of each, and quadrants, by kind of label.

    The deciding RMSE weights all songs equally, regardless of their number of labeled frames: it is the root of the
    mean over songs of each song's mean squared error.

    Dynamic labels are compared frame by frame. A static label applies to an entire song. It is compared with
    the affect that the plugin decodes from the mean output over the labeled span: one point per song.
    """

    criteria = (Criterion("rmse", ("squares", "weight"), lambda sums: np.sqrt(ratio(sums["squares"], sums["weight"]))),)
    published: ClassVar[tuple[PublishedResult, ...]] = (
        PublishedResult("recurrent network", "dynamic_valence_rmse", 0.250, _PELLEGRINI),
        PublishedResult("recurrent network", "dynamic_valence_r", 0.703, _PELLEGRINI),
        PublishedResult("recurrent network", "dynamic_arousal_rmse", 0.238, _PELLEGRINI),
        PublishedResult("recurrent network", "dynamic_arousal_r", 0.692, _PELLEGRINI),
        PublishedResult("Music2Emo", "static_valence_r2", 0.51, _MUSIC2EMO),
        PublishedResult("Music2Emo", "static_arousal_r2", 0.60, _MUSIC2EMO),
    )

    def truth(self, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        wanted = _affect(labels.targets, labels)
        points = _point_weights(labels)
        return {
            "weight": _song_weights(labels.weights).sum(axis=1),
            "points": _by_kind(points.sum(axis=1), labels),
            "wanted": _by_kind(_over_time(points, wanted), labels),
            "wanted_squared": _by_kind(_over_time(points, wanted**2), labels),
        }

    def errors(self, outputs: Floats, labels: Labels) -> Sums:
        """See ``ModelMetrics``."""
        wanted, read = _affect(labels.targets, labels), _affect(outputs, labels)
        points, weight = _point_weights(labels), _song_weights(labels.weights)
        same = ((wanted > 0) == (read > 0)).all(axis=-1)
        return {
            "squares": (weight * ((read - wanted) ** 2).mean(axis=-1)).sum(axis=1),
            "read": _by_kind(_over_time(points, read), labels),
            "read_squared": _by_kind(_over_time(points, read**2), labels),
            "product": _by_kind(_over_time(points, wanted * read), labels),
            "quadrant": _by_kind((points * same).sum(axis=1), labels),
        }

    def derived_metrics(self, sums: Sums) -> dict[str, float]:
        """See ``ModelMetrics``."""
        metrics: dict[str, float] = {}
        for kind, kind_name in enumerate(_KINDS):
            count = sums["points"][kind]
            if count > 0:
                metrics[f"{kind_name}_quadrant_accuracy"] = float(sums["quadrant"][kind] / count)
            for dimension, name in enumerate(_DIMENSIONS if count > 0 else ()):
                columns = ("wanted", "read", "wanted_squared", "read_squared", "product")
                agreement = _agreement(*(float(sums[column][kind, dimension] / count) for column in columns))
                metrics |= {f"{kind_name}_{name}_{measure}": value for measure, value in agreement.items()}
        return metrics

    def calibration(self, sums: Sums) -> dict[str, Calibration]:
        """See ``ModelMetrics``; over the kind of label with more points."""
        kind = int(sums["points"].argmax())
        count = sums["points"][kind]
        found = {}
        for dimension, name in enumerate(_DIMENSIONS if count > 0 else ()):
            moments: dict[str, float] = {}
            for who, column in (("answer", "read"), ("label", "wanted")):
                mean = float(sums[column][kind, dimension] / count)
                variance = float(sums[f"{column}_squared"][kind, dimension] / count) - mean**2
                moments |= {f"{who}_mean": mean, f"{who}_sd": max(0.0, variance) ** 0.5}
            found[name] = Calibration(**moments)
        return found

    def fit_baselines(self, training: TrainingExamples) -> Baselines:
        """Fit the mean affect, ridge on frames and on their running mean, and nearest neighbors of frames."""
        frames, means = _points(training, _identity), _points(training, _running_mean)
        mean = np.average(frames.targets, axis=0, weights=frames.weights).astype(np.float32)
        baselines = {
            "mean": _predictor(lambda inputs: np.broadcast_to(mean, (len(inputs), 2)), _identity),
            "ridge on frames": _predictor(fit_ridge(frames), _identity),
            "ridge on running mean": _predictor(fit_ridge(means), _running_mean),
            "kNN": _predictor(fit_nearest_neighbors(frames), _identity),
        }
        kept = f"kNN takes the {NEIGHBORS} nearest of {min(len(frames), MAX_POINTS):,} of {len(frames):,} points"
        return Baselines(baselines, notes=(kept,))


def _affect(codes: Floats, labels: Labels) -> Doubles:
    """Return valence and arousal [N, T, 2] as the plugin decodes them; equal at every frame if the label is pooled."""
    read = decode_affect(pool(codes, labels))
    affect = np.stack([read.valence, read.arousal], axis=-1).astype(np.float64)
    return np.broadcast_to(affect, (*labels.targets.shape[:2], 2))


def _point_weights(labels: Labels) -> Doubles:
    """Return weights [N, T] of the points to compare: each labeled frame, or all of a pooled example as one point."""
    return np.where(labels.pooled[:, np.newaxis], _song_weights(labels.weights), labels.weights[..., 0])


def _song_weights(weights: Floats) -> Doubles:
    """Return weights [N, T] of frames for loss weights [N, T, out]; a song's weights add up to its label's weight.

    Valence and arousal have the weights of the code's first number; a song without labels has weight 0.
    """
    frames = weights[..., 0].astype(np.float64)
    largest: Doubles = frames.max(axis=1, keepdims=True)
    return largest * ratio(frames, frames.sum(axis=1, keepdims=True))


def _over_time(points: Doubles, values: Doubles) -> Doubles:
    total: Doubles = np.einsum("nt,ntd->nd", points, values)
    return total


def _by_kind(values: Doubles, labels: Labels) -> Doubles:
    """Return values [N, ...] by the examples' kinds of label, [N, 2, ...]."""
    spread = np.zeros((len(values), len(_KINDS), *values.shape[1:]))
    spread[np.arange(len(values)), labels.pooled.astype(np.intp)] = values
    return spread


def _agreement(
    wanted: float, read: float, wanted_squared: float, read_squared: float, product: float
) -> dict[str, float]:
    """Return RMSE, Pearson's r, Lin's concordance (1989) and R² from means of two variables and of their products."""
    # Rounding can make the difference of nearly equal sums negative.
    error = max(0.0, wanted_squared - 2 * product + read_squared)
    spread, own_spread = wanted_squared - wanted**2, read_squared - read**2
    covariance = product - wanted * read
    # A variance below this is the rounding error of a constant.
    varies, both_vary = spread > 1e-9, spread > 1e-9 and own_spread > 1e-9
    return {
        "rmse": error**0.5,
        "r": covariance / (spread * own_spread) ** 0.5 if both_vary else float("nan"),
        "ccc": 2 * covariance / (spread + own_spread + (wanted - read) ** 2) if varies else float("nan"),
        "r2": 1 - error / spread if varies else float("nan"),
    }


def _identity(inputs: Floats) -> Floats:
    return inputs


def _running_mean(inputs: Floats) -> Floats:
    """Return the mean of each frame and all before it, [N, T, d]."""
    total: Floats = np.cumsum(inputs, axis=1, dtype=np.float32)
    total /= np.arange(1, inputs.shape[1] + 1, dtype=np.float32)[:, np.newaxis]
    return total


def _frames_and_means(values: Floats, batch: Batch) -> Floats:
    """Return values [N, T, k] as points [m, k]: labeled frames of dynamic examples, then means of pooled ones."""
    pooled, weights = pooled_examples(batch), batch.weights[..., :1]
    means = (values[pooled] * weights[pooled]).sum(axis=1)
    total = weights[pooled].sum(axis=1)
    means = np.divide(means, total, out=np.zeros_like(means), where=total > 0)
    return np.concatenate([values[_labeled_frames(batch)], means])


def _labeled_frames(batch: Batch) -> NDArray[np.bool_]:
    labeled: NDArray[np.bool_] = (batch.weights[..., 0] > 0) & ~pooled_examples(batch)[:, np.newaxis]
    return labeled


def _points(training: TrainingExamples, features: _Features) -> Points:
    """Return all training points: features, affect, weights and songs; all songs have equal weight, as in the RMSE."""
    parts = []
    for batch, indices in training.batches():
        groups = training.groups(indices)
        read = decode_affect(batch.targets)
        affect = np.stack([read.valence, read.arousal], axis=-1)
        weights, pooled = _song_weights(batch.weights), pooled_examples(batch)
        frames = _labeled_frames(batch)
        example = np.concatenate([np.nonzero(frames)[0], np.flatnonzero(pooled)])
        weight = np.concatenate([weights[frames], weights[pooled].sum(axis=1)])
        points = (_frames_and_means(features(batch.inputs), batch), _frames_and_means(affect, batch))
        # Recordings without labels, used only to learn the context, are skipped.
        labeled = weight > 0
        parts.append(tuple(column[labeled] for column in (*points, weight, groups[example])))
    return Points(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _predictor(regression: Regression, features: _Features) -> Predictor:
    """Return a predictor of codes from a regression: per labeled frame, or one for all of a pooled example."""

    def predict(batch: Batch) -> Floats:
        found = regression(_frames_and_means(features(batch.inputs), batch))
        affect = np.zeros((*batch.inputs.shape[:2], 2), np.float32)
        frames, pooled = _labeled_frames(batch), pooled_examples(batch)
        affect[frames] = found[: frames.sum()]
        affect[pooled] = found[frames.sum() :, np.newaxis]
        return encode_affect(affect[..., 0], affect[..., 1])

    return predict
