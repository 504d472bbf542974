"""Every test process collects the same tests: pytest-xdist ends with an error where two processes differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_LATER = """
import time

_now = time.time
time.time = lambda: _now() + 1_000_000
"""


@pytest.mark.slow
def test_the_names_of_tests_depend_neither_on_time_nor_on_hashes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    (tmp_path / "later.py").write_text(_LATER)
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "later", "-o", "addopts=", "--collect-only", "-q", "tests"],
        cwd=_ROOT, env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "5"}, capture_output=True, text=True,
    )  # fmt: skip
    assert listed.returncode == 0, listed.stdout[-2000:] + listed.stderr
    assert {item.nodeid for item in request.session.items} <= set(listed.stdout.splitlines())
