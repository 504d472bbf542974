"""Emotion as numbers: valence and arousal, the 64-number emotion code, and estimates for unlabeled corpora."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from kelly_core.arrays import Doubles, Floats

CODE_SIZE = 64
CODE_VERSION = 2
"""Version of the emotion code. Version 1 had a circle of sixteen angles in 48-63 and no musical context."""
CODE_VERSIONS = (1, 2)
"""Versions that can be read."""
CONTEXT = slice(56, 64)
"""Position of the musical context in the code; see ``music.context``."""
CONTEXT_SIZE = 8
QUADRANT_AFFECT: dict[int, tuple[float, float]] = {
    1: (0.23, 0.26),
    2: (-0.23, 0.26),
    3: (-0.23, -0.26),
    4: (0.23, -0.26),
}
"""(valence, arousal) of the four quadrants of Russell's plane, at the mean distance of DEAM's songs."""
VALENCE_SPREAD = (-0.024, 0.293)
AROUSAL_SPREAD = (-0.046, 0.320)
"""Mean and standard deviation over the songs of DEAM, on the scale -1..1."""
AFFECT_CORRELATION = 0.57
"""Pearson correlation of valence and arousal over the songs of DEAM."""

_BAND = 16
_LIMIT = 0.93
"""Largest magnitude that a thermometer represents: atanh is infinite at 1."""
_CENTERS = 0.225 * (np.arange(_BAND) - 7.5)
_CENTER_ODDS = np.exp(-8.0 * _CENTERS).astype(np.float32)
_CIRCLE_START = 48
_BLOCK = 2048
_MAX_KNOTS = 256
LABEL_VERSION = 1
"""Version of the computation of labels; a new version changes the fingerprint of examples with computed labels."""
_VALENCE_WEIGHTS = (1.0, 0.4)


def _circle(angles: int) -> Floats:
    """Return cosine and sine of evenly spaced angles, [2, angles]."""
    theta = 2.0 * np.pi * np.arange(angles) / angles
    return np.stack([np.cos(theta), np.sin(theta)]).astype(np.float32)


_CIRCLES = {1: _circle(16), 2: _circle(8)}
"""Angles of the circle by version of the code."""


class Affect(NamedTuple):
    """Affect that the plugin decodes: valence, arousal and dominance in -1..1, complexity in 0..1; each [...]."""

    valence: Floats
    arousal: Floats
    dominance: Floats
    complexity: Floats


def encode_affect(
    valence: ArrayLike,
    arousal: ArrayLike,
    dominance: ArrayLike | None = None,
    context: ArrayLike | None = None,
    *,
    version: int = CODE_VERSION,
) -> Floats:
    """Encode affect as three thermometers and a circle, the inverse of the plugin's decoding, and musical context.

    With x(s) = atanh(clip(s, ±.93)) and x_i = .225 (i - 7.5), entry i of a thermometer is .9 tanh(4 (x(s) - x_i)); the
    circle contains (v cos θ_j + a sin θ_j) / max(1, |(v, a)|) with θ_j = 2πj/8.

    Args:
        valence, arousal: [...], -1..1.
        dominance: [...], -1..1; None leaves its thermometer at 0.
        context: [..., 8], -.9..9, from ``music.context``; None leaves all of it unknown, which is 0.
        version: of the code; version 1 has θ_j = 2πj/16 and no context.

    Returns:
        [..., 64]: valence 0-15, arousal 16-31, dominance 32-47, circle 48-55, context 56-63.
    """
    affect = np.stack(np.broadcast_arrays(*(np.asarray(s, np.float32) for s in (valence, arousal))))
    code = np.zeros((*affect.shape[1:], CODE_SIZE), np.float32)
    code[..., 0:16] = _thermometer(affect[0])
    code[..., 16:32] = _thermometer(affect[1])
    if dominance is not None:
        code[..., 32:48] = _thermometer(np.asarray(dominance, np.float32))
    circle = _CIRCLES[version]
    code[..., _CIRCLE_START : _CIRCLE_START + circle.shape[1]] = np.moveaxis(_inside_circle(affect), 0, -1) @ circle
    if context is not None and version == CODE_VERSION:
        code[..., CONTEXT] = np.asarray(context, np.float32)
    return code


def convert_code(code: ArrayLike, version: int, wanted: int) -> Floats:
    """Convert codes [..., 64] from ``version`` to version ``wanted``.

    A mean of codes is converted exactly, because the circle is linear in the affect that it encodes. Version 1 has no
    context: a conversion to version 1 discards it, and it is unknown after a conversion from version 1.
    """
    old = np.asarray(code, np.float32)
    if version == wanted:
        return old
    before, after = _CIRCLES[version], _CIRCLES[wanted]
    angles = before.shape[1]
    # The angles are evenly spaced, so the two rows of the circle are orthogonal with a squared norm of angles / 2, and
    # this is the inverse of point @ circle.
    point = old[..., _CIRCLE_START : _CIRCLE_START + angles] @ before.T * np.float32(2 / angles)
    new = old.copy()
    new[..., _CIRCLE_START:] = 0
    new[..., _CIRCLE_START : _CIRCLE_START + after.shape[1]] = point @ after
    return new


def decode_affect(code: ArrayLike) -> Affect:
    """Decode a code [..., 64] as the plugin does: tanh of one eighth of a thermometer's sum, mean magnitude of the
    last sixteen numbers.
    """
    bands = np.asarray(code, np.float32).reshape(*np.shape(code)[:-1], 4, _BAND)
    valence, arousal, dominance = np.moveaxis(np.tanh(bands[..., :3, :].sum(axis=-1) / 8), -1, 0)
    return Affect(valence, arousal, dominance, np.abs(bands[..., 3, :]).mean(axis=-1))


def with_affect(code: ArrayLike, valence: ArrayLike, arousal: ArrayLike, *, version: int = CODE_VERSION) -> Floats:
    """Return codes [..., 64] with valence and arousal [...], -1..1, replaced; dominance and context are kept."""
    before = decode_affect(code)
    old = encode_affect(before.valence, before.arousal, version=version)
    new = encode_affect(valence, arousal, version=version)
    moved = np.array(code, np.float32)
    moved[..., :32] = new[..., :32]
    # The circle is shifted, not replaced: that of a mean of codes is smaller than that of its affect.
    moved[..., 48:] += new[..., 48:] - old[..., 48:]
    return moved


def noisy_codes(
    valence: ArrayLike, arousal: ArrayLike, rng: np.random.Generator, draws: int = 8, max_sigma: float = 0.25
) -> Floats:
    """Return noisy codes as a recognizer produces them: the mean code of several draws around (valence, arousal).

    Args:
        valence, arousal: [...], -1..1.
        rng: source of σ ~ U(0, max_sigma), one per example, and of the draws from N(valence, σ²) and N(arousal, σ²).

    Returns:
        [..., 64]; the entries of dominance and context are 0.
    """
    affect = np.stack(np.broadcast_arrays(*(np.asarray(s, np.float32) for s in (valence, arousal))))
    flat = affect.reshape(2, -1)
    codes = np.empty((flat.shape[1], CODE_SIZE), np.float32)
    # Blocks keep the temporary arrays small enough for the processor's cache.
    for start in range(0, len(codes), _BLOCK):
        rows = slice(start, start + _BLOCK)
        _write_mean_codes(flat[:, rows], codes[rows], rng, draws, max_sigma)
    return codes.reshape(*affect.shape[1:], CODE_SIZE)


def jittered(valence: ArrayLike, arousal: ArrayLike, steps: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return affect that varies around a file's value: an AR(1) path with coefficient .9 and standard deviation .05.

    Args:
        valence, arousal: [n].

    Returns:
        Valence and arousal, each [n, steps].
    """
    center = np.stack([np.asarray(valence, np.float32), np.asarray(arousal, np.float32)])
    path = rng.standard_normal((steps, *center.shape), dtype=np.float32)
    path *= np.float32(0.05)
    coefficient = np.float32(0.9)
    # With innovations of this size, all steps have the same standard deviation.
    innovation = np.sqrt(1 - coefficient**2)
    for before, now in pairwise(path):
        now *= innovation
        now += coefficient * before
    path += center
    wandering_valence, wandering_arousal = np.moveaxis(path, 0, -1)
    return wandering_valence, wandering_arousal


