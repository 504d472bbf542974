"""Music and checks from the best checkpoints of a run, and the synthesizer that plays it."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kelly_core.cli.generate import generate
from kelly_core.composition import synthesizer
from kelly_core.errors import KellyError, RunError
from kelly_core.runs.best_exports import add_missing_models, export_best
from kelly_core.runs.run import Run
from tests.cli.conftest import CommandRunner
from tests.helpers.chain import write_chain
from tests.runs.conftest import Start

FLUIDSYNTH = """#!/bin/sh
echo "$@" > '{folder}/arguments'
[ "$2" = -F ] && printf RIFF > "$3"
exit {code}
"""


@pytest.fixture
def fluidsynth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name which notes its arguments."""
    program = tmp_path / "bin" / "fluidsynth"
    program.parent.mkdir()
    program.write_text(FLUIDSYNTH.format(folder=tmp_path, code=0))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return program


def test_music_and_checks_come_from_the_best_epoch_of_a_run(
    kelly_core: CommandRunner, start: Start, tmp_path: Path, fluidsynth: Path
) -> None:
    run = start("GroovePredictor", epochs=2)
    for _ in run.follow():
        pass
    output = Path(run.snapshot.output)
    missing = kelly_core("runs", "generate", "last")
    assert missing.code == 1
    assert "no weights of EmotionRecognizer, MelodyTransformer, HarmonyPredictor, DynamicsEngine" in missing.err
    write_chain(tmp_path / "chain")
    for name in ("emotionrecognizer", "melodytransformer", "harmonypredictor", "dynamicsengine"):
        shutil.copy(tmp_path / "chain" / f"{name}.json", output)
    done = kelly_core("runs", "generate", run.id[:15], "-o", "a.mid", "--wav", "a.wav", "--play", "--bars", 2)
    assert done.code == 0, done.err
    assert f"GroovePredictor of epoch {run.snapshot.models[0].best_epoch}" in done.err
    assert "DynamicsEngine: not of this run" in done.err
    assert (tmp_path / "a.mid").read_bytes().startswith(b"MThd")
    assert (tmp_path / "a.wav").read_bytes() == b"RIFF"
    assert (tmp_path / "arguments").read_text().split()[0] == "-qni"
    checked = kelly_core("runs", "validate", "last")
    assert (checked.code, "GroovePredictor" in checked.out) == (0, True), checked.out
    for other_best in ({"best_epoch": 99}, {"best_loss": 9.0}):
        model = replace(run.snapshot.models[0], **other_best)
        other = SimpleNamespace(id=run.id, snapshot=replace(run.snapshot, models=(model,)))
        with pytest.raises(RunError, match="another training has replaced it"):
            export_best(cast(Run, other), tmp_path / "exports")
    (output / "checkpoints" / "groovepredictor_best.pt").unlink()
    assert "has no checkpoint of a best epoch yet" in kelly_core("runs", "validate", "last").err
    fluidsynth.write_text(FLUIDSYNTH.format(folder=tmp_path, code=3))
    with pytest.raises(KellyError, match="fluidsynth ended with code 3"):
        synthesizer.play_midi(synthesizer.find_synthesizer(), tmp_path / "a.mid")


def test_an_export_of_a_run_leaves_other_runs_in_its_output_folder_alone(
    kelly_core: CommandRunner, start: Start, tmp_path: Path
) -> None:
    for model in ("GroovePredictor", "DynamicsEngine"):
        run = start(model, epochs=1)
        for _ in run.follow():
            pass
    output = Path(run.snapshot.output)
    for export in output.glob("*.json"):
        export.unlink()
    done = kelly_core("runs", "export", "last")
    assert (done.code, done.out) == (0, f"DynamicsEngine: wrote {output}/dynamicsengine.json\n"), done.err
    assert [export.name for export in output.glob("*.json")] == ["dynamicsengine.json"]
    elsewhere = tmp_path / "elsewhere"
    assert "--mkdir" in kelly_core("runs", "export", "last", "-o", elsewhere).err
    assert kelly_core("runs", "export", "last~1", "-o", elsewhere, "--mkdir", "--layout", "legacy").code == 0
    assert [export.name for export in elsewhere.iterdir()] == ["groovepredictor.json"]


def test_a_missing_model_is_copied_from_the_first_folder_that_has_it(tmp_path: Path) -> None:
    first, second, target = (tmp_path / name for name in ("first", "second", "target"))
    for folder in (first, second, target):
        folder.mkdir()
    (target / "groovepredictor.json").write_text("own")
    (first / "groovepredictor.json").write_text("other")
    (second / "dynamicsengine.json").write_text("other")
    assert add_missing_models(target, [first, second]) == {"DynamicsEngine": second / "dynamicsengine.json"}
    assert (target / "groovepredictor.json").read_text() == "own"


def test_without_a_synthesizer_nothing_is_composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    models = write_chain(tmp_path / "models")
    with pytest.raises(KellyError, match="found neither in PATH"):
        generate(valence=0.1, arousal=0.1, models=models, output=tmp_path / "a.mid", play=True)
    assert not (tmp_path / "a.mid").exists()
