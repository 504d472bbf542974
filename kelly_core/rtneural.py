"""Any sequential network: PyTorch modules to RTNeural's JSON and back, and an engine in NumPy.

from kelly_core.rtneural import NumpyEngine, from_rtneural, to_rtneural

to_rtneural(nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)), 1, "net.json")
outputs = NumpyEngine("net.json").process(frames)
module = from_rtneural("net.json")
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kelly_core.engines import numpy_engine
from kelly_core.engines.layers import Layer, carries_state, describe_layer
from kelly_core.errors import ExportError
from kelly_core.export.golden import golden_inputs
from kelly_core.export.provenance import keep_other
from kelly_core.export.reader import read_export
from kelly_core.export.writer import build_metadata, write_export

if TYPE_CHECKING:
    from torch import Tensor, nn

    from kelly_core.export.reader import Export

__all__ = ["NumpyEngine", "from_rtneural", "state_dict_of", "to_rtneural"]

MODULES = "modules"
"""Metadata entry: the name of the submodule that holds each layer's weights."""


class NumpyEngine(numpy_engine.NumpyEngine):
    """The network of a file, in NumPy, with state from frame to frame: ``reset()`` and ``process(frames [n, in])``.

    Raises:
        ExportError: the file is missing or violates the format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(read_export(Path(path)).layers)


def to_rtneural(module: nn.Module, input_size: int, path: str | os.PathLike[str], *, keep_former: bool = False) -> bool:
    """Write a sequential PyTorch module as a file that RTNeural's ``json_parser::parseJson`` reads.

    Linear, LSTM, GRU, causal Conv1d (dilation, groups), BatchNorm1d with its running statistics, PReLU, Tanh, ReLU,
    Sigmoid, Softmax and ELU are written; Flatten, Dropout and Identity are left out. A module with a forward of its own
    is written if a trial run shows that it computes its submodules in order.

    Args:
        module: the network; it is left as it is, whatever its mode, type and device.
        input_size: number of values in an input frame.
        path: file to create or replace.
        keep_former: keep an export of other weights that is replaced, as ``<name>.previous.json``.

    Returns:
        True if a former export was kept.

    Raises:
        ExportError: a submodule cannot be expressed (the error names it), or the file cannot be written.
    """
    from kelly_core.export.torch_modules import read_module

    if input_size < 1:
        raise ExportError(f"input_size must be at least 1, but is {input_size}")
    network = read_module(module, input_size)
    weights_hash = _weights_hash(network.layers)
    metadata = build_metadata(
        model_name=Path(path).stem,
        layers=network.layers,
        state="stateful" if any(map(carries_state, network.layers)) else "stateless",
        trained_on={},
        checkpoint=weights_hash,
        metrics={},
        features={},
        golden=golden_inputs(np.zeros(input_size, np.float32), np.ones(input_size, np.float32)),
    )
    kept = keep_former and keep_other(Path(path), weights_hash)
    write_export(Path(path), network.layers, {**metadata, MODULES: network.names})
    return kept


def _weights_hash(layers: Sequence[Layer]) -> str:
    """Hash of a network's layers, which identifies them in the metadata."""
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
    """Return the weights of a file under the names that they had in the module it was written from, else by number."""
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
