"""Running the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from kelly_core.cli.app import main


@dataclass(frozen=True)
class Finished:
    """The result of a command: exit code and both streams."""

    code: int
    out: str
    err: str


Run = Callable[..., Finished]


@pytest.fixture
def run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Run ``kelly-core`` with arguments, in an empty folder, with small synthetic sets and a wide terminal."""
    if sys.platform != "darwin":
        request.getfixturevalue("forked")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("KELLY_DATASETS_SYNTHETIC_EXAMPLES", "64")
    monkeypatch.setenv("KELLY_DATASETS_CACHE_DIR", str(tmp_path / "cache"))

    def command(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["kelly-core", *map(str, arguments)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 0
        streams = capfd.readouterr()
        return Finished(code, streams.out, streams.err)

    return command
