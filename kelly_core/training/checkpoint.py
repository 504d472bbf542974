"""Checkpoint of a training: one file with all data for resuming, exporting and reporting."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import zipfile
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, get_origin, get_type_hints

import numpy as np
import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from kelly_core.bounds import Count, Finite
from kelly_core.data.dataset import Dataset, Normalizer
from kelly_core.errors import CheckpointError
from kelly_core.formatting import format_bytes
from kelly_core.io.atomic import atomic_write, open_for_reading, open_regular
from kelly_core.music.emotion import CODE_VERSION
from kelly_core.spec import MODELS, ModelSpec, State, model_spec
from kelly_core.training.networks import KellyNetwork, build_network

FORMAT = 2
MAX_BYTES = 256_000_000
"""Maximum size of a checkpoint in bytes, on disk and inflated."""
_COUNT_LIMIT = 2**31
_NUMBER_LIMIT = 2**63
_DEEPEST = 20
"""Maximum nesting depth of tables and lists in a checkpoint; the quality record has five levels."""
_EXAMPLE = "Name a checkpoint, such as models/checkpoints/groovepredictor_best.pt"


def _not_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("is not a number")
    return value


_LossSoFar = Annotated[float, AfterValidator(_not_nan)]
_Unsigned128 = Annotated[int, Field(ge=0, lt=2**128)]
_PEEKED_BYTES = 256


@dataclass(frozen=True)
class Checkpoint:
    """State of a training after a complete epoch, made of tensors, numbers, texts, lists and tables only.

    The names of the fields are the keys of the file.

    Attributes:
        model: name of the spec.
        epoch: complete epochs.
        network: weights after that epoch.
        best_network: weights of the epoch with the lowest validation loss so far.
        optimiser: state of Adam.
        stopping: fields of ``EarlyStopping``.
        history: one row per epoch.
        random: states of all random generators.
        settings: fields of ``Hyperparameters``.
        dataset: name, whether synthetic, fingerprint, example counts and metadata.
        mean, scale: normalization of the inputs, [in].
        metrics: metrics of the best weights.
        rollbacks: number of automatic rollbacks to the best weights after a divergence.
        quality: ``QualityRecord`` of the best weights as JSON values; empty until the training has ended.
        average: moving mean of the weights over the epochs; empty if it is not computed, and in older files.
    """

    model: str
    epoch: int
    network: dict[str, Tensor]
    best_network: dict[str, Tensor]
    optimiser: dict[str, Any]
    stopping: dict[str, Any]
    history: list[dict[str, Any]]
    random: dict[str, Any]
    settings: dict[str, Any]
    dataset: dict[str, Any]
    mean: Tensor
    scale: Tensor
    metrics: dict[str, Any]
    rollbacks: int
    quality: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)

    @property
    def spec(self) -> ModelSpec:
        """Spec of the model."""
        return model_spec(self.model)

    @property
    def state(self) -> State:
        """State contract: "stateful" if the plugin carries a state from call to call, else "stateless"."""
        state: State = self.settings["state"] if self.spec.recurrent else "stateless"
        return state

    @property
    def normalizer(self) -> Normalizer:
        """Normalization of the raw inputs."""
        return Normalizer(self.mean.double().numpy(), self.scale.double().numpy())

    def weights_hash(self) -> str:
        """Hash of the best weights, which identifies them in an export's metadata."""
        digest = hashlib.blake2b(digest_size=16)
        # Sorted, because the hash must not depend on the order of a file's entries.
        for name, tensor in sorted(self.best_network.items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def best(self) -> KellyNetwork:
        """Return a network with the best weights, on the CPU."""
        network = build_network(self.spec, seed=0)
        network.load_state_dict(self.best_network)
        return network.eval()


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """Return the entries of ``Checkpoint.dataset``."""
    return {
        "name": dataset.name,
        "synthetic": dataset.synthetic,
        "made_by_rules": dataset.made_by_rules,
        "fingerprint": dataset.fingerprint,
        "train_examples": len(dataset.train),
        "validation_examples": len(dataset.validation),
        "judging_examples": 0 if dataset.judging is None else len(dataset.judging),
        "split_source": dataset.split_source,
        "tables": list(dataset.tables),
        "licences": dict(dataset.licenses),
        "facts": dataset.metadata,
        "code_version": CODE_VERSION,
    }


def random_states(rng: np.random.Generator) -> dict[str, Any]:
    """Return the states of the training's generator and of PyTorch's on all devices."""
    # A step may draw from any of them; if one were missing, a resumed training would differ from an uninterrupted one.
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"numpy": rng.bit_generator.state, "torch": torch.get_rng_state(), "cuda": cuda}


