"""Generated examples in place of a corpus: generators, the best possible predictions, and their loss."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from kelly_core.arrays import Doubles, Floats, Indices
from kelly_core.data.dataset import (
    Batch,
    Dataset,
    Example,
    ExampleMetadata,
    Normalizer,
    ReferenceLosses,
    custom_loss_sums,
)
from kelly_core.data.splits import TRAIN, VALIDATION
from kelly_core.entry_points import load_reference
from kelly_core.errors import ConfigError, DataError, did_you_mean
from kelly_core.music.emotion import AFFECT_CORRELATION, CODE_SIZE, decode_affect, encode_affect
from kelly_core.spec import DATASETS, MODELS, ModelSpec, is_custom_loss

_EPOCH_FRAMES = 32768
"""Frames per epoch: about a second of training on one core for any of the networks."""
_VALIDATION_FRAMES = 8192
"""Maximum validation frames: enough for a standard error of the excess below .004 for any of the networks."""

SEQUENCE_LENGTH = 64
"""Frames in an example of a recurrent network."""

WALK_SD = 0.4
"""Stationary standard deviation of both latent walks; their tanh has about the spread of DEAM."""
WALK_COVARIANCE: Doubles = WALK_SD**2 * np.array([[1.0, AFFECT_CORRELATION], [AFFECT_CORRELATION, 1.0]])
"""Stationary covariance [2, 2] of the walks behind valence and arousal."""

_NODES = 9
"""Quadrature points along each axis of a posterior: enough to compute expected codes to within .003."""

_WHERE_F = "F = [v, a, 2va, 2v^2 - .3, 2a^2 - .3] of (valence, arousal) = tanh z as read from the code, z normal"


class Generator(ABC):
    """A random source of (input, target) sequences whose conditional expectation can be computed.

    Attributes:
        formula: how a target depends on the input, as text for the metadata.
        constants: the numbers in the formula; matrices are drawn with the given standard deviations.
    """

    formula: ClassVar[str]
    constants: ClassVar[dict[str, float]]

    @abstractmethod
    def __init__(self, rng: np.random.Generator) -> None:
        """Draw the matrices of the formula."""

    @abstractmethod
    def draw(self, count: int, steps: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return new inputs [count, steps, in] and targets [count, steps, out], both starting from zero memory."""

    @abstractmethod
    def best(self, inputs: Floats) -> Floats:
        """Return the expected target [n, T, out] of each frame, given ``inputs`` [n, T, in] up to that frame.

        This target minimizes the expected squared error, cross-entropy and binary cross-entropy, so its loss is the
        Bayes loss.
        """


