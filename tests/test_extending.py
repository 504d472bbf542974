"""Models and corpora of installed packages: the example works throughout, and a broken package costs only itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

import kelly_core
import kelly_tui
from kelly_core.config.schema import DataSettings, Settings
from kelly_core.corpora import Corpus
from kelly_core.data.catalog import _load, is_present
from kelly_core.data.corpus_dataset import LoadOptions
from kelly_core.errors import ConfigError, DataError
from kelly_core.spec import CHAIN_MODELS, MODELS, ActivationOnly, Conv1d, Dense, Gru, Lstm, ModelSpec, Prelu
from tests.seeds import seeded_rng


def write_metadata(site: Path, name: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """Write the metadata of a package with entry points into ``site``, as an installer does."""
    folder = site / f"{name.replace('-', '_')}-0.1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    lines = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in names.items())
        for group, names in groups.items()
    ]
    (folder / "entry_points.txt").write_text("\n".join(lines))


def install(project: Path, site: Path) -> None:
    """Write the metadata of a project as its pyproject.toml gives it; ``environment`` finds modules in its folder."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    write_metadata(site, about["name"], about["entry-points"])


def environment(*paths: Path) -> dict[str, str]:
    """Return the environment of a process that finds modules and metadata in ``paths``, too."""
    known = [path for path in (os.environ.get("PYTHONPATH"), str(Path(__file__).parents[2])) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, paths), *known])}


EXAMPLE = Path(__file__).parents[1] / "examples/amp"
RATE = 16_000

LISTS = """
import json
from kelly_core.cli.options import complete_models, complete_settings
from kelly_core.config.reference import json_schema
from kelly_core.corpora import CORPORA
from kelly_core.spec import DATASETS, MODELS, package_problems
schema = json_schema()
print(json.dumps({
    "models": [spec.name for spec in MODELS], "datasets": DATASETS, "corpora": list(CORPORA),
    "problems": package_problems(), "completed": complete_models("am"),
    "settings": [key for key, _ in complete_settings("models.Amp.l")],
    "sections": ["Amp" in schema["properties"]["models"]["properties"],
                 "amp" in schema["$defs"]["DataSettings"]["properties"]],
}))
"""

MIXED = """
from kelly_core.spec import BatchNorm1d, Conv1d, Dense, Gru, ModelSpec, Prelu
LAYERS = (Conv1d(1, 4, 3, "elu"), BatchNorm1d(4), Gru(4, 4), Prelu(4), Dense(4, 1, "tanh"))
MIXED = ModelSpec("Mixed", LAYERS, "masked_mse", "amp", metrics="kelly_amp.learning:AmpMetrics")
"""
"""Another model on the same corpus, of the layer types that the example lacks."""
SETTINGS = """
[training]
batch_size = 4
threads = 1

[models.Amp]
epochs = 60

[models.Mixed]
epochs = 1
"""


