"""Settings: precedence, origins, and mistakes that are named."""

from __future__ import annotations

import json
import pwd
import tomllib
from pathlib import Path

import pytest

from kelly_core.config.loading import environment_name, flatten, load_settings
from kelly_core.config.schema import Settings
from kelly_core.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def write(tmp_path: Path):
    def to_file(text: str, name: str = "config.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return to_file


def refusal(file: Path | None, environment: dict[str, str]) -> ConfigError:
    """Return the error of settings that cannot be used."""
    with pytest.raises(ConfigError) as caught:
        load_settings(file, {}, environment)
    return caught.value


def test_option_beats_environment_beats_file_beats_default(write) -> None:
    file = write("[training]\nepochs = 2\nbatch_size = 3\nseed = 4\n")
    environment = {"KELLY_TRAINING_EPOCHS": "20", "KELLY_TRAINING_BATCH_SIZE": "30", "HOME": "/x"}
    options = {"training.epochs": ("--epochs", 200)}
    loaded = load_settings(file, options, environment)
    training = loaded.settings.training
    assert (training.epochs, training.batch_size, training.seed) == (200, 30, 4)
    assert training.learning_rate == Settings().training.learning_rate
    origins = loaded.origins
    assert origins["training.epochs"] == "--epochs"
    assert origins["training.batch_size"] == "KELLY_TRAINING_BATCH_SIZE"
    assert origins["training.seed"] == f"{file}, line 4"
    assert origins["training.learning_rate"] == "default"


def test_the_shipped_file_states_every_setting_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (REPOSITORY / "config.toml").read_text()
    defaults = flatten(Settings().model_dump(mode="json"))
    stated = flatten(tomllib.loads(text))
    optional = {"cache_dir"} | {key.rsplit(".", 1)[1] for key, value in defaults.items() if value is None}
    assert stated == {
        key: value for key, value in defaults.items() if value is not None and key != "datasets.cache_dir"
    }
    assert all(f"\n# {name} = " in text for name in optional)
    monkeypatch.chdir(tmp_path)
    assert load_settings(REPOSITORY / "config.toml", {}, {}).settings == load_settings(None, {}, {}).settings


def test_a_tilde_is_the_home_folder_wherever_a_folder_is_named(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    file = write("[output]\ndir = '~/out'\n[runs]\ndir = '~/runs'\n[datasets]\ndir = '~/data'\nchords.path = '~/c'\n")
    settings = load_settings(file, {}, {}).settings
    assert (settings.output.dir, settings.runs.dir) == (Path("/home/ada/out"), Path("/home/ada/runs"))
    assert settings.datasets.folder("deam") == Path("/home/ada/data/deam")
    assert settings.datasets.folder("chords") == Path("/home/ada/c")
    assert settings.datasets.cache_dir == Path("/home/ada/.cache/kelly")


def test_a_missing_home_folder_is_reported_with_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ConfigError, match=r"datasets\.cache_dir = '~/\.cache/kelly': no home folder is known"):
        load_settings(None, {}, {})
    settings = load_settings(None, {}, {"KELLY_DATASETS_CACHE_DIR": "/var/cache/kelly"}).settings
    assert settings.datasets.cache_dir == Path("/var/cache/kelly")


def test_every_setting_has_a_variable_of_its_own() -> None:
    names = [environment_name(key) for key in flatten(Settings().model_dump())]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[training]\n\nepochz = 3\n", 3, "unknown setting 'training.epochz'. Did you mean training.epochs?"),
        ("[training]\nepochs = 'x'\n", 2, "training.epochs = 'x'"),
        ("[training]\nepochs = 1.5\n", 2, "training.epochs = 1.5"),
        ("[training]\nepochs = 0\n", 2, "greater than or equal to 1"),
        ("[training]\nlearning_rate = nan\n", 2, "finite"),
        ("[output]\nplots = 1\n", 2, "output.plots = 1"),
        ("[models.MelodyTransformer]\nstate = 'sometimes'\n", 2, "models.MelodyTransformer.state"),
        ("[models.DynamicsEngine]\nepochs = 3\nloss = 'soft_cross_entropy'\n", 3, "needs a softmax output"),
        ("[models.DynamicsEngine]\ndataset = 'deam'\n", 2, "trained on 'maestro'"),
        ("\n[[training]]\nepochs = 3\n", 2, "training is a section of settings, got an array of tables"),
        ("datasets = 3\n", 1, "datasets is a section of settings, got 3"),
        ("[models.Nobody]\nepochs = 3\n", 2, "unknown setting 'models.Nobody.epochs'"),
    ],
)
def test_mistakes_in_a_file_name_key_and_line(write, text: str, line: int, words: str) -> None:
    path = write(text)
    problem = str(refusal(path, {}))
    assert problem.startswith(f"{path}, line {line}: ")
    assert words in problem


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KELLY_TRAINING_EPOCHS", "many"),
        pytest.param("KELLY_TRAINING_EPOCHS", "1" * 5000, id="digits"),
        pytest.param("KELLY_SWEEP_SET", "[" * 5000, id="deep"),
        ("KELLY_TRAINING_DEVICE", "tpu"),
        ("KELLY_TRAINING_EPOCH", "3"),
    ],
)
def test_mistakes_in_the_environment_name_the_variable(variable: str, value: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=f"^{variable}: "):
        load_settings(None, {}, {variable: value})


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("KELLY_TRAINING_EPOCHZ", "Did you mean KELLY_TRAINING_EPOCHS?"),
        ("KELLY_EPOCHS", "Did you mean KELLY_TRAINING_EPOCHS?"),
        ("KELLY_FOO", "`kelly-core config` lists all settings"),
        ("KELLY_HOME", "`kelly-core config` lists all settings"),
    ],
)
def test_only_the_variable_of_a_near_setting_is_proposed(variable: str, hint: str, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(None, {variable: "1"}).hint == hint


@pytest.mark.parametrize("value", ["x" * 5000, "9" * 5000, "[" + "1," * 5000 + "]"], ids=["text", "digits", "list"])
def test_a_long_value_is_shown_in_part(value: str) -> None:
    assert len(str(refusal(None, {"KELLY_TRAINING_EPOCHS": value}))) < 400


@pytest.mark.parametrize("text", ["[training", "\x00", "a = " + "[" * 5000, "a = " + "1" * 5000, "a." * 5000 + "a = 1"])
@pytest.mark.parametrize("name", ["config.toml", "settings"])
def test_a_file_that_is_not_toml_is_named(write, text: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: is not valid TOML"):
        load_settings(write(text, name), {}, {})


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "[training]\r\nepochs = 3\r\n"), ("a.json", '{"training":\r\n{"epochs": 3}}')]
)
def test_a_file_from_an_editor_of_windows_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_settings(tmp_path / name, {}, {}).settings.training.epochs == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [("/dev/zero", "regular file"), ("a.toml", "256 KiB"), ("a.json", "256 KiB"), ("none.toml", "cannot be read")],
)
def test_a_device_a_large_file_and_a_missing_one_are_refused_unread(tmp_path: Path, name: str, words: str) -> None:
    for large in ("a.toml", "a.json"):
        (tmp_path / large).write_text(" " * (256 * 1024 + 1))
    assert words in str(refusal(tmp_path / name, {}))


