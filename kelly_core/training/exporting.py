"""Export of a checkpoint for the plugin, and the checkpoint's network in PyTorch for parity checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from kelly_core.arrays import Floats
from kelly_core.chain import MARGINAL, NEUTRAL_INPUT
from kelly_core.data.dataset import Normalizer
from kelly_core.engines.layers import DenseWeights, GruWeights, Layer, LstmWeights, describe_layer
from kelly_core.errors import CheckpointError, ExportError
from kelly_core.export.golden import golden_inputs
from kelly_core.export.json_values import Layout
from kelly_core.export.provenance import Provenance, keep_if_different, previous_of, read_provenance
from kelly_core.export.writer import build_metadata, write_export
from kelly_core.music.context import context_metadata
from kelly_core.music.emotion import CODE_SIZE, CODE_VERSION, encode_affect
from kelly_core.spec import ModelSpec
from kelly_core.training.checkpoint import Checkpoint, load_checkpoint
from kelly_core.training.networks import weights_of

_CLOSED_FORGET_BIAS = -100.0
"""Bias that closes a forget gate: the gate's other inputs are 0, and σ(-100) is below the resolution of float32."""


def export_network(checkpoint: Checkpoint, path: Path, layout: Layout = "rtneural") -> None:
    """Write the best weights of a checkpoint as an export.

    The normalization of the inputs is folded into the first layer, so that the plugin feeds raw inputs. LSTMs of a
    stateless network are changed so that they reset at every call.

    Raises:
        ExportError: the weights are not finite, or the file cannot be written.
    """
    layers = exported_layers(checkpoint)
    spec, data, normalizer = checkpoint.spec, checkpoint.dataset, checkpoint.normalizer
    # Earlier versions of the program recorded no version of the emotion code.
    version = int(data.get("code_version", 1))
    metadata = build_metadata(
        model_name=checkpoint.model,
        layers=layers,
        state=checkpoint.state,
        trained_on={
            "dataset": data["name"],
            "synthetic": data["synthetic"],
            **({"made_by_rules": True} if data.get("made_by_rules") is True else {}),
            "train_examples": data["train_examples"],
            "validation_examples": data["validation_examples"],
            "dataset_hash": data["fingerprint"],
            # A checkpoint of an earlier version lacks some of these.
            **{key: data[key] for key in ("judging_examples", "split_source", "tables", "licences") if key in data},
        },
        checkpoint=checkpoint.weights_hash(),
        metrics=checkpoint.metrics,
        quality=checkpoint.quality,
        features=data["facts"] | _describe_inputs(checkpoint, version),
        golden=golden_inputs(
            normalizer.mean.astype(np.float32),
            # An input that the network ignores stays at its mean.
            normalizer.deviation.astype(np.float32),
            # Golden codes have the current version; a network with another version was not trained on them.
            spec.code_inputs if version == CODE_VERSION else 0,
        ),
        code_version=version if spec.has_code else None,
    )
    write_export(path, layers, metadata, layout)


@dataclass(frozen=True)
class Replacement:
    """Result of an export to a path at which another export may exist.

    Attributes:
        written: True if the new export was written.
        text: one sentence on what was replaced or kept, "" if there was no export or it had the same weights.
    """

    written: bool
    text: str = ""


def replace_export(
    checkpoint: Checkpoint, path: Path, layout: Layout = "rtneural", *, keep_best: bool = False
) -> Replacement:
    """Write an export as ``export_network`` does, and keep the export of another training that it replaces.

    The previous export becomes ``<model>.previous.json``. With ``keep_best`` a better one stays in place, and the
    new weights are kept in ``checkpoints/<model>_not_exported.pt``. Losses are compared only if they are
    measured on the same examples; an export of real data is better than one of generated data.

    Returns:
        Whether the file was written, and what was replaced or kept.

    Raises:
        ExportError: as ``export_network``, or the previous export cannot be read or kept.
    """
    previous = read_provenance(path)
    weights_hash, ours = checkpoint.weights_hash(), float(checkpoint.metrics["val_loss"])
    is_other = previous is not None and previous.checkpoint != weights_hash
    if keep_best and previous is not None and is_other and _is_better(previous, ours, checkpoint):
        best = path.parent / "checkpoints" / f"{path.stem}_best.pt"
        if best.is_file():
            # `validate` compares an export with the checkpoint next to it, so both must come from the same training.
            best.replace(best.with_name(f"{path.stem}_not_exported.pt"))
        return Replacement(False, f"{path.name} is kept: {_compare_losses(previous, ours, checkpoint)}")
    kept = keep_if_different(path, previous, weights_hash)
    export_network(checkpoint, path, layout)
    if not kept:
        return Replacement(True)
    comparison = "it cannot be read" if previous is None else _compare_losses(previous, ours, checkpoint)
    return Replacement(
        True, f"{path.name} replaces a previous export: {comparison}. The previous one is now {previous_of(path).name}"
    )


def _is_better(previous: Provenance, ours: float, checkpoint: Checkpoint) -> bool:
    synthetic = bool(checkpoint.dataset["synthetic"])
    if previous.synthetic is not None and previous.synthetic != synthetic:
        return synthetic
    same_data = previous.content_hash == checkpoint.dataset["fingerprint"]
    return same_data and previous.val_loss is not None and previous.val_loss <= ours


def _compare_losses(previous: Provenance, ours: float, checkpoint: Checkpoint) -> str:
    """Describe how the losses of the previous and the new training compare."""
    if previous.synthetic is not None and previous.synthetic != bool(checkpoint.dataset["synthetic"]):
        kinds = ("generated", "real") if previous.synthetic else ("real", "generated")
        return f"trained on {kinds[0]} data, the new one on {kinds[1]}"
    if previous.val_loss is None:
        return "its loss is not recorded"
    losses = f"its loss {previous.val_loss:.4g}, the new one's {ours:.4g}"
    if previous.content_hash != checkpoint.dataset["fingerprint"]:
        return f"{losses}, on other examples, so they cannot be compared"
    return losses + (", which is WORSE" if ours > previous.val_loss else "")