def run(*words: str, cwd: Path, paths: tuple[Path, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=cwd, env=environment(*paths), capture_output=True, text=True, check=False)


def record_amplifier(folder: Path) -> None:
    """A clipper whose operating point follows the signal: tanh(3 x + 2 s) with s a low-pass of x, 1.6 s."""
    count = 8 * RATE // 5
    noise = np.convolve(seeded_rng(0).standard_normal(count), np.ones(4) / 4, "same")
    clean = 0.5 * noise * (0.3 + 0.7 * np.abs(np.sin(np.arange(count) / 3000)))
    slow = np.convolve(clean, 0.3 * 0.7 ** np.arange(64))[:count]
    folder.mkdir(parents=True)
    for name, samples in (("input", clean), ("output", 0.5 * np.tanh(3 * clean + 2 * slow))):
        soundfile.write(folder / f"{name}.wav", samples.astype(np.float32), RATE, subtype="FLOAT")


@pytest.mark.slow
def test_the_example_package_learns_an_amplifier_and_is_listed_everywhere(tmp_path: Path) -> None:
    install(EXAMPLE, tmp_path / "site")
    record_amplifier(tmp_path / "datasets/amp")
    paths = (tmp_path / "site", EXAMPLE)

    lists = json.loads(run("-c", LISTS, cwd=tmp_path, paths=paths).stdout)
    assert lists["problems"] == []
    assert lists["models"] == [*(spec.name for spec in CHAIN_MODELS), "Amp"]
    assert lists["datasets"][-1] == lists["corpora"][-1] == "amp"
    assert lists["completed"] == ["amp"]
    assert lists["settings"] == ["models.Amp.learning_rate=", "models.Amp.loss="]
    assert lists["sections"] == [True, True]

    write_metadata(tmp_path / "site", "mixed", {"kelly.models": {"mixed": "mixed:MIXED"}})
    (tmp_path / "site/mixed.py").write_text(MIXED)
    (tmp_path / "config.toml").write_text(SETTINGS)
    trained = run("-m", "kelly_core", "train", "-m", "amp,mixed", cwd=tmp_path, paths=paths)
    assert trained.returncode == 0, trained.stderr
    quality = json.loads((tmp_path / "models/amp.json").read_text())["metadata"]["quality"]
    # A linear filter of 32 taps reaches .1; the same training with other seeds .02 to .04.
    assert quality["metrics"]["esr"] < 0.07
    assert quality["verdict"] == "trained"

    files = ("models/amp.json", "models/mixed.json")
    checked = run(
        "-m", "kelly_core", "validate", *files, "--check-specs", "--split", "test", "--json", cwd=tmp_path, paths=paths
    )
    reports = json.loads(checked.stdout)["files"]
    assert [report["model"] for report in reports] == ["Amp", "Mixed"]
    for report in reports:
        failed = [check for check in report["checks"] if not check["passed"]]
        assert failed == []
        names = {check["name"] for check in report["checks"]}
        assert {"specification", "parity with its checkpoint in PyTorch"} <= names
    assert reports[0]["quality"]["split"] == "test"
    assert reports[0]["quality"]["metrics"]["esr"] < 0.07


def test_the_example_is_short() -> None:
    files = [EXAMPLE / "pyproject.toml", *(EXAMPLE / "kelly_amp").glob("*.py")]
    assert sum(len(file.read_text().splitlines()) for file in files) < 150


BROKEN = {
    "raises": ("kelly.models", "1 / 0", "cannot be imported: ZeroDivisionError"),
    "exits": ("kelly.models", "raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
    "other_type": ("kelly.models", "FOUND = 5", "is int, expected ModelSpec"),
    "clash": ("kelly.models", "FOUND = spec('groovepredictor', 'deam')", "another model is called groovepredictor"),
    "unknown_corpus": ("kelly.models", "FOUND = spec('Second', 'nowhere')", "'nowhere', which is not a main corpus"),
    "sizes": ("kelly.models", "FOUND = spec('Third', 'deam', (Dense(2, 3), Dense(4, 2)))", "layer 2, dense takes 4"),
    "circular": ("kelly.models", "from kelly_core.config.schema import Settings", "imports kelly_core.spec and"),
    "taken_corpus": ("kelly.corpora", "FOUND = corpus('maestro')", "another corpus is called maestro"),
    "bad_corpus": ("kelly.corpora", "FOUND = corpus('jobs')", "no setting's name"),
    "joins": ("kelly.corpora", "FOUND = corpus('more', joins=('absent',))", "needs the corpus 'absent'"),
}
HEAD = """
from kelly_core.corpora import Corpus
from kelly_core.spec import Dense, ModelSpec

def spec(name, dataset, layers=(Dense(1, 1),)):
    return ModelSpec(name, layers, "mse", dataset, metrics="some.module:Metrics")

def corpus(name, **more):
    return Corpus(name, "some.module", "title", "license", "advice", **more)

"""


def test_a_broken_package_is_left_out_with_its_reason_and_affects_nothing_else(tmp_path: Path) -> None:
    for name, (group, code, _) in BROKEN.items():
        write_metadata(tmp_path, name, {group: {"entry": f"{name}:FOUND"}})
        (tmp_path / f"{name}.py").write_text(HEAD + code + "\n")
    # A sound package next to them, with a model on its own corpus.
    write_metadata(tmp_path, "sound", {"kelly.models": {"a": "sound:MODELS"}, "kelly.corpora": {"b": "sound:CORPUS"}})
    (tmp_path / "sound.py").write_text(f"{HEAD}MODELS = [spec('Sound', 'own')]\nCORPUS = corpus('own')\n")

    # A file of settings for a model of one of them stays usable.
    (tmp_path / "config.toml").write_text("[models.Third]\nepochs = 3\n\n[models.Sound]\nepochs = 4\n")

    done = run("-m", "kelly_core", "config", "--json", cwd=tmp_path, paths=(tmp_path,))

    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()
    assert len(told) == len(BROKEN)
    for name, (group, _, reason) in BROKEN.items():
        [line] = [line for line in told if f"package {name}, entry point {group} entry" in line]
        assert reason in line
    assert "models.Sound.epochs" in done.stdout
    assert "models.Second.epochs" not in done.stdout


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"layers": ()}, "at least one layer"),
        ({"layers": (Dense(0, 1),)}, r"sizes \(0, 1\) must be whole numbers above 0"),
        ({"layers": (Dense(2, 3, "gelu"),)}, "'gelu' is not an activation"),
        ({"layers": (Dense(2, 3), Lstm(4, 2))}, "layer 2, lstm takes 4 values, but layer 1 gives 3"),
        ({"layers": (Conv1d(4, 6, 3, groups=4),)}, "4 groups do not divide 4 inputs and 6 outputs"),
        ({"layers": (Conv1d(4, 4, 0),)}, "must be at least 1"),
        ({"layers": (Dense(2, 4), Prelu(4, 3))}, "3 slopes for 4 values; give 1 or 4"),
        ({"layers": (Dense(2, 4), ActivationOnly(4, "tanh"))}, "make it the activation of layer 1"),
        ({"layers": (Dense(2, 4), "tanh")}, "layer 2 is str, which is not a layer"),
        ({"name": "two words"}, "ASCII letters"),
        ({"name": "Sweep"}, "sweep.json is another file"),
        ({"loss": "esr"}, "'esr', but must be one of"),
        ({"loss": "bce"}, "needs a sigmoid output"),
        ({"metrics": "module.Metrics"}, "metrics is 'module.Metrics'"),
        ({"code_inputs": 3}, "must be 0 to 2"),
    ],
)
def test_a_spec_that_is_wrong_or_that_rtneural_cannot_compute_is_refused(
    entries: dict[str, object], problem: str
) -> None:
    sound: dict[str, object] = {"name": "Wrong", "layers": (Dense(2, 1),), "loss": "mse", "dataset": "deam"}
    with pytest.raises(ConfigError, match=problem):
        ModelSpec(**(sound | entries))  # type: ignore[arg-type]


