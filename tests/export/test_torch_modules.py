"""PyTorch modules to RTNeural's format and back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kelly_core.arrays import Floats
from kelly_core.engines.layers import Layer
from kelly_core.engines.onnx_engine import OnnxEngine, build_onnx
from kelly_core.engines.torch_engine import build_module
from kelly_core.errors import ExportError
from kelly_core.export.reader import read_export
from kelly_core.rtneural import NumpyEngine, from_rtneural, to_rtneural
from kelly_core.validation.checks import validate_file
from tests.helpers.networks import random_network
from tests.seeds import seeded_rng, shifted

TOLERANCE = 1e-6


@pytest.fixture(autouse=True)
def seeded_weights() -> None:
    torch.manual_seed(shifted(1))


def frames_for(size: int, count: int = 50) -> Floats:
    return seeded_rng(2).standard_normal((count, size)).astype(np.float32)


def exported(folder: Path, module: nn.Module, size: int, frames: Floats) -> Floats:
    to_rtneural(module, size, folder / "x.json")
    return NumpyEngine(folder / "x.json").process(frames)


def outputs_of(module: nn.Module, inputs: Floats) -> Floats:
    with torch.inference_mode():
        return module.eval()(torch.from_numpy(inputs)).numpy()


class Amp(nn.Module):
    """A guitar amplifier as people train it: recurrent layer, linear layer, state thrown away."""

    def __init__(self, kind: type[nn.Module] = nn.GRU) -> None:
        super().__init__()
        self.rec = kind(1, 8, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.lin = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.rec(x)
        return self.lin(self.drop(hidden))


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_an_amplifier_with_its_own_forward(tmp_path: Path, kind: type[nn.Module]) -> None:
    module, frames = Amp(kind), frames_for(1)
    assert np.abs(exported(tmp_path, module, 1, frames) - outputs_of(module, frames[None])[0]).max() < TOLERANCE
    assert validate_file(tmp_path / "x.json").passed


def test_a_nested_dense_network_drops_what_changes_nothing(tmp_path: Path) -> None:
    module = nn.Sequential(
        nn.Flatten(), nn.Sequential(nn.Linear(3, 6, bias=False), nn.Dropout(), nn.ELU()), nn.Identity(), nn.PReLU(),
        nn.Sequential(nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.Linear(6, 4)), nn.Softmax(dim=-1)),
    )  # fmt: skip
    frames = frames_for(3)
    assert np.abs(exported(tmp_path, module, 3, frames) - outputs_of(module, frames)).max() < TOLERANCE
    kinds = [layer["type"] for layer in json.loads((tmp_path / "x.json").read_text())["layers"]]
    assert kinds == ["dense", "prelu", "batchnorm", "dense"]


def test_causal_convolutions_with_and_without_padding(tmp_path: Path) -> None:
    bare = nn.Sequential(nn.Conv1d(2, 6, 3, dilation=2, groups=2), nn.Tanh(), nn.Conv1d(6, 1, 4, bias=False))
    first, act, second = bare
    padded = nn.Sequential(nn.ConstantPad1d((4, 0), 0.0), first, act, nn.ConstantPad1d((3, 0), 0.0), second)
    frames = frames_for(2)
    expected = outputs_of(padded, frames.T[None])[0].T
    for module in (bare, padded):
        assert np.abs(exported(tmp_path, module, 2, frames) - expected).max() < TOLERANCE


class ChannelFirst(nn.Module):
    """Convolutions between transpositions, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv1d(1, 4, 3), nn.PReLU(4), nn.Conv1d(4, 4, 2, dilation=3)])
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return self.out(x.transpose(1, 2))


def test_a_forward_in_another_layout_is_tried_out(tmp_path: Path) -> None:
    module, frames = ChannelFirst(), frames_for(1)
    outputs, expected = exported(tmp_path, module, 1, frames), outputs_of(module, frames[None])[0]
    assert np.abs(outputs[-len(expected) :] - expected).max() < TOLERANCE


class Skip(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.lin(x)


class OwnParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.lin = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.lin(x)


class LastFrame(Amp):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, -1]


class Raises(Skip):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError(f"on purpose, at {x.shape}")


def with_hook() -> nn.Module:
    """A layer whose output a hook doubles."""
    module = nn.Sequential(nn.Linear(4, 4))
    module[0].register_forward_hook(lambda _module, _inputs, output: 2 * output)
    return module


def test_weights_that_are_computed_are_exported_as_they_are_used(tmp_path: Path) -> None:
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    frames = frames_for(3)
    assert np.abs(exported(tmp_path, module, 3, frames) - outputs_of(module, frames)).max() < TOLERANCE


def without_statistics() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, track_running_stats=False))