def restore_random_states(states: dict[str, Any], rng: np.random.Generator, device: torch.device) -> None:
    """Set all generators to the states of ``random_states``; GPU generators only if the training runs on a GPU."""
    rng.bit_generator.state = states["numpy"]
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically; the previous file stays until the new one is complete.

    Raises:
        CheckpointError: the file cannot be written.
    """
    content = {"format": FORMAT} | {field.name: getattr(checkpoint, field.name) for field in fields(Checkpoint)}
    # Serialized in memory first: if the disk is full, torch raises its own error without the system's reason.
    buffer = BytesIO()
    torch.save(content, buffer)
    atomic_write(path, buffer.getbuffer(), error_type=CheckpointError)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; only data is loaded, never code.

    Raises:
        CheckpointError: the file is missing, too large, damaged, of a newer version, or of another network.
    """
    try:
        return _parse(_read(path), path)
    except _CorruptedError as error:
        raise CheckpointError(f"is corrupted: {error}", where=path) from error


class _CorruptedError(Exception):
    """A value of a checkpoint is wrong; ``load_checkpoint`` adds the path."""


def _parse(content: dict[str, Any], path: Path) -> Checkpoint:
    """Return the checkpoint with the content of a file, after checking every value."""
    version = content.get("format")
    # Check the type first: the value may be a tensor, and comparing a tensor yields no single truth value.
    if type(version) is not int or version != FORMAT:
        shown = repr(version) if version is None or isinstance(version, int) else type(version).__name__
        hint = "Use the version of kelly-core that wrote it"
        raise CheckpointError(f"is a checkpoint of format {shown}, not {FORMAT}", where=path, hint=hint)
    # An older file may lack the fields that have a default.
    required = [field.name for field in fields(Checkpoint) if field.default_factory is MISSING or field.name in content]
    try:
        checkpoint = Checkpoint(**{name: content[name] for name in required})
    except KeyError as error:
        raise CheckpointError(f"contains no {error.args[0]!r}", where=path) from error
    _check_kinds(checkpoint)
    _check_network(checkpoint, path)
    _check_inputs(checkpoint)
    _check_optimizer(checkpoint)
    _check_resumed_state(checkpoint)
    return checkpoint


def _read(path: Path) -> dict[str, Any]:
    try:
        with open_for_reading(path, CheckpointError, _EXAMPLE) as file:
            # This is the size of the open file; the path may point to another file by now.
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise CheckpointError(f"is larger than {format_bytes(MAX_BYTES)}", where=path)
            # A few kilobytes can inflate to gigabytes, so sizes are compared before torch reads anything.
            _check_archive(file, path)
            file.seek(0)
            # weights_only: unpickling anything but tensors and plain data could run code.
            content = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise _not_a_checkpoint(path) from error
    if not isinstance(content, dict):
        raise CheckpointError("is not a checkpoint of kelly-core", where=path)
    if any(tensor.layout != torch.strided for tensor in _tensors(content)):
        raise _CorruptedError("it has a sparse tensor")
    return content


