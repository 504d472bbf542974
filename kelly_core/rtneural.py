"""Any sequential network: PyTorch modules to RTNeural's JSON and back, and an engine in NumPy.

from kelly_core.rtneural import NumpyEngine, from_rtneural, to_rtneural

to_rtneural(nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)), 1, "net.json")
outputs = NumpyEngine("net.json").process(frames)
module = from_rtneural("net.json")

The command ``export`` also creates a module from the name of its factory, and reads and writes files of weights.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kelly_core.engines import numpy_engine
from kelly_core.engines.layers import Layer, describe_layer, layer_spec
from kelly_core.errors import ExportError
from kelly_core.export.golden import golden_inputs
from kelly_core.export.provenance import keep_if_different, read_provenance
from kelly_core.export.reader import read_export
from kelly_core.export.writer import build_metadata, write_export
from kelly_core.io.atomic import atomic_write, read_error

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kelly_core.export.reader import Export


__all__ = ["NumpyEngine", "from_rtneural", "state_dict_of", "to_rtneural"]

MODULES = "modules"
"""Metadata entry: the name of the submodule that contains each layer's weights."""
SAFETENSORS = ".safetensors"
_NESTED = ("state_dict", "model_state_dict", "model")
"""Entries in which training programs store the weights, next to other data."""
_SHOWN_KEYS = 4


class NumpyEngine(numpy_engine.NumpyEngine):
    """NumPy engine of a file: ``process(frames)`` computes frames [n, in] in sequence, ``reset()`` clears its state.

    Raises:
        ExportError: the file is missing or violates the format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(read_export(Path(path)).layers)


def to_rtneural(
    module: nn.Module, input_size: int, path: str | os.PathLike[str], *, keep_previous: bool = False
) -> bool:
    """Write a sequential PyTorch module as a file that RTNeural's ``json_parser::parseJson`` reads.

    Linear, LSTM, GRU, causal Conv1d (dilation, groups), BatchNorm1d with its running statistics, PReLU, Tanh, ReLU,
    Sigmoid, Softmax and ELU are written; Flatten, Dropout and Identity are left out. A module with its own forward
    is written if a trial run shows that it computes its submodules in order.

    Args:
        module: the network, in any mode, of any type and on any device; it is not changed.
        input_size: number of values in an input frame.
        path: file to create or replace.
        keep_previous: keep an export of other weights that is replaced, as ``<name>.previous.json``.

    Returns:
        True if a previous export was kept.

    Raises:
        ExportError: a submodule cannot be expressed (the error names it), or the file cannot be written.
    """
    from kelly_core.export.torch_modules import read_module

    if input_size < 1:
        raise ExportError(f"input_size must be at least 1, but is {input_size}")
    layers, names = read_module(module, input_size)
    weights_hash = _weights_hash(layers)
    metadata = build_metadata(
        model_name=Path(path).stem,
        layers=layers,
        state="stateful" if any(layer_spec(layer).carries_state for layer in layers) else "stateless",
        trained_on={},
        checkpoint=weights_hash,
        metrics={},
        features={},
        golden=golden_inputs(np.zeros(input_size, np.float32), np.ones(input_size, np.float32)),
    )
    kept = keep_previous and keep_if_different(Path(path), read_provenance(Path(path)), weights_hash)
    write_export(Path(path), layers, {**metadata, MODULES: names})
    return kept


def _weights_hash(layers: Sequence[Layer]) -> str:
    """Return a hash of a network's layers, which identifies them in the metadata."""
    digest = hashlib.blake2b(digest_size=16)
    for layer in layers:
        digest.update(describe_layer(layer).encode())
        for value in vars(layer).values():
            digest.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return digest.hexdigest()


def from_rtneural(path: str | os.PathLike[str]) -> nn.Module:
    """Read a file into a trainable PyTorch module, in eval mode, over frames [N, T, in] → [N, T, out] from zero state.

    Raises:
        ExportError: the file is missing or violates the format.
    """
    from kelly_core.engines.torch_engine import build_module

    return build_module(read_export(Path(path)).layers)


