"""Every command as a person types it: what it prints, what it leaves, how it exits."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from kelly_core.export.reader import read_export
from kelly_core.spec import MODELS
from tests.cli.conftest import CommandRunner
from tests.helpers import tiny
from tests.helpers.chain import write_chain
from tests.helpers.json_files import edited

DENSE = ["-m", "DynamicsEngine", "-m", "GroovePredictor"]


def test_help_names_every_command(run: CommandRunner) -> None:
    shown = run.ok("--help").out
    commands = "train runs validate export bench compare features generate deploy datasets cache config verify"
    for command in commands.split():
        assert command in shown
        run.ok(command, "-h")
    assert "Did you mean train?" in run("trian").err


def test_all_five_models_train_and_validate(run: CommandRunner, tmp_path: Path) -> None:
    models = run.json("train", "--use-synthetic", "-e", 2, "-b", 16, "-o", "out")["models"]
    assert [model["model"] for model in models] == [spec.name for spec in MODELS]
    for spec, model in zip(MODELS, models, strict=True):
        stem = spec.file_stem
        assert model["synthetic"] is True
        assert model["epochs"] == 2
        assert model["export"] == f"out/{stem}.json"
        assert read_export(tmp_path / f"out/{stem}.json").metadata["trained_on"]["synthetic"] is True
        for kept in (f"checkpoints/{stem}_best.pt", f"checkpoints/{stem}_latest.pt", f"plots/{stem}_loss.png"):
            assert (tmp_path / "out" / kept).stat().st_size > 1000
        history = json.loads((tmp_path / "out" / "history" / f"{stem}_history.json").read_text())
        assert history["model"] == spec.name
        losses = [row["val_loss"] for row in history["epochs"]]
        assert [row["epoch"] for row in history["epochs"]] == [1, 2]
        assert history["best_epoch"] == 1 + int(np.argmin(losses))
        with (tmp_path / "out" / "history" / f"{stem}_history.csv").open() as file:
            assert [float(row["val_loss"]) for row in csv.DictReader(file)] == losses
    files = [f"out/{spec.file_stem}.json" for spec in MODELS]
    report = run.json("validate", *files, "--check-specs")
    assert report["passed"]
    for file in report["files"]:
        assert {"parity with its checkpoint in PyTorch", "specification"} <= {check["name"] for check in file["checks"]}


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "-e", "1", "--datasets-dir", "nowhere"),
        ("train", "-e", "1", "--use-synthetic", "--datasets-dir", "datasets"),
        ("train", "-e", "1", "--config", "nowhere.toml"),
        ("train", "-e", "1", "--config", "dir.toml"),
        ("train", "-e", "1", "--config", "path.toml"),
        ("sweep", "--seeds", "2", "--datasets-dir", "nowhere"),
        ("datasets", "--datasets-dir", "nowhere"),
        ("datasets", "--config", "path.toml"),
        ("validate", "a.json", "--split", "test", "--datasets-dir", "nowhere"),
    ],
)
def test_a_path_that_was_asked_for_and_is_missing_is_an_error(
    run: CommandRunner, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "dir.toml").write_text('[datasets]\ndir = "nowhere"\n')
    (tmp_path / "path.toml").write_text('[datasets.deam]\npath = "nowhere"\n')
    assert "no such f" in run.refused(*arguments, code=2).lower()
    assert not (tmp_path / "models").exists()


def test_a_missing_default_folder_is_not_an_error(run: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[datasets]\ndir = "datasets"\n')
    run.ok("datasets")


def test_a_folder_named_for_a_corpus_without_any_of_its_files_is_an_error(run: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "config.toml").write_text('[datasets.groove_midi]\npath = "empty"\n')
    assert "contains no file of the corpus" in run.refused("train", "-m", "groove", "-e", 1, code=1)
    assert not (tmp_path / "models/groovepredictor.json").exists()


def test_licenses_reach_the_export_and_a_former_one_is_kept(run: CommandRunner, tmp_path: Path) -> None:
    tiny.maestro(tmp_path / "data" / "maestro")
    run.ok("train", "-m", "dynamics", "-e", 1, "-o", "out", "--datasets-dir", "data")
    trained_on = read_export(tmp_path / "out/dynamicsengine.json").metadata["trained_on"]
    assert trained_on["licences"] == {"maestro": "CC BY-NC-SA 4.0, non-commercial"}
    again = run.ok("train", "-m", "dynamics", "-e", 1, "-o", "out", "--datasets-dir", "data", "--seed", 5)
    assert "dynamicsengine.previous.json" in again.err
    files = sorted((tmp_path / "out").glob("*.json"))
    assert len(files) == 2
    assert len(run.json("validate", *files, "--check-specs")["files"]) == 1
    run.ok("validate", tmp_path / "out/dynamicsengine.previous.json", "--check-specs")


def test_the_first_training_and_the_first_list_explain_how_to_get_corpora(run: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "datasets/groove").mkdir(parents=True)
    (tmp_path / "datasets/groove/a.mid").write_bytes(b"x")
    trained = run.ok("train", "-m", "dynamics", "-e", 1)
    assert "SYNTHETIC" in trained.err
    assert "datasets/maestro" in trained.err
    assert "synthetic" in trained.out
    for shown in (trained.err, run("datasets").out):
        assert "kelly-core datasets get" in shown
        assert "make demo" in shown
        assert "datasets/groove contains 1 .mid files: is this groove_midi?" in shown
    assert run.json("datasets")["unclaimed"][0]["corpus"] == "groove_midi"
    assert "datasets get" not in run("train", "-m", "dynamics", "-e", 1, "--use-synthetic", "-o", "out").err


def test_missing_corpora_fall_back_and_present_ones_do_not(run: CommandRunner, tmp_path: Path) -> None:
    tiny.groove_midi(tmp_path / "data" / "groove_midi")
    models = run.json("train", *DENSE, "-e", 1, "-o", "out", "--datasets-dir", "data")["models"]
    assert [(each["model"], each["synthetic"]) for each in models] == [(DENSE[1], True), (DENSE[3], False)]
    trained_on = read_export(tmp_path / "out/groovepredictor.json").metadata["trained_on"]
    assert (trained_on["synthetic"], trained_on["dataset"]) == (False, "groove_midi")


def test_a_corpus_with_nothing_usable_fails_its_model_and_not_the_others(run: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "data" / "groove_midi").mkdir(parents=True)
    (tmp_path / "data" / "groove_midi" / "a.mid").write_bytes(b"MThd")
    assert "no usable example" in run.refused("train", *DENSE, "-e", 1, "-o", "out", "--datasets-dir", "data", code=1)
    assert (tmp_path / "out" / "dynamicsengine.json").is_file()
    assert not (tmp_path / "out" / "groovepredictor.json").exists()
    shown = run("datasets", "--datasets-dir", "data")
    assert shown.code == 1
    assert "no usable example (1 × damaged MIDI file)" in shown.out


def test_resume_continues_and_reports_when_there_is_nothing(run: CommandRunner, tmp_path: Path) -> None:
    assert "nothing to resume" in run.ok("train", "-m", "dynamicsengine", "-e", 2, "-o", "out", "--resume").err
    second = run.ok("train", "-m", "DynamicsEngine", "-e", 4, "-o", "out", "--resume", "--json")
    assert "nothing to resume" not in second.err
    assert json.loads(second.out)["models"][0]["epochs"] == 4
    run.ok("train", "-m", "DynamicsEngine", "-e", 4, "-o", "whole")
    found = []
    for folder in (tmp_path / "out", tmp_path / "whole"):
        history = json.loads((folder / "history/dynamicsengine_history.json").read_text())
        losses = [(row["train_loss"], row["val_loss"]) for row in history["epochs"]]
        found.append((losses, json.loads((folder / "dynamicsengine.json").read_text())["layers"]))
    assert found[0] == found[1]


def test_no_history_and_no_plots(run: CommandRunner, tmp_path: Path) -> None:
    run.ok("train", *DENSE[:2], "-e", 1, "-o", "out", "--no-history", "--no-plots")
    assert not (tmp_path / "out" / "history").exists()
    assert not (tmp_path / "out" / "plots").exists()


def test_a_stateless_model_is_exported_as_one(run: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[models.EmotionRecognizer]\nstate = "stateless"\n')
    run.ok("train", "-m", "EmotionRecognizer", "-e", 1, "-o", "out")
    validated = run.ok("validate", "out/emotionrecognizer.json", "--check-specs", "--verbose")
    assert "stateless" in validated.out


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("train -m Nobody", "no model is called 'Nobody'"),
        ("train -e 0", "training.epochs = 0"),
        ("train -lr nan", "training.learning_rate = nan"),
        ("train -d tpu", "training.device = 'tpu'"),
        ("train -v 1.5", "training.validation_split = 1.5"),
        ("train --config none.toml", "none.toml: cannot be read"),
        ("export nowhere.pt", "nowhere.pt: cannot be read"),
        ("export .", "contains no best checkpoint"),
        ("runs resume last --epochs +0", "'+0' is not of the form +N"),
        ("runs resume last --epochs +9999999999", "is not of the form +N"),
        ("datasets demo x --songs 99999999999", "99999999999"),
    ],
)
def test_mistakes_get_a_message_and_an_exit_code(run: CommandRunner, words: str, problem: str) -> None:
    assert problem in run.refused(*words.split())


def test_the_error_of_a_missing_device_lists_the_available_ones(run: CommandRunner) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    shown = run.refused("train", "-m", "DynamicsEngine", "-d", "cuda", "-o", "out", code=1)
    assert "no device 'cuda' here" in shown
    assert "Available: cpu" in shown


def test_validate_fails_with_the_reason(run: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"in_shape":[null,')
    shown = run("validate", "cut.json", "missing.json")
    assert shown.code == 1
    assert "cut.json" in shown.out
    assert "missing.json" in shown.out
    report = run.json("validate", "cut.json", code=1)
    assert report["passed"] is False
    assert report["files"][0]["checks"][0]["passed"] is False


def test_validate_checks_the_exports_of_a_folder(run: CommandRunner, tmp_path: Path) -> None:
    folder = write_chain(tmp_path / "models")
    files = [file["file"] for file in run.json("validate", "models")["files"]]
    assert files == [f"models/{spec.file_stem}.json" for spec in MODELS]
    both = run.json("validate", folder, "models/groovepredictor.json")
    assert len(both["files"]) == len(MODELS) + 1
    (tmp_path / "empty").mkdir()
    assert "contains no export of a network" in run.refused("validate", "empty", code=1)


def test_validate_detects_that_weights_and_checkpoint_differ(run: CommandRunner, tmp_path: Path) -> None:
    run("train", "-m", "GroovePredictor", "-e", 1, "-o", "out")
    run("train", "-m", "GroovePredictor", "-e", 1, "-o", "other", "--seed", 1)
    best = "checkpoints/groovepredictor_best.pt"
    (tmp_path / "out" / best).write_bytes((tmp_path / "other" / best).read_bytes())
    shown = run("validate", "out/groovepredictor.json")
    assert shown.code == 1
    assert "contains other weights" in shown.out


def test_export_writes_both_layouts_from_checkpoints(run: CommandRunner, tmp_path: Path) -> None:
    run("train", *DENSE, "-e", 1, "-o", "out")
    original = (tmp_path / "out" / "groovepredictor.json").read_bytes()
    run.ok("export", "out", "-o", "again", "--mkdir")
    assert (tmp_path / "again" / "groovepredictor.json").read_bytes() == original
    run.ok("export", "out/checkpoints/dynamicsengine_best.pt", "--layout", "legacy", "-o", "legacy", "--mkdir")
    again = run("export", "out", "-o", "again")
    assert (again.code, again.err) == (0, "")
    assert not (tmp_path / "again" / "groovepredictor.previous.json").exists()
    run("train", *DENSE, "-e", 2, "-o", "longer")
    replaced = run.ok("export", "longer", "-o", "again")
    assert "groovepredictor.json replaces a previous export: its loss" in replaced.err
    assert (tmp_path / "again" / "groovepredictor.previous.json").read_bytes() == original
    validated = run.json("validate", "legacy/dynamicsengine.json", "--check-specs")
    assert validated["passed"]
    assert validated["files"][0]["layout"] == "legacy"
    assert run("export", "out", "--layout", "other").code == 2


@pytest.mark.slow
def test_a_training_whose_export_was_not_the_better_one_is_resumed(run: CommandRunner, tmp_path: Path) -> None:
    train = ("train", "-m", "DynamicsEngine", "-o", "out", "--keep-best", "--no-plots")
    export = tmp_path / "out" / "dynamicsengine.json"

    def record_loss(loss: float) -> bytes:
        with edited(export) as document:
            document["metadata"]["metrics"]["val_loss"] = loss
        return export.read_bytes()

    run.ok(*train, "-e", 2)
    best = record_loss(0.0)
    train += ("--learning-rate", 0.01)
    run.ok(*train, "-e", 1)
    for epochs in (2, 3):
        resumed = run.ok(*train, "-e", epochs, "--resume")
        assert f"epoch {epochs}/{epochs}" in resumed.err
        assert "epoch 1/" not in resumed.err
        assert export.read_bytes() == best
    record_loss(1e9)
    run.ok(*train, "-e", 4, "--resume")
    assert export.read_bytes() != best
    run.ok("validate", "out")


def test_datasets_reports_each_corpus(run: CommandRunner, tmp_path: Path) -> None:
    for name in ("maestro", "chords"):
        tiny.WRITERS[name](tmp_path / "data" / name)
    found = {corpus["name"]: corpus for corpus in run.json("datasets", "--datasets-dir", "data")["datasets"]}
    assert list(found) == [*(spec.dataset for spec in MODELS), "emotion_midi", "emotion_audio"]
    assert found["maestro"]["found"]
    assert found["maestro"]["splits"]["validation"] > 0
    skipped = found["maestro"]["skipped"]["not in the official table"]
    assert skipped == {"count": 1, "first": ["2009/unlisted.midi"]}
    assert not found["deam"]["found"]
    assert "cvml.unige.ch" in found["deam"]["advice"]
    shown = run.ok("datasets", "--datasets-dir", "data")
    assert "non-commercial" in shown.out
    assert "unlisted.midi" in shown.out
    assert "training falls back to synthetic data" in shown.out
    assert "0: not mixed in" not in shown.out
    for name in ("emotion_audio", "emotion_midi"):
        tiny.WRITERS[name](tmp_path / "data" / name)
    assert "0: not mixed in" in run("datasets", "--datasets-dir", "data").out
    assert "training uses emotion_audio instead" in run("datasets", "--datasets-dir", "data").out


def test_datasets_warns_of_a_song_in_both_splits(run: CommandRunner, tmp_path: Path) -> None:
    songs = [["C", "Am", "F", "G7", "C", "Em", "F", "G"] * 2, ["Am", "F", "C", "G", "Dm", "E7", "Am", "E7"] * 2]
    (tmp_path / "data" / "chords").mkdir(parents=True)
    (tmp_path / "data" / "chords" / "chord_progressions.json").write_text(json.dumps(songs * 6))
    shown = run.ok("datasets", "--datasets-dir", "data")
    assert "same content in training and validation: 2 of 2 validation groups" in shown.out


def test_config_shows_values_and_origins(run: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[training]\nepochs = 7\n")
    monkeypatch.setenv("KELLY_TRAINING_SEED", "5")
    settings = run.json("config")
    assert settings["training.epochs"] == {"value": 7, "origin": "config.toml, line 2"}
    assert settings["training.seed"] == {"value": 5, "origin": "KELLY_TRAINING_SEED"}
    assert settings["training.batch_size"]["origin"] == "default"
    assert "config.toml, line 2" in run("config").out


def test_verify_counts_parameters(run: CommandRunner) -> None:
    report = run.json("verify")
    assert report["passed"]
    assert sum(model["parameters"] for model in report["models"]) == 1_151_280
    assert "1,151,280" in run("verify").out


def test_estimate_prints_and_leaves_nothing(run: CommandRunner, tmp_path: Path) -> None:
    (model,) = run.json("train", "-m", "GroovePredictor", "-e", 20, "-o", "out", "--estimate")["models"]
    assert (model["epochs"], model["steps"]) == (20, 1)
    assert model["seconds"] == pytest.approx(20 * model["seconds_per_epoch"])
    assert model["memory_bytes"] > 2**20
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_models_train_at_once_and_for_tensorboard(run: CommandRunner, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained = run.json("train", *DENSE, "-e", 2, "-o", "out", "--jobs", 2, "--tensorboard")
    assert {model["model"] for model in trained["models"]} == {"DynamicsEngine", "GroovePredictor"}
    run.ok("validate", "out/dynamicsengine.json", "out/groovepredictor.json", "--check-specs")
    assert list((tmp_path / "out" / "tensorboard").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        ("datasets get nowhere --json", 2, "no source is called 'nowhere'"),
        ("validate --json --nope", 2, "No such option: --nope"),
        ("cache --json clear", 2, "Did you mean --clear?"),
        ("train --json emotoin", 2, "Did you mean EmotionRecognizer? Models are given with -m"),
        ("train --json --lr 3", 2, "Did you mean -lr?"),
        ("cache --json --delet", 2, "No such option: --delet"),
        ("train --json --epoch 3", 2, "Did you mean --epochs?"),
        ("report missing --json", 1, "missing: "),
        ("config --json set", 2, "No such command 'set'. A setting is changed in config.toml"),
        ("config --json scheme", 2, "No such command 'scheme'. Did you mean schema?"),
        ("datasets --json maestor", 2, "No such command 'maestor'. Without a command, all corpora are shown"),
        ("runs --json lst", 2, "No such command 'lst'. Did you mean list?"),
        ("sweep --json --set nokey=1", 2, "--set: unknown setting 'nokey'. `kelly-core config` lists all settings"),
        ("sweep --json --set tui.keys=1", 2, "tui.keys cannot be tried"),
        ("train --json --epochs ten", 2, "'ten'"),
        ("bench --json -m", 2, "No such option: -m"),
        ("bench --json x --calls 99999999999999", 2, "10000000"),
        ("train --json -m ,", 2, "no model is called ''"),
        ("train --json --epochs 99999999999999999999", 2, "expected less than 2147483648"),
    ],
)
def test_an_error_is_the_json_document_of_a_command_that_cannot_run(run, words: str, code: int, problem: str) -> None:
    done = run(*words.split())
    assert done.code == code
    assert problem in json.loads(done.out)["error"]
    assert problem in done.err
    assert "Did you mean --help" not in done.err
    assert done.err.count("Did you mean") <= 1


def test_a_missing_file_is_reported_with_the_closest_name(run: CommandRunner, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "groovepredictor.json").write_text("{}")
    (tmp_path / "config.toml").touch()
    for words in ("compare models/groovepredicter.json x", "validate models/groovepredicter.json"):
        shown = run(*words.split())
        assert shown.code == 1
        assert "Did you mean models/groovepredictor.json?" in shown.out + shown.err
    assert "Did you mean config.toml?" in run("config", "--config", "conf.toml").err
    assert "There is no folder none" in run("config", "--config", "none/config.toml").err
    assert "Name an export, such as" in run("compare", "melody", "groove").err
