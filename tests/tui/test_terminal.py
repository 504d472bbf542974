"""The real program in a real terminal: a training outlives it, and watching costs little."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import Terminal
from kelly_core.config.loading import load_settings
from kelly_core.runs.launch import start
from kelly_core.runs.registry import list_runs
from kelly_core.runs.run import Run
from tests.tui.conftest import program_environment

PROGRAM = [sys.executable, "-c", "from kelly_tui.cli import main; main()"]
TIMEOUT_SECONDS = 300.0
BYTES_PER_SECOND = 20_000  # Measured 2.3 KB/s.

pytestmark = pytest.mark.slow


def wait_for(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        select.select([], [], [], 0.1)


@pytest.fixture
def surroundings(tmp_path: Path) -> dict[str, str]:
    """A separate working folder, with settings for a quick training on synthetic data."""
    (tmp_path / "config.toml").write_text(
        "[training]\nepochs = 100000\n[training.early_stopping]\npatience = 0\n[datasets]\nuse_synthetic = true\n"
        "synthetic_examples = 200\n"
    )
    return program_environment(XDG_STATE_HOME=str(tmp_path / "state"), COLORTERM="truecolor")


class Tmux:
    """A tmux session of its own server; a socket is not used twice, for its previous server may still be ending."""

    def __init__(self, folder: Path, environment: dict[str, str], sockets: Path, name: str) -> None:
        self._socket = str(sockets / name)
        self._folder, self._environment = folder, environment
        self.tmux("new-session", "-d", "-x", "100", "-y", "30", *PROGRAM)

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *words]
        done = subprocess.run(command, cwd=self._folder, env=self._environment, capture_output=True, text=True)
        return done.stdout

    def screen(self) -> str:
        return self.tmux("capture-pane", "-p")

    def shows(self, text: str) -> bool:
        return text in self.screen()

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)


@pytest.fixture
def open_terminal(tmp_path: Path, surroundings: dict[str, str]) -> Iterator[Callable[[], Tmux]]:
    opened: list[Tmux] = []

    def open_one() -> Tmux:
        opened.append(Tmux(tmp_path, surroundings, Path(sockets), f"tmux{len(opened)}"))
        return opened[-1]

    # A socket's path has at most 104 characters on macOS, whose usual temporary folders take most of them.
    with tempfile.TemporaryDirectory(dir="/tmp") as sockets:
        yield open_one
        for terminal in opened:
            print(terminal.screen())  # Shown where the test failed.
            terminal.tmux("kill-server")
    for run in list_runs(tmp_path / "runs").runs:
        if run.live:
            os.kill(run.pid, signal.SIGKILL)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_a_training_outlives_its_terminal_and_is_found_again(tmp_path: Path, open_terminal: Callable[[], Tmux]) -> None:
    first = open_terminal()
    wait_for(lambda: first.shows("corpora"), "the first screen")
    first.press("3")
    wait_for(lambda: first.shows("n starts one"), "the Train screen")
    first.press("n")
    wait_for(lambda: first.shows("Start a training"), "the dialog")
    wait_for(lambda: first.screen().count("[x]") == 5, "the choice of all")
    # All but the last model are left out; a dialog that is being built takes no keys yet, so each is seen to work.
    first.press("Space")
    for left in (4, 3, 2):
        wait_for(lambda left=left: first.screen().count("[x]") == left, f"the choice of {left}")
        first.press("Down", "Space")
    wait_for(lambda: first.shows("--model GroovePredictor"), "the choice")
    first.press("C-s")
    wait_for(lambda: first.shows("GroovePredictor") and first.shows("running"), "the running training")
    (run,) = list_runs(tmp_path / "runs").runs
    # The screens look at the list of runs once a second, and save which states they have shown.
    state = tmp_path / "state" / "kelly"
    wait_for(lambda: any(run.id in file.read_text() for file in state.glob("*.json")), "the memory of the run")
    first.tmux("kill-server")
    assert list_runs(tmp_path / "runs").runs[0].live
    second = open_terminal()
    wait_for(lambda: second.shows("Since you left"), "the greeting")
    second.press("3")
    wait_for(lambda: second.shows("loss of GroovePredictor"), "the curves")
    second.press("s")
    wait_for(lambda: second.shows("After this epoch"), "the question")
    second.press("Right", "Enter")
    wait_for(lambda: not list_runs(tmp_path / "runs").runs[0].live, "the end of the run")
    wait_for(lambda: second.shows("stopped"), "the ending on the screen")
    export = tmp_path / "models" / "groovepredictor.json"
    assert json.loads(export.read_text())["metadata"]["model_name"] == "GroovePredictor"
    # The list of runs, on which quitting asks, may still contain the run as stopping.
    wait_for(lambda: second.screen().split("\n")[0].rstrip().endswith("Runs"), "the news at the top")
    second.press("q")
    wait_for(lambda: not second.tmux("list-sessions"), "the end of the program")


def test_watching_a_live_run_takes_little_time(
    tmp_path: Path, surroundings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = start(load_settings(tmp_path / "config.toml").settings, ["HarmonyPredictor"])
    try:
        wait_for(lambda: run.poll() or run.snapshot.models[0].epoch, "the first epoch")
        received = _bytes_while_watching(tmp_path, surroundings, settle=4.0, seconds=8.0)
    finally:
        _end(run)
    assert 0 < received < 8.0 * BYTES_PER_SECOND


def _bytes_while_watching(folder: Path, environment: dict[str, str], settle: float, seconds: float) -> int:
    """Return the bytes that the Train screen writes in some seconds, after it has settled."""
    terminal = Terminal(PROGRAM, folder, environment)
    # While a run is live, the program opens with the Train screen.
    terminal.read_until("HarmonyPredictor")
    terminal.read_for(1.0)
    # Only what has changed is sent: ctrl+l has the whole screen drawn, titles in one piece.
    terminal.press("\x0c")
    terminal.read_until("loss of HarmonyPredictor")
    terminal.read_for(settle)
    received = terminal.read_for(seconds)
    os.kill(terminal.pid, signal.SIGHUP)
    terminal.read_until("\x1b[?25h")
    assert terminal.wait(TIMEOUT_SECONDS) == 0
    return received


def _end(run: Run) -> None:
    run.kill()
    wait_for(lambda: run.poll() or not run.snapshot.live, "the end of the run")