def imputed_valence(arousal: ArrayLike, rng: np.random.Generator) -> Floats:
    """Draw valence given arousal [...] from the bivariate normal distribution with DEAM's moments."""
    return _imputed(arousal, AROUSAL_SPREAD, VALENCE_SPREAD, rng)


def imputed_arousal(valence: ArrayLike, rng: np.random.Generator) -> Floats:
    """Draw arousal given valence [...] from the bivariate normal distribution with DEAM's moments."""
    return _imputed(valence, VALENCE_SPREAD, AROUSAL_SPREAD, rng)


@dataclass(frozen=True)
class Scale:
    """Robust standard scores: (x - median) / sd, or 0 for a constant corpus."""

    median: float
    sd: float

    @classmethod
    def fit(cls, values: ArrayLike) -> Self:
        """Fit median and standard deviation of ``values`` [n], n ≥ 1."""
        values = np.asarray(values, np.float64)
        return cls(float(np.median(values)), float(np.std(values)))

    def __call__(self, values: ArrayLike) -> Doubles:
        """Return the standard scores of ``values`` [...]."""
        centered = np.asarray(values, np.float64) - self.median
        return centered / self.sd if self.sd > 0 else np.zeros_like(centered)


@dataclass(frozen=True)
class RankGaussian:
    """Rank-based standard normal scores: the normal quantile of a value's mid-rank among the fitted values.

    Attributes:
        knots: the fitted values in order, or 256 quantiles of them if there are more.
    """

    knots: tuple[float, ...]

    @classmethod
    def fit(cls, values: ArrayLike) -> Self:
        """Fit the distribution of ``values`` [n], n ≥ 1."""
        ordered = np.sort(np.asarray(values, np.float64))
        if len(ordered) > _MAX_KNOTS:
            # An export contains every knot, so those of a large corpus are reduced to quantiles.
            ordered = np.quantile(ordered, (np.arange(_MAX_KNOTS) + 0.5) / _MAX_KNOTS)
        return cls(tuple(ordered.tolist()))

    def __call__(self, values: ArrayLike) -> Doubles:
        """Return scores of ``values`` [...]: interpolated between the fitted values, constant beyond them, equal for
        ties.
        """
        distinct, counts = np.unique(self.knots, return_counts=True)
        middle = (np.cumsum(counts) - counts / 2) / len(self.knots)
        scores = [NormalDist().inv_cdf(share) for share in middle]
        return np.interp(np.asarray(values, np.float64), distinct, scores)


