"""The command line in this process, and exports of short trainings for it."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kelly_core.cli.app import main
from kelly_core.config.loading import load_settings
from kelly_core.spec import model_spec
from kelly_core.training.pipeline import train_model
from tests.helpers import tiny


@dataclass(frozen=True)
class CommandResult:
    """The result of a command: exit code and both streams."""

    code: int
    out: str
    err: str


class CommandRunner:
    """The command line in this process, without ``kelly-core`` at the beginning of what is typed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, streams: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._streams = monkeypatch, streams

    def __call__(self, *arguments: object) -> CommandResult:
        self._monkeypatch.setattr(sys, "argv", ["kelly-core", *map(str, arguments)])
        self._streams.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 0
        streams = self._streams.readouterr()
        return CommandResult(code, streams.out, streams.err)

    def ok(self, *arguments: object) -> CommandResult:
        """Run a command that must succeed."""
        done = self(*arguments)
        assert done.code == 0, done.err + done.out
        return done

    def json(self, *arguments: object, code: int = 0) -> Any:
        """Return the document of a command with ``--json``."""
        done = self(*arguments, "--json")
        assert done.code == code, done.err
        return json.loads(done.out)

    def refused(self, *arguments: object, code: int | None = None) -> str:
        """Return the message of a command that must end with an exit code, 1 or 2 by default, and no traceback."""
        done = self(*arguments)
        assert done.code in ((1, 2) if code is None else (code,)), done.err + done.out
        assert "Traceback" not in done.err + done.out
        return done.err


@pytest.fixture
def run(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> CommandRunner:
    """Run ``kelly-core`` with arguments, in an empty folder, with small synthetic sets and a wide terminal."""
    if sys.platform != "darwin":
        request.getfixturevalue("forked")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("KELLY_DATASETS_SYNTHETIC_EXAMPLES", "64")
    monkeypatch.setenv("KELLY_DATASETS_CACHE_DIR", str(tmp_path / "cache"))
    return CommandRunner(monkeypatch, capfd)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of short trainings: one model on a tiny corpus, one on generated examples."""
    folder = tmp_path_factory.mktemp("trained")
    tiny.groove_midi(folder / "data" / "groove_midi")
    typed = {
        "datasets.dir": ("", folder / "data"),
        "datasets.cache_dir": ("", folder / "cache"),
        "datasets.synthetic_examples": ("", 64),
        "output.dir": ("", folder / "out"),
        "training.epochs": ("", 2),
    }
    settings = load_settings(None, typed).settings
    assert not any(train_model(settings, model_spec(name)).error for name in ("GroovePredictor", "DynamicsEngine"))
    return folder


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path) -> Path:
    """A folder of exports, history and checkpoints, with the corpus in ``data`` next to it."""
    for part in ("data", "out"):
        shutil.copytree(trained_once / part, tmp_path / part)
    return tmp_path / "out"