def state_dict_of(export: Export) -> dict[str, Tensor]:
    """Return the weights of a file by their names in the original module, or else by number."""
    from kelly_core.engines.torch_engine import build_module

    names = export.metadata.get(MODULES)
    if (
        not isinstance(names, list)
        or len(names) != len(export.layers)
        or not all(isinstance(name, str) for name in names)
    ):
        return dict(build_module(export.layers).state_dict())
    return {
        f"{name}.{key.partition('.')[2]}" if name else key.partition(".")[2]: tensor
        for name, layer in zip(names, export.layers, strict=True)
        for key, tensor in build_module([layer]).state_dict().items()
    }


def is_factory(source: str) -> bool:
    """Return True if a source is PKG.MODULE:FACTORY and not a path."""
    module, colon, factory = source.partition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    return bool(colon) and dotted and factory.isidentifier() and not Path(source).exists()


def make_module(source: str) -> nn.Module:
    """Import PKG.MODULE, also from the working directory, and return its module FACTORY, or the result of FACTORY().

    Raises:
        ExportError: the name does not exist, the call fails, or the result is not a ``torch.nn.Module``.
    """
    from torch import nn

    module, _, name = source.partition(":")
    # Python adds the folder of a script to sys.path, but not the working folder of a command.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(import_module(module), name)
        network = factory if isinstance(factory, nn.Module) else factory()
    except Exception as error:  # the caller's own code may raise any exception
        problem = f"cannot be created: {type(error).__name__}: {error}"
        raise ExportError(problem, where=source, hint="Name a function without arguments that returns it") from error
    if not isinstance(network, nn.Module):
        raise ExportError(f"returns {type(network).__name__}, not a torch.nn.Module", where=source)
    return network


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict from a .safetensors file or one of ``torch.save`` into a module.

    Raises:
        ExportError: the file cannot be read, or its names and shapes do not match the module.
    """
    weights = _read_safetensors(path) if path.suffix == SAFETENSORS else _read_torch(path)
    wanted = network.state_dict()
    missing, unknown = sorted(wanted.keys() - weights.keys()), sorted(weights.keys() - wanted.keys())
    if missing or unknown:
        parts = [f"{word} {_listed(keys)}" for word, keys in (("lacks", missing), ("has the unknown", unknown)) if keys]
        raise ExportError(f"does not fit the module: it {' and '.join(parts)}", where=path)
    for key, tensor in weights.items():
        if tensor.shape != wanted[key].shape:
            shapes = f"{list(tensor.shape)}, but the module's is {list(wanted[key].shape)}"
            raise ExportError(f"does not fit the module: {key} is {shapes}", where=path)
    network.load_state_dict(weights)


def save_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write a state dict atomically, as .safetensors or with ``torch.save``.

    Raises:
        ExportError: the file cannot be written, or the extra ``safetensors`` is not installed.
    """
    if path.suffix == SAFETENSORS:
        content: bytes = _safetensors().save(weights)
        atomic_write(path, content, error_type=ExportError)
        return
    import torch

    atomic_write(path, lambda stream: torch.save(weights, stream), error_type=ExportError)


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return f"{', '.join(keys[:_SHOWN_KEYS])}{more}"


def _read_torch(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise read_error(path, error, ExportError) from error
    except Exception as error:  # a damaged file can raise nearly any exception
        hint = "Save the weights only: torch.save(module.state_dict(), path)"
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExportError(f"is not a file of weights: {problem}", where=path, hint=hint) from error
    for key in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    return _checked(content, path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    library = _safetensors()
    try:
        return _checked(library.load_file(path), path)
    except OSError as error:
        raise read_error(path, error, ExportError) from error
    except Exception as error:  # the library's own error class is not public
        if type(error).__name__ != "SafetensorError":
            raise
        raise ExportError(f"is not a safetensors file: {error}", where=path) from error


def _checked(content: Any, path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ExportError("does not contain a state dict, that is tensors by name", where=path)
    return dict(content)


def _safetensors() -> Any:
    try:
        return import_module("safetensors.torch")
    except ImportError as error:
        hint = 'Install the extra "safetensors": pip install "kelly-trainer[safetensors]"'
        raise ExportError(f"safetensors is not installed: {error}", hint=hint) from error
