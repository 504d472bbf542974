"""Quality of a PyTorch network, either during training or loaded from an export."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from kelly_core.arrays import Floats
from kelly_core.data.dataset import Batch, Dataset
from kelly_core.engines.torch_engine import TorchEngine
from kelly_core.errors import DataError, ExportError
from kelly_core.evaluation.evaluate import evaluate
from kelly_core.export.quality_record import QualityRecord, Split
from kelly_core.export.reader import Export
from kelly_core.music.emotion import CODE_SIZE, CODE_VERSION, convert_code
from kelly_core.spec import ModelSpec
from kelly_core.training.backprop import Map
from kelly_core.training.hyperparameters import Hyperparameters
from kelly_core.training.networks import KellyNetwork

_OTHER_DATA = "the file was not trained on this split of these examples: it may have learned some of them"


def evaluate_network(
    network: KellyNetwork, dataset: Dataset, settings: Hyperparameters, parallel_map: Map = map
) -> QualityRecord:
    """Measure a network on the validation examples: each sequence from zero state, stateless networks frame by
    frame.
    """
    device = next(network.parameters()).device
    network.eval()

    @torch.inference_mode()
    def compute(inputs: Tensor) -> Tensor:
        outputs: Tensor = network(inputs.to(device))[0].cpu()
        return outputs

    def predict(batch: Batch) -> Floats:
        inputs = torch.from_numpy(batch.inputs)
        # A stateless network starts each frame from zero: every frame is then a separate sequence.
        frames = inputs.reshape(-1, 1, inputs.shape[-1]) if settings.state == "stateless" else inputs
        parts = list(parallel_map(compute, torch.split(frames, settings.batch_size)))
        outputs: Floats = torch.cat(parts).reshape(*inputs.shape[:2], -1).numpy()
        return outputs

    return evaluate(network.spec, dataset, predict)


def evaluate_export(export: Export, spec: ModelSpec, dataset: Dataset, split: Split) -> QualityRecord:
    """Measure an export with the plugin's inputs: raw features, each sequence from zero state.

    The codes are converted for a file with an earlier version of the emotion code.

    Raises:
        NoSplitError: the dataset has no such split.
        DataError: the dataset is generated, and the file was trained on other examples.
        ExportError: the file does not fit the dataset, or ``TorchEngine`` does not support a layer.
    """
    if (export.in_size, export.out_size) != (dataset.input_size, dataset.output_size):
        raise ExportError(f"does not have the inputs and outputs of {dataset.name}", where=export.path)
    trained_on = export.metadata.get("trained_on")
    known = isinstance(trained_on, dict) and trained_on.get("dataset_hash") == dataset.fingerprint
    if dataset.synthetic and not known:
        raise DataError(
            f"{dataset.name} is missing, and the examples generated in its place differ from the file's training data"
        )
    engine = TorchEngine(export.layers)

    version = export.code_version or CODE_VERSION

    def predict(batch: Batch) -> Floats:
        inputs = dataset.normalizer.invert(batch.inputs)
        if spec.code_inputs == CODE_SIZE:
            inputs[..., :CODE_SIZE] = convert_code(inputs[..., :CODE_SIZE], CODE_VERSION, version)
        outputs = engine.sequences(inputs)
        return convert_code(outputs, version, CODE_VERSION) if spec.code_outputs else outputs

    quality = evaluate(spec, dataset, predict, split)
    if split == "test":
        return quality
    if not known:
        return replace(quality, chose_epoch=None, notes=(*quality.notes, _OTHER_DATA))
    # Earlier versions selected the best epoch on all validation examples.
    judged = isinstance(trained_on, dict) and bool(trained_on.get("judging_examples"))
    return replace(quality, chose_epoch=not judged)
