"""``python -m`` runs each program; how it, and a training, ends when a person or the system ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("package", ["kelly_core", "kelly_tui"])
def test_python_m_shows_the_version(package: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", package, "--version"], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{package.replace('_', '-')} ")


INTERRUPT_AT_IMPORT = """
import signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == 'typer':
            interrupt()
sys.meta_path.insert(0, Interrupt())
from PACKAGE.__main__ import run
run()
"""


def _run(folder: Path, interrupt: str, package: str = "kelly_core") -> tuple[int, str, str]:
    """Run a program with a function that is called at the import of typer."""
    (folder / "interrupted.py").write_text(interrupt + INTERRUPT_AT_IMPORT.replace("PACKAGE", package))
    # With -m, as the command is run: Python ends a script in another way.
    command = [sys.executable, "-m", "interrupted"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=folder)
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("package", ["kelly_core", "kelly_tui"])
def test_ctrl_c_during_the_imports_ends_without_a_traceback(package: str, tmp_path: Path) -> None:
    assert _run(tmp_path, "def interrupt(): signal.raise_signal(signal.SIGINT)", package) == (130, "", "")


@pytest.mark.parametrize("package", ["kelly_core", "kelly_tui"])
def test_nothing_slow_is_imported_before_the_handler_is_installed(package: str) -> None:
    code = f"import sys, signal; known = set(sys.modules); import {package}.__main__; print(*set(sys.modules) - known)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    own = {"kelly_core", "kelly_core.interrupts", package, f"{package}.__main__"}
    assert set(ended.stdout.split()) <= own | {"__future__"}


INTERRUPTS = {
    "a library converts it to another exception": """
def interrupt():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ValueError("error calling a function") from error
""",
    "it arrives in code that is made from a string": 'def interrupt(): exec("signal.raise_signal(signal.SIGINT)")',
    "it arrives in a destructor": """
import time
class Destroyed:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
def interrupt():
    Destroyed()
    time.sleep(30)
""",
    "Python shuts down": """
import atexit
def interrupt():
    atexit.register(signal.raise_signal, signal.SIGINT)
    raise SystemExit(0)
""",
}


@pytest.mark.parametrize("interrupt", INTERRUPTS.values(), ids=INTERRUPTS)
def test_ctrl_c_anywhere_ends_without_a_traceback(interrupt: str, tmp_path: Path) -> None:
    assert _run(tmp_path, interrupt) == (130, "", "")


def test_a_fault_without_ctrl_c_keeps_its_traceback(tmp_path: Path) -> None:
    code, _, errors = _run(tmp_path, "def interrupt(): raise ValueError('a fault')")
    assert code == 1
    assert "ValueError: a fault" in errors


COMMAND = [sys.executable, "-c", "from kelly_core.cli.app import main; main()"]


def _environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {
        "KELLY_DATASETS_SYNTHETIC_EXAMPLES": "2048",
        "KELLY_DATASETS_CACHE_DIR": str(tmp_path / "c"),
        # Text that the terminal cannot show must not end a training.
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
    _, rest = training.communicate(timeout=600)
    assert training.returncode == 130, rest
    assert "Traceback" not in rest
    assert (tmp_path / "out" / "dynamicsengine.json").is_file()
    assert not (tmp_path / "out" / "groovepredictor.json").exists()
    validated = subprocess.run(
        [*COMMAND, "validate", "out/dynamicsengine.json", "--check-specs", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert validated.returncode == 0, validated.stdout
    assert json.loads(validated.stdout)["passed"], validated.stdout