def _tensors(value: object, depth: int = 0) -> Iterator[Tensor]:
    """Yield tensors in nested tables and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple) and depth < _DEEPEST:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part, depth + 1)


def _not_a_checkpoint(path: Path) -> CheckpointError:
    """Return the error for a file that PyTorch cannot read; it names an export that was passed by mistake."""
    with open_regular(path) as file:
        start = file.read(_PEEKED_BYTES).lstrip()
    if not start.startswith(b"{"):
        return CheckpointError("is corrupted or not a checkpoint", where=path)
    checkpoint = path.parent / "checkpoints" / f"{path.stem}_best.pt"
    name = checkpoint if checkpoint.exists() else Path("FOLDER", "checkpoints", "MODEL_best.pt")
    hint = f"An export is made from a checkpoint; name the checkpoint: {name}"
    return CheckpointError("is JSON, such as an export, not a checkpoint", where=path, hint=hint)


def _check_archive(file: BinaryIO, path: Path) -> None:
    """Check sizes before anything is inflated, then checksums; zipfile inflates at most the declared size."""
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
            raise CheckpointError(f"inflates to more than {format_bytes(MAX_BYTES)}", where=path)
        if archive.testzip() is not None:
            raise zipfile.BadZipFile("a checksum is wrong")


_KINDS: dict[str, type] = {name: get_origin(hint) or hint for name, hint in get_type_hints(Checkpoint).items()}
_DATASET_KINDS: dict[str, type] = {
    "name": str,
    "synthetic": bool,
    "fingerprint": str,
    "train_examples": int,
    "validation_examples": int,
    "facts": dict,
}


def _check_kinds(checkpoint: Checkpoint) -> None:
    """Raise an error unless every field, every entry of ``dataset`` and every row has the expected type."""
    values = {name: getattr(checkpoint, name) for name in _KINDS}
    _check_table(values, _KINDS, "")
    _check_table(checkpoint.dataset, _DATASET_KINDS, "dataset.")
    # A file can contain integers of any size, and a resumed training continues both counts.
    for name in ("epoch", "rollbacks"):
        if not 0 <= values[name] < _COUNT_LIMIT:
            raise _CorruptedError(f"`{name}` is outside 0 to {_COUNT_LIMIT - 1}")
    if not isinstance(checkpoint.settings.get("epochs"), int):
        raise _CorruptedError("`settings.epochs` is not a whole number")
    if checkpoint.settings.get("state") not in ("stateful", "stateless"):
        raise _CorruptedError("`settings.state` is neither stateful nor stateless")
    for name in ("settings", "dataset", "history", "quality"):
        _check_plain(values[name], name)
    for number, row in enumerate(checkpoint.history):
        _check_row(row, f"history[{number}]")


def _check_row(row: object, name: str) -> None:
    """Raise an error unless a row of the history contains numbers, finite losses and a count of epochs."""
    numbers = row if isinstance(row, dict) else {}
    losses = [numbers.get(loss) for loss in ("train_loss", "val_loss")]
    if not all(isinstance(loss, float) and math.isfinite(loss) for loss in losses):
        raise _CorruptedError(f"`{name}` has no finite losses")
    for column, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _CorruptedError(f"`{name}.{column}` is {type(value).__name__}, expected a number")
    if not isinstance(numbers.get("epoch", 1), int) or not 0 <= numbers.get("epoch", 1) < _COUNT_LIMIT:
        raise _CorruptedError(f"`{name}.epoch` is not a whole number from 0 to {_COUNT_LIMIT - 1}")


def _check_plain(value: object, name: str, depth: int = 0) -> None:
    """Raise an error unless a value consists of tables, lists, text and numbers, as in JSON."""
    if isinstance(value, dict | list | tuple) and depth < _DEEPEST:
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in parts:
            _check_plain(part, f"{name}.{key}" if isinstance(key, str) else f"{name}[{key}]", depth + 1)
    elif isinstance(value, int) and abs(value) >= _NUMBER_LIMIT:
        raise _CorruptedError(f"`{name}` is beyond 2^63")
    elif value is not None and not isinstance(value, str | int | float):
        raise _CorruptedError(f"`{name}` is {type(value).__name__}, expected a number, text, a list or a table")


def _check_table(values: dict[str, Any], kinds: dict[str, type], prefix: str) -> None:
    for name, kind in kinds.items():
        value = values.get(name)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise _CorruptedError(f"`{prefix}{name}` is {type(value).__name__}, expected {kind.__name__}")


def _check_inputs(checkpoint: Checkpoint) -> None:
    """Raise an error unless the standardization fits the inputs and all weights are float32 tensors."""
    size = checkpoint.spec.input_size
    for name in ("mean", "scale"):
        tensor = getattr(checkpoint, name)
        if tensor.shape != (size,):
            found = tensor.numel() if tensor.ndim == 1 else f"shape {list(tensor.shape)}"
            raise _CorruptedError(f"`{name}` has {found} entries, expected {size}")
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise _CorruptedError(f"`{name}` contains values that are not finite numbers")
    for field_name in ("network", "best_network", "average"):
        for name, tensor in getattr(checkpoint, field_name).items():
            # Batch normalization counts batches in an integer.
            kind = torch.int64 if name.endswith(".num_batches_tracked") else torch.float32
            if not isinstance(tensor, Tensor) or tensor.dtype != kind:
                raise _CorruptedError(f"`{field_name}.{name}` is not a tensor of {kind}")
            if not bool(torch.isfinite(tensor).all()):
                raise _CorruptedError(f"`{field_name}.{name}` contains values that are not finite numbers")


def _check_optimizer(checkpoint: Checkpoint) -> None:
    """Raise an error unless the moments of Adam are finite and fit the weights."""
    size = checkpoint.spec.parameter_count
    for name, shape in (("mean", (size,)), ("square", (size,)), ("steps", ())):
        tensor = checkpoint.optimiser.get(name)
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.float32 or tensor.shape != shape:
            found = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise _CorruptedError(f"`optimiser.{name}` is {found}, expected float32 of shape {list(shape)}")
        if not bool(torch.isfinite(tensor).all()) or (name != "mean" and bool((tensor < 0).any())):
            raise _CorruptedError(f"`optimiser.{name}` contains values that are not finite or below 0")
    rate = checkpoint.optimiser.get("learning_rate")
    if not isinstance(rate, float) or not 0 < rate < math.inf:
        raise _CorruptedError("`optimiser.learning_rate` is not a finite number above 0")


class _Stopping(BaseModel):
    """Fields of ``EarlyStopping``; the losses are infinite before the first validated epoch."""

    model_config = ConfigDict(extra="forbid", strict=True)

    patience: Count
    min_delta: Finite
    best_loss: _LossSoFar
    best_epoch: Count
    reference_loss: _LossSoFar
    waited: Count


class _NumpyRandom(BaseModel):
    """State of NumPy's generator PCG64."""

    model_config = ConfigDict(extra="forbid", strict=True)

    bit_generator: Literal["PCG64"]
    state: dict[Literal["state", "inc"], _Unsigned128] = Field(min_length=2)
    has_uint32: Literal[0, 1]
    uinteger: int = Field(ge=0, lt=2**32)


