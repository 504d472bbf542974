"""The commands that prove an export: parity with an engine, latency, ONNX, frames, comparison."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kelly_core.benchmark.results import MachineLoad
from kelly_core.benchmark.suite import LoadMeter
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.engines.onnx_engine import OnnxEngine
from kelly_core.export.reader import read_export
from kelly_core.export.writer import write_export
from kelly_core.music.mel import mel_frames
from kelly_core.spec import MODELS
from tests.cli.conftest import CommandRunner
from tests.helpers.engine_programs import FORGETFUL, GOOD, engine
from tests.helpers.networks import metadata_of, spec_network, write_tiny
from tests.seeds import seeded_rng

GROOVE = MODELS[-1]
NO_BUDGET = ("--budget-ms", 1e6)
"""The results must not depend on how busy the machine is."""


def write_groove(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(exist_ok=True)
    layers = spec_network(GROOVE, seed)
    write_export(path, layers, metadata_of(layers, GROOVE.name))
    return path


def test_validate_compares_with_the_engine(run: CommandRunner, tmp_path: Path) -> None:
    path = write_tiny(tmp_path)
    good = run.json("validate", path, "--engine", engine(tmp_path, GOOD))
    check = good["files"][0]["checks"][-1]
    assert good["passed"]
    assert check["name"] == "parity with the plugin's engine"
    assert check["detail"].startswith("1,200 frames in sequence, within")
    forgetful = run("validate", path, "--engine", engine(tmp_path, FORGETFUL))
    assert forgetful.code == 1
    assert "FAILED parity with the plugin's engine: outputs differ by up to" in forgetful.out


def test_validate_survives_an_engine_that_does_not(run: CommandRunner, tmp_path: Path) -> None:
    path = write_tiny(tmp_path)
    crash = "import os, signal, sys; print('[/red] null', file=sys.stderr, flush=True); os.kill(os.getpid(), 11)"
    shown = run("validate", path, path, "--engine", engine(tmp_path, crash))
    assert shown.code == 1
    said = " ".join(shown.out.split())
    assert said.count("ended by SIGSEGV") == 2
    assert said.count("Its last output: [/red] null") == 2
    missing = run.refused("validate", path, "--engine", "no/such [/engine]", code=1)
    assert "there is no engine 'no/such [/engine]'" in missing


def test_bench_times_what_is_there_and_remembers(
    run: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests run meanwhile.
    monkeypatch.setattr(LoadMeter, "read", lambda _self: MachineLoad(0.0, 0.0))
    write_groove(tmp_path / "models" / "groovepredictor.json")
    report = run.json("bench", "models", *NO_BUDGET, "--engine", engine(tmp_path, GOOD))
    assert (report["budget_ms"], report["calls"], report["passed"]) == (1e6, 2000, None)
    assert report["missing"] == [spec.name for spec in MODELS[:-1]]
    assert list(report["engines"]) == ["numpy", "torch", "onnxruntime", "external"]
    for figures in report["engines"].values():
        assert figures["chain"] is None
        assert figures["error"] is None
        assert figures["models"]["GroovePredictor"]["n"] == 2000
    assert report["engines"]["external"]["models"]["GroovePredictor"]["p99_us"] == 20.5
    assert report["last_run"] is None
    second = run("bench", "models", *NO_BUDGET)
    assert "against the last run on this machine" in second.out
    assert "the chain needs all five" in second.out
    assert len((tmp_path / "models" / "benchmarks.jsonl").read_text().splitlines()) == 2


def test_bench_of_files_leaves_nothing_behind(run: CommandRunner, tmp_path: Path) -> None:
    path = write_groove(tmp_path / "models" / "groovepredictor.json")
    assert run("bench", path, "--budget-ms", 0.0001).code == 1
    assert list(path.parent.iterdir()) == [path]


def test_bench_shows_its_figures_even_where_it_cannot_remember_them(run: CommandRunner, tmp_path: Path) -> None:
    write_groove(tmp_path / "models" / "groovepredictor.json")
    run.ok("bench", "models", *NO_BUDGET)
    history = tmp_path / "models" / "benchmarks.jsonl"
    history.unlink()
    history.symlink_to(tmp_path / "nowhere" / "benchmarks.jsonl")
    shown = run.ok("bench", "models", *NO_BUDGET)
    assert "GroovePredictor" in shown.out
    assert "not added to the history" in shown.err


def test_bench_needs_no_onnx(run: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report = run.json("bench", write_groove(tmp_path / "groovepredictor.json"), *NO_BUDGET)
    assert list(report["engines"]) == ["numpy", "torch"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("bench groovepredictor.json --calls 1999", "--calls"),
        ("bench groovepredictor.json --budget-ms nan", "--budget-ms"),
        ("bench groovepredictor.json --budget-ms 0", "--budget-ms"),
        ("bench groovepredictor.json --engine ''", "no engine ''"),
        ("features none.wav", "does not exist"),
        ("features short.wav", "too short"),
        ("features words.wav", "is not WAV, FLAC, Ogg, MP3 or M4A"),
        ("features short.wav --duration nan", "--duration"),
    ],
)
def test_mistakes_are_named(run: CommandRunner, tmp_path: Path, words: str, problem: str) -> None:
    write_groove(tmp_path / "groovepredictor.json")
    soundfile.write(tmp_path / "short.wav", np.zeros(10_000, np.float32), 22_050)
    (tmp_path / "words.wav").write_text("no audio")
    assert problem in run.refused(*shlex.split(words))


def test_export_writes_onnx_beside_the_json(run: CommandRunner, tmp_path: Path) -> None:
    run("train", "-m", "GroovePredictor", "-e", 1, "-o", "out")
    exported = run.ok("export", "out", "-o", "onnx", "--onnx", "--mkdir")
    assert "wrote onnx/groovepredictor.onnx" in exported.out
    export = read_export(tmp_path / "onnx" / "groovepredictor.json")
    frames = seeded_rng(0).standard_normal((20, 64)).astype(np.float32)
    theirs = OnnxEngine((tmp_path / "onnx" / "groovepredictor.onnx").read_bytes()).process(frames)
    np.testing.assert_allclose(theirs, NumpyEngine(export.layers).process(frames), atol=1e-6)


def test_export_requires_onnx_before_it_writes(
    run: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train", "-m", "GroovePredictor", "-e", 1, "-o", "out")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert 'pip install "kelly-trainer[onnx]"' in run.refused("export", "out", "-o", "onnx", "--onnx", code=1)
    assert not (tmp_path / "onnx").exists()
    run.ok("export", "out", "-o", "plain", "--mkdir")


def test_features_prints_the_frames_the_plugin_must_compute(run: CommandRunner, tmp_path: Path) -> None:
    samples = seeded_rng(0).uniform(-0.5, 0.5, 44_100 * 3).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    report = run.json("features", "a.wav")
    np.testing.assert_array_equal(np.array(report["db"], np.float32), mel_frames(samples, 44_100))
    constants = (report["sample_rate_hz"], report["window_samples"], report["nfft"], report["hop_samples"])
    assert constants == (44_100, 4096, 4096, 882)
    assert report["frames"] == len(report["db"]) == len(report["complete_s"]) == 5
    assert len(run.json("features", "a.wav", "--duration", 2)["db"]) == 3
    shown = run.ok("features", "a.wav")
    assert f"{report['db'][4][16]:.1f}" in shown.out
    assert "5 frames of 128 bands" in shown.out


def test_compare_shows_what_differs(run: CommandRunner, tmp_path: Path) -> None:
    old, new = (write_groove(tmp_path / name / "groovepredictor.json", seed) for seed, name in enumerate(("a", "b")))
    report = run.json("compare", old, new)
    assert (report["model"], report["same_network"]) == ("GroovePredictor", False)
    assert set(report["golden"]) == {"old", "new"}
    assert len(report["weights"]) == 6
    largest = report["weights"]["3 dense tanh 64→32: weights"]["largest"]
    assert f"{largest:.3g}" in run("compare", old, new).out
    shutil.copy(old, new)
    assert "the same, bit for bit" in run("compare", old, new).out


def test_compare_refuses_different_models(run: CommandRunner, tmp_path: Path) -> None:
    shown = run.refused("compare", write_groove(tmp_path / "groovepredictor.json"), write_tiny(tmp_path), code=1)
    assert "contains Tiny" in shown
    assert "contains GroovePredictor" in shown
