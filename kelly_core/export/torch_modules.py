"""Read the layers of a sequential PyTorch module, and reject modules that RTNeural cannot compute."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

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
)
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.engines.torch_engine import FrameSequential
from kelly_core.errors import ExportError

_DROPPED = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.AlphaDropout, nn.Flatten)
"""Modules that change nothing in eval mode and frame by frame."""

_ACTIVATIONS = {nn.Tanh: "tanh", nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
_LAYERS = (nn.Linear, nn.Conv1d, nn.LSTM, nn.GRU, nn.BatchNorm1d, nn.PReLU, nn.Softmax, nn.ELU, *_ACTIVATIONS)
_CHAINS = (nn.Sequential, FrameSequential)
_PROBE_FRAMES = 37
"""Frames of a trial run in addition to those that a convolution needs; the number is unlikely to be a layer's size."""
_TRIAL_TOLERANCE = 1e-4
_KNOWN = (
    "Linear, LSTM, GRU, Conv1d, BatchNorm1d, PReLU, Tanh, ReLU, Sigmoid, Softmax, ELU, Flatten, Dropout, Identity and"
    " Sequential"
)


def read_module(module: nn.Module, input_size: int) -> tuple[list[Layer], list[str]]:
    """Read a module's layers, in eval mode, as they run frame by frame.

    Return them, and for each the name of the submodule that contains its weights ("" for the module itself).

    A ``nn.Sequential`` is read by its definition. Any other module with submodules is assumed to be a chain of them in
    the order of their registration, and a trial run must show that its ``forward`` computes exactly that.

    Raises:
        ExportError: a submodule cannot be expressed; the error states its name and the reason.
    """
    reader = _Reader(input_size)
    reader.read(module, "")
    reader.finish("")
    if not reader.layers:
        _refuse(module, "", "it has no layer that computes anything")
    return reader.layers, reader.names


def input_size_of(module: nn.Module) -> int | None:
    """Return the input size of the first submodule that defines one; None if no submodule does."""
    for child in module.modules():
        for name in ("in_features", "input_size", "in_channels", "num_features"):
            if isinstance(size := getattr(child, name, None), int):
                return size
    return None


@dataclass
class _Reader:
    """Layers read so far, the input size of the next one, and the zeros that a pad module has added before it."""

    size: int
    layers: list[Layer] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    padding: int = 0

    def read(self, module: nn.Module, name: str, *, in_custom: bool = False) -> None:
        """Append the layers of a module and its submodules; ``in_custom``: a trial run will check their order."""
        kind = type(module)
        if kind in _CHAINS or (in_custom and kind in (nn.ModuleList, nn.ModuleDict)):
            for child, submodule in _children(module, name):
                self.read(submodule, child, in_custom=in_custom)
        elif kind in (nn.ConstantPad1d, nn.ZeroPad1d):
            self._read_pad(module, name)
        elif kind in _DROPPED:
            return
        elif kind in _LAYERS and not (module._forward_hooks or module._forward_pre_hooks):
            self._append(module, name)
        elif isinstance(module, _LAYERS) or any(True for _ in _children(module, name)):
            self._read_custom(module, name)
        else:
            _refuse(module, name, "RTNeural has no such layer", f"Known modules are {_KNOWN}")

    def finish(self, name: str) -> None:
        """Raise an error if no convolution follows the padding."""
        if self.padding:
            raise ExportError("padding must be followed by a Conv1d", where=name or "module")

    def _append(self, module: nn.Module, name: str) -> None:
        layer = read_layer(module, name, self.size)
        if isinstance(layer, Conv1dWeights):
            if self.padding not in (0, layer.history):
                _refuse(
                    module,
                    name,
                    f"{self.padding} zeros before it, but causal padding is (kernel - 1) · dilation = {layer.history}",
                )
            self.padding = 0
        self.finish(name)
        if layer.in_size != self.size:
            _refuse(module, name, f"it takes {layer.in_size} values per frame, but gets {self.size}")
        previous = self.layers[-1] if self.layers else None
        # In RTNeural's format the activation belongs to the dense or convolutional layer before it.
        if (
            isinstance(layer, ActivationLayer)
            and isinstance(previous, DenseWeights | Conv1dWeights)
            and not previous.activation
        ):
            self.layers[-1] = replace(previous, activation=layer.activation)
            return
        self.layers.append(layer)
        self.names.append(name)
        self.size = layer.out_size

    def _read_pad(self, module: Any, name: str) -> None:
        left, right = module.padding
        if right or getattr(module, "value", 0.0) != 0.0 or left < 0:
            _refuse(module, name, "only zeros before the first frame can be expressed", "Pad (left, 0) with 0")
        self.padding += left

    def _read_custom(self, module: nn.Module, name: str) -> None:
        """Read a module with its own forward or with hooks, and check with a trial run that it computes a chain."""
        inner = _Reader(self.size, padding=self.padding)
        if isinstance(module, _LAYERS):
            inner._append(module, name)
        else:
            if module._parameters:
                own = ", ".join(module._parameters)
                _refuse(module, name, f"it has its own parameters ({own}), which belong to no layer of RTNeural")
            for child, submodule in _children(module, name):
                inner.read(submodule, child, in_custom=True)
            inner.finish(name)
        if inner.layers:
            _check_by_trial(module, name, self.size, inner.layers)
        self.layers += inner.layers
        self.names += inner.names
        self.size, self.padding = inner.size, 0


