"""Each way in which a file is known to deceive the plugin, made on purpose, and the check that must catch it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kelly_core.arrays import Floats
from kelly_core.engines.layers import (
    BatchNormWeights,
    Conv1dWeights,
    DenseWeights,
    GruWeights,
    Layer,
    LstmWeights,
    PreluWeights,
)
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import KellyError
from kelly_core.export.json_values import Layout
from kelly_core.export.writer import write_export
from kelly_core.spec import MODELS, ModelSpec, State
from kelly_core.training.exporting import fold_stateless
from kelly_core.validation.behavior import PARITY_FRAMES, ReferenceEngine
from kelly_core.validation.checks import validate_file
from kelly_core.validation.report import FileReport
from tests.helpers.json_files import edited
from tests.helpers.networks import metadata_of, spec_network, tiny_network, write_tiny
from tests.seeds import seeded_rng, shifted

Edit = Callable[[dict[str, Any]], object]


def failed(report: FileReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.failed}


def passed(report: FileReport) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if check.passed}


def validate_edited(path: Path, edit: Edit) -> FileReport:
    with edited(path) as document:
        edit(document)
    return validate_file(path)


def set_in(layer: int, **entries: object) -> Edit:
    return lambda document: document["layers"][layer].update(entries)


def weights(layer: int, part: int, change: Callable[[list[Any]], list[Any]]) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        parts = document["layers"][layer]["weights"]
        parts[part] = change(parts[part])

    return edit


def about(**entries: object) -> Edit:
    return lambda document: document["metadata"].update(entries)


def without(*keys: object) -> Edit:
    """Remove the entry, or the last one for -1, that is found by following the keys."""

    def edit(document: Any) -> None:
        for key in keys[:-1]:
            document = document[key]
        del document[keys[-1]]

    return edit


def popped(layer: int, *keys: object) -> Edit:
    return without("layers", layer, *keys)


def transposed(matrix: list[list[float]]) -> list[list[float]]:
    return [list(row) for row in zip(*matrix, strict=True)]


def gates_transposed(rows: list[Any]) -> list[Any]:
    return np.concatenate([np.transpose(gate) for gate in np.split(np.array(rows), 4, axis=1)], axis=1).tolist()


TRAPS: dict[str, tuple[Edit, str, str]] = {
    "no in_shape": (without("in_shape"), "structure", '"in_shape" is missing'),
    "no weights": (popped(0, "weights"), "structure", '"weights" must be'),
    "no shape": (popped(0, "shape"), "structure", '"shape" must be'),
    "a string weight": (weights(0, 1, lambda bias: ["0.1", *bias[1:]]), "structure", "not a number"),
    "a boolean weight": (weights(0, 1, lambda bias: [True, *bias[1:]]), "structure", "not a number"),
    "a null weight": (weights(0, 0, lambda rows: [[None, *rows[0][1:]], *rows[1:]]), "structure", "not a number"),
    "linear crashes": (set_in(0, activation="linear"), "activations", "'linear'"),
    "unknown activation crashes": (set_in(2, activation="Tanh"), "activations", "'Tanh'"),
    "activation null": (set_in(0, activation=None), "activations", "None"),
    "unknown type is dropped": (set_in(2, type="attention"), "layer types", "'attention'"),
    "in_shape too small": (lambda document: document.update(in_shape=[None, None, 3]), "dimensions", "input size is 3"),
    "shape does not fit": (set_in(0, shape=[None, None, 7]), "dimensions", "ends in 7"),
    "short row": (popped(0, "weights", 0, 0, -1), "dimensions", "rows of 5 to 6"),
    "long row": (weights(0, 0, lambda rows: [[*rows[0], 0.0], *rows[1:]]), "dimensions", "rows of 6 to 7"),
    "missing row": (popped(0, "weights", 0, -1), "dimensions", "is 3 × 6"),
    "short dense bias": (popped(0, "weights", 1, -1), "dimensions", "has 5; the engine reads past its end"),
    "empty dense bias": (weights(0, 1, lambda _bias: []), "dimensions", "has 0; the engine reads past its end"),
    "short LSTM bias": (popped(1, "weights", 2, -1), "dimensions", "has 19; the engine reads past its end"),
    "short LSTM kernel": (popped(1, "weights", 0, -1), "dimensions", "is 5 × 20"),
    "transposed matrix": (weights(0, 0, transposed), "dimensions", "it is transposed"),
    "transposed square dense matrix": (weights(2, 0, transposed), "golden outputs", "differ by up to"),
    "number beyond float32": (weights(0, 1, lambda bias: [1e39, *bias[1:]]), "finite", "the range of float32"),
    "integer beyond float64": (weights(0, 1, lambda bias: [10**400, *bias[1:]]), "finite", "the range of float32"),
    "gates in another order": (weights(1, 2, lambda bias: bias[10:] + bias[:10]), "gates", "differ by up to"),
    "gate kernel differs": (weights(1, 0, lambda rows: rows[::-1]), "gates", "weights_ih"),
    "gate recurrence transposed": (weights(1, 1, gates_transposed), "gates", "weights_hh"),
    "gate_order differs": (set_in(1, gate_order=["forget", "input", "cell", "output"]), "gates", "gate_order"),
    "one gate array missing": (popped(1, "bias_hh"), "gates", "bias_hh are missing"),
    "logits overflow": (weights(2, 1, lambda bias: [100.0, *bias[1:]]), "softmax", "up to 1"),
    "logits vanish": (weights(2, 1, lambda _bias: [-120.0] * 5), "softmax", "up to 1"),
    "no metadata": (without("metadata"), "metadata", "is missing or not an object"),
    "metadata key missing": (without("metadata", "features"), "metadata", '"features" is missing'),
    "features that say nothing": (about(features=None), "metadata", '"features" is not an object'),
    "unknown state": (about(state="sometimes"), "metadata", '"state" is not one of'),
    "parameter count": (about(parameter_count=1), "parameter count", "is 1, but must be 320"),
    "parameter count is not an integer": (about(parameter_count=320.0), "parameter count", "is 320.0, but must be 320"),
    "a bias that is not there": (popped(0, "weights", -1), "parameter count", "is 320, but must be 314"),
    "memory": (about(memory_bytes=320), "memory", "must be 1280"),
    "input size": (about(input_size=5), "sizes", '"input_size" is 5, but must be 4'),
    "output size": (about(output_size="5"), "sizes", "is '5', but must be 5"),
    "version of the emotion code": (about(code_version=3), "emotion code", "is '3', but must be 1 or 2"),
    "export version": (about(export_version="1.0"), "export version", "is '1.0'"),
    "changed weight": (weights(0, 1, lambda bias: [bias[0] + 0.01, *bias[1:]]), "golden outputs", "differ by"),
    "golden of another size": (about(golden={"inputs": [[1, 2]], "outputs": [[1]]}), "golden outputs", "1 × 4"),
    "golden of another kind": (about(golden=[]), "golden outputs", '"inputs" and "outputs"'),
    "overflow on the way": (weights(0, 0, lambda _rows: [[3e38] * 6] * 4), "golden outputs", "differ by up to"),
}


def write_every_layer(folder: Path) -> Path:
    """4 inputs; dense, gru, conv1d with groups and dilation, batchnorm, prelu, dense."""
    rng = seeded_rng(31)

    def normal(*shape: int) -> Floats:
        return (0.5 * rng.standard_normal(shape)).astype(np.float32)

    layers: list[Layer] = [
        DenseWeights(normal(6, 4), normal(6), "elu"),
        GruWeights(normal(12, 6), normal(12, 4), normal(12), normal(12)),
        Conv1dWeights(normal(6, 2, 3), normal(6), "tanh", dilation=2, groups=2),
        BatchNormWeights(-np.abs(normal(6)), normal(6), normal(6), np.ones(6, np.float32), 0.001),
        PreluWeights(normal(6), 6),
        DenseWeights(normal(2, 6), normal(2), ""),
    ]
    write_export(folder / "every.json", layers, metadata_of(layers, "Every"))
    return folder / "every.json"


LAYER_TRAPS: dict[str, tuple[Edit, str, str]] = {
    "gru: another activation is ignored": (set_in(1, activation="relu"), "activations", "engine ignores it"),
    "gru: short kernel is zero-padded": (popped(1, "weights", 0, -1), "dimensions", "is 5 × 12"),
    "gru: short recurrent row is zero-padded": (popped(1, "weights", 1, 0, -1), "dimensions", "rows of 11 to 12"),
    "gru: one bias row": (popped(1, "weights", 2, -1), "dimensions", "must be 2 × 12, but is 1 × 12"),
    "gru: one bias vector": (weights(1, 2, lambda rows: rows[0]), "dimensions", "is one vector of 12"),
    "gru: no bias": (popped(1, "weights", -1), "structure", "a list of 3 arrays"),
    "gru: gates in PyTorch's order": (
        weights(1, 0, lambda rows: [row[4:8] + row[:4] + row[8:] for row in rows]),
        "golden outputs",
        "differ by up to",
    ),
    "conv1d: kernel as a number": (set_in(2, kernel_size=3), "structure", "but is 3"),
    "conv1d: dilation as a number": (set_in(2, dilation=2), "structure", "but is 2"),
    "conv1d: no kernel": (popped(2, "kernel_size"), "structure", '"kernel_size" must be a list of one whole number'),
    "conv1d: empty dilation crashes": (set_in(2, dilation=[]), "structure", "has 0 entries"),
    "conv1d: several kernel sizes": (set_in(2, kernel_size=[5, 3]), "structure", "uses the last"),
    "conv1d: larger kernel shifts in time": (
        set_in(2, kernel_size=[4]),
        "dimensions",
        "shifts a shorter kernel in time",
    ),
    "conv1d: smaller kernel": (set_in(2, kernel_size=[2]), "dimensions", "must be 2 taps"),
    "conv1d: dilation 0": (set_in(2, dilation=[0]), "structure", "a whole number from 1"),
    "conv1d: groups that do not divide": (set_in(2, groups=3), "dimensions", "must divide 4 inputs and 6 outputs"),
    "conv1d: groups 0 crashes": (set_in(2, groups=0), "structure", "a whole number from 1"),
    "conv1d: groups as a list": (set_in(2, groups=[2]), "structure", '"groups" must be a whole number'),
    "conv1d: groups forgotten": (popped(2, "groups"), "dimensions", "must be 4 × 6, but is 2 × 6"),
    "conv1d: no bias": (popped(2, "weights", -1), "structure", "rejects a conv1d without bias"),
    "conv1d: short bias is read past its end": (popped(2, "weights", 1, -1), "dimensions", "has 5; the engine reads"),
    "conv1d: short tap": (popped(2, "weights", 0, 1, -1), "dimensions", "is 1 × 6"),
    "conv1d: PyTorch's order": (
        weights(2, 0, lambda taps: np.transpose(taps).tolist()),
        "dimensions",
        "must be 3 taps of 2 × 6, but has 6",
    ),
    "conv1d: flipped in time": (weights(2, 0, lambda taps: taps[::-1]), "golden outputs", "differ by up to"),
    "conv1d: strides are ignored": (set_in(2, strides=[2]), "structure", "computes every frame"),
    "conv1d: padding is ignored": (set_in(2, padding="same"), "structure", "always causal"),
    "conv1d: linear crashes": (set_in(2, activation="linear"), "activations", "'linear'"),
    "conv1d: a bias marked as absent": (set_in(2, use_bias=False), "dimensions", '"use_bias" is false'),
    "batchnorm: no epsilon": (popped(3, "epsilon"), "structure", '"epsilon" is missing'),
    "batchnorm: epsilon is a string": (set_in(3, epsilon="0.001"), "structure", "not a number"),
    "batchnorm: three arrays": (popped(3, "weights", -1), "structure", "a list of 2 or 4 arrays"),
    "batchnorm: short array keeps its defaults": (popped(3, "weights", 0, -1), "dimensions", "leaves the rest"),
    "batchnorm: long array overflows": (weights(3, 2, lambda mean: [*mean, 0.0]), "dimensions", "but has 7"),
    "batchnorm: negative variance": (weights(3, 3, lambda var: [-1.0, *var[1:]]), "finite", "must be above 0"),
    "batchnorm: another size": (set_in(3, shape=[None, None, 5]), "dimensions", '"out_size" is 6'),
    "batchnorm: activation is ignored": (set_in(3, activation="tanh"), "activations", "engine ignores it"),
    "batchnorm: gamma and variance swapped": (
        lambda document: document["layers"][3]["weights"].reverse(),
        "finite",
        "must be above 0",
    ),
    "prelu: slopes without a list around": (weights(4, 0, lambda rows: rows[0]), "structure", "one list of slopes"),
    "prelu: too few slopes": (popped(4, "weights", 0, 0, -1), "dimensions", "leaves the other slopes at 0"),
    "prelu: too many slopes": (weights(4, 0, lambda rows: [[*rows[0], 0.1]]), "dimensions", "writes past its array"),
    "prelu: activation is ignored": (set_in(4, activation="relu"), "activations", "engine ignores it"),
    "unknown layer is dropped": (set_in(4, type="leaky_relu"), "layer types", "'leaky_relu'"),
}


def test_a_good_file_of_every_layer_type_passes(tmp_path: Path) -> None:
    assert failed(validate_file(write_every_layer(tmp_path))) == {}


def test_a_model_that_computes_nothing_crashes_the_engine(tmp_path: Path) -> None:
    layer = {"type": "activation", "activation": "", "shape": [None, 2], "weights": []}
    (tmp_path / "x.json").write_text(json.dumps({"in_shape": [None, 2], "layers": [layer]}))
    assert "no layer computes anything" in failed(validate_file(tmp_path / "x.json"))["structure"]


LEGACY_TRAPS: dict[str, tuple[Edit, str, str]] = {
    "transposed matrix": (set_in(0, weights=[[0.0] * 6] * 4), "dimensions", "it is transposed"),
    "short bias": (set_in(0, bias=[0.0] * 5), "dimensions", "has 5"),
    "three gates": (popped(1, "weights_hh", -1), "gates", "four gates"),
    "sizes do not meet": (set_in(2, in_size=6), "dimensions", "input size is 5"),
    "linear": (set_in(0, activation="linear"), "activations", "'linear'"),
    "parameter count": (about(parameter_count=1), "parameter count", "must be 320"),
}


@pytest.mark.parametrize(
    ("write", "edit", "check", "reported"),
    [
        pytest.param(write, *trap, id=name)
        for write, traps in (
            (write_tiny, TRAPS),
            (write_every_layer, LAYER_TRAPS),
            (partial(write_tiny, layout="legacy"), LEGACY_TRAPS),
        )
        for name, trap in traps.items()
    ],
)
def test_trap(tmp_path: Path, write: Callable[[Path], Path], edit: Edit, check: str, reported: str) -> None:
    assert reported in failed(validate_edited(write(tmp_path), edit))[check]


@pytest.mark.parametrize("layout", ["rtneural", "legacy"])
def test_a_good_file_of_either_layout_passes(tmp_path: Path, layout: Layout) -> None:
    report = validate_file(write_tiny(tmp_path, layout))
    assert failed(report) == {}
    assert (report.model, report.layout, report.passed) == ("Tiny", layout, True)
    asked = {"structure", "layer types", "dimensions", "activations", "finite", "gates", "metadata", "sizes"}
    asked |= {"parameter count", "export version", "outputs", "softmax", "recurrence", "drift"}
    asked |= {"memory", "golden outputs"} if layout == "rtneural" else set()
    assert asked <= set(passed(report))


def test_the_version_of_the_emotion_code_is_named(tmp_path: Path) -> None:
    path = write_tiny(tmp_path)
    assert passed(validate_file(path))["emotion code"].startswith("version 2, musical context (register, ")
    report = validate_edited(path, without("metadata", "code_version"))
    assert failed(report) == {}
    assert passed(report)["emotion code"] == "version 1, no musical context"


def test_a_model_name_that_is_not_a_string_is_a_failed_check(tmp_path: Path) -> None:
    path = write_tiny(tmp_path)
    validate_edited(path, without("metadata", "code_version"))
    assert not validate_edited(path, about(model_name=[])).passed


def test_every_faulty_layer_is_reported_not_only_the_first(tmp_path: Path) -> None:
    path = write_tiny(tmp_path)
    validate_edited(path, set_in(0, activation="linear"))
    found = failed(validate_edited(path, popped(2, "weights", 1, -1)))
    assert "layer 1" in found["activations"]
    assert "layer 3" in found["dimensions"]


def test_an_unreadable_file_is_one_failed_check(tmp_path: Path) -> None:
    (tmp_path / "groovepredictor.json").write_text('{"layers": [')
    report = validate_file(tmp_path / "groovepredictor.json", check_specs=True)
    assert (report.model, report.layout, report.passed) == ("groovepredictor", None, False)
    assert [check.name for check in report.checks] == ["readable"]
    assert failed(validate_file(tmp_path / "missing.json"))["readable"].startswith("cannot be read")


def test_a_name_that_cannot_be_shown_is_replaced_by_the_files(tmp_path: Path) -> None:
    for name in ("\x1b[31mred", "x" * 1000, "", 7):
        assert validate_edited(write_tiny(tmp_path), about(model_name=name)).model == "tiny"


def test_files_of_the_engine_itself_pass_without_metadata(shared_vectors: Path) -> None:
    for path in (*shared_vectors.glob("rtneural/*.json"), *shared_vectors.glob("engine/*.json")):
        report = validate_file(path)
        if path.stem not in ("bad_lstm", "lstm_torch"):
            assert failed(report) == {}, path.stem
            assert "metadata" in {check.name for check in report.checks if not check.applicable}
    assert "1 × 64, but is 1 × 80" in failed(validate_file(shared_vectors / "rtneural" / "bad_lstm.json"))["dimensions"]


@pytest.mark.parametrize("spec", MODELS, ids=lambda spec: spec.name)
def test_the_five_models_hold_against_their_specification(tmp_path: Path, spec: ModelSpec) -> None:
    layers = spec_network(spec)
    path = tmp_path / f"{spec.file_stem}.json"
    write_export(path, layers, metadata_of(layers, spec.name))
    reference = ReferenceEngine("itself", lambda inputs: NumpyEngine(layers).process(inputs))
    assert failed(validate_file(path, check_specs=True, references=[reference])) == {}


def test_a_file_that_is_not_its_model_is_seen_only_when_asked(tmp_path: Path) -> None:
    spec = MODELS[-1]
    layers = spec_network(spec)
    last = layers[-1]
    assert isinstance(last, DenseWeights)

    def reported(layers: list[Layer], name: str, file: str) -> str:
        write_export(tmp_path / file, layers, metadata_of(layers, name))
        assert failed(validate_file(tmp_path / file)) == {}
        return failed(validate_file(tmp_path / file, check_specs=True))["specification"]

    other = [*layers[:-1], replace(last, activation="sigmoid")]
    assert reported(other, spec.name, "x.json") == "layer 3 is dense sigmoid 64→32, but must be dense tanh 64→32"
    assert reported(layers[:-1], spec.name, "x.json") == "GroovePredictor must have 3 layers, but the file has 2"
    assert reported(layers, "Groove", "x.json").startswith("'Groove' is not one of")
    assert "contains GroovePredictor" in reported(layers, spec.name, "dynamicsengine.json")


def one_cell(weight_ih: list[float], weight_hh: list[float], bias: list[float]) -> list[Layer]:
    """An LSTM of one cell on one input, and a dense layer that passes its output on."""
    columns = (np.array(weight, np.float32)[:, np.newaxis] for weight in (weight_ih, weight_hh))
    lstm = LstmWeights(*columns, np.array(bias, np.float32), np.zeros(4, np.float32))
    return [lstm, DenseWeights(np.ones((1, 1), np.float32), np.zeros(1, np.float32), "tanh")]


def validate_layers(folder: Path, layers: list[Layer], state: State, **options: Any) -> FileReport:
    write_export(folder / "x.json", layers, metadata_of(layers, state=state))
    return validate_file(folder / "x.json", **options)


def test_a_folded_network_is_stateless_and_an_unfolded_one_is_not(tmp_path: Path) -> None:
    folded = validate_layers(tmp_path, fold_stateless(tiny_network()), "stateless")
    assert failed(folded) == {}
    assert "do not depend on what came before" in passed(folded)["state"]
    assert "earlier frames change" in failed(validate_layers(tmp_path, tiny_network(), "stateless"))["state"]
    assert "all 0" in failed(validate_layers(tmp_path, fold_stateless(tiny_network()), "stateful"))["recurrence"]


def test_the_state_of_a_legacy_file_is_seen_from_its_weights(tmp_path: Path) -> None:
    layers = fold_stateless(tiny_network())
    write_export(tmp_path / "x.json", layers, metadata_of(layers), "legacy")
    assert "stateless" in passed(validate_file(tmp_path / "x.json"))["state"]


def test_a_network_without_lstm_keeps_either_contract(tmp_path: Path) -> None:
    for state in ("stateful", "stateless"):
        assert "state" in passed(validate_layers(tmp_path, [tiny_network()[0]], state))  # type: ignore[arg-type]


@pytest.mark.parametrize("activation", ["", "tanh"])
def test_an_answer_that_does_not_depend_on_the_input_fails(tmp_path: Path, activation: str) -> None:
    """As a network with zero weights whose bias is the median of the training targets."""
    first, last = (np.zeros((8, 4), np.float32), np.zeros((3, 8), np.float32))
    layers: list[Layer] = [
        DenseWeights(first, np.full(8, 0.5, np.float32), "tanh"),
        DenseWeights(last, np.array([0.1, -0.2, 0.3], np.float32), activation),  # type: ignore[arg-type]
    ]
    assert "constant" in failed(validate_layers(tmp_path, layers, "stateless"))["input dependence"]


def test_a_state_that_moves_without_the_input_is_a_constant_answer(tmp_path: Path) -> None:
    layers = one_cell([0] * 4, [0.5] * 4, [1] * 4)
    assert "input dependence" in failed(validate_layers(tmp_path, layers, "stateful"))
    assert "input dependence" in passed(validate_layers(tmp_path, tiny_network(), "stateful"))


def test_a_diverging_state_is_drift(tmp_path: Path) -> None:
    """Forget gate wide open, input gate half open: the cell adds up the inputs' mean for ever."""
    keeping, forgetting = (one_cell([0, 0, 0.01, 0], [0, 0, 0, 3], [0, bias, 0, 0]) for bias in (20, 1))
    assert "the same input changes" in failed(validate_layers(tmp_path, keeping, "stateful"))["drift"]
    assert "drift" in passed(validate_layers(tmp_path, forgetting, "stateful"))