@dataclass(frozen=True)
class AffectScale:
    """Valence or arousal from features: a weighted sum of standard scores, mapped to DEAM's distribution by rank.

    Attributes:
        scales: one per feature.
        ranks: ranks of the weighted sums over the fitted files.
        spread: mean and standard deviation of the result.
    """

    scales: tuple[Scale, ...]
    ranks: RankGaussian
    spread: tuple[float, float]

    @classmethod
    def fit(cls, features: ArrayLike, spread: tuple[float, float], weights: ArrayLike = 1.0) -> Self:
        """Fit to the features [n, k] of a corpus; ``weights`` broadcast to them."""
        features = np.asarray(features, np.float64)
        scales = tuple(Scale.fit(column) for column in features.T)
        return cls(scales, RankGaussian.fit(_weighted_sum(scales, features, weights)), spread)

    def __call__(self, features: ArrayLike, weights: ArrayLike = 1.0) -> Floats:
        """Return affect [n] of files with features [n, k]."""
        mean, sd = self.spread
        return (mean + sd * self.ranks(_weighted_sum(self.scales, features, weights))).astype(np.float32)


@dataclass(frozen=True)
class AffectEstimator:
    """Estimate valence and arousal of files from their notes, relative to the corpus.

    Arousal is the rank of z(d) + .5 g z(w), valence that of z(m) + .4 z(κ), with the features of
    ``key.AffectFeatures``.

    Attributes:
        use_velocity: whether loudness affects arousal; must be False if a model predicts loudness.
    """

    valence: AffectScale
    arousal: AffectScale
    use_velocity: bool

    @classmethod
    def fit(cls, features: ArrayLike, *, use_velocity: bool = True) -> Self:
        """Fit to the features [n, 5] of the training files, columns as in ``key.AffectFeatures``."""
        table = np.asarray(features, np.float64)
        # Columns d, w, g, m, kappa: valence uses mode and clarity, arousal density and loudness; g weights loudness.
        valence = AffectScale.fit(table[:, [3, 4]], VALENCE_SPREAD, _VALENCE_WEIGHTS)
        arousal = AffectScale.fit(table[:, [0, 1]], AROUSAL_SPREAD, _arousal_weights(table, use_velocity))
        return cls(valence, arousal, use_velocity)

    def __call__(self, features: ArrayLike) -> tuple[Floats, Floats]:
        """Return valence [n] and arousal [n] of files with features [n, 5]."""
        table = np.asarray(features, np.float64)
        valence = self.valence(table[:, [3, 4]], _VALENCE_WEIGHTS)
        return valence, self.arousal(table[:, [0, 1]], _arousal_weights(table, self.use_velocity))

    def to_json(self) -> dict[str, Any]:
        """Return every fitted number as JSON types."""
        return asdict(self)


