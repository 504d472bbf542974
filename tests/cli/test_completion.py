"""Completion by the shell: models, runs, settings and sources of corpora."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kelly_core.cli.app import main
from kelly_core.runs.run_dir import RunDirectory, RunManifest, write_manifest
from kelly_core.spec import MODELS

Complete = Callable[..., list[str]]


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Complete:
    """Return what bash is offered for the last of some words, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def words(*typed: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["kelly-core"])
        monkeypatch.setenv("_KELLY_CORE_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(("kelly-core", *typed)))
        monkeypatch.setenv("COMP_CWORD", str(len(typed)))
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().out.split()

    return words


def add_run(folder: Path, name: str) -> None:
    path = folder / name
    path.mkdir(parents=True)
    manifest = RunManifest(0.0, ("GroovePredictor",), str(folder), False, ("kelly-core",), {"output": {"dir": "out"}})
    write_manifest(RunDirectory(path), manifest)


def test_models_are_completed_behind_commas_and_in_lower_case(complete: Complete) -> None:
    assert complete("train", "--model", "") == [spec.name for spec in MODELS]
    assert complete("train", "-m", "G") == ["GroovePredictor"]
    assert complete("sweep", "-m", "melodytransformer,har") == ["melodytransformer,harmonypredictor"]
    assert complete("runs", "rollback", "last", "--model", "dyn") == ["dynamicsengine"]


def test_runs_are_completed_from_the_folder_of_the_settings(complete: Complete, tmp_path: Path) -> None:
    for name in ("2026-11-21-0900-calm-coda", "2026-11-22-1431-brave-cadence"):
        add_run(tmp_path / "runs", name)
        add_run(tmp_path / "others", name.replace("2026", "2027"))
    (tmp_path / "runs" / "not-a-run").mkdir()
    assert complete("runs", "show", "") == ["2026-11-22-1431-brave-cadence", "2026-11-21-0900-calm-coda", "last"]
    assert complete("runs", "compare", "last", "2026-11-21") == ["2026-11-21-0900-calm-coda"]
    assert complete("runs", "show", "brave") == ["brave-cadence"]
    (tmp_path / "other.toml").write_text('[runs]\ndir = "others"\n')
    assert complete("runs", "--config", "other.toml", "resume", "2027-11-22") == ["2027-11-22-1431-brave-cadence"]


def test_broken_settings_complete_nothing_and_print_nothing(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[runs")
    assert complete("runs", "show", "") == []


def test_settings_that_a_sweep_can_vary_are_completed(complete: Complete) -> None:
    assert complete("sweep", "--set", "training.learn") == ["training.learning_rate="]
    assert complete("runs", "set", "last", "e") == ["epochs="]
    offered = complete("sweep", "--set", "")
    assert "models.GroovePredictor.learning_rate=" in offered
    assert not [key for key in offered if key.startswith(("training.seed", "output.", "sweep."))]


def test_choices_and_sources_are_completed(complete: Complete) -> None:
    assert complete("train", "--device", "c") == ["cpu", "cuda"]
    assert complete("train", "--backend", "") == ["local", "dask"]
    assert "maestro" in complete("datasets", "get", "mae")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_each_shell_is_printed(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["kelly-core"])
    monkeypatch.setenv("_KELLY_CORE_COMPLETE", f"source_{shell}")
    with pytest.raises(SystemExit):
        main()
    assert "_KELLY_CORE_COMPLETE=complete_" + shell in capsys.readouterr().out
