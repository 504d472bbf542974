"""Modules that must not be imported before they are needed, because a person or a shell waits for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "librosa", "matplotlib", "onnxruntime"}
LIGHT = "import kelly_core.cli.bench, kelly_core.config.schema, kelly_core.data, kelly_core.export.writer\n"
LIGHT += "import kelly_core.report.collect, kelly_core.report.html, kelly_core.validation.checks"
COMMANDS = "from kelly_core.cli import runs, train, features, generate, report, validate, compare, bench, config"
"""Commands that watch runs, or whose help is shown."""
SCREENS = """
import importlib
from kelly_tui.app import screen_modules
for name in screen_modules():
    importlib.import_module(name)
"""
EVERYTHING = f"""{SCREENS}
import kelly_tui.cli
from kelly_core.cli.app import COMMANDS
for name in COMMANDS:
    importlib.import_module(f"kelly_core.cli.{{name}}")
"""
MAIN = """
from kelly_core.cli.app import main
try:
    main()
except SystemExit:
    pass
"""
HELP = f"import sys\nsys.argv[1:] = ['--help']\n{MAIN}"
COMPLETION = f"""
import os
words = {{"COMP_WORDS": "kelly-core runs show x", "COMP_CWORD": "3"}}
os.environ |= {{"_KELLY_CORE_COMPLETE": "complete_bash", **words}}
{MAIN}"""


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        pytest.param(LIGHT, HEAVY, id="modules"),
        pytest.param(COMMANDS, {"numpy"}, id="commands"),
        pytest.param(SCREENS, {"numpy"}, id="screens"),
        pytest.param(EVERYTHING, HEAVY | {"scipy"}, id="screens and commands"),
        pytest.param(HELP, {"numpy", "pydantic", "kelly_core.cli.train"}, id="list of commands"),
        pytest.param(COMPLETION, HEAVY | {"scipy", "sklearn", "textual"}, id="completion"),
    ],
)
def test_nothing_is_imported_before_it_is_needed(program: str, unwanted: set[str]) -> None:
    code = f"{program}\nimport sys\nprint(sorted({unwanted} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
