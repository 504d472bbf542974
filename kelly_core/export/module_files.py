"""PyTorch modules by the name of their factory, and their weights in files."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kelly_core.errors import ExportError
from kelly_core.io.atomic import atomic_write, read_error

if TYPE_CHECKING:
    from torch import Tensor, nn

SAFETENSORS = ".safetensors"
_NESTED = ("state_dict", "model_state_dict", "model")
"""Entries in which training programs keep the weights beside other things."""
_SHOWN_KEYS = 4


def is_factory(source: str) -> bool:
    """Return True if a source is PKG.MODULE:FACTORY and not a path."""
    module, colon, factory = source.partition(":")
    dotted = all(part.isidentifier() for part in module.split("."))
    return bool(colon) and dotted and factory.isidentifier() and not Path(source).exists()


def make_module(source: str) -> nn.Module:
    """Import PKG.MODULE, also from the working directory, and return its module FACTORY or what that returns.

    Raises:
        ExportError: there is no such name, it fails, or it is not a ``torch.nn.Module``.
    """
    from torch import nn

    module, _, name = source.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(import_module(module), name)
        network = factory if isinstance(factory, nn.Module) else factory()
    except Exception as error:  # the caller's own code may raise anything
        problem = f"cannot be made: {type(error).__name__}: {error}"
        raise ExportError(problem, where=source, hint="Name a function without arguments that returns it") from error
    if not isinstance(network, nn.Module):
        raise ExportError(f"gives {type(network).__name__}, not a torch.nn.Module", where=source)
    return network


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a state dict from a .safetensors file or one of ``torch.save`` into a module.

    Raises:
        ExportError: the file cannot be read, or its names and shapes are not the module's.
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
        atomic_write(path, lambda stream: stream.write(content), error=ExportError)
        return
    import torch

    atomic_write(path, lambda stream: torch.save(weights, stream), error=ExportError)


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return f"{', '.join(keys[:_SHOWN_KEYS])}{more}"


def _read_torch(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise read_error(path, error, ExportError) from error
    except Exception as error:  # a damaged file can raise nearly anything
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
    except Exception as error:  # the library's own error is not part of its public names
        if type(error).__name__ != "SafetensorError":
            raise
        raise ExportError(f"is not a safetensors file: {error}", where=path) from error


def _checked(content: Any, path: Path) -> dict[str, Tensor]:
    from torch import Tensor

    if not isinstance(content, dict) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise ExportError("does not hold a state dict, that is tensors by name", where=path)
    return dict(content)


def _safetensors() -> Any:
    try:
        return import_module("safetensors.torch")
    except ImportError as error:
        hint = 'Install the extra "safetensors": pip install "kelly-trainer[safetensors]"'
        raise ExportError(f"safetensors is not installed: {error}", hint=hint) from error
