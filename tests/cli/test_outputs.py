"""No command overwrites what it reads, and none writes into a folder that does not exist unless it is asked to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kelly_core.cli.options import Output, check_outputs
from kelly_core.errors import ConfigError
from tests.cli.conftest import CommandRunner
from tests.helpers import tiny
from tests.helpers.chain import write_chain

MUSIC = ["generate", "--models", "models", "--bars", 2]
CONSTANT = [*MUSIC, "--valence", 0, "--arousal", 0]
GROOVE = "models/groovepredictor.json"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chain(tmp_path_factory.mktemp("models"))


@pytest.fixture
def folder(chain: Path, tmp_path: Path) -> Path:
    """A working folder with exports, audio, a curve, a settings file, a file and links to files."""
    shutil.copytree(chain, tmp_path / "models")
    tiny.write_tone(tmp_path / "clip.wav", 1)
    (tmp_path / "curve.csv").write_text("time,valence,arousal\n0,0,0\n4,0,0\n")
    shutil.copytree(chain, tmp_path / "linked")
    for name in ("report.md", "benchmarks.jsonl"):
        os.link(tmp_path / "linked" / "groovepredictor.json", tmp_path / "linked" / name)
    (tmp_path / "symbolic.wav").symlink_to("clip.wav")
    os.link(tmp_path / "clip.wav", tmp_path / "hard.wav")
    (tmp_path / "settings.json").write_text("{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dynamicsengine.json").symlink_to("../settings.json")
    os.link(tmp_path / "settings.json", tmp_path / "out" / "sweep.json")
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "arguments",
    [
        [*MUSIC, "clip.wav", "-o", "clip.wav"],
        [*MUSIC, "clip.wav", "-o", "out/../clip.wav"],
        [*MUSIC, "clip.wav", "-o", "symbolic.wav"],
        [*MUSIC, "symbolic.wav", "-o", "clip.wav"],
        [*MUSIC, "clip.wav", "-o", "hard.wav"],
        [*MUSIC, "clip.wav", "-o", "out/a.mid", "--plot", "hard.wav"],
        [*MUSIC, "--curve", "curve.csv", "-o", "curve.csv"],
        [*MUSIC, "--curve", "curve.csv", "--plot", "curve.csv"],
        [*CONSTANT, "-o", GROOVE],
        [*CONSTANT, "-o", "out/a.mid", "--plot", GROOVE],
        ["deploy", "models", "--to", "models"],
        ["deploy", "models", "--to", "out/../models"],
        ["report", "linked"],
        ["report", "models", "-o", "linked", "--config", "linked/report.md"],
        ["bench", "linked"],
        ["train", "-m", "dynamics", "-o", "out", "--config", "settings.json"],
        ["sweep", "-m", "groove", "--seeds", 2, "-o", "out", "--config", "settings.json"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_an_output_that_is_an_input_is_refused_before_any_work(
    run: CommandRunner, folder: Path, arguments: list[object]
) -> None:
    before = content(folder)
    refused = run.refused(*arguments, code=2)
    assert "is an input and would be overwritten" in refused
    assert "Choose another place" in refused
    assert content(folder) == before


@pytest.mark.slow
def test_export_spares_its_checkpoint_and_creates_no_folder(run: CommandRunner, tmp_path: Path) -> None:
    run("train", "-m", "GroovePredictor", "-e", 1, "-o", "out")
    checkpoint = (tmp_path / "out" / "checkpoints" / "groovepredictor_best.pt").read_bytes()
    for suffix, options in ((".json", []), (".onnx", ["--onnx"])):
        source = tmp_path / f"groovepredictor{suffix}"
        source.write_bytes(checkpoint)
        assert "is an input and would be overwritten" in run.refused("export", source, *options, code=2)
        assert source.read_bytes() == checkpoint
        source.unlink()
    assert "Add --mkdir" in run.refused("export", "out", "-o", "missing", code=2)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [*CONSTANT, "-o", "missing/a.mid"],
        [*CONSTANT, "-o", "out/missing/deeper/a.mid"],
        [*CONSTANT, "-o", "out/a.mid", "--plot", "missing/a.png"],
        ["deploy", "models", "--to", "missing"],
        ["report", "models", "-o", "missing"],
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_a_missing_folder_is_refused_and_created_on_request(
    run: CommandRunner, folder: Path, arguments: list[object]
) -> None:
    before = content(folder)
    assert "does not exist. Add --mkdir to create it" in run.refused(*arguments, code=2)
    assert content(folder) == before
    assert not (folder / "missing").exists()
    assert not (folder / "out/missing").exists()
    run.ok(*arguments, "--mkdir")
    assert len(content(folder)) > len(before)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("out", "it is a folder"),
        ("/dev/null", "it is a device"),
        ("clip.wav/a.mid", "clip.wav is a file, not a folder"),
    ],
)
def test_what_cannot_become_a_file_is_refused_before_any_work(run: CommandRunner, path: str, words: str) -> None:
    assert words in run.refused(*CONSTANT, "-o", path, code=2)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    "words", [["train", "-o", ""], ["train", "--output="], ["deploy", "models", "--to", ""], ["validate", ""]]
)
def test_an_empty_path_is_refused(run: CommandRunner, tmp_path: Path, words: list[str]) -> None:
    assert "expected a path, got ''" in run.refused(*words, code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_folder_of_exports_is_refused(run: CommandRunner, tmp_path: Path) -> None:
    refused = run.refused("export", "models", "-o", "new/groove.json", "--mkdir", code=2)
    assert "--output: expected a folder, got new/groove.json. Each export is named after its model: -o new" in refused
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("folder")
def test_one_file_cannot_take_two_outputs(run: CommandRunner) -> None:
    refused = run.refused(*CONSTANT, "-o", "out/a", "--plot", "models/../out/a", code=2)
    assert "out/a is also the file of --output" in refused


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_links_are_the_file_that_they_link_to(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    source, other = tmp_path / "a", tmp_path / "b"
    source.touch()
    link(source, other)
    with pytest.raises(ConfigError, match="the same file as"):
        check_outputs([Output(other, "-o")], [source])
    check_outputs([Output(tmp_path / "c", "-o")], [source, tmp_path / "missing"])