def test_only_lstms_can_be_exported_stateless() -> None:
    assert ModelSpec("A", (Lstm(1, 2), Dense(2, 1)), "mse", "deam").states == ("stateful", "stateless")
    assert ModelSpec("A", (Gru(1, 2), Dense(2, 1)), "mse", "deam").states == ("stateful",)
    assert ModelSpec("A", (Conv1d(1, 2, 3),), "mse", "deam").states == ("stateful",)
    assert ModelSpec("A", (Conv1d(1, 2, 1),), "mse", "deam").states == ("stateful", "stateless")


def test_no_corpus_can_be_named_like_an_attribute_of_its_settings() -> None:
    for name in dir(DataSettings):
        if not name.startswith("_") and name not in DataSettings.model_fields:
            with pytest.raises(ConfigError, match="no setting's name"):
                Corpus(name, "module", "", "", "")


def test_a_loader_that_fails_is_an_error_of_its_corpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module, reason in (("json.tool", "AttributeError"), ("no.such.module", "ModuleNotFoundError")):
        corpora = {"outside": Corpus("outside", module, "", "", "")}
        monkeypatch.setattr("kelly_core.data.catalog.CORPORA", corpora)
        assert is_present("outside", tmp_path)
        assert not is_present("outside", tmp_path / "absent")
        with pytest.raises(DataError, match=f"the loader of outside failed: {reason}"):
            _load("outside", "outside", tmp_path, LoadOptions())


def test_settings_that_a_run_recorded_hold_with_other_packages_than_then() -> None:
    recorded = Settings().model_dump(mode="json")
    del recorded["models"]["GroovePredictor"]
    recorded["models"]["Former"] = recorded["models"]["DynamicsEngine"]
    recorded["datasets"]["former"] = {"path": "somewhere"}
    settings = Settings.model_validate(recorded)
    assert settings.models["GroovePredictor"] == Settings().models["GroovePredictor"]
    assert settings.datasets == Settings().datasets


OWN_MODULES = ("spec.py", "chain.py", "data/corpora/", "evaluation/metrics/")
"""Modules that belong to single models, below ``kelly_core``."""


def test_no_other_module_names_a_model() -> None:
    naming = []
    for package in (kelly_core, kelly_tui):
        root = Path(package.__file__ or "").parent
        for path in root.rglob("*.py"):
            if package is kelly_core and path.relative_to(root).as_posix().startswith(OWN_MODULES):
                continue
            text = path.read_text()
            naming += [f"{path.relative_to(root)}: {spec.name}" for spec in MODELS if spec.name in text]
    assert naming == []
