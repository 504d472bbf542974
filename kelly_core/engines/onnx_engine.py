"""Convert a network to an ONNX graph with explicit state, and run it with ONNX Runtime.

``input`` [frames, in] and ``output`` [frames, out] are one or more frames in sequence. The n-th layer with state reads
its state from ``h<n>`` and ``c<n>`` (LSTM) or ``h<n>`` (GRU) [1, 1, H], or ``x<n>`` (convolution) [earlier frames, in],
zeros after a reset, and returns the next state under the same names with ``_next`` added.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kelly_core.arrays import Floats
from kelly_core.engines.layers import (
    GATE_ORDER,
    GRU_GATE_ORDER,
    BatchNormWeights,
    Conv1dWeights,
    DenseWeights,
    Engine,
    GruWeights,
    Layer,
    LstmWeights,
    PreluWeights,
    RecurrentWeights,
    layer_spec,
)
from kelly_core.errors import ExportError

OPSET, IR_VERSION = 17, 8
"""ONNX opset and IR version of 2022, so that runtimes a few years old can read the file."""

_OPERATORS = {"tanh": "Tanh", "relu": "Relu", "sigmoid": "Sigmoid", "softmax": "Softmax", "elu": "Elu"}
_LSTM_GATES = [GATE_ORDER.index(gate) for gate in ("input", "output", "forget", "cell")]
_GRU_GATES = [GRU_GATE_ORDER.index(gate) for gate in ("update", "reset", "new")]
_END = np.iinfo(np.int64).max


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
    # The output has the same name for every type of last layer.
    graph.node("Identity", [values], ["output"])
    # The layers have added the outputs for their state; hosts expect the network's own output first.
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


class OnnxEngine(Engine):
    """A network in ONNX Runtime, on one thread, that keeps its state from frame to frame, starting from zero.

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
        ports = {port.name: port for port in self._session.get_inputs()}
        outputs = {port.name: port for port in self._session.get_outputs()}
        self.in_size, self.out_size = ports.pop("input").shape[-1], outputs["output"].shape[-1]
        self._names = list(outputs)
        self._zeros = {name: np.zeros(port.shape, np.float32) for name, port in ports.items()}
        self.reset()

    def reset(self) -> None:
        """Set all state to zero."""
        self._state = dict(self._zeros)

    def process(self, frames: Floats) -> Floats:
        """Compute frames in sequence from the current state, shape [n, in] → [n, out]."""
        values = self._session.run(self._names, {"input": np.asarray(frames, np.float32), **self._state})
        results = dict(zip(self._names, values, strict=True))
        self._state = {name: results[f"{name}_next"] for name in self._state}
        outputs: Floats = results["output"]
        return outputs


class _Graph:
    """Builder of an ONNX graph; each value is named after the operator that returns it and the operator's number."""

    def __init__(self, onnx: ModuleType) -> None:
        self._onnx = onnx
        self._stateful = 0
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.weights: list[Any] = []

    def add(self, layer: Layer, values: str) -> str:
        """Add a layer that reads ``values`` [frames, in]; return the name of its output [frames, out]."""
        self._stateful += layer_spec(layer).carries_state
        match layer:
            case DenseWeights():
                values = self.node("Gemm", [values, *self._constants(weight=layer.weight, bias=layer.bias)], transB=1)
            case LstmWeights() | GruWeights():
                values = self._add_recurrent(layer, values)
            case Conv1dWeights():
                values = self._add_conv1d(layer, values)
            case BatchNormWeights():
                arrays = self._constants(scale=layer.gamma, shift=layer.beta, mean=layer.mean, variance=layer.variance)
                values = self.node("BatchNormalization", [values, *arrays], epsilon=layer.epsilon)
            case PreluWeights():
                values = self.node("PRelu", [values, *self._constants(slope=layer.slope)])
        return self.node(_OPERATORS[layer.activation], [values]) if layer.activation else values

    def _add_recurrent(self, layer: RecurrentWeights, values: str) -> str:
        """Add an LSTM or GRU, which reads [frames, batch, in] and returns [frames, directions, batch, H]."""
        operator, order, parts = (
            ("LSTM", _LSTM_GATES, "hc") if isinstance(layer, LstmWeights) else ("GRU", _GRU_GATES, "h")
        )
        kernel, recurrence, *biases = (
            _reordered(array, order) for array in (layer.weight_ih, layer.weight_hh, layer.bias_ih, layer.bias_hh)
        )
        weights = self._constants(kernel=kernel[None], recurrence=recurrence[None], bias=np.concatenate(biases)[None])
        batch, directions = self._constants(batch=np.array([1]), directions=np.array([1, 2]))
        state = [self._add_state(part, [1, 1, layer.out_size]) for part in parts]
        sequence = self.node("Unsqueeze", [values, batch])
        results = [f"{operator.lower()}{self._stateful}", *(f"{name}_next" for name in state)]
        # The reset gate multiplies U·h + b, as in PyTorch, not h alone.
        options: dict[str, Any] = {} if isinstance(layer, LstmWeights) else {"linear_before_reset": 1}
        # "" leaves out the optional lengths of the sequences.
        self.node(operator, [sequence, *weights, "", *state], results, hidden_size=layer.out_size, **options)
        return self.node("Squeeze", [results[0], directions])

    def _add_conv1d(self, layer: Conv1dWeights, values: str) -> str:
        """Add a convolution over the earlier frames and the new ones, which reads [1, in, frames]."""
        if layer.history:
            past = self._add_state("x", [layer.history, layer.in_size])
            values = self.node("Concat", [past, values], axis=0)
            window = self._constants(start=np.array([-layer.history]), end=np.array([_END]), axis=np.array([0]))
            self.node("Slice", [values, *window], [f"{past}_next"])
        weight, bias, batch = self._constants(weight=layer.weight, bias=layer.bias, batch=np.array([0]))
        sequence = self.node("Unsqueeze", [self.node("Transpose", [values], perm=[1, 0]), batch])
        kernel = {"kernel_shape": [layer.kernel_size], "dilations": [layer.dilation]}
        outputs = self.node("Conv", [sequence, weight, bias], (), group=layer.groups, **kernel)
        return self.node("Transpose", [self.node("Squeeze", [outputs, batch])], perm=[1, 0])

    def _add_state(self, part: str, shape: list[int]) -> str:
        """Add an input for state of the current layer, and the output for its next value; return the input's name."""
        name = f"{part}{self._stateful}"
        self.inputs.append(self.port(name, shape))
        self.outputs.append(self.port(f"{name}_next", shape))
        return name

    def node(self, operator: str, inputs: Sequence[str], outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Add an operator; return the name of its first output."""
        names = list(outputs) or [f"{operator.lower()}_{len(self.nodes)}"]
        self.nodes.append(self._onnx.helper.make_node(operator, inputs, names, **attributes))
        return names[0]

    def port(self, name: str, shape: Sequence[str | int]) -> Any:
        """Return the description of an input or output of the graph."""
        return self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, shape)

    def _constants(self, **arrays: NDArray[Any]) -> list[str]:
        names = {f"{name}_{len(self.nodes)}": array for name, array in arrays.items()}
        self.weights += [
            self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in names.items()
        ]
        return list(names)


def _reordered(stacked: Floats, order: Sequence[int]) -> Floats:
    """Reorder stacked gates from PyTorch's order to ONNX's."""
    gates = np.split(stacked, len(order))
    return np.concatenate([gates[index] for index in order])
