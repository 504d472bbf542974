"""The quality of an export: after training, from the file, and measured again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kelly_core.export.quality_record import QualityRecord
from kelly_core.export.reader import read_export
from tests.cli.conftest import CommandRunner
from tests.helpers.json_files import edited

GROOVE = "out/groovepredictor.json"


def reports(run: CommandRunner, *options: str, code: int = 0) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = run.json("validate", GROOVE, *options, code=code)["files"]
    return files


def recorded(path: Path) -> QualityRecord:
    return QualityRecord.from_json(read_export(path).metadata["quality"])


def test_a_training_ends_with_a_verdict(run: CommandRunner, tmp_path: Path) -> None:
    shown = run.ok("train", "-m", "GroovePredictor", "-e", 1, "-o", "out")
    quality = recorded(tmp_path / GROOVE)
    assert quality.epsilon is not None
    assert f"GroovePredictor: {quality.summary()}" in shown.out
    (report,) = reports(run, "--split", "test")
    check = report["checks"][-1]
    assert "has no official test split" in check["detail"]
    assert not check["applicable"]
    assert check["passed"]
    assert QualityRecord.from_json(report["quality"]) == quality
    assert "not applicable quality on test" in " ".join(run("validate", GROOVE, "--split", "test").out.split())


@pytest.mark.usefixtures("trained")
def test_an_export_contains_its_verdict(run: CommandRunner, tmp_path: Path) -> None:
    quality = recorded(tmp_path / GROOVE)
    names = {baseline.name for baseline in quality.baselines}
    assert names == {"zero and neutral", "position mean", "position median", "cubic curve"}
    (report,) = reports(run)
    assert report["passed"]
    assert QualityRecord.from_json(report["quality"]) == quality
    shown = run("validate", GROOVE)
    assert quality.verdict in shown.out
    assert "arousal quartile" not in shown.out
    assert "arousal quartile" in run("validate", GROOVE, "--verbose").out


@pytest.mark.usefixtures("trained")
def test_a_split_is_measured_again(run: CommandRunner) -> None:
    (recorded,) = reports(run)
    (again,) = reports(run, "--split", "validation", "--datasets-dir", "data")
    assert again["quality"]["verdict"] == recorded["quality"]["verdict"]
    assert again["quality"]["metrics"] == pytest.approx(recorded["quality"]["metrics"], rel=1e-4)
    (tested,) = reports(run, "--split", "test", "--datasets-dir", "data")
    assert tested["quality"]["split"] == "test"
    assert tested["passed"]
    assert tested["quality"]["metrics"]["loss"] != recorded["quality"]["metrics"]["loss"]


@pytest.mark.usefixtures("trained")
def test_a_bad_verdict_fails_only_on_request(run: CommandRunner, tmp_path: Path) -> None:
    for verdict, code in (("trained", 0), ("not better than position mean", 1)):
        with edited(tmp_path / GROOVE) as document:
            quality = document["metadata"]["quality"]
            quality |= {"verdict": verdict, "constant": False}
            for baseline in quality["baselines"]:
                for difference in baseline["differences"]:
                    difference["beaten"] = verdict == "trained"
        assert reports(run)[0]["passed"]
        (report,) = reports(run, "--require-trained", code=code)
        assert report["checks"][-1]["name"] == "trained"
        assert report["checks"][-1]["passed"] is (code == 0)
    with edited(tmp_path / GROOVE) as document:
        del document["metadata"]["quality"]
    assert reports(run)[0]["quality"] is None
    assert "no quality record" in reports(run, "--require-trained", code=1)[0]["checks"][-1]["detail"]


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda quality: quality["baselines"][0].update(differences="[/red] better"), "baselines.0.differences"),
        (lambda quality: quality.update(epsilon=0.01), "epsilon_limit"),
    ],
)
def test_an_invalid_record_fails(
    run: CommandRunner, tmp_path: Path, damage: Callable[[dict[str, Any]], None], words: str
) -> None:
    with edited(tmp_path / GROOVE) as document:
        damage(document["metadata"]["quality"])
    (report,) = reports(run, code=1)
    (failed,) = [check for check in report["checks"] if not check["passed"]]
    assert failed["name"] == "quality record"
    assert words in failed["detail"]
    assert report["quality"] is None


@pytest.mark.usefixtures("trained")
def test_quality_that_cannot_be_measured_has_a_reason(run: CommandRunner) -> None:
    (report,) = reports(run, "--split", "validation", code=1)
    assert report["checks"][-1]["name"] == "quality on validation"
    assert "groove_midi is missing" in report["checks"][-1]["detail"]
    assert "'train' is not one of" in run.refused("validate", GROOVE, "--split", "train", code=2)