REFUSED: dict[str, tuple[Callable[[], nn.Module], int, str, str]] = {
    "bidirectional": (lambda: nn.Sequential(nn.LSTM(4, 3, bidirectional=True)), 4, "0 (LSTM)", "bidirectional"),
    "several layers": (lambda: nn.Sequential(nn.GRU(4, 3, num_layers=2)), 4, "0 (GRU)", "2 layers in one module"),
    "projection": (lambda: nn.LSTM(4, 3, proj_size=2), 4, "module (LSTM)", "a projection to 2"),
    "stride": (lambda: nn.Sequential(nn.Conv1d(4, 3, 3, stride=2)), 4, "0 (Conv1d)", "stride 2"),
    "padding": (lambda: nn.Sequential(nn.Conv1d(4, 3, 3, padding=1)), 4, "0 (Conv1d)", "also uses later frames"),
    "same": (lambda: nn.Sequential(nn.Conv1d(4, 3, 3, padding="same")), 4, "0 (Conv1d)", "uses later frames"),
    "pad on both sides": (
        lambda: nn.Sequential(nn.ConstantPad1d((1, 1), 0.0), nn.Conv1d(4, 3, 3)), 4, "0 (ConstantPad1d)", "only zeros",
    ),
    "too little padding": (
        lambda: nn.Sequential(nn.ConstantPad1d((1, 0), 0.0), nn.Conv1d(4, 3, 3)), 4, "1 (Conv1d)", "1 zeros before it",
    ),
    "padding before nothing": (lambda: nn.Sequential(nn.Tanh(), nn.ZeroPad1d((2, 0))), 4, "module", "followed by"),
    "unknown module": (lambda: nn.Sequential(nn.Linear(4, 4), nn.GELU()), 4, "1 (GELU)", "no such layer"),
    "elu with alpha": (lambda: nn.Sequential(nn.ELU(0.5)), 4, "0 (ELU)", "alpha is 0.5"),
    "prelu of another size": (lambda: nn.Sequential(nn.PReLU(3)), 4, "0 (PReLU)", "3 slopes"),
    "softmax over the batch": (lambda: nn.Sequential(nn.Softmax(dim=0)), 4, "0 (Softmax)", "dim 0"),
    "batch statistics": (without_statistics, 4, "1 (BatchNorm1d)", "depends on the batch"),
    "sizes that do not meet": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Tanh(), nn.Linear(6, 1))), 4, "1.1 (Linear)", "takes 6",
    ),
    "another input size": (lambda: nn.Sequential(nn.Linear(4, 5)), 3, "0 (Linear)", "takes 4 values per frame, but"),
    "a skip connection": (lambda: nn.Sequential(nn.Linear(4, 4), Skip()), 4, "1 (Skip)", "skip connections"),
    "a parameter of its own": (OwnParameter, 4, "module (OwnParameter)", "its own parameters (gain)"),
    "only the last frame": (LastFrame, 1, "module (LastFrame)", "one frame for each input frame"),
    "a forward that raises": (Raises, 4, "module (Raises)", "RuntimeError: on purpose"),
    "a hook": (with_hook, 4, "0 (Linear)", "computes something other"),
    "a list": (lambda: nn.ModuleList([nn.Linear(4, 4)]), 4, "module (ModuleList)", "could not be tried"),
    "nothing": (nn.Sequential, 4, "module (Sequential)", "no layer that computes"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), 4, "0 (LazyLinear)", "no values yet"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_expressed_is_named(tmp_path: Path, name: str) -> None:
    make, size, where, reason = REFUSED[name]
    with pytest.raises(ExportError) as raised:
        to_rtneural(make(), size, tmp_path / "x.json")
    assert raised.value.where == where
    assert reason in raised.value.problem
    assert not (tmp_path / "x.json").exists()


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        module[0].bias[1] = float("nan")
    with pytest.raises(ExportError, match=r"0 \(Linear\): .* its bias contains values that are not finite"):
        to_rtneural(module, 2, tmp_path / "x.json")


def test_the_module_is_left_as_it_is(tmp_path: Path) -> None:
    module = Amp().double().train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    to_rtneural(module, 1, str(tmp_path / "x.json"))
    assert module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_there_and_back_is_the_identity(tmp_path: Path, shared_vectors: Path) -> None:
    for path in (*shared_vectors.glob("engine/*.json"), *shared_vectors.glob("rtneural/*.json")):
        if path.stem in ("bad_lstm", "lstm_torch"):
            continue
        size = read_export(path).in_size
        to_rtneural(from_rtneural(path), size, tmp_path / "once.json")
        to_rtneural(from_rtneural(tmp_path / "once.json"), size, tmp_path / "twice.json")
        once, twice = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("once", "twice"))
        assert once["layers"] == twice["layers"]
        frames = frames_for(size)
        np.testing.assert_array_equal(
            NumpyEngine(path).process(frames), NumpyEngine(tmp_path / "once.json").process(frames), err_msg=path.stem
        )


@pytest.mark.parametrize("case", range(16))
def test_engines_agree_on_what_random_modules_become(tmp_path: Path, case: int) -> None:
    """From layers to a module, to a file, to each engine and back to a module with the same weights."""
    layers: list[Layer] = random_network(seeded_rng(300 + case), depth=1 + case % 4)
    module, size = build_module(layers), layers[0].in_size
    frames = frames_for(size)
    outputs = exported(tmp_path, module, size, frames)
    back = from_rtneural(tmp_path / "x.json")
    assert [type(child) for child in back] == [type(child) for child in module]
    for ours, theirs in zip(module.state_dict().values(), back.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    by_onnx = OnnxEngine(build_onnx(read_export(tmp_path / "x.json").layers, {})).process(frames)
    for others in (outputs_of(back, frames), by_onnx):
        np.testing.assert_allclose(others, outputs, rtol=1e-5, atol=2e-6)


def test_a_module_read_back_can_be_trained_further(tmp_path: Path) -> None:
    to_rtneural(Amp(), 1, tmp_path / "x.json")
    module = from_rtneural(tmp_path / "x.json").train()
    loss = module(torch.from_numpy(frames_for(1))[None]).square().mean()
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in module.parameters())
