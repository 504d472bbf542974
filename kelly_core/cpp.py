"""Write C++ that computes the frames and runs the five exports, with checks of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.chain import NEUTRAL_INPUT, ChainOutput, ModelChain
from kelly_core.engines.layers import DenseWeights, Layer, LstmWeights, describe_layer
from kelly_core.errors import ExportError
from kelly_core.export.golden import golden_inputs, read_golden
from kelly_core.export.json_values import FormatError
from kelly_core.export.reader import Export, read_export
from kelly_core.io.atomic import atomic_write_all
from kelly_core.music import mel
from kelly_core.music.context import DESCRIPTORS, MEAN_FRAMES, SPREAD, encode_context
from kelly_core.music.emotion import CODE_SIZE, CODE_VERSION, CONTEXT
from kelly_core.spec import CHAIN_MODELS

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = "models"
"""Folder of the JSON files next to the generated code."""
GOLDEN_RATES = (22_050, 44_100, 48_000, 96_000)
_GOLDEN_FRAMES = 2
_ACTIVATIONS = {"tanh": "TanhActivation", "relu": "ReLuActivation", "sigmoid": "SigmoidActivation"}
_ACTIVATIONS |= {"softmax": "SoftmaxActivation", "elu": "ELuActivation"}
_CIRCLE_BEGIN = 48
"""Index of the first complexity entry of the code; the complexity is the mean magnitude of these entries."""


@dataclass
class _Model:
    """Variables of one network for the templates."""

    name: str
    stem: str
    checkpoint: str
    layers: str
    inputs: int
    outputs: int
    golden_frames: int
    weights: str
    shapes: list[dict[str, Any]] = field(default_factory=list)
    types: list[str] = field(default_factory=list)
    compiled_calls: list[str] = field(default_factory=list)
    run_time_calls: list[str] = field(default_factory=list)


def cpp_files(juce: bool) -> list[str]:
    """Return the names of the files that ``write_cpp`` writes, including the exports in ``FOLDER``."""
    names = ["kelly_features.h", "kelly_chain.h", "kelly_golden.h", "kelly_weights.h", "kelly_weights.cpp"]
    names += ["kelly_check.cpp", "CMakeLists.txt", *(["kelly_juce.h"] if juce else [])]
    return names + [f"{FOLDER}/{spec.file_stem}.json" for spec in CHAIN_MODELS]


def write_cpp(source: Path, target: Path, *, juce: bool = False) -> None:
    """Write C++ for the five exports of a folder, and a copy of them.

    ``kelly_features.h`` has the mel front end, ``kelly_chain.h`` the networks for RTNeural and their connections, and
    ``kelly_weights.cpp`` the weights as arrays. ``kelly_check.cpp`` checks all of them against ``kelly_golden.h``.

    Args:
        source: folder with the five exports.
        target: folder for the code; it is created if it is missing.
        juce: also write ``kelly_juce.h``, a loader from JUCE's binary data.

    Raises:
        ExportError: an export is missing or cannot be read, lacks its golden vectors or neutral input, or the files
            cannot be written.
    """
    chain = ModelChain.load(source)
    exports = [read_export(source / f"{spec.file_stem}.json") for spec in CHAIN_MODELS]
    models = [_model(export, spec.name) for export, spec in zip(exports, CHAIN_MODELS, strict=True)]
    values = {
        **_constants(exports),
        "models": models,
        "folder": FOLDER,
        "juce": juce,
        "rates": [(rate, _GOLDEN_FRAMES) for rate in GOLDEN_RATES],
        **_golden(exports, chain),
    }
    contents = {}
    for name in cpp_files(juce):
        path = target / name
        if path.suffix == ".json":
            contents[path] = (source / path.name).read_bytes()
        else:
            contents[path] = _environment().get_template(f"{name}.jinja").render(values).encode()
    (target / FOLDER).mkdir(parents=True, exist_ok=True)
    atomic_write_all(contents, error_type=ExportError)


def golden_signal(sample_rate: int, count: int) -> Floats:
    """Return the signal of the golden frames [count]: a rising tone, a quiet one, and pseudo-random noise."""
    seconds = np.arange(count) / sample_rate
    # x' = a·x + c mod 2³², n steps at once: aⁿ and c·(aⁿ - 1)/(a - 1) from products that wrap around.
    with np.errstate(over="ignore"):
        powers = np.cumprod(np.full(count, 1664525, np.uint32), dtype=np.uint32)
        sums = np.cumsum(np.concatenate([np.ones(1, np.uint32), powers[:-1]]), dtype=np.uint32)
        states = powers + sums * np.uint32(1013904223)
    noise = (states >> np.uint32(8)) / 8388608.0 - 1.0
    tones = 0.3 * np.sin(2 * np.pi * (220 + 400 * seconds) * seconds) + 0.01 * np.sin(2 * np.pi * 3000 * seconds)
    return (tones + 0.001 * noise).astype(np.float32)


def _constants(exports: Sequence[Export]) -> dict[str, Any]:
    emotion, _, harmony, dynamics, _ = exports
    version = int(emotion.metadata.get("code_version", 1))
    descriptors = DESCRIPTORS if version == CODE_VERSION else ()
    return {
        "bands": mel.BANDS,
        "hop_seconds": mel.HOP_SECONDS,
        "hops_per_frame": mel.HOPS_PER_FRAME,
        "reference_window": mel.REFERENCE_WINDOW,
        "reference_rate": mel.REFERENCE_RATE,
        "f_min": mel.F_MIN,
        "f_max": mel.F_MAX,
        "knee_hz": 1000.0,
        "floor": mel.POWER_FLOOR,
        "floor_db": 10 * np.log10(mel.POWER_FLOOR),
        "code_version": version,
        "code_size": CODE_SIZE,
        "harmony_bands": harmony.in_size - CODE_SIZE,
        "dynamics_code_size": dynamics.in_size,
        "context_begin": CONTEXT.start,
        "context_size": len(descriptors),
        "context_spread": SPREAD,
        "context_mean_frames": MEAN_FRAMES,
        "descriptors": descriptors,
        "complexity_begin": _CIRCLE_BEGIN,
        "complexity_end": CODE_SIZE,
        "neutral_frame": _neutral(emotion),
        "neutral_code": _neutral(exports[1]),
        "neutral_bands": _neutral(harmony)[CODE_SIZE:],
    }


def _features(export: Export) -> dict[str, Any]:
    features = export.metadata.get("features")
    return features if isinstance(features, dict) else {}


def _neutral(export: Export) -> list[str]:
    values = _features(export).get(NEUTRAL_INPUT)
    if not isinstance(values, list) or len(values) != export.in_size:
        raise ExportError(f"has no {NEUTRAL_INPUT!r} of {export.in_size} values in its features", where=export.path)
    return [_number(np.float32(value)) for value in values]


def _model(export: Export, name: str) -> _Model:
    model = _Model(
        name=name,
        stem=export.path.stem,
        checkpoint=str(export.metadata.get("checkpoint", ""))[:12],
        layers=", ".join(map(describe_layer, export.layers)),
        inputs=export.in_size,
        outputs=export.out_size,
        golden_frames=len(_golden_of(export)[0]),
        weights=",\n".join(_listed(array) for layer in export.layers for array in _weight_arrays(layer, export)),
    )
    for layer in export.layers:
        _add_layer(model, layer)
    return model


def _add_layer(model: _Model, layer: Layer) -> None:
    sizes = f"{layer.in_size}, {layer.out_size}"
    kind, cpp = ("lstm", "LSTMLayer") if isinstance(layer, LstmWeights) else ("dense", "Dense")
    activation = layer.activation if isinstance(layer, DenseWeights) else ""
    model.shapes.append({"type": kind, "inputs": layer.in_size, "outputs": layer.out_size, "activation": activation})
    model.compiled_calls.append(f"cursor.{kind}(network.get<{len(model.types)}>(), {sizes});")
    model.types.append(f"{cpp}T<float, {sizes}>")
    variable = f"layer{len(model.shapes)}"
    model.run_time_calls += [
        f"auto {variable} = std::make_unique<{cpp}<float>>({sizes});",
        f"cursor.{kind}(*{variable}, {sizes});",
        f"network->addLayer({variable}.release());",
    ]
    if activation:
        model.types.append(f"{_ACTIVATIONS[activation]}T<float, {layer.out_size}>")
        model.run_time_calls.append(
            f"network->addLayer(std::make_unique<{_ACTIVATIONS[activation]}<float>>({layer.out_size}).release());"
        )


def _weight_arrays(layer: Layer, export: Export) -> list[Floats]:
    """Return a layer's arrays in the order in which the generated code reads them."""
    match layer:
        case DenseWeights():
            return [layer.weight, layer.bias]
        case LstmWeights():
            return [layer.weight_ih.T, layer.weight_hh.T, layer.bias_ih + layer.bias_hh]
    raise ExportError(f"has the layer {describe_layer(layer)}, which the templates do not support", where=export.path)


