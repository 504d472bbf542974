"""The five models as data: the only place where a layer size or a model name is written down.

What else belongs to one model alone is named here as a reference, ``"module:name"``, and imported when it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

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


LayerSpec = Dense | Lstm


@dataclass(frozen=True)
class ModelSpec:
    """One network of the plugin.

    Attributes:
        name: name of the model.
        layers: its layers, from input to output.
        loss: loss function.
        dataset: corpus that it is trained on.
        metrics: reference to its metrics and baselines, a subclass of ``evaluation.metrics.base.ModelMetrics``.
        generator: reference to the source of generated examples, a subclass of ``data.synthetic.generators.Generator``.
        code_inputs: number of leading inputs that hold an emotion code, 0 for a model whose input is audio only.
        plausible_gain: share of the constant answer's loss beyond which no model of real music can save; None if that
            is not known. See ``data.leakage.implausible_gain``.
        learning_rate: rate of Adam if another one than that of [training] is measurably better; see docs/contracts.md.
    """

    name: str
    layers: tuple[LayerSpec, ...]
    loss: Loss
    dataset: str
    metrics: str = ""
    generator: str = ""
    code_inputs: int = 0
    plausible_gain: float | None = None
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
        """True if the network carries state from frame to frame."""
        return any(isinstance(layer, Lstm) for layer in self.layers)


_METRICS = "kelly_core.evaluation.metrics"
_GENERATORS = "kelly_core.data.synthetic.generators"

# Plausible gains: published recognizers explain .51 of valence and .62 of arousal. Melody and harmony have two thirds
# of what knowing the song itself saves on POP909 (4.185 to 3.24 nats a beat, ln 13.0 to ln 8.4); emotion saves .01 and
# .03. Dynamics has what a human quadrant explains of the loudness, which it explains best. Knowing the style of a
# groove saves less than .1.
MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="EmotionRecognizer",
        layers=(Dense(128, 512, "tanh"), Dense(512, 256, "tanh"), Lstm(256, 128), Dense(128, 64, "tanh")),
        loss="mse",
        dataset="deam",
        metrics=f"{_METRICS}.emotion:EmotionMetrics",
        generator=f"{_GENERATORS}:EmotionGenerator",
        plausible_gain=0.8,
    ),
    ModelSpec(
        name="MelodyTransformer",
        layers=(Dense(64, 256, "relu"), Lstm(256, 256), Dense(256, 256, "relu"), Dense(256, 128, "sigmoid")),
        loss="bce",
        dataset="lakh_midi",
        metrics=f"{_METRICS}.melody:MelodyMetrics",
        generator=f"{_GENERATORS}:MelodyGenerator",
        code_inputs=64,
        plausible_gain=0.15,
    ),
    ModelSpec(
        name="HarmonyPredictor",
        layers=(Dense(128, 256, "tanh"), Dense(256, 128, "tanh"), Dense(128, 64, "softmax")),
        loss="soft_cross_entropy",
        dataset="chords",
        metrics=f"{_METRICS}.harmony:HarmonyMetrics",
        generator=f"{_GENERATORS}:HarmonyGenerator",
        code_inputs=64,
        plausible_gain=0.11,
    ),
    ModelSpec(
        name="DynamicsEngine",
        layers=(Dense(32, 128, "relu"), Dense(128, 64, "relu"), Dense(64, 16, "sigmoid")),
        loss="mse",
        dataset="maestro",
        metrics=f"{_METRICS}.dynamics:DynamicsMetrics",
        generator=f"{_GENERATORS}:DynamicsGenerator",
        code_inputs=32,
        plausible_gain=0.54,
    ),
    ModelSpec(
        name="GroovePredictor",
        layers=(Dense(64, 128, "tanh"), Dense(128, 64, "tanh"), Dense(64, 32, "tanh")),
        loss="masked_l1",  # The measure that decides is a mean absolute error, too.
        dataset="groove_midi",
        metrics=f"{_METRICS}.groove:GrooveMetrics",
        generator=f"{_GENERATORS}:GrooveGenerator",
        code_inputs=64,
        plausible_gain=0.3,
        learning_rate=0.0003,  # At 0.001 the first epoch is the best one, and worse than a constant.
    ),
)

DATASETS: tuple[str, ...] = tuple(spec.dataset for spec in MODELS)


def load_reference(reference: str) -> Any:
    """Import what a reference ``"module:name"`` names."""
    module, name = reference.split(":")
    return getattr(import_module(module), name)


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
