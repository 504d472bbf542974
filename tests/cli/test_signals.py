"""How a training ends when a person or the system ends it, in a real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from kelly_core.cli.app import main; main()"]


def _environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "KELLY_DATASETS_SYNTHETIC_EXAMPLES": "2048",
        "KELLY_DATASETS_CACHE_DIR": str(tmp_path / "c"),
        # What the terminal cannot show must not end a training.
        "PYTHONIOENCODING": "ascii",
    }


@pytest.mark.slow
@pytest.mark.parametrize("wait_for", ["training and", "epoch 1/"])
def test_ctrl_c_keeps_and_exports_what_was_reached(tmp_path: Path, wait_for: str) -> None:
    arguments = ["train", "-m", "DynamicsEngine", "-m", "GroovePredictor", "-e", "100000", "-o", "out"]
    training = subprocess.Popen(
        [*COMMAND, *arguments], cwd=tmp_path, env=_environment(tmp_path), stderr=subprocess.PIPE, text=True
    )
    assert training.stderr is not None
    for line in training.stderr:
        if wait_for in line:
            break
    training.send_signal(signal.SIGINT)
    _, rest = training.communicate(timeout=60)
    assert training.returncode == 130, rest
    assert "Traceback" not in rest
    assert (tmp_path / "out" / "dynamicsengine.json").is_file()
    assert not (tmp_path / "out" / "groovepredictor.json").exists()
    validated = subprocess.run(
        [*COMMAND, "validate", "out/dynamicsengine.json", "--check-specs", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert validated.returncode == 0, validated.stdout
    assert json.loads(validated.stdout)["passed"], validated.stdout


@pytest.mark.parametrize(
    "module",
    [
        "kelly_core.cli.app",
        "kelly_core.validation.checks",
        "kelly_core.cli.bench",
        "kelly_core.export.onnx",
        "kelly_core.report.collect",
        "kelly_core.report.html",
        "kelly_core.data",
        "kelly_core.config.schema",
    ],
)
def test_light_modules_import_neither_torch_nor_librosa(module: str) -> None:
    heavy = ("torch", "librosa", "matplotlib", "onnxruntime")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_commands_that_watch_runs_and_ask_for_help_import_no_numpy() -> None:
    names = ("runs", "train", "features", "generate", "report", "validate", "compare", "bench", "config")
    code = f"import sys; from kelly_core.cli import {', '.join(names)}; print('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
