"""A checkpoint is trusted only when it is complete, sound and of this network."""

from __future__ import annotations

import math
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from kelly_core.errors import CheckpointError
from kelly_core.spec import model_spec
from kelly_core.training import checkpoint as module
from kelly_core.training.checkpoint import load_checkpoint
from tests.helpers.networks import write_tiny
from tests.helpers.toy_training import ToyRun

DYNAMICS = model_spec("DynamicsEngine")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = ToyRun(DYNAMICS, tmp_path_factory.mktemp("training"))
    run(epochs=2)
    return run.checkpoint_path("latest")


def test_it_holds_nothing_but_data(written: Path) -> None:
    content = torch.load(written, weights_only=True)
    assert {"network", "optimiser", "epoch", "stopping", "random", "settings", "dataset"} <= content.keys()
    assert content["settings"]["batch_size"] == 4
    assert content["dataset"]["fingerprint"] == "toy"
    assert content["epoch"] == 2
    assert len(content["history"]) == 2
    loaded = load_checkpoint(written)
    assert loaded.model == "DynamicsEngine"
    assert torch.equal(loaded.mean, content["mean"])


def test_a_part_of_a_checkpoint_is_refused(written: Path, tmp_path: Path) -> None:
    whole = written.read_bytes()
    part = tmp_path / "part.pt"
    for size in [*range(0, 200, 20), *range(200, len(whole), len(whole) // 40), len(whole) - 1]:
        part.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"part\.pt"):
            load_checkpoint(part)


def test_a_flipped_byte_anywhere_is_noticed_or_harmless(written: Path, tmp_path: Path) -> None:
    """Padding and time stamps may change; what is loaded may not."""
    whole, broken = written.read_bytes(), tmp_path / "broken.pt"
    sound = load_checkpoint(written)
    refused = 0
    for position in range(0, len(whole), len(whole) // 150):
        flipped = bytearray(whole)
        flipped[position] ^= 0x55
        broken.write_bytes(flipped)
        try:
            loaded = load_checkpoint(broken)
        except CheckpointError:
            refused += 1
            continue
        assert loaded.settings == sound.settings
        assert all(torch.equal(tensor, sound.network[name]) for name, tensor in loaded.network.items())
        assert all(torch.equal(tensor, sound.best_network[name]) for name, tensor in loaded.best_network.items())
    assert refused > 100


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a checkpoint", b"\x80\x02cposix\nsystem\n."])
def test_foreign_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"foreign.pt"):
        load_checkpoint(path)


def test_an_export_in_place_of_a_checkpoint_is_named_as_one_and_never_deleted(tmp_path: Path) -> None:
    export = write_tiny(tmp_path)
    with pytest.raises(CheckpointError, match="is JSON, such as an export, not a checkpoint") as raised:
        load_checkpoint(export)
    assert "FOLDER/checkpoints/MODEL_best.pt" in str(raised.value)
    checkpoint = tmp_path / "checkpoints" / f"{export.stem}_best.pt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    with pytest.raises(CheckpointError, match=str(checkpoint)):
        load_checkpoint(export)
    for path in (export, checkpoint):
        with pytest.raises(CheckpointError) as raised:
            load_checkpoint(path)
        assert not re.search("remove|delete", str(raised.value), re.IGNORECASE)


def rewritten(written: Path, path: Path, **changes: Any) -> Path:
    content = torch.load(written, weights_only=True)
    torch.save({key: value for key, value in (content | changes).items() if value is not None}, path)
    return path


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"format": 99}, "format 99"),
        ({"format": None}, "format None"),
        ({"format": torch.zeros(3)}, "format Tensor"),
        ({"mean": torch.zeros(32).to_sparse()}, "sparse tensor"),
        ({"quality": {"metrics": [b"x"]}}, r"`quality\.metrics\[0\]` is bytes"),
        ({"optimiser": None}, "optimiser"),
        ({"model": "HarmonyPredictor"}, "HarmonyPredictor"),
        ({"model": "Nonesuch"}, "Nonesuch"),
        ({"network": {}}, "does not fit"),
        ({"best_network": {"layers.0.weight": 3}}, "does not fit|damaged"),
        ({"average": {"layers.0.weight": torch.zeros(2)}}, "does not fit"),
        ({"network": [1, 2]}, "`network` is list, expected dict"),
        ({"model": ["DynamicsEngine"]}, "`model` is list, expected str"),
        ({"dataset": {}}, "`dataset.name` is NoneType, expected str"),
        ({"dataset": 1}, "`dataset` is int, expected dict"),
        ({"epoch": "2"}, "`epoch` is str, expected int"),
        ({"epoch": -1}, "`epoch` is outside 0"),
        ({"settings": {}}, "settings.epochs"),
        ({"history": [{}]}, r"`history\[0\]` has no finite losses"),
        ({"optimiser": {}}, "`optimiser.mean` is NoneType, expected float32 of shape"),
        ({"stopping": {}}, r"`stopping\.patience`"),
        ({"random": {"numpy": {}, "torch": torch.zeros(1), "cuda": []}}, r"`random\.numpy\."),
        ({"metrics": {"val_loss": "low"}}, r"`metrics\.val_loss"),
        ({"metrics": {}}, "`metrics` lacks"),
        ({"mean": torch.zeros(3)}, "is corrupted: `mean` has 3 entries, expected 32"),
        ({"scale": torch.full((32,), float("nan"))}, "`scale` contains values that are not finite"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(
    changes: dict[str, Any], reported: str, written: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=reported):
        load_checkpoint(rewritten(written, tmp_path / "other.pt", **changes))


@pytest.mark.parametrize(
    ("field", "name", "value", "reported"),
    [
        ("optimiser", "square", torch.full((13_520,), -1.0), r"`optimiser\.square` contains values"),
        ("optimiser", "learning_rate", math.inf, r"`optimiser\.learning_rate`"),
        ("stopping", "best_loss", math.nan, r"`stopping\.best_loss`"),
        ("stopping", "waited", 10**400, r"`stopping\.waited`"),
        ("settings", "batch_size", 10**400, r"`settings\.batch_size` is beyond"),
        ("settings", "learning_rate", torch.zeros(3), r"`settings\.learning_rate` is Tensor"),
        ("random", "torch", torch.zeros(5, dtype=torch.uint8), r"`random\.torch`"),
        ("network", "layers.0.bias", torch.full((128,), math.nan), r"`network\.layers\.0\.bias` contains values"),
        ("best_network", "layers.0.bias", torch.full((128,), math.inf), r"`best_network\.layers\.0\.bias` contains"),
    ],
)
def test_one_wrong_value_is_named(
    field: str, name: str, value: object, reported: str, written: Path, tmp_path: Path
) -> None:
    content = torch.load(written, weights_only=True)
    with pytest.raises(CheckpointError, match=reported):
        load_checkpoint(rewritten(written, tmp_path / "other.pt", **{field: content[field] | {name: value}}))


@pytest.mark.parametrize("value", ["x", [1], torch.zeros(3), True, 1.5, -1])
def test_a_wrong_value_in_the_history_is_named(value: object, written: Path, tmp_path: Path) -> None:
    first, *others = torch.load(written, weights_only=True)["history"]
    with pytest.raises(CheckpointError, match=r"`history\[0\]\.epoch"):
        load_checkpoint(rewritten(written, tmp_path / "other.pt", history=[first | {"epoch": value}, *others]))


def test_an_archive_that_inflates_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data/0", bytes(2 * 2**20))
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    with pytest.raises(CheckpointError, match=r"inflates to more than 1\.0 MB"):
        load_checkpoint(tmp_path / "bomb.pt")


def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.pt")
    with pytest.raises(CheckpointError, match="not a regular file"):
        load_checkpoint(tmp_path / "fifo.pt")


def test_a_code_bearing_pickle_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"format": module.FORMAT, "model": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_file_that_is_not_there_or_too_large_is_refused(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(tmp_path / "absent.pt")
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(CheckpointError, match="larger"):
        load_checkpoint(written)
