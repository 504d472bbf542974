"""Files of this processor are valid on others, and theirs here; packages that programs import are declared."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from kelly_core.data import create_dataset
from kelly_core.export.reader import read_export
from kelly_core.spec import DATASETS, model_spec
from kelly_core.training.evaluation import evaluate_export
from kelly_core.training.exporting import export_network, run_checkpoint
from kelly_core.validation.behavior import ReferenceEngine
from kelly_core.validation.checks import validate_file
from tests.helpers import tiny
from tests.helpers.toy_training import ToyRun
from tests.portable import OTHER_PROCESSOR
from tests.seeds import shifted

TRAINED = (
    ("EmotionRecognizer", "stateful"),
    ("HarmonyPredictor", "stateless"),
    ("GroovePredictor", "stateless"),
)
"""Every kind of layer and output, without the network that takes longest."""


def make_exports(folder: Path) -> None:
    """Train models for an epoch and export them next to their checkpoints."""
    for name, state in TRAINED:
        spec = model_spec(name)
        run = ToyRun(spec, folder / f"{spec.file_stem}-{state}")
        checkpoint = run(epochs=1, state=state).checkpoint
        assert checkpoint is not None
        export_network(checkpoint, run.output / f"{spec.file_stem}.json")


def failed_checks(folder: Path) -> dict[str, dict[str, str]]:
    """Failed checks of each export in ``folder``: file, golden outputs, parity with its checkpoint, and its quality."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*/*.json")):
        export = read_export(path)
        checkpoint = path.parent / "checkpoints" / f"{path.stem}_best.pt"
        run = partial(run_checkpoint, checkpoint, export.metadata["checkpoint"])
        report = validate_file(path, check_specs=True, references=[ReferenceEngine("checkpoint", run)])
        found[path.parent.name] = {check.name: check.detail for check in report.failed}
        spec = model_spec(export.metadata["model_name"])
        quality = evaluate_export(export, spec, ToyRun(spec, path.parent).dataset, "validation")
        for name, value in export.metadata["quality"]["metrics"].items():
            if quality.metrics[name] != pytest.approx(value, rel=1e-3, abs=1e-4):
                found[path.parent.name][name] = f"{quality.metrics[name]}, not {value}"
    return found


def fingerprints(corpora: Path, cache: Path) -> dict[str, str]:
    """Fingerprints of small corpora, whose labels are read in some and computed in others."""
    return {
        name: create_dataset(name, corpora / name, cache_dir=cache, seed=shifted(0), jobs=1).fingerprint
        for name in DATASETS
    }


@pytest.mark.slow
def test_exports_checkpoints_and_fingerprints_hold_on_another_processor(tmp_path: Path) -> None:
    ours, theirs, corpora = tmp_path / "ours", tmp_path / "theirs", tmp_path / "corpora"
    for name in DATASETS:
        tiny.WRITERS[name](corpora / name)
    make_exports(ours)
    command = [sys.executable, "-m", "tests.test_portability", *map(str, (ours, theirs, corpora))]
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": root} | OTHER_PROCESSOR
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    none_failed = {folder.name: {} for folder in ours.iterdir()}
    assert found["failed_checks"] == none_failed, "ours, there"
    assert failed_checks(theirs) == none_failed, "theirs, here"
    assert found["fingerprints"] == fingerprints(corpora, tmp_path / "cache")


if __name__ == "__main__":
    given, made, read = map(Path, sys.argv[1:])
    make_exports(made)
    print(
        json.dumps(
            {"failed_checks": failed_checks(given), "fingerprints": fingerprints(read, made.with_name("their cache"))}
        )
    )


ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("kelly_core", "kelly_tui")
DEVELOPMENT = ("dev", "bench")
_NAME = re.compile(r"([\w.-]+)(?:\[([\w,-]+)\])?")


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(requirement: str) -> set[str]:
    """The distribution that a requirement names, and its extras, which are distributions themselves here."""
    match = _NAME.match(requirement)
    assert match, requirement
    return {normalized(name) for name in [match[1], *(match[2] or "").split(",")]}


def test_every_imported_package_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [names for extra, names in project["optional-dependencies"].items() if extra not in DEVELOPMENT]
    declared = set().union(*(required(line) for lines in [project["dependencies"], *extras] for line in lines))
    names = set().union(*(imported(path) for source in SOURCES for path in (ROOT / source).rglob("*.py")))
    distributions = packages_distributions()
    undeclared = {
        name
        for name in names - sys.stdlib_module_names - set(SOURCES)
        if not {normalized(distribution) for distribution in distributions.get(name, [name])} & declared
    }
    assert not undeclared
