"""Every command as a person types it: what it prints, what it leaves, how it exits."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kelly_core.spec import MODELS
from tests.helpers import tiny
from tests.helpers.chain import write_chain

from .conftest import Run

DENSE = ["-m", "DynamicsEngine", "-m", "GroovePredictor"]


def test_help_names_every_command(run: Run) -> None:
    shown = run("--help")
    assert shown.code == 0
    commands = "train runs validate export bench compare features generate deploy datasets cache config verify"
    for command in commands.split():
        assert command in shown.out
        assert run(command, "--help").code == run(command, "-h").code == 0
    assert "Did you mean train?" in run("trian").err


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = "import sys; sys.argv[1:] = ['--help']; from kelly_core.cli.app import main\ntry: main()\nfinally: "
    code += "print([name for name in ('numpy', 'pydantic', 'kelly_core.cli.train') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "datasets" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_all_five_models_train_and_validate(run: Run, tmp_path: Path) -> None:
    trained = run("train", "--use-synthetic", "-e", 2, "-b", 16, "-o", "out", "--json")
    assert trained.code == 0, trained.err
    models = json.loads(trained.out)["models"]
    assert [model["model"] for model in models] == [spec.name for spec in MODELS]
    for spec, model in zip(MODELS, models, strict=True):
        stem = spec.file_stem
        assert model["synthetic"] is True
        assert model["epochs"] == 2
        assert model["export"] == f"out/{stem}.json"
        metadata = json.loads((tmp_path / "out" / f"{stem}.json").read_text())["metadata"]
        assert metadata["trained_on"]["synthetic"] is True
        for kept in (f"checkpoints/{stem}_best.pt", f"checkpoints/{stem}_latest.pt", f"plots/{stem}_loss.png"):
            assert (tmp_path / "out" / kept).stat().st_size > 1000
        history = json.loads((tmp_path / "out" / "history" / f"{stem}_history.json").read_text())
        assert history["model"] == spec.name
        assert [row["epoch"] for row in history["epochs"]] == [1, 2]
        assert history["best_epoch"] == 1 + int(np.argmin([row["val_loss"] for row in history["epochs"]]))
        with (tmp_path / "out" / "history" / f"{stem}_history.csv").open() as file:
            assert [float(row["val_loss"]) for row in csv.DictReader(file)] == [
                row["val_loss"] for row in history["epochs"]
            ]
    files = [f"out/{spec.file_stem}.json" for spec in MODELS]
    validated = run("validate", *files, "--check-specs", "--json")
    report = json.loads(validated.out)
    assert validated.code == 0, validated.out
    assert report["passed"], validated.out
    for file in report["files"]:
        assert {"parity with its checkpoint in PyTorch", "specification"} <= {check["name"] for check in file["checks"]}


def test_synthetic_stand_ins_are_loud(run: Run) -> None:
    trained = run("train", "-m", "GroovePredictor", "-e", 1, "-o", "out")
    assert trained.code == 0
    assert "SYNTHETIC" in trained.err
    assert "datasets/groove_midi" in trained.err
    assert "synthetic" in trained.out


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
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "dir.toml").write_text('[datasets]\ndir = "nowhere"\n')
    (tmp_path / "path.toml").write_text('[datasets.deam]\npath = "nowhere"\n')
    refused = run(*arguments)
    assert refused.code == 2
    assert "no such f" in refused.err.lower()
    assert not (tmp_path / "models").exists()


def test_a_missing_folder_at_its_default_place_is_no_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[datasets]\ndir = "datasets"\n')
    assert run("datasets").code == 0


def test_a_folder_named_for_a_corpus_without_any_of_its_files_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "config.toml").write_text('[datasets.groove_midi]\npath = "empty"\n')
    trained = run("train", "-m", "groove", "-e", 1)
    assert trained.code == 1
    assert "holds no file of the corpus" in trained.err
    assert not (tmp_path / "models/groovepredictor.json").exists()


def test_licenses_reach_the_export_and_a_former_one_is_kept(run: Run, tmp_path: Path) -> None:
    tiny.maestro(tmp_path / "data" / "maestro")
    first = run("train", "-m", "dynamics", "-e", 1, "-o", "out", "--datasets-dir", "data")
    assert first.code == 0
    trained_on = json.loads((tmp_path / "out/dynamicsengine.json").read_text())["metadata"]["trained_on"]
    assert trained_on["licences"] == {"maestro": "CC BY-NC-SA 4.0, non-commercial"}
    again = run("train", "-m", "dynamics", "-e", 1, "-o", "out", "--datasets-dir", "data", "--seed", 5)
    assert again.code == 0
    assert "dynamicsengine.previous.json" in again.err
    files = sorted((tmp_path / "out").glob("*.json"))
    assert len(files) == 2
    validated = run("validate", *files, "--check-specs", "--json")
    assert validated.code == 0
    assert len(json.loads(validated.out)["files"]) == 1
    assert run("validate", tmp_path / "out/dynamicsengine.previous.json", "--check-specs").code == 0


def test_the_first_training_and_the_first_look_say_how_to_get_corpora(run: Run, tmp_path: Path) -> None:
    (tmp_path / "datasets/groove").mkdir(parents=True)
    (tmp_path / "datasets/groove/a.mid").write_bytes(b"x")
    for shown in (run("train", "-m", "dynamics", "-e", 1).err, run("datasets").out):
        assert "kelly-core datasets get" in shown
        assert "make demo" in shown
        assert "datasets/groove holds 1 .mid files: is this groove_midi?" in shown
    assert json.loads(run("datasets", "--json").out)["unclaimed"][0]["corpus"] == "groove_midi"
    assert "datasets get" not in run("train", "-m", "dynamics", "-e", 1, "--use-synthetic", "-o", "out").err


def test_missing_corpora_fall_back_and_present_ones_do_not(run: Run, tmp_path: Path) -> None:
    tiny.groove_midi(tmp_path / "data" / "groove_midi")
    trained = run("train", *DENSE, "-e", 1, "-o", "out", "--datasets-dir", "data", "--json")
    assert {model["model"]: model["synthetic"] for model in json.loads(trained.out)["models"]} == {
        "DynamicsEngine": True,
        "GroovePredictor": False,
    }
    metadata = json.loads((tmp_path / "out" / "groovepredictor.json").read_text())["metadata"]
    assert metadata["trained_on"]["synthetic"] is False
    assert metadata["trained_on"]["dataset"] == "groove_midi"


def test_a_corpus_with_nothing_usable_fails_its_model_and_not_the_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "groove_midi").mkdir(parents=True)
    (tmp_path / "data" / "groove_midi" / "a.mid").write_bytes(b"MThd")
    trained = run("train", *DENSE, "-e", 1, "-o", "out", "--datasets-dir", "data")
    assert trained.code == 1
    assert "no usable example" in trained.err
    assert "Traceback" not in trained.err
    assert (tmp_path / "out" / "dynamicsengine.json").is_file()
    assert not (tmp_path / "out" / "groovepredictor.json").exists()


def test_resume_continues_and_reports_when_there_is_nothing(run: Run, tmp_path: Path) -> None:
    first = run("train", "-m", "dynamicsengine", "-e", 2, "-o", "out", "--resume", "--json")
    assert first.code == 0
    assert "nothing to resume" in first.err
    second = run("train", "-m", "DynamicsEngine", "-e", 4, "-o", "out", "--resume", "--json")
    assert "nothing to resume" not in second.err
    assert json.loads(second.out)["models"][0]["epochs"] == 4
    whole = run("train", "-m", "DynamicsEngine", "-e", 4, "-o", "whole", "--json")
    assert whole.code == 0
    history = [
        json.loads((tmp_path / name / "history/dynamicsengine_history.json").read_text()) for name in ("out", "whole")
    ]
    losses = [[(row["train_loss"], row["val_loss"]) for row in part["epochs"]] for part in history]
    assert losses[0] == losses[1]
    exports = [json.loads((tmp_path / name / "dynamicsengine.json").read_text()) for name in ("out", "whole")]
    assert exports[0]["layers"] == exports[1]["layers"]


def test_no_history_and_no_plots(run: Run, tmp_path: Path) -> None:
    assert run("train", *DENSE[:2], "-e", 1, "-o", "out", "--no-history", "--no-plots").code == 0
    assert not (tmp_path / "out" / "history").exists()
    assert not (tmp_path / "out" / "plots").exists()


def test_a_stateless_model_is_exported_as_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[models.EmotionRecognizer]\nstate = "stateless"\n')
    assert run("train", "-m", "EmotionRecognizer", "-e", 1, "-o", "out").code == 0
    validated = run("validate", "out/emotionrecognizer.json", "--check-specs", "--verbose")
    assert validated.code == 0, validated.out
    assert "stateless" in validated.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "-m", "Nobody"], "no model is called 'Nobody'"),
        (["train", "-e", "0"], "training.epochs = 0"),
        (["train", "-lr", "nan"], "training.learning_rate = nan"),
        (["train", "-d", "tpu"], "training.device = 'tpu'"),
        (["train", "-v", "1.5"], "training.validation_split = 1.5"),
        (["train", "--config", "none.toml"], "none.toml: cannot be read"),
        (["export", "nowhere.pt"], "nowhere.pt: cannot be read"),
        (["export", "."], "holds no best checkpoint"),
    ],
)
def test_mistakes_get_a_message_and_an_exit_code(run: Run, arguments: list[str], words: str) -> None:
    shown = run(*arguments)
    assert shown.code in (1, 2)
    assert words in shown.err
    assert "Traceback" not in shown.err + shown.out


def test_a_device_that_is_not_there_says_what_is(run: Run) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    shown = run("train", "-m", "DynamicsEngine", "-d", "cuda", "-o", "out")
    assert shown.code == 1
    assert "no device 'cuda' here" in shown.err
    assert "There is cpu" in shown.err


def test_validate_fails_with_the_reason(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_text('{"in_shape":[null,')
    shown = run("validate", "cut.json", "missing.json")
    assert shown.code == 1
    assert "cut.json" in shown.out
    assert "missing.json" in shown.out
    report = json.loads(run("validate", "cut.json", "--json").out)
    assert report["passed"] is False
    assert report["files"][0]["checks"][0]["passed"] is False


def test_validate_checks_the_exports_of_a_folder(run: Run, tmp_path: Path) -> None:
    folder = write_chain(tmp_path / "models")
    report = json.loads(run("validate", "models", "--json").out)
    assert [Path(file["file"]) for file in report["files"]] == [
        Path("models", f"{spec.file_stem}.json") for spec in MODELS
    ]
    both = json.loads(run("validate", folder, "models/groovepredictor.json", "--json").out)
    assert len(both["files"]) == len(MODELS) + 1
    (tmp_path / "empty").mkdir()
    refused = run("validate", "empty")
    assert refused.code == 1
    assert "holds no export of a network" in refused.err


def test_validate_sees_that_weights_and_checkpoint_differ(run: Run, tmp_path: Path) -> None:
    run("train", "-m", "GroovePredictor", "-e", 1, "-o", "out")
    run("train", "-m", "GroovePredictor", "-e", 1, "-o", "other", "--seed", 1)
    best = "checkpoints/groovepredictor_best.pt"
    (tmp_path / "out" / best).write_bytes((tmp_path / "other" / best).read_bytes())
    shown = run("validate", "out/groovepredictor.json")
    assert shown.code == 1
    assert "holds other weights" in shown.out


def test_export_writes_both_layouts_from_checkpoints(run: Run, tmp_path: Path) -> None:
    run("train", *DENSE, "-e", 1, "-o", "out")
    original = (tmp_path / "out" / "groovepredictor.json").read_bytes()
    assert run("export", "out", "-o", "again", "--mkdir").code == 0
    assert (tmp_path / "again" / "groovepredictor.json").read_bytes() == original
    assert (
        run("export", "out/checkpoints/dynamicsengine_best.pt", "--layout", "legacy", "-o", "legacy", "--mkdir").code
        == 0
    )
    again = run("export", "out", "-o", "again")
    assert (again.code, again.err) == (0, "")
    assert not (tmp_path / "again" / "groovepredictor.previous.json").exists()
    run("train", *DENSE, "-e", 2, "-o", "longer")
    replaced = run("export", "longer", "-o", "again")
    assert replaced.code == 0
    assert "groovepredictor.json replaces a former export: its loss" in replaced.err
    assert (tmp_path / "again" / "groovepredictor.previous.json").read_bytes() == original
    validated = json.loads(run("validate", "legacy/dynamicsengine.json", "--check-specs", "--json").out)
    assert validated["passed"]
    assert validated["files"][0]["layout"] == "legacy"
    assert run("export", "out", "--layout", "other").code == 2


@pytest.mark.slow
def test_a_training_whose_export_was_not_the_better_one_is_resumed(run: Run, tmp_path: Path) -> None:
    train = ("train", "-m", "DynamicsEngine", "-o", "out", "--keep-best", "--no-plots")
    export = tmp_path / "out" / "dynamicsengine.json"

    def record_loss(loss: float) -> bytes:
        document = json.loads(export.read_text())
        document["metadata"]["metrics"]["val_loss"] = loss
        export.write_text(json.dumps(document))
        return export.read_bytes()

    assert run(*train, "-e", 2).code == 0
    best = record_loss(0.0)
    train += ("--learning-rate", 0.01)
    assert run(*train, "-e", 1).code == 0
    for epochs in (2, 3):
        resumed = run(*train, "-e", epochs, "--resume")
        assert resumed.code == 0, resumed.err
        assert f"epoch {epochs}/{epochs}" in resumed.err
        assert "epoch 1/" not in resumed.err
        assert export.read_bytes() == best
    record_loss(1e9)
    assert run(*train, "-e", 4, "--resume").code == 0
    assert export.read_bytes() != best
    assert run("validate", "out").code == 0


def test_datasets_reports_each_corpus(run: Run, tmp_path: Path) -> None:
    for name in ("maestro", "chords"):
        tiny.WRITERS[name](tmp_path / "data" / name)
    report = json.loads(run("datasets", "--datasets-dir", "data", "--json").out)["datasets"]
    found = {corpus["name"]: corpus for corpus in report}
    assert [corpus["name"] for corpus in report] == [
        *(spec.dataset for spec in MODELS),
        "emotion_midi",
        "emotion_audio",
    ]
    assert found["maestro"]["found"]
    assert found["maestro"]["splits"]["validation"] > 0
    skipped = found["maestro"]["skipped"]["not in the official table"]
    assert skipped == {"count": 1, "first": ["2009/unlisted.midi"]}
    assert not found["deam"]["found"]
    assert "cvml.unige.ch" in found["deam"]["advice"]
    shown = run("datasets", "--datasets-dir", "data")
    assert shown.code == 0
    assert "non-commercial" in shown.out
    assert "unlisted.midi" in shown.out
    assert "training falls back to synthetic data" in shown.out
    assert "0: not mixed in" not in shown.out
    for name in ("emotion_audio", "emotion_midi"):
        tiny.WRITERS[name](tmp_path / "data" / name)
    assert "0: not mixed in" in run("datasets", "--datasets-dir", "data").out
    assert "training uses emotion_audio instead" in run("datasets", "--datasets-dir", "data").out


def test_datasets_warns_of_a_song_in_both_splits(run: Run, tmp_path: Path) -> None:
    songs = [["C", "Am", "F", "G7", "C", "Em", "F", "G"] * 2, ["Am", "F", "C", "G", "Dm", "E7", "Am", "E7"] * 2]
    (tmp_path / "data" / "chords").mkdir(parents=True)
    (tmp_path / "data" / "chords" / "chord_progressions.json").write_text(json.dumps(songs * 6))
    shown = run("datasets", "--datasets-dir", "data")
    assert shown.code == 0
    assert "same content in training and validation: 2 of 2 validation groups" in shown.out


def test_datasets_fails_when_one_has_nothing_usable(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "lakh_midi").mkdir(parents=True)
    (tmp_path / "data" / "lakh_midi" / "a.mid").write_bytes(b"MThd")
    shown = run("datasets", "--datasets-dir", "data")
    assert shown.code == 1
    assert "no usable example (1 × damaged MIDI file)" in shown.out


def test_config_shows_values_and_origins(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text("[training]\nepochs = 7\n")
    monkeypatch.setenv("KELLY_TRAINING_SEED", "5")
    settings = json.loads(run("config", "--json").out)
    assert settings["training.epochs"] == {"value": 7, "origin": "config.toml, line 2"}
    assert settings["training.seed"] == {"value": 5, "origin": "KELLY_TRAINING_SEED"}
    assert settings["training.batch_size"]["origin"] == "default"
    assert "config.toml, line 2" in run("config").out


def test_verify_counts_parameters(run: Run) -> None:
    report = json.loads(run("verify", "--json").out)
    assert report["passed"]
    assert sum(model["parameters"] for model in report["models"]) == 1_151_280
    assert "1,151,280" in run("verify").out


def test_estimate_prints_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    estimated = json.loads(run("train", "-m", "GroovePredictor", "-e", 20, "-o", "out", "--estimate", "--json").out)
    (model,) = estimated["models"]
    assert model["epochs"] == 20
    assert model["steps"] == 1
    assert model["seconds"] == pytest.approx(20 * model["seconds_per_epoch"])
    assert model["memory_bytes"] > 2**20
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_models_train_at_once_and_for_tensorboard(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    trained = run("train", *DENSE, "-e", 2, "-o", "out", "--jobs", 2, "--tensorboard", "--json")
    assert trained.code == 0, trained.err
    assert {model["model"] for model in json.loads(trained.out)["models"]} == {"DynamicsEngine", "GroovePredictor"}
    assert run("validate", "out/dynamicsengine.json", "out/groovepredictor.json", "--check-specs").code == 0
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


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("runs resume last --epochs +0", "'+0' is not of the form +N"),
        ("runs resume last --epochs +9999999999", "is not of the form +N"),
        ("datasets demo x --songs 99999999999", "99999999999"),
    ],
)
def test_a_number_that_asks_for_nothing_or_for_too_much_is_refused(run: Run, words: str, problem: str) -> None:
    refused = run(*words.split())
    assert refused.code == 2
    assert problem in refused.err


def test_a_missing_file_is_reported_with_the_closest_name(run: Run, tmp_path: Path) -> None:
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
