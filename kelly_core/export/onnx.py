"""Convert an export to an ONNX graph with explicit state, and run it with ONNX Runtime.

``input`` [frames, in] and ``output`` [frames, out] are one or more frames in sequence. The n-th LSTM reads its state
from ``h<n>`` and ``c<n>`` [1, 1, H] (zeros after a reset) and returns it as ``h<n>_next`` and ``c<n>_next``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.engines.numpy_engine import TOLERANCE, ActivationLayer, Layer, NumpyEngine
from kelly_core.engines.weights import GATE_ORDER, Array, LstmWeights
from kelly_core.errors import ExportError
from kelly_core.export.golden import probe_export
from kelly_core.export.reader import Export
from kelly_core.io.atomic import atomic_write

OPSET, IR_VERSION = 17, 8
"""ONNX opset and IR version of 2022, so that runtimes a few years old can read the file."""

_CHECKED_FRAMES = 200
_PROPERTIES = ("model_name", "state", "checkpoint")
_OPERATORS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "softmax": "Softmax", "elu": "Elu"}
_ONNX_GATES = [GATE_ORDER.index(gate) for gate in ("input", "output", "forget", "cell")]


def write_onnx(export: Export, path: Path) -> None:
    """Write an export's layers as an ONNX file, after checking that ONNX Runtime computes the same outputs.

    Raises:
        ExportError: the extra ``onnx`` is not installed, the outputs differ, or the file cannot be written.
    """
    content = build_onnx(
        export.layers, {key: str(export.metadata[key]) for key in _PROPERTIES & export.metadata.keys()}
    )
    frames = probe_export(export, _CHECKED_FRAMES)
    apart = float(np.abs(OnnxEngine(content).run(frames) - NumpyEngine(export.layers).run(frames)).max())
    if not apart <= TOLERANCE:
        raise ExportError(
            f"was not written: ONNX Runtime's outputs differ by up to {apart:.3g}, expected at most {TOLERANCE:g}",
            where=path,
        )
    atomic_write(path, lambda stream: stream.write(content), error=ExportError)


def require_onnx() -> tuple[ModuleType, ModuleType]:
    """Return the packages onnx and onnxruntime.

    Raises:
        ExportError: one of them is not installed.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        hint = 'Install the extra "onnx": pip install "kelly-trainer[onnx]"'
        raise ExportError(f"ONNX is not installed: {error}", hint=hint) from error
    return onnx, onnxruntime


def build_onnx(layers: Sequence[Layer], properties: dict[str, str]) -> bytes:
    """Return the serialized ONNX model of a network; ``properties`` become its metadata.

    Raises:
        ExportError: the extra ``onnx`` is not installed.
    """
    onnx, _ = require_onnx()
    helper = onnx.helper
    graph = _Graph(onnx)
    graph.inputs.append(graph.port("input", ["frames", layers[0].in_size]))
    values = "input"
    for layer in layers:
        values = graph.add(layer, values)
    graph.node("Identity", [values], ["output"])
    graph.outputs.insert(0, graph.port("output", ["frames", layers[-1].out_size]))
    model = helper.make_model(
        helper.make_graph(graph.nodes, "kelly", graph.inputs, graph.outputs, graph.weights),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="kelly-core",
    )
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


class OnnxEngine:
    """A stateful network like ``NumpyEngine``, computed by ONNX Runtime on one thread.

    Args:
        content: serialized model from ``build_onnx``.

    Raises:
        ExportError: the extra ``onnx`` is not installed.
    """

    def __init__(self, content: bytes) -> None:
        _, onnxruntime = require_onnx()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        ports = self._session.get_inputs()
        self._names = [port.name for port in self._session.get_outputs()]
        self._state = {port.name: np.zeros(port.shape, np.float32) for port in ports if port.name != "input"}

    def step(self, frame: Array) -> Array:
        """Compute one frame, shape [in] → [out], and update the state."""
        output: Array = self.run(frame[np.newaxis])[0]
        return output

    def run(self, frames: Array) -> Array:
        """Compute frames in sequence from the current state, shape [T, in] → [T, out]."""
        answers = self._session.run(self._names, {"input": frames, **self._state})
        results = dict(zip(self._names, answers, strict=True))
        self._state = {name: results[f"{name}_next"] for name in self._state}
        outputs: Array = results["output"]
        return outputs


class _Graph:
    """Builder of an ONNX graph; each value is named after the operator that returns it and the operator's number."""

    def __init__(self, onnx: ModuleType) -> None:
        self._onnx = onnx
        self._lstms = 0
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.weights: list[Any] = []

    def add(self, layer: Layer, values: str) -> str:
        """Add a layer that reads ``values`` [frames, in]; return the name of its output [frames, out]."""
        if isinstance(layer, LstmWeights):
            return self._add_lstm(layer, values)
        if not isinstance(layer, ActivationLayer):
            weights = self._constants(weight=layer.weight, bias=layer.bias)
            values = self.node("Gemm", [values, *weights], transB=1)
        return self.node(_OPERATORS[layer.activation], [values]) if layer.activation else values

    def _add_lstm(self, layer: LstmWeights, values: str) -> str:
        """Add an LSTM node, which reads [frames, batch, in] and returns [frames, directions, batch, H]."""
        self._lstms += 1
        bias = np.concatenate([_reordered(layer.bias_ih), _reordered(layer.bias_hh)])
        kernel, recurrence = _reordered(layer.weight_ih), _reordered(layer.weight_hh)
        weights = self._constants(kernel=kernel[None], recurrence=recurrence[None], bias=bias[None])
        batch, directions = self._constants(batch=np.array([1]), directions=np.array([1, 2]))
        state = [f"{part}{self._lstms}" for part in "hc"]
        shape = [1, 1, layer.out_size]
        self.inputs += [self.port(name, shape) for name in state]
        self.outputs += [self.port(f"{name}_next", shape) for name in state]
        sequence = self.node("Unsqueeze", [values, batch])
        results = [f"lstm{self._lstms}", *(f"{name}_next" for name in state)]
        self.node("LSTM", [sequence, *weights, "", *state], results, hidden_size=layer.out_size)
        return self.node("Squeeze", [results[0], directions])

    def node(self, operator: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: int) -> str:
        """Add an operator; return the name of its first output."""
        names = list(outputs) or [f"{operator.lower()}_{len(self.nodes)}"]
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, names, **attributes))
        return names[0]

    def port(self, name: str, shape: Sequence[str | int]) -> Any:
        """Return the description of an input or output of the graph."""
        return self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, shape)

    def _constants(self, **arrays: NDArray[Any]) -> list[str]:
        names = {f"{name}_{len(self.nodes)}": array for name, array in arrays.items()}
        self.weights += [self._onnx.numpy_helper.from_array(array, name) for name, array in names.items()]
        return list(names)


def _reordered(stacked: Array) -> Array:
    """Reorder stacked gates from PyTorch's order to ONNX's."""
    gates = np.split(stacked, len(GATE_ORDER))
    return np.concatenate([gates[index] for index in _ONNX_GATES])