def groove_features(bpm: ArrayLike, hits_per_second: ArrayLike) -> Doubles:
    """Return features [n, 2] from which ``AffectScale`` computes the arousal of grooves: log2 of tempo and density."""
    return np.log2(np.column_stack([bpm, hits_per_second]).astype(np.float64))


def chord_features(mode: ArrayLike, minor_share: ArrayLike) -> Doubles:
    """Return features [n, 2] from which ``AffectScale`` computes the valence of chords: the key's m, -minor share."""
    return np.column_stack([mode, -np.asarray(minor_share, np.float64)]).astype(np.float64)


def _arousal_weights(table: Doubles, use_velocity: bool) -> Doubles:
    return np.column_stack([np.ones(len(table)), 0.5 * use_velocity * table[:, 2]])


def _weighted_sum(scales: tuple[Scale, ...], features: ArrayLike, weights: ArrayLike) -> Doubles:
    columns = np.asarray(features, np.float64).T
    scores = np.column_stack([scale(column) for scale, column in zip(scales, columns, strict=True)])
    total: Doubles = (scores * np.asarray(weights)).sum(axis=1)
    return total


def _imputed(
    known: ArrayLike, known_spread: tuple[float, float], spread: tuple[float, float], rng: np.random.Generator
) -> Floats:
    """Draw from the conditional normal distribution, clipped to -1..1."""
    (known_mean, known_sd), (mean, sd) = known_spread, spread
    expected = mean + AFFECT_CORRELATION * sd / known_sd * (np.asarray(known, np.float64) - known_mean)
    # The variance that the known value does not explain.
    noise = sd * np.sqrt(1 - AFFECT_CORRELATION**2) * rng.standard_normal(np.shape(known))
    drawn: Floats = np.clip(expected + noise, -1, 1).astype(np.float32)
    return drawn


def _odds(s: Floats) -> Floats:
    """Return e^(-8 atanh s) = ((1-s) / (1+s))^4, without the transcendental functions of the definition."""
    s = np.clip(s, -_LIMIT, _LIMIT)
    odds: Floats = (1 - s) / (1 + s)
    odds *= odds
    odds *= odds
    return odds


def _thermometer(s: Floats) -> Floats:
    """Return .9 tanh(4 (x - x_i)) = .9 - 1.8 / (1 + e^(8 (x - x_i))), [..., 16]."""
    odds = _odds(s)[..., np.newaxis]
    heights: Floats = np.float32(0.9) - np.float32(1.8) * (odds / (odds + _CENTER_ODDS))
    return heights


def _inside_circle(affect: Floats) -> Floats:
    """Return points [2, ...] of the plane, those beyond the unit circle moved onto it."""
    inside: Floats = affect / np.sqrt(np.maximum(1, affect[0] ** 2 + affect[1] ** 2))
    return inside


def _write_mean_codes(affect: Floats, codes: Floats, rng: np.random.Generator, draws: int, max_sigma: float) -> None:
    """Fill ``codes`` [n, 64] for ``affect`` [2, n]; internally, n is the last axis, which is fastest in NumPy."""
    n = affect.shape[1]
    sigma = np.float32(max_sigma) * rng.random(n, dtype=np.float32)
    centers = _CENTER_ODDS[:, np.newaxis]
    total, term = np.zeros((2, _BAND, n), np.float32), np.empty((2, _BAND, n), np.float32)
    circle = np.zeros((2, n), np.float32)
    point = np.empty((2, n), np.float32)
    for _ in range(draws):
        rng.standard_normal(dtype=np.float32, out=point)
        point *= sigma
        point += affect
        circle += _inside_circle(point)
        odds = _odds(point)[:, np.newaxis]
        np.add(odds, centers, out=term)
        np.divide(odds, term, out=term)
        total += term
    # The affine part of the thermometer is applied once to the sum, not to each draw.
    total *= np.float32(-1.8 / draws)
    total += np.float32(0.9)
    codes[:, :32] = total.reshape(2 * _BAND, n).T
    codes[:, 32:] = 0
    angles = _CIRCLES[CODE_VERSION]
    codes[:, _CIRCLE_START : CONTEXT.start] = circle.T @ (angles / np.float32(draws))