def exported_layers(checkpoint: Checkpoint) -> list[Layer]:
    """Return the best weights as exported: with the normalization and, if stateless, the reset of LSTMs folded in."""
    layers = weights_of(checkpoint.best())
    layers = fold_normalization(layers, checkpoint.normalizer)
    return fold_stateless(layers) if checkpoint.state == "stateless" else layers


def neutral_input(spec: ModelSpec, mean: ArrayLike, version: int = CODE_VERSION) -> list[float]:
    """Return a model's input without information: the training mean of audio inputs, the code of a neutral emotion.

    A model would also interpret a code of zeros as neutral. No emotion has that code, so the training data does not
    include it.

    Args:
        spec: the model.
        mean: mean of each raw input in training, [in]; ignored if the input is a code.
        version: version of the emotion code.
    """
    neutral = np.array(mean, np.float64)
    neutral[: spec.code_inputs] = encode_affect(0.0, 0.0, version=version)[: spec.code_inputs]
    values: list[float] = neutral.tolist()
    return values


def _describe_inputs(checkpoint: Checkpoint, version: int) -> dict[str, Any]:
    """Return the entries of ``features`` for a host: neutral input, marginal and musical context.

    Models with an emotion code as input have the entry for the marginal; models with a musical context also have the
    entry for the descriptors.
    """
    spec, best_constant = checkpoint.spec, checkpoint.dataset.get("best_constant")
    features: dict[str, Any] = {NEUTRAL_INPUT: neutral_input(spec, checkpoint.normalizer.mean, version)}
    # Checkpoints of earlier versions have no best constant.
    if spec.code_inputs and best_constant is not None:
        features[MARGINAL] = best_constant
    # The first half of the code contains no context; a model may take only that half.
    if version == CODE_VERSION and spec.code_inputs == CODE_SIZE:
        features["context"] = context_metadata()
    return features


def fold_normalization(layers: Sequence[Layer], normalizer: Normalizer) -> list[Layer]:
    """Fold the normalization into the first layer, dense or recurrent: W' = W · scale, b' = b - W' · mean.

    Args:
        layers: weights trained on normalized inputs ``(x - mean) * scale``; a first layer of another type must
            take raw inputs.
        normalizer: normalization of each input, [in].

    Raises:
        ExportError: the first layer cannot absorb the normalization.
    """
    first = layers[0]
    if isinstance(first, DenseWeights):
        weight, bias = _folded(first.weight, first.bias, normalizer)
        return [replace(first, weight=weight, bias=bias, use_bias=True), *layers[1:]]
    if isinstance(first, LstmWeights | GruWeights):
        weight, bias = _folded(first.weight_ih, first.bias_ih, normalizer)
        return [replace(first, weight_ih=weight, bias_ih=bias, use_bias=True), *layers[1:]]
    if normalizer.mean.any() or (normalizer.scale != 1).any():
        raise ExportError(f"a first layer {describe_layer(first)} cannot absorb the normalization of its inputs")
    return list(layers)


def _folded(weight: Floats, bias: Floats, normalizer: Normalizer) -> tuple[Floats, Floats]:
    # In double precision: 128 products with raw decibels of size 30 to 80 nearly cancel.
    scaled = weight.astype(np.float64) * normalizer.scale
    return scaled.astype(np.float32), (bias.astype(np.float64) - scaled @ normalizer.mean).astype(np.float32)


def fold_stateless(layers: Sequence[Layer]) -> list[Layer]:
    """Disable the memory of every LSTM, so that each call computes what a first call from zero state computes.

    The recurrent weights and the forget gate's input weights become 0 and the forget gate's bias -100: σ(-100) is
    below float32's resolution, so neither h nor c of the last frame reaches the next.
    """
    return [_forgetful(layer) if isinstance(layer, LstmWeights) else layer for layer in layers]


def _forgetful(lstm: LstmWeights) -> LstmWeights:
    hidden = lstm.out_size
    forget = slice(hidden, 2 * hidden)
    weight_ih, bias_ih, bias_hh = lstm.weight_ih.copy(), lstm.bias_ih.copy(), lstm.bias_hh.copy()
    weight_ih[forget] = 0.0
    bias_ih[forget] = _CLOSED_FORGET_BIAS
    bias_hh[forget] = 0.0
    return LstmWeights(weight_ih, np.zeros_like(lstm.weight_hh), bias_ih, bias_hh)


def run_checkpoint(path: Path, weights_hash: str, inputs: Floats) -> Floats:
    """Return outputs [T, out] of a checkpoint's own network in PyTorch, which the outputs of its export must match.

    Args:
        path: the checkpoint.
        weights_hash: hash of the weights in the export.
        inputs: the plugin's raw inputs [T, in], in sequence from zero state; if stateless, each from zero state.

    Raises:
        CheckpointError: the checkpoint cannot be read, or its weights are not those of the export.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.weights_hash() != weights_hash:
        raise CheckpointError("contains other weights than the export", where=path)
    # In double precision, so that any difference comes from the rounding of the export's engine.
    network = checkpoint.best().double()
    standardized = (torch.from_numpy(inputs.astype(np.float64)) - checkpoint.mean) * checkpoint.scale
    frames = standardized[:, None] if checkpoint.state == "stateless" else standardized[None]
    with torch.inference_mode():
        outputs, _ = network(frames)
    result: Floats = outputs.reshape(len(inputs), -1).float().numpy()
    return result