def trained(frames: int, steps: int, weight_decay: float = 0.0) -> list[Layer]:
    """An LSTM trained from PyTorch's own initialization on sequences of ``frames`` from zero state."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(shifted(0))
        lstm, head = torch.nn.LSTM(8, 32, batch_first=True), torch.nn.Linear(32, 4)
        parameters = [*lstm.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=weight_decay)
        for _ in range(steps):
            inputs = torch.randn(32, frames, 8)
            loss = ((torch.tanh(head(lstm(inputs)[0])) - torch.tanh(inputs.cumsum(1)[..., :4])) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    arrays = [parameter.detach().numpy() for parameter in parameters]
    return [LstmWeights(*arrays[:4]), DenseWeights(*arrays[4:], "tanh")]


@pytest.mark.parametrize(("steps", "weight_decay"), [(0, 0.0), (200, 0.0), (200, 1.0)])
def test_an_lstm_trained_on_single_frames_is_not_stateful(tmp_path: Path, steps: int, weight_decay: float) -> None:
    layers = trained(1, steps, weight_decay)
    assert "trained on single frames" in failed(validate_layers(tmp_path, layers, "stateful"))["recurrence"]
    assert failed(validate_layers(tmp_path, fold_stateless(layers), "stateless")) == {}


@pytest.mark.parametrize("steps", [1, 50])
def test_an_lstm_trained_on_sequences_is_stateful(tmp_path: Path, steps: int) -> None:
    assert failed(validate_layers(tmp_path, trained(8, steps), "stateful")) == {}


def test_softmax_is_judged_by_what_can_occur(tmp_path: Path) -> None:
    softmax = tiny_network()[2]
    assert isinstance(softmax, DenseWeights)
    proven = validate_layers(tmp_path, tiny_network(), "stateful")
    assert passed(proven)["softmax"].startswith("logits are at most")
    alone = validate_layers(tmp_path, [softmax], "stateless")
    assert passed(alone)["softmax"].startswith("logits are in trials up to")


def test_parity_compares_whole_sequences(tmp_path: Path) -> None:
    path = write_tiny(tmp_path)

    def parity(run: Callable[[Floats], Any]) -> tuple[bool, str]:
        check = validate_file(path, references=[ReferenceEngine("the checkpoint", run)]).checks[-1]
        assert check.name == "parity with the checkpoint"
        return check.passed, check.detail

    def same(inputs: Floats) -> Floats:
        assert inputs.shape == (PARITY_FRAMES, 4)
        return NumpyEngine(tiny_network()).process(inputs)

    def forgetful(inputs: Floats) -> Floats:
        return np.concatenate([NumpyEngine(tiny_network()).process(frame[None]) for frame in inputs])

    def broken(_inputs: Floats) -> Floats:
        raise KellyError("the engine died", hint="See its log")

    assert parity(same) == (True, "1,200 frames in sequence, identical")
    assert parity(forgetful)[0] is False
    assert parity(lambda inputs: same(inputs) * np.float32(np.nan)) == (
        False,
        "outputs differ by up to nan; 1e-05 would be rounding",
    )
    assert parity(lambda inputs: same(inputs)[1:]) == (
        False,
        "it gave outputs of shape (1199, 5), the file gives (1200, 5)",
    )
    assert parity(broken) == (False, "the engine died. See its log")


def test_probes_are_like_the_recorded_inputs(tmp_path: Path) -> None:
    """A network that takes raw decibels must be tried with decibels."""
    scale = np.eye(2, dtype=np.float32) / 100
    layers: list[Layer] = [DenseWeights(scale, np.zeros(2, np.float32), "tanh")]
    metadata = metadata_of(layers)
    metadata["golden"] = {
        "inputs": [[-60, 0], [-40, 0], [-50, 0]],
        "outputs": np.tanh([[-0.6, 0], [-0.4, 0], [-0.5, 0]]).tolist(),
    }
    write_export(tmp_path / "x.json", layers, metadata)
    seen: list[Floats] = []

    def run(inputs: Floats) -> Floats:
        seen.append(inputs)
        return NumpyEngine(layers).process(inputs)

    assert failed(validate_file(tmp_path / "x.json", references=[ReferenceEngine("any", run)])) == {}
    assert seen[0][:, 0].mean() == pytest.approx(-50, abs=2)
    assert seen[0][:, 0].std() == pytest.approx(8.2, abs=1.5)
    assert not seen[0][:, 1].any()
