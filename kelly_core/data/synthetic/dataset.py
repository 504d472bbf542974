"""Corpora of generated examples whose best possible loss is known, which shows whether training works."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats, Indices
from kelly_core.data.dataset import Batch, Dataset, Example, ExampleMetadata, Normalizer, ReferenceLosses, own_loss_sums
from kelly_core.data.splits import TRAIN, VALIDATION
from kelly_core.data.synthetic.generators import Generator
from kelly_core.errors import ConfigError, DataError, did_you_mean
from kelly_core.spec import DATASETS, MODELS, ModelSpec, is_own_loss, load_reference

_EPOCH_FRAMES = 32768
"""About a second of training on one core, whichever the network."""
_VALIDATION_FRAMES = 8192
"""Maximum, enough for a standard error of the excess below .004, whichever the network."""

SEQUENCE_LENGTH = 64
"""Frames in an example of a recurrent network."""


def create_synthetic(
    name: str,
    *,
    examples: int | None = None,
    validation_examples: int | None = None,
    sequence_length: int = SEQUENCE_LENGTH,
    seed: int = 0,
) -> SyntheticDataset:
    """Set up generated examples in place of a corpus.

    Args:
        name: the corpus to stand in for, one of ``spec.DATASETS``.
        examples: training examples in an epoch, all of them new in every epoch; None for 32,768 frames of them.
        validation_examples: held-out examples, at least 2; None for as many as ``examples``, at most 8,192 frames.
        sequence_length: frames in an example of a recurrent network; the others learn from single frames.
        seed: of the generator's matrices and of the fixed examples, 0 or more.

    Raises:
        ConfigError: no corpus has that name, or a number is out of range.
        DataError: no model that learns from the corpus names a generator.
    """
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS, f"The corpora are {', '.join(DATASETS)}")
        raise ConfigError(f"no corpus is called {name!r}", hint=hint)
    spec = next((spec for spec in MODELS if spec.dataset == name and spec.generator), None)
    if spec is None:
        raise DataError(f"{name} has no generator, so that no generated examples can stand in for it")
    length = sequence_length if spec.recurrent else 1
    _check_at_least(1, "sequence_length", length)
    examples = max(1, _EPOCH_FRAMES // length) if examples is None else examples
    _check_at_least(1, "examples", examples)
    if validation_examples is None:
        # A short epoch would otherwise be followed by a validation many times as long.
        validation_examples = max(2, min(examples, _VALIDATION_FRAMES // length))
    _check_at_least(2, "validation_examples", validation_examples)
    _check_at_least(0, "seed", seed)
    return SyntheticDataset(spec, examples, validation_examples, length, seed)


class SyntheticDataset(Dataset):
    """A generator in place of a corpus; ``create_synthetic`` makes one.

    Attributes:
        reference: loss on the validation examples of the best possible predictor and of the best constant one. Both
            are taken on the targets that validation uses, not in expectation: luck with the noise then cancels
            in a network's excess, which makes its standard error three times smaller and a perfect network's 0.
    """

    synthetic = True

    def __init__(
        self, spec: ModelSpec, examples: int, validation_examples: int, sequence_length: int, seed: int
    ) -> None:
        self.name = spec.dataset
        self.input_size, self.output_size = spec.input_size, spec.output_size
        self.sequence_length = sequence_length
        self.normalizer = Normalizer.identity(spec.input_size)
        # Validation comes first, so that it stays the same when the epochs grow.
        self.validation = np.arange(validation_examples)
        self.train = np.arange(validation_examples, validation_examples + examples)
        self.test = np.arange(0)
        self.rows = self._origins()
        self._seed = seed
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

    def __len__(self) -> int:
        return len(self.validation) + len(self.train)

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        example = self.eval_batch(np.array([index]))
        return Example(example.inputs[0], example.targets[0], example.weights[0], **self.rows.origin(index))

    def train_batch(self, indices: Indices, rng: np.random.Generator) -> Batch:
        """Return new examples, one per index: repeating a generated example has no benefit."""
        return _batch(*self._generator.draw(len(indices), self.sequence_length, rng))

    def eval_batch(self, indices: Indices) -> Batch:
        """The examples that ``__getitem__`` shows; those of the training split are never trained on."""
        if np.all(indices < len(self.validation)):
            inputs, targets = self._held_out
            return _batch(inputs[indices], targets[indices])
        pairs = zip(*(self._example(int(index)) for index in indices), strict=True)
        return _batch(*(np.concatenate(arrays) for arrays in pairs))

    def best(self, inputs: Floats) -> Floats:
        """Return the best possible outputs for ``inputs`` [n, T, in]: the expected targets [n, T, out]."""
        return self._generator.best(inputs)

    def _origins(self) -> ExampleMetadata:
        count = len(self)
        return ExampleMetadata(
            corpora=np.full(count, self.name, object),
            groups=np.array([f"{self.name}-{index}" for index in range(count)], object),
            sources=np.full(count, "synthetic", object),
            splits=np.where(np.arange(count) < len(self.validation), VALIDATION, TRAIN).astype(object),
        )

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _example(self, index: int) -> tuple[Floats, Floats]:
        """Inputs [1, T, in] and targets [1, T, out] of one fixed example."""
        if index < len(self.validation):
            inputs, targets = self._held_out
            return inputs[index : index + 1], targets[index : index + 1]
        return self._generator.draw(1, self.sequence_length, self._rng(2, index))

    def _reference_losses(self, loss: str) -> ReferenceLosses:
        inputs, targets = self._held_out
        expected = self.best(inputs)
        middle = np.median if loss == "masked_l1" else np.mean
        constant = middle(expected.astype(np.float64), axis=(0, 1))
        return ReferenceLosses(bayes=_mean_loss(loss, expected, targets), prior=_mean_loss(loss, constant, targets))


def _check_at_least(smallest: int, option: str, value: int) -> None:
    if value < smallest:
        raise ConfigError(f"{value} is too small", where=option, hint=f"Give at least {smallest}")


def _batch(inputs: Floats, targets: Floats) -> Batch:
    return Batch(inputs, targets, np.ones((*targets.shape[:2], 1), np.float32))


def _mean_loss(loss: str, predictions: Floats | NDArray[np.float64], targets: Floats) -> float:
    """A network's loss with every weight 1, for ``predictions`` that broadcast to ``targets`` [n, T, out]."""
    predictions = np.asarray(predictions, np.float64)
    if is_own_loss(loss):
        weights = np.ones((*targets.shape[:2], 1))
        totals, sizes = own_loss_sums(loss, np.broadcast_to(predictions, targets.shape), targets, weights)
        return float(totals.sum() / sizes.sum())
    if loss in ("mse", "masked_mse"):
        return float(np.mean((predictions - targets) ** 2))
    if loss == "masked_l1":
        return float(np.mean(np.abs(predictions - targets)))
    if loss == "bce":
        return float(-np.mean(np.log(np.where(targets > 0.5, predictions, 1 - predictions))))
    return float(-np.mean(np.sum(targets * np.log(predictions), axis=-1)))
