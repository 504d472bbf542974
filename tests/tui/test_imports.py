"""The screens' process stays light: no torch, no librosa, and a first screen in well under a second."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("torch", "librosa", "matplotlib", "onnxruntime", "scipy")


def test_no_heavy_library_is_imported() -> None:
    script = (
        "import importlib, json, sys, kelly_tui.app\n"
        "from kelly_tui.app import screen_modules\n"
        "for name in screen_modules(): importlib.import_module(name)\n"
        "numpy = ['numpy'] if 'numpy' in sys.modules else []\n"
        "import kelly_tui.cli, kelly_core.runs, kelly_core.validation\n"
        "from kelly_core.cli.app import COMMANDS\n"
        "for name in COMMANDS: importlib.import_module(f'kelly_core.cli.{name}')\n"
        f"print(json.dumps(numpy + [name for name in {HEAVY} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert json.loads(done.stdout) == []