OLDER = {
    "training": {
        "default_epochs": 7,
        "default_batch_size": 16,
        "default_learning_rate": 0.01,
        "default_validation_split": 0.2,
        "early_stopping": {"patience": 3, "min_delta": 0.01, "mode": "min"},
        "checkpointing": {"save_best": True, "save_latest": True, "save_interval": 5},
    },
    "models": {
        "EmotionRecognizer": {
            "input_size": 128,
            "output_size": 64,
            "estimated_params": 497664,
            "loss": "MSELoss",
            "learning_rate": 0.002,
            "dataset": "deam",
        }
    },
    "datasets": {"deam": {"path": "/data/deam", "annotations_file": "a.csv"}, "lakh": {"path": "/data/lakh"}},
}


def test_the_older_json_shape_is_read(write) -> None:
    loaded = load_settings(write(json.dumps(OLDER), "old.json"), {}, {})
    settings = loaded.settings
    assert (settings.training.epochs, settings.training.batch_size) == (7, 16)
    assert (settings.training.learning_rate, settings.training.validation_split) == (0.01, 0.2)
    assert settings.training.early_stopping.patience == 3
    assert settings.training.checkpointing.save_interval == 5
    assert settings.models["EmotionRecognizer"].learning_rate == 0.002
    assert settings.models["EmotionRecognizer"].loss == "mse"
    assert settings.datasets.folder("deam") == Path("/data/deam")
    assert settings.datasets.deam.annotations_file == "a.csv"
    assert settings.datasets.folder("lakh_midi") == Path("/data/lakh")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"training": {"default_epoch": 1}}, "unknown setting 'training.default_epoch'"),
        ({"training": {"default_epochs": "ten"}}, "training.epochs = 'ten'"),
        ({"training": {"early_stopping": {"mode": "max"}}}, "only 'min' exists"),
        ({"models": {"EmotionRecognizer": {"input_size": 64}}}, "input_size = 64, but the model has 128"),
        ({"models": {"EmotionRecognizer": {"loss": "hinge"}}}, "'hinge' is not a loss"),
        ({"models": {"EmotionRecognizer": {"dataset": ["deam"]}}}, "models.EmotionRecognizer.dataset"),
        ({"models": {"Nobody": {}}}, "no model is called 'Nobody'"),
        ({"models": 3}, "'models' must be an object"),
        ({"datasets": {"deam": "x"}}, "datasets.deam"),
        ([], "must contain a JSON object"),
    ],
)
def test_mistakes_in_the_older_shape_name_file_and_key(write, change: object, words: str) -> None:
    path = write(json.dumps(change), "old.json")
    problem = str(refusal(path, {}))
    assert words in problem
    assert str(path) in problem
