"""Corpora of generated examples whose best possible loss is known, so that one can tell whether training worked."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from kelly_core.data.dataset import Batch, Dataset, Example, Floats, Indices, ReferenceLosses, Standardisation
from kelly_core.data.generators import GENERATORS
from kelly_core.errors import ConfigError
from kelly_core.spec import DATASETS, MODELS, Loss


def create_synthetic(
    name: str,
    *,
    examples: int | None = None,
    validation_examples: int | None = None,
    sequence_length: int = 64,
    seed: int = 0,
) -> SyntheticDataset:
    """Set up generated examples in the place of a corpus.

    Args:
        name: the corpus to stand in for, one of ``spec.DATASETS``.
        examples: training examples in an epoch, all of them new in every epoch; None for a number that trains well.
        validation_examples: held-out examples; None for a number that settles the loss to about 1 % of its range.
        sequence_length: frames in an example of a recurrent network; the others learn from single frames.
        seed: of the generator's matrices and of the fixed examples.

    Raises:
        ConfigError: no corpus has that name, or a size is not positive.
    """
    if name not in DATASETS:
        raise ConfigError(f"no corpus is called {name!r}", hint=f"The corpora are {', '.join(DATASETS)}")
    recurrent = next(spec.recurrent for spec in MODELS if spec.dataset == name)
    sizes = {
        "examples": (2048 if recurrent else 65536) if examples is None else examples,
        "validation_examples": (256 if recurrent else 4096) if validation_examples is None else validation_examples,
        "sequence_length": sequence_length if recurrent else 1,
    }
    for option, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{size} is too few", where=option, hint="Give at least 1")
    return SyntheticDataset(name, seed=seed, **sizes)


class SyntheticDataset(Dataset):
    """A generator in the place of a corpus; ``create_synthetic`` makes one.

    Attributes:
        reference: loss on the validation examples of the best possible predictor and of the best constant one. Both
            are taken on the very targets that validation uses and not in expectation, so chance favours the
            references as much as a network, and a perfect network's excess is 0.
    """

    synthetic = True

    def __init__(self, name: str, examples: int, validation_examples: int, sequence_length: int, seed: int) -> None:
        spec = next(spec for spec in MODELS if spec.dataset == name)
        self.name = name
        self.input_size, self.output_size = spec.input_size, spec.output_size
        self.sequence_length = sequence_length
        self.standardisation = Standardisation.identity(spec.input_size)
        # Validation comes first, so that it stays the same when the epochs grow.
        self.validation = np.arange(validation_examples)
        self.train = np.arange(validation_examples, validation_examples + examples)
        self._seed = seed
        self._generator = GENERATORS[name](self._rng(0))
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
        content = json.dumps([name, examples, settings], sort_keys=True)
        self.fingerprint = hashlib.sha256(content.encode()).hexdigest()
        self.facts = {**settings, "bayes_loss": self.reference.bayes, "prior_loss": self.reference.prior}

    def __len__(self) -> int:
        return len(self.validation) + len(self.train)

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(f"example {index} of {len(self)}")
        example = self.fixed(np.array([index]))
        return Example(
            inputs=example.inputs[0],
            targets=example.targets[0],
            weights=example.weights[0],
            group=f"{self.name}-{index}",
            label_source="synthetic",
            split="validation" if index < len(self.validation) else "train",
        )

    def draw(self, indices: Indices, rng: np.random.Generator) -> Batch:
        """As many new examples as there are indices: nothing of a generated example is worth seeing twice."""
        return _batch(*self._generator.draw(len(indices), self.sequence_length, rng))

    def fixed(self, indices: Indices) -> Batch:
        """The examples that ``__getitem__`` shows; those of the training split are never trained on."""
        inputs, targets = zip(*(self._example(int(index)) for index in indices), strict=True)
        return _batch(np.concatenate(inputs), np.concatenate(targets))

    def best(self, inputs: Floats) -> Floats:
        """What the best possible predictor makes of ``inputs`` [n, T, in]: the expected targets [n, T, out]."""
        return self._generator.best(inputs)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=key))

    def _example(self, index: int) -> tuple[Floats, Floats]:
        """Inputs [1, T, in] and targets [1, T, out] of one fixed example."""
        if index < len(self.validation):
            inputs, targets = self._held_out
            return inputs[index : index + 1], targets[index : index + 1]
        return self._generator.draw(1, self.sequence_length, self._rng(2, index))

    def _reference_losses(self, loss: Loss) -> ReferenceLosses:
        inputs, targets = self._held_out
        expected = self.best(inputs)
        constant = expected.mean(axis=(0, 1), dtype=np.float64)
        return ReferenceLosses(bayes=_mean_loss(loss, expected, targets), prior=_mean_loss(loss, constant, targets))


def _batch(inputs: Floats, targets: Floats) -> Batch:
    return Batch(inputs, targets, np.ones((*targets.shape[:2], 1), np.float32))


def _mean_loss(loss: Loss, predictions: Floats | NDArray[np.float64], targets: Floats) -> float:
    """A network's loss with every weight 1, for ``predictions`` that broadcast to ``targets`` [n, T, out]."""
    predictions = np.asarray(predictions, np.float64)
    if loss in ("mse", "masked_mse"):
        return float(np.mean((predictions - targets) ** 2))
    if loss == "bce":
        return float(-np.mean(np.log(np.where(targets > 0.5, predictions, 1 - predictions))))
    return float(-np.mean(np.sum(targets * np.log(predictions), axis=-1)))
