"""The five models as data: the only place where a layer size or a model name is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kelly_core.errors import ConfigError, did_you_mean

Activation = Literal["", "tanh", "relu", "sigmoid", "softmax"]
Loss = Literal["mse", "bce", "soft_cross_entropy", "masked_mse", "masked_l1"]
State = Literal["stateful", "stateless"]
LabelScale = Literal["", "1..9", "0..1", "-1..1", "-5..5"]
"""Scale of valence and arousal in a table; "" for one derived from its columns and values."""

LOSS_OUTPUT: dict[Loss, Activation] = {"bce": "sigmoid", "soft_cross_entropy": "softmax"}
"""Output activation that a loss needs; the other losses take any."""


@dataclass(frozen=True)
class Dense:
    """A fully connected layer followed by an activation ("" for none)."""

    in_size: int
    out_size: int
    activation: Activation

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return self.out_size * (self.in_size + 1)


@dataclass(frozen=True)
class Lstm:
    """A one-layer LSTM; gates in PyTorch's order input, forget, cell, output."""

    in_size: int
    out_size: int

    @property
    def parameter_count(self) -> int:
        """PyTorch's count, in which an LSTM has two bias vectors."""
        return 4 * self.out_size * (self.in_size + self.out_size + 2)


Layer = Dense | Lstm


@dataclass(frozen=True)
class ModelSpec:
    """One network of the plugin.

    Attributes:
        name: name of the model.
        layers: its layers, from input to output.
        loss: loss function.
        dataset: corpus that it is trained on.
        learning_rate: rate of Adam if another one than that of [training] is measurably better; see docs/contracts.md.
    """

    name: str
    layers: tuple[Layer, ...]
    loss: Loss
    dataset: str
    learning_rate: float | None = None

    @property
    def file_stem(self) -> str:
        """Name of the model's files without their endings, as the plugin looks for it."""
        return self.name.lower()

    @property
    def input_size(self) -> int:
        """Numbers in one input frame."""
        return self.layers[0].in_size

    @property
    def output_size(self) -> int:
        """Numbers in one output frame."""
        return self.layers[-1].out_size

    @property
    def output_activation(self) -> Activation:
        """Activation of the last layer ("" for an LSTM)."""
        last = self.layers[-1]
        return last.activation if isinstance(last, Dense) else ""

    @property
    def parameter_count(self) -> int:
        """Trainable numbers, by PyTorch's count."""
        return sum(layer.parameter_count for layer in self.layers)

    @property
    def recurrent(self) -> bool:
        """Whether the network carries state from frame to frame."""
        return any(isinstance(layer, Lstm) for layer in self.layers)


MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="EmotionRecognizer",
        layers=(Dense(128, 512, "tanh"), Dense(512, 256, "tanh"), Lstm(256, 128), Dense(128, 64, "tanh")),
        loss="mse",
        dataset="deam",
    ),
    ModelSpec(
        name="MelodyTransformer",
        layers=(Dense(64, 256, "relu"), Lstm(256, 256), Dense(256, 256, "relu"), Dense(256, 128, "sigmoid")),
        loss="bce",
        dataset="lakh_midi",
    ),
    ModelSpec(
        name="HarmonyPredictor",
        layers=(Dense(128, 256, "tanh"), Dense(256, 128, "tanh"), Dense(128, 64, "softmax")),
        loss="soft_cross_entropy",
        dataset="chords",
    ),
    ModelSpec(
        name="DynamicsEngine",
        layers=(Dense(32, 128, "relu"), Dense(128, 64, "relu"), Dense(64, 16, "sigmoid")),
        loss="mse",
        dataset="maestro",
    ),
    ModelSpec(
        name="GroovePredictor",
        layers=(Dense(64, 128, "tanh"), Dense(128, 64, "tanh"), Dense(64, 32, "tanh")),
        loss="masked_mse",
        dataset="groove_midi",
        learning_rate=0.0003,  # At 0.001 the first epoch is the best one, and worse than a constant.
    ),
)

DATASETS: tuple[str, ...] = tuple(spec.dataset for spec in MODELS)


def model_spec(name: str) -> ModelSpec:
    """Find a model by name, whatever its case.

    Raises:
        ConfigError: no model has that name.
    """
    for spec in MODELS:
        if spec.file_stem == name.lower():
            return spec
    raise _no_model(name)


def find_model(text: str) -> ModelSpec:
    """Find a model by its name or the beginning of its name, whatever the case.

    Raises:
        ConfigError: no model's name begins so, or several do.
    """
    found = [spec for spec in MODELS if text and spec.file_stem.startswith(text.lower())]
    if len(found) != 1:
        raise _no_model(text)
    return found[0]


def _no_model(name: str) -> ConfigError:
    names = [spec.name for spec in MODELS]
    return ConfigError(
        f"no model is called {name!r}", hint=did_you_mean(name, names, f"The models are {', '.join(names)}")
    )