def _children(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield submodules with their full names; unlike ``named_children``, also those that occur twice."""
    for key, child in module._modules.items():
        if child is not None:
            yield f"{name}.{key}" if name else key, child


def _linear(module: nn.Linear, name: str) -> Layer:
    weight = _array(module, name, "weight")
    bias, use_bias = _bias(module, name)
    return DenseWeights(weight, bias, "", use_bias)


def _conv1d(module: nn.Conv1d, name: str) -> Layer:
    if module.stride != (1,):
        _refuse(module, name, f"stride {module.stride[0]}: RTNeural computes an output for every frame")
    causal = module.padding in ("valid", (0,)) or (module.padding == "same" and module.kernel_size == (1,))
    if not causal:
        hint = "Put nn.ConstantPad1d(((kernel - 1) * dilation, 0), 0.0) before a convolution without padding"
        _refuse(module, name, f"padding {module.padding!r} also uses later frames", hint)
    weight = _array(module, name, "weight")
    bias, use_bias = _bias(module, name)
    return Conv1dWeights(weight, bias, "", module.dilation[0], module.groups, use_bias)


def _recurrent(module: nn.LSTM | nn.GRU, name: str) -> Layer:
    if module.bidirectional:
        _refuse(module, name, "bidirectional: later frames are not known in real time")
    if module.num_layers > 1:
        hint = f"Split it into {module.num_layers} modules of one layer each"
        _refuse(module, name, f"{module.num_layers} layers in one module: RTNeural has one layer each", hint)
    if module.proj_size:
        _refuse(module, name, f"a projection to {module.proj_size}: RTNeural has none")
    weights = [_array(module, name, f"{part}_l0") for part in ("weight_ih", "weight_hh")]
    zeros = np.zeros(len(weights[0]), np.float32)
    biases = [_array(module, name, f"{part}_l0") if module.bias else zeros for part in ("bias_ih", "bias_hh")]
    layer = LstmWeights if isinstance(module, nn.LSTM) else GruWeights
    return layer(weights[0], weights[1], biases[0], biases[1], use_bias=bool(module.bias))


def _batchnorm(module: nn.BatchNorm1d, name: str) -> Layer:
    if module.running_mean is None:
        _refuse(module, name, "it has no running statistics, so its output depends on the batch")
    mean, variance = _array(module, name, "running_mean"), _array(module, name, "running_var")
    gamma, beta = np.ones_like(mean), np.zeros_like(mean)
    if module.affine:
        gamma, beta = _array(module, name, "weight"), _array(module, name, "bias")
    return BatchNormWeights(gamma, beta, mean, variance, float(module.eps), bool(module.affine))


def _prelu(module: nn.PReLU, name: str, size: int) -> Layer:
    slope = _array(module, name, "weight")
    if slope.size not in (1, size):
        _refuse(
            module, name, f"it has {slope.size} slopes, but gets {size} values per frame; 1 or {size} can be expressed"
        )
    return PreluWeights(slope, size)


def _softmax_or_elu(module: nn.Softmax | nn.ELU, name: str, size: int) -> Layer:
    if isinstance(module, nn.ELU):
        if module.alpha != 1.0:
            _refuse(module, name, f"alpha is {module.alpha:g}, but RTNeural's format has no alpha and takes 1")
        return ActivationLayer("elu", size)
    if module.dim not in (-1, 1, 2):
        _refuse(module, name, f"dim {module.dim} is not the values of a frame", "Use dim=-1")
    return ActivationLayer("softmax", size)


def read_layer(module: nn.Module, name: str, size: int) -> Layer:
    """Return the layer for a module of a type in ``_LAYERS`` with ``size`` input values per frame.

    Raises:
        ExportError: RTNeural has no such layer, or a value is not finite; the error names the submodule ``name``.
    """
    match module:
        case nn.Linear():
            return _linear(module, name)
        case nn.Conv1d():
            return _conv1d(module, name)
        case nn.LSTM() | nn.GRU():
            return _recurrent(module, name)
        case nn.BatchNorm1d():
            return _batchnorm(module, name)
        case nn.PReLU():
            return _prelu(module, name, size)
        case nn.Softmax() | nn.ELU():
            return _softmax_or_elu(module, name, size)
    return ActivationLayer(next(word for kind, word in _ACTIVATIONS.items() if isinstance(module, kind)), size)


def _bias(module: nn.Linear | nn.Conv1d, name: str) -> tuple[Floats, bool]:
    """Return a layer's bias, zero if it has none, and whether it has one."""
    if module.bias is None:
        return np.zeros(module.weight.shape[0], np.float32), False
    return _array(module, name, "bias"), True


def _array(module: nn.Module, name: str, key: str) -> Floats:
    tensor = getattr(module, key)
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer) or tensor.is_meta:
        _refuse(module, name, f"its {key} has no values yet", "Load weights, or run it once")
    array: Floats = tensor.detach().cpu().float().numpy().copy()
    if not np.isfinite(array).all():
        _refuse(module, name, f"its {key} contains values that are not finite as float32")
    return array