def _golden_of(export: Export) -> tuple[Floats, Floats]:
    try:
        return read_golden(export.metadata.get("golden"), export.in_size, export.out_size)
    except FormatError as error:
        raise ExportError(f"has no golden vectors: {error.text}", where=export.path) from error


def _golden(exports: Sequence[Export], chain: ModelChain) -> dict[str, Any]:
    arrays: dict[str, Floats] = {}
    for rate in GOLDEN_RATES:
        hops = _GOLDEN_FRAMES * mel.HOPS_PER_FRAME - 1
        samples = golden_signal(rate, hops * mel.hop_length(rate) + mel.window_length(rate))
        arrays[f"frames{rate}"] = mel.mel_frames(samples, rate)
    for export, spec in zip(exports, CHAIN_MODELS, strict=True):
        arrays[f"inputs{spec.name}"], arrays[f"outputs{spec.name}"] = _golden_of(export)
    bands = arrays[f"inputs{CHAIN_MODELS[0].name}"]
    # More frames than for single networks: the outputs of a stateful chain must be correct in later frames, too.
    frames = np.concatenate([golden_inputs(bands.mean(axis=0), bands.std(axis=0)), bands])
    arrays["chainMel"] = frames
    arrays |= _chain_arrays("chain", chain.run(frames))
    if chain.takes_context:
        measures, context = _golden_context(len(frames))
        chain.reset()
        arrays |= {"contextMeasures": measures} | _chain_arrays("context", chain.run(frames, context))
    chain.reset()
    arrays |= _chain_arrays("withoutAudio", chain.run_affect([0.0], [0.0]))
    return {"arrays": {name: _listed(array) for name, array in arrays.items()}, "chain_frames": len(frames)}