class EmotionGenerator(Generator):
    """A noisy projection of a walk to 128 numbers; the walk's code is the target. Averaging over time reduces noise."""

    formula = "z AR(1); target = code of (valence, arousal) = tanh z; input = gain U z + N(0, 1), U orthonormal 128x2"
    constants: ClassVar[dict[str, float]] = {
        "coefficient": 0.95,
        "sd": WALK_SD,
        "correlation": AFFECT_CORRELATION,
        "gain": 2.0,
    }

    def __init__(self, rng: np.random.Generator) -> None:
        basis, _ = np.linalg.qr(rng.standard_normal((128, 2)))
        self.basis = basis.astype(np.float32)

    def draw(self, count: int, steps: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See ``Generator``."""
        latent = walk(count, steps, self.constants["coefficient"], rng)
        inputs = rng.standard_normal((count, steps, 128), dtype=np.float32)
        inputs += np.tensordot(latent, np.float32(self.constants["gain"]) * self.basis.T, axes=1)
        return inputs, _code(latent)

    def best(self, inputs: Floats) -> Floats:
        """Return the code's expectation under the Kalman posterior of the walk, by Gauss-Hermite quadrature."""
        mean, covariance = self.posterior(inputs)
        spread = np.linalg.cholesky(covariance)
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        # hermegauss uses the weight function exp(-x² / 2); this division adds the factor 1 / √(2π).
        weights = weights / weights.sum()
        expected = np.zeros((*mean.shape[:2], CODE_SIZE), np.float32)
        for i, j in np.ndindex(_NODES, _NODES):
            offset = spread @ np.array([nodes[i], nodes[j]])
            expected += np.float32(weights[i] * weights[j]) * _code(mean + offset)
        return expected

    def posterior(self, inputs: Floats) -> tuple[Doubles, Doubles]:
        """Return mean [n, T, 2] and covariance [T, 2, 2] of the walk, given ``inputs`` [n, T, 128] up to each frame.

        The projection U'x / gain equals the walk plus N(0, 1 / gain²) and is a sufficient statistic for the walk.
        """
        coefficient, gain = self.constants["coefficient"], self.constants["gain"]
        observed = np.tensordot(inputs, self.basis, axes=1) / gain
        means, covariances = np.empty(observed.shape), np.empty((inputs.shape[1], 2, 2))
        mean, covariance = np.zeros((len(inputs), 2)), WALK_COVARIANCE
        for step in range(inputs.shape[1]):
            # Predict with the AR(1) walk, whose stationary covariance is WALK_COVARIANCE, then update.
            if step > 0:
                mean = coefficient * mean
                covariance = coefficient**2 * covariance + (1 - coefficient**2) * WALK_COVARIANCE
            kalman_gain = covariance @ np.linalg.inv(covariance + np.eye(2) / gain**2)
            mean = mean + (observed[:, step] - mean) @ kalman_gain.T
            covariance = covariance - kalman_gain @ covariance
            means[:, step], covariances[step] = mean, covariance
        return means, covariances


class _CodeReader(Generator):
    """A source whose inputs contain an emotion code and whose targets are drawn around a function of that code."""

    affect_coefficient: ClassVar[float] = 0.0

    def draw(self, count: int, steps: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """See ``Generator``."""
        inputs = self._inputs(_code(walk(count, steps, self.affect_coefficient, rng)), rng)
        return inputs, self._sample(self.best(inputs), rng)

    def _inputs(self, code: Floats, rng: np.random.Generator) -> Floats:  # noqa: ARG002 - part of the interface
        """Return the network's inputs for codes [n, T, 64]."""
        return code

    @abstractmethod
    def _sample(self, expected: Floats, rng: np.random.Generator) -> Floats:
        """Draw targets with the given expectations [n, T, out]."""


class MelodyGenerator(_CodeReader):
    """Notes whose probabilities depend on the current emotion and on a decaying memory of it."""

    formula = "Bernoulli(sigmoid(bias + W F + W_m m)), m <- memory m + (1 - memory) (valence, arousal); " + _WHERE_F
    constants: ClassVar[dict[str, float]] = {
        "coefficient": 0.9,
        "bias": -3.0,
        "memory": 0.8,
        "weight_sd": 1.5,
        "memory_weight_sd": 3.7,
    }
    affect_coefficient = constants["coefficient"]

    def __init__(self, rng: np.random.Generator) -> None:
        self.weights = _normal(rng, (5, 128), self.constants["weight_sd"])
        self.memory_weights = _normal(rng, (2, 128), self.constants["memory_weight_sd"])

    def best(self, inputs: Floats) -> Floats:
        """Return probabilities of the notes."""
        affect = _affect(inputs)
        memory = np.float32(self.constants["memory"])
        faded = _decaying_sum((1 - memory) * affect, memory)
        logits = np.tensordot(_features(affect), self.weights, axes=1)
        logits += np.tensordot(faded, self.memory_weights, axes=1)
        return _sigmoid(logits + np.float32(self.constants["bias"]))

    def _sample(self, expected: Floats, rng: np.random.Generator) -> Floats:
        return (rng.random(expected.shape, dtype=np.float32) < expected).astype(np.float32)


class HarmonyGenerator(_CodeReader):
    """One of 64 chords, with odds that depend on the emotion and, more strongly, on 64 numbers of audio context."""

    formula = "Categorical(softmax(W F + b + W_a audio)), audio N(0, 1); " + _WHERE_F
    constants: ClassVar[dict[str, float]] = {"weight_sd": 2.0, "bias_sd": 1.2, "audio_weight_sd": 0.2}

    def __init__(self, rng: np.random.Generator) -> None:
        self.weights = _normal(rng, (5, 64), self.constants["weight_sd"])
        self.bias = _normal(rng, (64,), self.constants["bias_sd"])
        self.audio_weights = _normal(rng, (64, 64), self.constants["audio_weight_sd"])

    def best(self, inputs: Floats) -> Floats:
        """Return probabilities of the chords."""
        logits = np.tensordot(_features(_affect(inputs[..., :64])), self.weights, axes=1)
        logits += np.tensordot(inputs[..., 64:], self.audio_weights, axes=1)
        logits += self.bias
        # Without subtracting the maximum, the exponentials could overflow; it cancels in the quotient.
        odds: Floats = np.exp(logits - logits.max(axis=-1, keepdims=True))
        odds /= odds.sum(axis=-1, keepdims=True)
        return odds

    def _inputs(self, code: Floats, rng: np.random.Generator) -> Floats:
        return np.concatenate([code, rng.standard_normal(code.shape, dtype=np.float32)], axis=-1)

    def _sample(self, expected: Floats, rng: np.random.Generator) -> Floats:
        """Draw one-hot targets by inverting the cumulative probabilities."""
        cumulated = np.cumsum(expected, axis=-1)
        # Rounding can make the sum differ from 1, so draws are scaled by the sum to stay within the last chord.
        quantile = rng.random((*expected.shape[:-1], 1), dtype=np.float32) * cumulated[..., -1:]
        drawn = (cumulated <= quantile).sum(axis=-1, keepdims=True)
        targets = np.zeros_like(expected)
        np.put_along_axis(targets, drawn, 1, axis=-1)
        return targets


class DynamicsGenerator(_CodeReader):
    """Expression parameters with Beta distributions around a function of the emotion."""

    formula = "Beta(concentration m, concentration (1 - m)), m = sigmoid(W F); " + _WHERE_F
    constants: ClassVar[dict[str, float]] = {"weight_sd": 1.6, "concentration": 20.0}

    def __init__(self, rng: np.random.Generator) -> None:
        self.weights = _normal(rng, (5, 16), self.constants["weight_sd"])

    def best(self, inputs: Floats) -> Floats:
        """Return the means m of the parameters."""
        code = np.concatenate([inputs, np.zeros_like(inputs)], axis=-1)
        return _sigmoid(np.tensordot(_features(_affect(code)), self.weights, axes=1))

    def _inputs(self, code: Floats, rng: np.random.Generator) -> Floats:  # noqa: ARG002 - part of the interface
        return code[..., :32]

    def _sample(self, expected: Floats, rng: np.random.Generator) -> Floats:
        """Draw Beta variables as shares of two gamma variables, which NumPy draws in single precision."""
        shapes = np.float32(self.constants["concentration"]) * np.stack([expected, 1 - expected])
        ours, others = rng.standard_gamma(shapes, dtype=np.float32)
        share: Floats = ours / (ours + others)
        return share


class GrooveGenerator(_CodeReader):
    """Timing and accents with normal distributions around a function of the emotion."""

    formula = "scale tanh(W F + b) + N(0, noise_sd^2); " + _WHERE_F
    constants: ClassVar[dict[str, float]] = {"scale": 0.7, "weight_sd": 1.5, "bias_sd": 0.3, "noise_sd": 0.1}

    def __init__(self, rng: np.random.Generator) -> None:
        self.weights = _normal(rng, (5, 32), self.constants["weight_sd"])
        self.bias = _normal(rng, (32,), self.constants["bias_sd"])

    def best(self, inputs: Floats) -> Floats:
        """Return the means of timing and accents."""
        mean: Floats = np.tanh(np.tensordot(_features(_affect(inputs)), self.weights, axes=1) + self.bias)
        return mean * np.float32(self.constants["scale"])

    def _sample(self, expected: Floats, rng: np.random.Generator) -> Floats:
        noise = rng.standard_normal(expected.shape, dtype=np.float32)
        return expected + np.float32(self.constants["noise_sd"]) * noise


def walk(count: int, steps: int, coefficient: float, rng: np.random.Generator) -> Floats:
    """Draw pairs of correlated, stationary AR(1) processes [count, steps, 2] with covariance ``WALK_COVARIANCE``."""
    innovations = rng.standard_normal((count, steps, 2), dtype=np.float32)
    # The first step keeps its full variance, so the process is stationary from the start.
    innovations[:, 1:] *= np.float32(np.sqrt(1 - coefficient**2))
    # Independent draws of variance 1 times the Cholesky factor have the required covariance.
    factor = np.linalg.cholesky(WALK_COVARIANCE).T.astype(np.float32)
    return _decaying_sum(np.tensordot(innovations, factor, axes=1), np.float32(coefficient))


def _decaying_sum(values: Floats, factor: np.float32) -> Floats:
    """Return y_t = factor y_{t-1} + x_t along the second axis of ``values`` [n, T, k], from y = 0."""
    sums = values.copy()
    for step in range(1, values.shape[1]):
        sums[:, step] += factor * sums[:, step - 1]
    return sums


def _code(latent: Floats | Doubles) -> Floats:
    """Return the emotion code [..., 64] of (valence, arousal) = tanh of ``latent`` [..., 2]."""
    affect = np.tanh(latent)
    return encode_affect(affect[..., 0], affect[..., 1])


def _affect(code: Floats) -> Floats:
    """Return valence and arousal [..., 2] that the plugin decodes from codes [..., 64]."""
    reading = decode_affect(code)
    return np.stack([reading.valence, reading.arousal], axis=-1)


def _features(affect: Floats) -> Floats:
    """Return F = [v, a, 2va, 2v² - .3, 2a² - .3], shape [..., 5], of ``affect`` [..., 2]."""
    valence, arousal = affect[..., 0], affect[..., 1]
    products = (2 * valence * arousal, 2 * valence**2 - 0.3, 2 * arousal**2 - 0.3)
    return np.stack((valence, arousal, *products), axis=-1, dtype=np.float32)


def _sigmoid(logits: Floats) -> Floats:
    odds_against: Floats = np.exp(-logits)
    return np.reciprocal(1 + odds_against)


def _normal(rng: np.random.Generator, shape: tuple[int, ...], sd: float) -> Floats:
    """Return a random normal matrix of the formula."""
    return (sd * rng.standard_normal(shape)).astype(np.float32)


def create_synthetic(
    name: str,
    *,
    examples: int | None = None,
    validation_examples: int | None = None,
    sequence_length: int = SEQUENCE_LENGTH,
    seed: int = 0,
) -> SyntheticDataset:
    """Create a dataset of generated examples that replaces a corpus.

    Args:
        name: the corpus to replace, one of ``spec.DATASETS``.
        examples: training examples per epoch, all new in every epoch; None for 32,768 frames.
        validation_examples: held-out examples, at least 2; None for as many as ``examples``, at most 8,192 frames.
        sequence_length: frames in an example of a recurrent network; other networks learn from single frames.
        seed: seed of the generator's matrices and of the fixed examples, 0 or more.

    Raises:
        ConfigError: no corpus has that name, or a number is out of range.
        DataError: no model that learns from the corpus has a generator.
    """
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS, f"The corpora are {', '.join(DATASETS)}")
        raise ConfigError(f"no corpus is called {name!r}", hint=hint)
    spec = next((spec for spec in MODELS if spec.dataset == name and spec.generator), None)
    if spec is None:
        raise DataError(f"{name} has no generator, so no generated examples can replace it")
    length = sequence_length if spec.recurrent else 1
    _check_at_least(1, "sequence_length", length)
    examples = max(1, _EPOCH_FRAMES // length) if examples is None else examples
    _check_at_least(1, "examples", examples)
    if validation_examples is None:
        # Otherwise validation would take many times as long as a short epoch.
        validation_examples = max(2, min(examples, _VALIDATION_FRAMES // length))
    _check_at_least(2, "validation_examples", validation_examples)
    _check_at_least(0, "seed", seed)
    return SyntheticDataset(spec, examples, validation_examples, length, seed)


class SyntheticDataset(Dataset):
    """Generated examples that replace a corpus; created by ``create_synthetic``.

    Attributes:
        reference: validation loss of the best possible predictor and of the best constant one. Both are computed on the
            validation targets instead of as expectations. The random noise of these targets then cancels in a network's
            excess: its standard error is three times smaller, and 0 for a perfect network.
    """

    synthetic = True

    def __init__(
        self, spec: ModelSpec, examples: int, validation_examples: int, sequence_length: int, seed: int
    ) -> None:
        self.name = spec.dataset
        self.input_size, self.output_size = spec.input_size, spec.output_size
        self.sequence_length = sequence_length
        self.normalizer = Normalizer.identity(spec.input_size)
        # Validation examples come first, so that their indices do not depend on the size of an epoch.
        self.validation = np.arange(validation_examples)
        self.train = np.arange(validation_examples, validation_examples + examples)
        self.test = np.arange(0)
        self.rows = self._origins()
        self._seed = seed
        # Separate random streams for matrices, validation set and other fixed examples: none affects another.
        self._generator: Generator = load_reference(spec.generator)(self._rng(0))
        self._held_out = self._generator.draw(validation_examples, sequence_length, self._rng(1))
        self.reference = self._reference_losses(spec.loss)
        settings = {
            "generator": type(self._generator).__name__,
            "formula": self._generator.formula,
            "constants": dict(self._generator.constants),
            "sequence_length": sequence_length,
            "validation_examples": validation_examples,
            "seed": seed,
        }
        content = json.dumps([self.name, examples, settings], sort_keys=True)
        self.fingerprint = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        self.metadata = {**settings, "bayes_loss": self.reference.bayes, "prior_loss": self.reference.prior}

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        example = self.eval_batch(np.array([index]))
        return Example(example.inputs[0], example.targets[0], example.weights[0], **self.rows.origin(index))

    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        """Return new examples, one per index: repeating a generated example has no benefit."""
        return _batch(*self._generator.draw(len(indices), self.sequence_length, rng))

    def eval_batch(self, indices: Indices) -> Batch:
        """Return the same examples as ``__getitem__``; those of the training split are not used in training."""
        if np.all(indices < len(self.validation)):
            inputs, targets = self._held_out
            return _batch(inputs[indices], targets[indices])
        pairs = zip(*(self._example(int(index)) for index in indices), strict=True)
        return _batch(*(np.concatenate(arrays) for arrays in pairs))

    def best(self, inputs: Floats) -> Floats:
        """Return the best possible outputs for ``inputs`` [n, T, in]: the expected targets [n, T, out]."""
        return self._generator.best(inputs)

    def _origins(self) -> ExampleMetadata:
        count = len(self.validation) + len(self.train)
        return ExampleMetadata(
            corpora=np.full(count, self.name, object),
            groups=np.array([f"{self.name}-{index}" for index in range(count)], object),
            sources=np.full(count, "synthetic", object),
            splits=np.where(np.arange(count) < len(self.validation), VALIDATION, TRAIN).astype(object),
        )

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _example(self, index: int) -> tuple[Floats, Floats]:
        """Return inputs [1, T, in] and targets [1, T, out] of one fixed example."""
        if index < len(self.validation):
            inputs, targets = self._held_out
            return inputs[index : index + 1], targets[index : index + 1]
        return self._generator.draw(1, self.sequence_length, self._rng(2, index))

    def _reference_losses(self, loss: str) -> ReferenceLosses:
        inputs, targets = self._held_out
        expected = self.best(inputs)
        # The median minimizes the mean absolute error, the mean the other losses.
        middle = np.median if loss == "masked_l1" else np.mean
        constant = middle(expected.astype(np.float64), axis=(0, 1))
        return ReferenceLosses(bayes=_mean_loss(loss, expected, targets), prior=_mean_loss(loss, constant, targets))


def _check_at_least(smallest: int, option: str, value: int) -> None:
    if value < smallest:
        raise ConfigError(f"{value} is too small", where=option, hint=f"Give at least {smallest}")


def _batch(inputs: Floats, targets: Floats) -> Batch:
    return Batch(inputs, targets, np.ones((*targets.shape[:2], 1), np.float32))


def _mean_loss(loss: str, predictions: Floats | Doubles, targets: Floats) -> float:
    """Return a network's loss with all weights 1, for ``predictions`` that broadcast to ``targets`` [n, T, out]."""
    predictions = np.asarray(predictions, np.float64)
    if is_custom_loss(loss):
        weights = np.ones((*targets.shape[:2], 1))
        totals, sizes = custom_loss_sums(loss, np.broadcast_to(predictions, targets.shape), targets, weights)
        return float(totals.sum() / sizes.sum())
    if loss in ("mse", "masked_mse"):
        return float(np.mean((predictions - targets) ** 2))
    if loss == "masked_l1":
        return float(np.mean(np.abs(predictions - targets)))
    if loss == "bce":
        # Targets are 0 or 1, so only one of the two logarithms of binary cross-entropy contributes.
        return float(-np.mean(np.log(np.where(targets > 0.5, predictions, 1 - predictions))))
    return float(-np.mean(np.sum(targets * np.log(predictions), axis=-1)))