def _check_by_trial(module: nn.Module, name: str, in_size: int, layers: list[Layer]) -> None:
    """Raise an error unless a module's forward computes its layers in order."""
    # Convolutions without padding return fewer frames; enough must be left to compare.
    history = sum(layer.history for layer in layers if isinstance(layer, Conv1dWeights))
    frames = np.random.default_rng(0).standard_normal((_PROBE_FRAMES + history, in_size)).astype(np.float32)
    expected = NumpyEngine(layers).process(frames)
    apart: float | None = None
    problem = ""
    # Convolutions of PyTorch take [batch, channels, frames], other layers [batch, frames, values].
    for by_channel in (False, True):
        inputs = torch.from_numpy(frames.T if by_channel else frames)[None]
        try:
            with torch.inference_mode():
                # Run a copy: a module may keep state between calls.
                outputs = copy.deepcopy(module).float().cpu().eval()(inputs)
        except Exception as error:  # noqa: BLE001  # the caller's own code may raise any exception
            problem = problem or f"{type(error).__name__}: {error}"
            continue
        difference = _difference(outputs, expected, by_channel)
        if difference is not None and difference <= _TRIAL_TOLERANCE * max(1.0, float(np.abs(expected).max())):
            return
        if difference is not None:
            apart = difference if apart is None else min(apart, difference)
        else:
            problem = "its output is not one frame for each input frame"
    hint = "Make it an nn.Sequential, or register one module for each step, in the order in which forward uses them"
    if apart is None:
        shape = f"[1, {len(frames)}, {in_size}]"
        _refuse(module, name, f"its forward could not be tried on frames of shape {shape}: {problem}", hint)
    _refuse(
        module,
        name,
        f"its forward computes something other than its submodules in order, by up to {apart:.3g}: branches, skip"
        " connections and functions without a module cannot be expressed",
        hint,
    )


def _difference(outputs: Any, expected: Floats, by_channel: bool) -> float | None:
    """Return the largest difference, aligned at the last frame; None if the outputs are not frames of that size."""
    first = outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs
    if not isinstance(first, Tensor) or first.dim() != 3 or len(first) != 1:
        return None
    frames = (first[0].T if by_channel else first[0]).numpy()
    if frames.shape[1:] != expected.shape[1:] or not 1 < len(frames) <= len(expected):
        return None
    # Without causal padding a convolution has no outputs for its first frames.
    return float(np.abs(frames - expected[len(expected) - len(frames) :]).max())


def _refuse(module: nn.Module, name: str, reason: str, hint: str | None = None) -> NoReturn:
    where = f"{name or 'module'} ({type(module).__name__})"
    raise ExportError(f"cannot be exported: {reason}", where=where, hint=hint)