class _Random(BaseModel):
    """States of all random generators."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)

    numpy: _NumpyRandom
    torch: Tensor
    cuda: list[Tensor]


class _ResumedState(BaseModel):
    """Parts of a checkpoint that only a resumed training reads."""

    model_config = ConfigDict(strict=True)

    stopping: _Stopping
    random: _Random
    metrics: dict[str, _LossSoFar | Count]


def _check_resumed_state(checkpoint: Checkpoint) -> None:
    fields = {name: getattr(checkpoint, name) for name in ("stopping", "random", "metrics")}
    try:
        state = _ResumedState.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _CorruptedError(f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}") from error
    # PyTorch rejects a state of another length, but only when the training sets it.
    if state.random.torch.dtype != torch.uint8 or state.random.torch.shape != torch.get_rng_state().shape:
        raise _CorruptedError("`random.torch` is not a state of PyTorch's generator")
    if not {"best_epoch", "val_loss"} <= checkpoint.metrics.keys():
        raise _CorruptedError("`metrics` lacks `best_epoch` or `val_loss`")


def _check_network(checkpoint: Checkpoint, path: Path) -> None:
    if checkpoint.model not in {spec.name for spec in MODELS}:
        raise CheckpointError(f"is of an unknown model {checkpoint.model!r}", where=path)
    # Tensors on the meta device have shapes but use no memory.
    with torch.device("meta"):
        wanted = _shapes(KellyNetwork(checkpoint.spec).state_dict())
    for state in (checkpoint.network, checkpoint.best_network, *filter(None, [checkpoint.average])):
        if _shapes(state) != wanted:
            hint = "It was written for another architecture"
            raise CheckpointError(f"does not fit {checkpoint.model}", where=path, hint=hint)


def _shapes(state: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a network's state; other values are left out."""
    if not isinstance(state, dict):
        return {}
    return {name: tuple(tensor.shape) for name, tensor in state.items() if isinstance(tensor, Tensor)}
