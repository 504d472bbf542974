"""Commands in odd surroundings: strange names, terminals of other languages, full disks, pipes that are closed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kelly_core.spec import MODELS
from tests.cli.conftest import CommandRunner
from tests.helpers.chain import write_chain
from tests.helpers.json_files import edited

ODD = "a [/b] [red]ü:dog: c"
KELLY = [sys.executable, "-c", "from kelly_core.cli.app import main; main()"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chain(tmp_path_factory.mktemp("models"))


def test_names_are_shown_as_they_are(run: CommandRunner, models: Path, tmp_path: Path) -> None:
    shutil.copytree(models, ODD)
    emotion = ["--valence", 0, "--arousal", 0, "--models", ODD]
    assert f"wrote {ODD}/tune.mid" in run("generate", *emotion, "-o", f"{ODD}/tune.mid").out
    deployed = run.ok("deploy", ODD, "--to", f"to {ODD}", "--mkdir")
    assert f"to {ODD}/groovepredictor.json" in deployed.out
    assert f"wrote {ODD}/demo/deam: " in run("datasets", "demo", f"{ODD}/demo", "--songs", 8).out
    assert f"no runs in {ODD}/runs" in run("runs", "--config", _settings(tmp_path, f"{ODD}/runs")).out
    assert ODD in run("config", "--config", _settings(tmp_path, f"{ODD}/runs")).out


def _settings(folder: Path, runs: str) -> Path:
    path = folder / "settings [red].toml"
    path.write_text(f"[runs]\ndir = {json.dumps(runs, ensure_ascii=False)}\n", encoding="utf-8")
    return path


def test_a_file_that_gives_itself_a_strange_name_is_refused_in_words(
    run: CommandRunner, models: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(models, tmp_path / "models")
    path = folder / f"{MODELS[0].file_stem}.json"
    with edited(path) as document:
        document["metadata"]["model_name"] = "[/x]"
    refused = run("deploy", "models", "--to", "plugin", "--mkdir")
    assert refused.code == 1
    assert "[/x]" in refused.out
    assert "nothing was copied" in refused.err


def test_a_pipe_has_no_edge(run: CommandRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{'long' * 20}.json"
    monkeypatch.delenv("COLUMNS")
    assert f"FAILED  {name}  " in run("validate", name).out
    monkeypatch.setenv("COLUMNS", "40")
    assert name not in run("validate", name).out.splitlines()[1]


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_ends_nothing(tmp_path: Path, encoding: str) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\xce\xb5.json"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "200"}
    shown = subprocess.run([*KELLY, "validate", name], capture_output=True, env=environment)
    assert shown.returncode == 1
    assert b"readable: cannot be read" in shown.stdout
    assert not shown.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&- 2>&-"])
def test_a_training_without_a_standard_stream_keeps_its_output_folder(tmp_path: Path, closed: str) -> None:
    words = "train -m groove --use-synthetic --epochs 1 --no-plots -o out"
    environment = os.environ | {"KELLY_DATASETS_SYNTHETIC_EXAMPLES": "64"}
    line = f"exec {sys.executable} -m kelly_core {words} {closed}"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "groovepredictor.json").is_file()


def test_a_question_without_an_input_to_answer_it_is_an_error_in_words(tmp_path: Path) -> None:
    line = f"exec {sys.executable} -m kelly_core datasets get maestro --datasets-dir . <&-"
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, capture_output=True, timeout=300)
    assert done.returncode == 2
    assert b"--yes" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_folder_that_may_not_be_read_is_an_error_in_json_too(
    run: CommandRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "models/x.json")

    monkeypatch.setattr("kelly_core.benchmark.suite.read_models", denied)
    done = run("bench", "models/x.json", "--json")
    assert (done.code, json.loads(done.out)) == (1, {"error": "models/x.json: Permission denied"})
    assert done.err == "error: models/x.json: Permission denied\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["config"], ["config", "--json"], ["runs"], ["--version"]])
def test_a_full_disk_under_the_answer_is_an_error_in_words(tmp_path: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*KELLY, *arguments], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\n"


def test_a_removed_working_folder_is_a_clear_error(tmp_path: Path) -> None:
    code = f"import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); {KELLY[-1]}"
    arguments = ["train", "-m", "GroovePredictor", "--use-synthetic", "-o", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: the working folder no longer exists\n"
