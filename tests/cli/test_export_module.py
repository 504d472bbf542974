"""Any PyTorch module through the command line: export, weights of both kinds, checks, comparison, and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import CommandRunner
from tests.seeds import shifted

FACTORY = """
import torch
from torch import nn

class Amp(nn.Module):
    def __init__(self):
        super().__init__()
        self.rec = nn.GRU(1, 6, batch_first=True)
        self.lin = nn.Linear(6, 1)

    def forward(self, x):
        return self.lin(self.rec(x)[0])

def make():
    return Amp()

def broken():
    raise RuntimeError("no such amp")

number = lambda: 7
"""


@pytest.fixture
def amp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The factory's name; its module is in the working directory and its weights in weights.pt."""
    name = f"amp_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    module: dict = {}
    exec(FACTORY, module)
    torch.manual_seed(shifted(3))
    torch.save(module["make"]().state_dict(), tmp_path / "weights.pt")
    return name


def test_a_state_dict_survives_a_round_trip(run: CommandRunner, tmp_path: Path, amp: str) -> None:
    run.ok("export", f"{amp}:make", "--weights", "weights.pt", "-o", "net.json", "--onnx")
    run.ok("export", "net.json", "-o", "back.pt")
    before, after = (torch.load(tmp_path / name, weights_only=True) for name in ("weights.pt", "back.pt"))
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert (tmp_path / "net.onnx").is_file()


def test_safetensors_in_and_out(run: CommandRunner, tmp_path: Path, amp: str) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    weights = torch.load(tmp_path / "weights.pt", weights_only=True)
    safetensors.save_file(weights, tmp_path / "weights.safetensors")
    run.ok("export", f"{amp}:make", "--weights", "weights.safetensors", "-o", "net.json")
    run.ok("export", "net.json", "-o", "back.safetensors")
    after = safetensors.load_file(tmp_path / "back.safetensors")
    assert all(torch.equal(weights[key], after[key]) for key in weights)


def test_every_command_takes_the_file_without_a_spec(run: CommandRunner, amp: str) -> None:
    run.ok("export", f"{amp}:make", "--weights", "weights.pt", "-o", "net.json")
    assert run.json("validate", "net.json")["passed"]
    assert run.json("compare", "net.json", "net.json")["same_network"]
    engines = run.json("bench", "net.json", "--budget-ms", "100000")["engines"]
    assert {"numpy", "torch"} <= engines.keys()
    report = run.json("report", "net.json")
    assert [model["name"] for model in report["models"]] == ["net"]
    assert report["missing"] == []


def test_mistakes_are_named(run: CommandRunner, tmp_path: Path, amp: str) -> None:
    torch.save({"rec.weight_ih_l0": torch.zeros(1), "other": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    make = f"{amp}:make"
    for arguments, reported in (
        ((f"{amp}:broken", "-o", "x.json"), "RuntimeError: no such amp"),
        ((f"{amp}:number", "-o", "x.json"), "returns int, not a torch.nn.Module"),
        ((f"{amp}:missing", "-o", "x.json"), "AttributeError"),
        (("no_such_package:make", "-o", "x.json"), "ModuleNotFoundError"),
        ((make,), "names no file"),
        ((make, "--weights", "other.pt", "-o", "x.json"), "has the unknown other"),
        ((make, "--weights", "junk.pt", "-o", "x.json"), "is not a file of weights"),
        ((make, "--weights", "none.pt", "-o", "x.json"), "cannot be read"),
        (("weights.pt", "--weights", "weights.pt"), "belongs to PKG.MODULE:FACTORY"),
    ):
        assert reported in run.refused("export", *arguments), arguments
    assert not (tmp_path / "x.json").exists()


def test_an_export_of_other_weights_is_kept_under_the_name_that_trainings_use(
    run: CommandRunner, tmp_path: Path, amp: str
) -> None:
    run.ok("export", f"{amp}:make", "--weights", "weights.pt", "-o", "net.json")
    first = (tmp_path / "net.json").read_bytes()
    run.ok("export", f"{amp}:make", "--weights", "weights.pt", "-o", "net.json")
    assert not (tmp_path / "net.previous.json").exists()
    torch.manual_seed(shifted(4))
    run.ok("export", f"{amp}:make", "-o", "net.json")
    assert (tmp_path / "net.previous.json").read_bytes() == first
    assert (tmp_path / "net.json").read_bytes() != first
