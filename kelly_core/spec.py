"""Models and their layers as data: the only place that defines layer sizes and model names of the plugin.

Other parts of a model, such as its metrics, are references ``"module:name"`` here, imported when they are used.
Installed packages add models by the entry point group ``kelly.models``; see docs/extending.md. A module that defines a
``ModelSpec`` for that group may import this module and ``corpora`` at its top, but no module that reads ``MODELS``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from kelly_core import corpora
from kelly_core.entry_points import load_entries
from kelly_core.errors import ConfigError, did_you_mean

Activation = Literal["", "tanh", "relu", "sigmoid", "softmax", "elu"]
Loss = Literal["mse", "bce", "soft_cross_entropy", "masked_mse", "masked_l1"]
"""Losses that any model can be trained with; a spec can also reference another function."""
State = Literal["stateful", "stateless"]
LabelScale = Literal["", "1..9", "0..1", "-1..1", "-5..5"]
"""Scale of valence and arousal in a table; "" for one derived from its columns and values."""

LOSS_OUTPUT: dict[str, Activation] = {"bce": "sigmoid", "soft_cross_entropy": "softmax"}
"""Output activation that a loss needs; the other losses accept any."""

ENTRY_POINTS = "kelly.models"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_TAKEN_FILES = frozenset({"sweep"})
"""Stems of the other JSON files in an output folder."""


class _Layer:
    """Base of all layers; subclasses define ``in_size``, ``out_size``, ``parameter_count`` and ``kind``."""

    activation: Activation = ""
    kind = ""

    if TYPE_CHECKING:

        @property
        def in_size(self) -> int:
            """Size of an input frame."""

        @property
        def out_size(self) -> int:
            """Size of an output frame."""

        @property
        def parameter_count(self) -> int:
            """Number of trainable parameters, as PyTorch counts them."""

    @property
    def carries_state(self) -> bool:
        """True if an output depends on earlier frames."""
        return False

    @property
    def label(self) -> str:
        """Type and activation, such as "dense tanh"."""
        return f"{self.kind} {self.activation}".rstrip()

    @property
    def description(self) -> str:
        """Type, activation and sizes, such as "dense tanh 128→512"."""
        return f"{self.label} {self.in_size}→{self.out_size}"

    def problems(self) -> Iterator[str]:
        """Yield a message for each invalid number of the layer."""
        if self.activation not in get_args(Activation):
            yield f"{self.activation!r} is not an activation; there are {', '.join(get_args(Activation)[1:])}"


@dataclass(frozen=True)
class Dense(_Layer):
    """A fully connected layer followed by an activation ("" for none)."""

    in_size: int
    out_size: int
    activation: Activation = ""
    kind = "dense"

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return self.out_size * (self.in_size + 1)


@dataclass(frozen=True)
class _Recurrent(_Layer):
    in_size: int
    out_size: int
    gates = 0

    @property
    def carries_state(self) -> bool:
        """True."""
        return True

    @property
    def parameter_count(self) -> int:
        """PyTorch's count, in which a recurrent layer has two bias vectors."""
        return self.gates * self.out_size * (self.in_size + self.out_size + 2)


@dataclass(frozen=True)
class Lstm(_Recurrent):
    """A one-layer LSTM; gates in PyTorch's order input, forget, cell, output."""

    kind = "lstm"
    gates = 4


@dataclass(frozen=True)
class Gru(_Recurrent):
    """A one-layer GRU; gates in PyTorch's order reset, update, new."""

    kind = "gru"
    gates = 3