def _chain_arrays(name: str, outputs: ChainOutput) -> dict[str, Floats]:
    """Return outputs of the chain by their names in the templates."""
    values = {"Code": outputs.code, "Melody": outputs.melody, "Chords": outputs.chords}
    values |= {"Dynamics": outputs.dynamics, "Groove": outputs.groove}
    return {f"{name}{part}": array for part, array in values.items()}


def _golden_context(count: int) -> tuple[Floats, Floats]:
    """Return measures [count, descriptors] from below to above their scales, and the resulting context [count, 8].

    A third of the context is unknown, as defined by ``knowsDescriptor`` in the generated code.
    """
    frames = np.arange(count)
    columns, known = [], {}
    for number, each in enumerate(DESCRIPTORS):
        low, high = each.quantiles[0], each.quantiles[-1]
        # A step of 7, which is coprime to most counts, keeps the descriptors from rising together.
        place = (frames * 7 + 3 * number) % count / max(1, count - 1)
        measure = (low + (1.2 * place - 0.1) * (high - low)).astype(np.float32)
        columns.append(measure)
        known[each.name] = np.where((frames + number) % 3, measure, np.nan)
    return np.stack(columns, axis=1), encode_context(known)


def _listed(array: Floats) -> str:
    """Return the values as C++ literals in lines of a few hundred characters."""
    literals = [f"{_number(value)}f" for value in array.ravel()]
    return ",\n".join(", ".join(literals[start : start + 16]) for start in range(0, len(literals), 16))


def _number(value: np.float32) -> str:
    """Return the shortest decimal that is read as the same float32, with a point or an exponent."""
    text = str(value)
    return text if any(sign in text for sign in ".e") else f"{text}.0"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # The templates are code, not HTML.
    return Environment(
        loader=PackageLoader("kelly_core", "cpp_templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
