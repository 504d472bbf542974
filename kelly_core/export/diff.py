"""Compare two exports of one model: weights, outputs, metrics and metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kelly_core.arrays import Floats
from kelly_core.engines.layers import (
    ActivationLayer,
    BatchNormWeights,
    Conv1dWeights,
    DenseWeights,
    GruWeights,
    Layer,
    LstmWeights,
    PreluWeights,
    describe_layer,
)
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import ExportError
from kelly_core.export.golden import Golden, read_golden
from kelly_core.export.json_values import FormatError
from kelly_core.export.reader import Export

_LONG = 8


@dataclass(frozen=True)
class ArrayDifference:
    """Difference between two arrays: largest absolute and RMS difference, and the RMS of the old array for scale."""

    largest: float
    rms: float
    old_rms: float


@dataclass(frozen=True)
class ExportDiff:
    """Differences between an old and a new export of one model.

    Attributes:
        model: model name.
        weights: difference per layer and array; keys such as "2 lstm 256→128: recurrent weights".
        outputs: difference of both networks' outputs for the golden inputs of "old" and of "new", run in sequence from
            zero state.
        metrics: every metric of either file, including the quality verdict and its metrics, as (old, new); None if a
            file lacks the metric.
        metadata: every other metadata entry that differs, as (old, new); long lists are summarized by length and
            largest difference.
    """

    model: str
    weights: dict[str, ArrayDifference]
    outputs: dict[str, ArrayDifference]
    metrics: dict[str, tuple[Any, Any]]
    metadata: dict[str, tuple[Any, Any]]

    @property
    def same_network(self) -> bool:
        """True if all weights are equal bit for bit."""
        return not any(difference.largest for difference in self.weights.values())


def compare_exports(old: Export, new: Export) -> ExportDiff:
    """Compare two exports of one model.

    Raises:
        ExportError: the exports contain different models or different layers, or a golden vector is invalid.
    """
    _require_same_model(old, new)
    metrics = _pairs(_metrics(old.metadata), _metrics(new.metadata))
    # Metrics, quality and golden vectors are compared separately.
    before, after = ({**export.metadata, "metrics": None, "quality": None, "golden": None} for export in (old, new))
    return ExportDiff(
        model=str(new.metadata.get("model_name", new.path.stem)),
        weights=dict(_weights(old, new)),
        outputs=dict(_outputs(old, new)),
        metrics={path: _brief(*pair) for path, *pair in metrics},
        metadata={path: _brief(one, other) for path, one, other in _pairs(before, after) if one != other},
    )


def _metrics(metadata: dict[str, Any]) -> Any:
    """Return the recorded metrics, with the quality verdict and the model's quality metrics merged in."""
    metrics, quality = metadata.get("metrics", {}), metadata.get("quality")
    if not isinstance(metrics, dict) or not isinstance(quality, dict):
        return metrics
    return metrics | {"verdict": quality.get("verdict"), "quality": quality.get("metrics")}


def _require_same_model(old: Export, new: Export) -> None:
    first, second = old.metadata.get("model_name"), new.metadata.get("model_name")
    if first is not None and second is not None and first != second:
        raise ExportError(f"contains {second}, but {old.path} contains {first}", where=new.path)
    one, other = ([describe_layer(layer) for layer in export.layers] for export in (old, new))
    if one != other:
        found = f"{', '.join(other)}, but {old.path} has {', '.join(one)}"
        raise ExportError(f"has layers {found}; only networks with the same layers can be compared", where=new.path)


def _weights(old: Export, new: Export) -> Iterator[tuple[str, ArrayDifference]]:
    for number, (one, other) in enumerate(zip(old.layers, new.layers, strict=True), 1):
        theirs = _arrays(other)
        for name, array in _arrays(one).items():
            yield f"{number} {describe_layer(one)}: {name}", _difference(array, theirs[name])


def _arrays(layer: Layer) -> dict[str, Floats]:
    """Return the arrays that RTNeural computes with: it uses the sum of an LSTM's two biases."""
    match layer:
        case DenseWeights() | Conv1dWeights():
            return {"weights": layer.weight, "bias": layer.bias}
        case LstmWeights():
            bias = layer.bias_ih + layer.bias_hh
            return {"input weights": layer.weight_ih, "recurrent weights": layer.weight_hh, "bias": bias}
        case GruWeights():
            return {
                "input weights": layer.weight_ih,
                "recurrent weights": layer.weight_hh,
                "input bias": layer.bias_ih,
                "recurrent bias": layer.bias_hh,
            }
        case BatchNormWeights():
            epsilon = np.array([layer.epsilon], np.float32)
            statistics = {"mean": layer.mean, "variance": layer.variance, "epsilon": epsilon}
            return {"gamma": layer.gamma, "beta": layer.beta, **statistics}
        case PreluWeights():
            return {"slopes": np.broadcast_to(layer.slope, layer.size)}
        case ActivationLayer():
            return {}


def _outputs(old: Export, new: Export) -> Iterator[tuple[str, ArrayDifference]]:
    for whose, export in (("old", old), ("new", new)):
        if golden := _golden(export):
            before, after = (NumpyEngine(each.layers).process(golden.inputs) for each in (old, new))
            yield whose, _difference(before, after)


def _golden(export: Export) -> Golden | None:
    record = export.metadata.get("golden")
    try:
        return None if record is None else read_golden(record, export.in_size, export.out_size)
    except FormatError as error:
        raise ExportError(error.text, where=export.path) from error


def _difference(old: Floats, new: Floats) -> ArrayDifference:
    # In double precision, so that the difference of nearly equal weights is exact.
    wide = old.astype(np.float64)
    apart = np.abs(wide - new)
    return ArrayDifference(float(apart.max()), _rms(apart), _rms(wide))


def _rms(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _pairs(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted path, old, new) for every leaf, recursing where both values are objects."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        yield path, old, new
        return
    for key in {**old, **new}:
        yield from _pairs(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))


def _brief(old: Any, new: Any) -> tuple[Any, Any]:
    """Return both values for display; objects and long lists are summarized."""
    shown_old, shown_new = _outline(old), _outline(new)
    if shown_old != shown_new or old == new:
        return shown_old, shown_new
    try:
        return shown_old, f"{shown_new}, largest difference {np.abs(np.subtract(new, old)).max():.3g}"
    except (TypeError, ValueError, OverflowError):  # lists of values that are not numbers, or integers beyond float64
        return shown_old, f"{shown_new}, different values"


def _outline(value: Any) -> Any:
    long = isinstance(value, dict) or (isinstance(value, list) and len(value) > _LONG)
    return (f"{len(value)} entries" if len(value) != 1 else "1 entry") if long else value