@dataclass(frozen=True)
class Conv1d(_Layer):
    """A causal convolution over time, zeros before the first frame, followed by an activation ("" for none)."""

    in_size: int
    out_size: int
    kernel_size: int
    activation: Activation = ""
    dilation: int = 1
    groups: int = 1
    kind = "conv1d"

    @property
    def carries_state(self) -> bool:
        """True if an output depends on earlier frames."""
        return self.kernel_size > 1

    @property
    def parameter_count(self) -> int:
        """Weights and biases."""
        return self.out_size * (self.in_size // self.groups * self.kernel_size + 1)

    @property
    def description(self) -> str:
        """Type, activation, sizes and taps."""
        return f"{super().description} (kernel {self.kernel_size}, dilation {self.dilation}, groups {self.groups})"

    def problems(self) -> Iterator[str]:
        """Yield a message for each invalid number of the layer."""
        yield from super().problems()
        if min(self.kernel_size, self.dilation, self.groups) < 1:
            yield "kernel_size, dilation and groups must be at least 1"
        elif self.in_size % self.groups or self.out_size % self.groups:
            yield f"{self.groups} groups do not divide {self.in_size} inputs and {self.out_size} outputs"


class SameSize:
    """Base of layers with equal input and output size: of the specs here, and of the weights in ``engines.layers``."""

    size: int

    @property
    def in_size(self) -> int:
        """Size of an input frame."""
        return self.size

    @property
    def out_size(self) -> int:
        """Size of an output frame."""
        return self.size


@dataclass(frozen=True)
class _SameSizeLayer(SameSize, _Layer):
    size: int

    @property
    def parameter_count(self) -> int:
        """Zero."""
        return 0

    @property
    def description(self) -> str:
        """Type and size."""
        return f"{self.label} {self.size}"


@dataclass(frozen=True)
class BatchNorm1d(_SameSizeLayer):
    """A batch normalization with affine weights, epsilon 1e-5."""

    kind = "batchnorm"

    @property
    def parameter_count(self) -> int:
        """The affine weights; the statistics are buffers."""
        return 2 * self.size


@dataclass(frozen=True)
class Prelu(_SameSizeLayer):
    """A PReLU with one slope for all values, or one for each."""

    slopes: int = 1
    kind = "prelu"

    @property
    def parameter_count(self) -> int:
        """Number of slopes."""
        return self.slopes

    def problems(self) -> Iterator[str]:
        """Yield a message for each invalid number of the layer."""
        if self.slopes not in (1, self.size):
            yield f"{self.slopes} slopes for {self.size} values; give 1 or {self.size}"


@dataclass(frozen=True)
class ActivationOnly(_SameSizeLayer):
    """An activation in a separate layer, where it cannot be part of a dense or convolutional layer."""

    activation: Activation
    kind = "activation"

    @property
    def description(self) -> str:
        """Type."""
        return self.label


LayerSpec = Dense | Lstm | Gru | Conv1d | BatchNorm1d | Prelu | ActivationOnly


def is_custom_loss(loss: str) -> bool:
    """Return True if a loss is a reference to a function instead of one of ``Loss``."""
    return loss not in get_args(Loss)


@dataclass(frozen=True)
class ModelSpec:
    """One network.

    Attributes:
        name: name of the model: ASCII letters, digits and underscores.
        layers: its layers, from input to output.
        loss: loss function, one of ``Loss`` or a reference to a function, see ``training.losses``.
        dataset: corpus that it is trained on.
        metrics: reference to its metrics and baselines, a subclass of ``evaluation.metrics.base.ModelMetrics``.
        generator: reference to the source of generated examples, a subclass of ``data.synthetic.Generator``;
            "" if nothing can replace a missing corpus.
        code_inputs: number of leading inputs that contain an emotion code, 0 for none.
        code_outputs: number of outputs that are an emotion code, 0 for none.
        plausible_gain: largest plausible reduction of a constant output's loss on real music, as a fraction; None if
            unknown. See ``data.leakage.implausible_gain``.
        learning_rate: Adam's learning rate if the one in [training] is measurably worse (docs/experiments.md).

    Raises:
        ConfigError: the layers do not fit together or RTNeural cannot compute them, or a name or reference is invalid.
    """

    name: str
    layers: tuple[LayerSpec, ...]
    loss: str
    dataset: str
    metrics: str = ""
    generator: str = ""
    code_inputs: int = 0
    code_outputs: int = 0
    plausible_gain: float | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        for problem in _spec_problems(self):
            raise ConfigError(problem, where=f"ModelSpec {self.name!r}")

    @property
    def file_stem(self) -> str:
        """Stem of the model's file names, as the plugin loads them."""
        return self.name.lower()

    @property
    def input_size(self) -> int:
        """Number of values in one input frame."""
        return self.layers[0].in_size

    @property
    def output_size(self) -> int:
        """Number of values in one output frame."""
        return self.layers[-1].out_size

    @property
    def output_activation(self) -> Activation:
        """Activation of the last layer ("" for a recurrent one)."""
        return self.layers[-1].activation

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters, as PyTorch counts them."""
        return sum(layer.parameter_count for layer in self.layers)

    @property
    def recurrent(self) -> bool:
        """True if the network carries state from frame to frame."""
        return any(layer.carries_state for layer in self.layers)

    @property
    def states(self) -> tuple[State, ...]:
        """State contracts that it can be exported with: only LSTMs can start each call from zero state."""
        stays = any(layer.carries_state and not isinstance(layer, Lstm) for layer in self.layers)
        return ("stateful",) if stays else ("stateful", "stateless")

    @property
    def has_code(self) -> bool:
        """True if an emotion code is part of the network's inputs or outputs."""
        return bool(self.code_inputs or self.code_outputs)


def _spec_problems(spec: ModelSpec) -> Iterator[str]:
    """Yield a message for each problem of a spec."""
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        yield "the name must be 1 to 40 ASCII letters, digits and underscores, a letter first"
    if spec.file_stem in _TAKEN_FILES:
        yield f"{spec.file_stem}.json is another file of an output folder; choose another name"
    if not isinstance(spec.layers, tuple) or not spec.layers:
        yield "layers must be a tuple of at least one layer"
    yield from _layer_problems(spec.layers)
    if is_custom_loss(spec.loss) and not _REFERENCE.fullmatch(spec.loss):
        yield f'loss is {spec.loss!r}, but must be one of {", ".join(get_args(Loss))} or "module:function"'
    needed = LOSS_OUTPUT.get(spec.loss)
    if needed not in (None, spec.output_activation):
        yield f"the loss {spec.loss} needs a {needed} output, but the last layer is {spec.layers[-1].description}"
    for entry in ("metrics", "generator"):
        reference = getattr(spec, entry)
        if reference and not _REFERENCE.fullmatch(reference):
            yield f'{entry} is {reference!r}, but must be "module:name"'
    for entry, most in (("code_inputs", spec.input_size), ("code_outputs", spec.output_size)):
        if not 0 <= getattr(spec, entry) <= most:
            yield f"{entry} is {getattr(spec, entry)}, but must be 0 to {most}"


def _layer_problems(layers: Sequence[Any]) -> Iterator[str]:
    before: LayerSpec | None = None
    for number, layer in enumerate(layers, 1):
        if not isinstance(layer, LayerSpec):
            yield f"layer {number} is {type(layer).__name__}, which is not a layer of kelly_core.spec"
            return
        where = f"layer {number}, {layer.kind}"
        sizes = (layer.in_size, layer.out_size)
        if not all(type(size) is int and size > 0 for size in sizes):
            yield f"{where}: sizes {sizes} must be whole numbers above 0"
        yield from (f"{where}: {problem}" for problem in layer.problems())
        if before is not None and layer.in_size != before.out_size:
            yield f"{where} takes {layer.in_size} values, but layer {number - 1} gives {before.out_size}"
        if isinstance(layer, ActivationOnly) and isinstance(before, Dense | Conv1d) and not before.activation:
            yield f"{where}: make it the activation of layer {number - 1}, as RTNeural reads it"
        before = layer


_METRICS = "kelly_core.evaluation.metrics"
_GENERATORS = "kelly_core.data.synthetic"

# Plausible gains: published recognizers explain .51 of valence and .62 of arousal. The gain of melody and harmony is
# two thirds of the reduction on POP909 if the song itself is known (4.185 to 3.24 nats per beat, ln 13.0 to ln 8.4);
# emotion reduces the losses by .01 and .03. The gain of dynamics is the part of the loudness that a human-labeled
# quadrant explains; it explains the other parameters less. The style of a groove reduces its loss by less than .1.
CHAIN_MODELS: tuple[ModelSpec, ...] = (
    ModelSpec(
        name="EmotionRecognizer",
        layers=(Dense(128, 512, "tanh"), Dense(512, 256, "tanh"), Lstm(256, 128), Dense(128, 64, "tanh")),
        loss="mse",
        dataset="deam",
        metrics=f"{_METRICS}.emotion:EmotionMetrics",
        generator=f"{_GENERATORS}:EmotionGenerator",
        code_outputs=64,
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
        loss="masked_l1",  # The deciding metric is a mean absolute error, too.
        dataset="groove_midi",
        metrics=f"{_METRICS}.groove:GrooveMetrics",
        generator=f"{_GENERATORS}:GrooveGenerator",
        code_inputs=64,
        plausible_gain=0.3,
        learning_rate=0.0003,  # At 0.001 the first epoch is the best one, and worse than a constant.
    ),
)
"""The five models of the plugin's chain, in its order."""

MODELS: tuple[ModelSpec, ...]
"""The five models and those of installed packages."""
DATASETS: tuple[str, ...]
"""Main corpora: the corpora that models are trained on."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Return ``MODELS`` and ``DATASETS``: packages are imported at the first use, not when this module is imported,
        because they import this module.
        """
        if name == "MODELS":
            return _registry()[0]
        if name == "DATASETS":
            return tuple(dict.fromkeys(spec.dataset for spec in _registry()[0]))
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _registry() -> tuple[tuple[ModelSpec, ...], tuple[str, ...]]:
    """Return all models, and one sentence for each model of a package that is left out."""
    models, known = list(CHAIN_MODELS), corpora.CORPORA
    found, problems = load_entries(ENTRY_POINTS, ModelSpec)
    for source, spec in found:
        if not spec.metrics:
            problems.append(f"{source}: {spec.name} names no metrics; give a reference to a subclass of ModelMetrics")
        elif spec.file_stem in {each.file_stem for each in models}:
            problems.append(f"{source}: another model is called {spec.name}; rename one of them")
        elif spec.dataset not in known or known[spec.dataset].joins:
            hint = f"Add it by the entry point group {corpora.ENTRY_POINTS}"
            problems.append(f"{source}: {spec.name} is trained on {spec.dataset!r}, which is not a main corpus. {hint}")
        else:
            models.append(spec)
    return tuple(models), tuple(problems)


def package_problems() -> tuple[str, ...]:
    """Return one sentence for each model or corpus of an installed package that is left out."""
    return corpora.package_problems() + _registry()[1]


def model_spec(name: str) -> ModelSpec:
    """Find a model by name; case does not matter.

    Raises:
        ConfigError: no model has that name.
    """
    for spec in _registry()[0]:
        if spec.file_stem == name.lower():
            return spec
    raise _no_model(name)


def find_model(text: str) -> ModelSpec:
    """Find a model by its name or the beginning of its name; case does not matter.

    Raises:
        ConfigError: the names of no model or of several models begin with the text.
    """
    found = [spec for spec in _registry()[0] if text and spec.file_stem.startswith(text.lower())]
    exact = [spec for spec in found if spec.file_stem == text.lower()] or found
    if len(exact) != 1:
        raise _no_model(text)
    return exact[0]


def _no_model(name: str) -> ConfigError:
    names = [spec.name for spec in _registry()[0]]
    return ConfigError(
        f"no model is called {name!r}", hint=did_you_mean(name, names, f"The models are {', '.join(names)}")
    )
