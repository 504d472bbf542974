"""The generated C++: complete, free of warnings, and with correct frames, if a compiler is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kelly_core.arrays import Floats
from kelly_core.chain import NEUTRAL_INPUT
from kelly_core.cpp import cpp_files, golden_signal, write_cpp
from kelly_core.engines.layers import Layer
from kelly_core.errors import ExportError
from kelly_core.export.writer import write_export
from kelly_core.music.mel import mel_frames
from kelly_core.spec import MODELS
from kelly_core.training.exporting import neutral_input
from tests.helpers.networks import metadata_of, spec_network
from tests.seeds import seeded_rng

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """C++ for the five networks with random weights."""
    folder = tmp_path_factory.mktemp("cpp")
    (folder / "exports").mkdir()
    for number, spec in enumerate(MODELS):
        layers: list[Layer] = spec_network(spec, number)
        metadata = metadata_of(layers, spec.name)
        metadata["features"] = {NEUTRAL_INPUT: neutral_input(spec, np.full(spec.input_size, -40.0))}
        write_export(folder / "exports" / f"{spec.file_stem}.json", layers, metadata)
    write_cpp(folder / "exports", folder / "code", juce=True)
    return folder / "code"


def compiler() -> str:
    found = shutil.which("g++") or shutil.which("clang++")
    if found is None:
        pytest.skip("no C++ compiler is installed")
    return found


def build(folder: Path, output: Path, *options: str) -> Path:
    command = [compiler(), "-std=c++17", "-O1", *options, str(folder / "kelly_check.cpp"), "-o", str(output)]
    made = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert made.returncode == 0, made.stderr
    return output


@pytest.fixture(scope="session")
def frames_only(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(generated, tmp_path_factory.mktemp("bin") / "check", *WARNINGS, "-DKELLY_WITHOUT_NETWORKS")


def features(check: Path, rate: int, samples: Floats) -> Floats:
    """Frames that the generated code computes."""
    command = [check, "--features", str(rate)]
    done = subprocess.run(command, input=samples.tobytes(), capture_output=True, check=True)
    return np.array([line.split() for line in done.stdout.decode().splitlines()], np.float32)


def test_every_file_is_there(generated: Path) -> None:
    assert all((generated / name).is_file() for name in cpp_files(juce=True))
    chain = (generated / "kelly_chain.h").read_text()
    for spec in MODELS:
        assert f"struct {spec.name}\n" in chain
    assert "LSTMLayerT<float, 256, 128>" in chain
    assert "juce_add_binary_data" in (generated / "CMakeLists.txt").read_text()


@pytest.mark.slow
def test_golden_frames_hold_at_four_sample_rates(frames_only: Path) -> None:
    done = subprocess.run([frames_only], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[3] for line in done.stdout.splitlines()] == ["22050", "44100", "48000", "96000"]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000, 11_025])
def test_frames_of_noise_between_loud_and_silent(frames_only: Path, rate: int) -> None:
    """Eleven orders of magnitude in power within one file, and an end within a frame."""
    rng = seeded_rng(5)
    count = int(1.2 * rate)
    samples = (rng.standard_normal(count) * np.geomspace(1e-6, 0.5, count)).astype(np.float32)
    frames = features(frames_only, rate, samples)
    expected = mel_frames(samples, rate)
    assert frames.shape == expected.shape
    assert np.abs(frames - expected)[expected > -90].max() < 0.01


@pytest.mark.slow
def test_samples_that_are_not_finite_make_silence_and_pass(frames_only: Path) -> None:
    samples = golden_signal(22_050, 3 * 22_050)
    samples[:100] = np.nan
    samples[200] = np.inf
    frames = features(frames_only, 22_050, samples)
    assert (frames[0] == -100.0).all()
    np.testing.assert_allclose(frames[1:], mel_frames(np.nan_to_num(samples, posinf=0.0), 22_050)[1:], atol=0.01)


def test_an_export_without_golden_vectors_is_refused(generated: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(generated / "models", tmp_path / "exports")
    spec = MODELS[-1]
    layers = spec_network(spec)
    metadata = metadata_of(layers, spec.name)
    del metadata["golden"]
    write_export(folder / f"{spec.file_stem}.json", layers, metadata)
    with pytest.raises(ExportError, match="has no golden vectors"):
        write_cpp(folder, tmp_path / "code")
    assert not (tmp_path / "code").exists()


@pytest.mark.slow
def test_the_cmake_project_builds_and_its_test_passes(generated: Path, tmp_path: Path) -> None:
    """Without RTNeural, so the frames only; with ``RTNEURAL_DIR`` set, networks and chain, too."""
    compiler()
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    rtneural = os.environ.get("RTNEURAL_DIR", "")
    configure = [cmake, "-S", generated, "-B", tmp_path, "-DCMAKE_BUILD_TYPE=Debug", f"-DRTNEURAL_DIR={rtneural}"]
    for command in (configure, [cmake, "--build", tmp_path], [tmp_path / "kelly_check", generated / "models"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "passed frames at 96000 Hz" in done.stdout
    assert ("passed chain with context" in done.stdout) == bool(rtneural)


@pytest.mark.slow
def test_networks_and_chain_agree_with_rtneural(generated: Path, tmp_path: Path) -> None:
    rtneural = os.environ.get("RTNEURAL_DIR")
    if not rtneural:
        pytest.skip("RTNEURAL_DIR does not name RTNeural's sources")
    options = ("-DRTNEURAL_USE_STL=1", "-DRTNEURAL_DEFAULT_ALIGNMENT=16", "-isystem", rtneural)
    check = build(generated, tmp_path / "check", "-Wall", "-Wextra", *options)
    done = subprocess.run([check, generated / "models"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout
    for kind in ("chain", "chain with context", "chain without audio"):
        assert done.stdout.count(f"passed {kind}, ") == 2


def test_a_host_can_set_the_context_only_of_codes_that_have_one(generated: Path, tmp_path: Path) -> None:
    assert "struct Context" in (generated / "kelly_chain.h").read_text()
    folder = shutil.copytree(generated / "models", tmp_path / "exports")
    for path in folder.glob("*.json"):
        document = json.loads(path.read_text())
        del document["metadata"]["code_version"]  # as files of version 1
        path.write_text(json.dumps(document))
    write_cpp(folder, tmp_path / "code")
    assert "struct Context" not in (tmp_path / "code/kelly_chain.h").read_text()
