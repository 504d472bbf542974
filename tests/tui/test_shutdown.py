"""The real program ends in time and leaves runs alone, whatever has become of its terminal."""

from __future__ import annotations

import os
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.terminal import Terminal
from kelly_core.runs.run_dir import RunDirectory
from kelly_tui.shutdown import SHUTDOWN_SECONDS
from tests.tui.conftest import program_environment

PROGRAM = [sys.executable, "-m", "kelly_tui"]
MORE_THAN_A_TERMINAL_HOLDS = 30
MARGIN = 60.0
"""Seconds that a busy machine may take longer; a program that hangs does not end at all."""

pytestmark = pytest.mark.slow


@pytest.fixture
def asked(workplace: Path, live_run: RunDirectory) -> Iterator[Terminal]:  # noqa: ARG001 - a fixture cannot use usefixtures
    """The program while its question whether to leave is in front, because a run is live."""
    terminal = Terminal(PROGRAM, workplace, program_environment())
    terminal.read_until("cadence")
    terminal.press("q")
    terminal.read_until("Leave?")
    yield terminal
    if terminal.wait(0.0) is None:
        os.kill(terminal.pid, signal.SIGKILL)
        terminal.wait(MARGIN)


def _hang_up_as_a_shell_does(terminal: Terminal) -> None:
    terminal.lose()
    for number in (signal.SIGHUP, signal.SIGCONT):
        os.kill(terminal.pid, number)


@pytest.mark.parametrize("befalls", [Terminal.lose, _hang_up_as_a_shell_does], ids=["line cut", "hung up by a shell"])
def test_it_ends_in_time_with_a_question_in_front(
    asked: Terminal, live_run: RunDirectory, befalls: Callable[[Terminal], None]
) -> None:
    befalls(asked)
    assert asked.wait(SHUTDOWN_SECONDS + MARGIN) is not None
    assert not live_run.control.exists()


def test_a_terminal_that_takes_no_more_output_does_not_hold_it_up(asked: Terminal, live_run: RunDirectory) -> None:
    asked.press("\x1b" + "163452" * MORE_THAN_A_TERMINAL_HOLDS)
    assert asked.wait(1.0) is None
    os.kill(asked.pid, signal.SIGTERM)
    assert asked.wait(SHUTDOWN_SECONDS + MARGIN) is not None
    assert asked.local_modes() & termios.ICANON
    assert asked.local_modes() & termios.ECHO
    assert not live_run.control.exists()


HANGING = """
from threading import Event
import kelly_tui.screens.datasets as datasets
from kelly_tui.cli import main

datasets.is_present = lambda *_: Event().wait()
main()
"""


def test_a_folder_that_never_answers_does_not_hold_up_quitting(workplace: Path) -> None:
    terminal = Terminal([sys.executable, "-c", HANGING], workplace, program_environment())
    terminal.read_until("corpora")
    terminal.press("q")
    assert terminal.wait(SHUTDOWN_SECONDS + MARGIN) == 0
    assert terminal.local_modes() & termios.ICANON


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(asked: Terminal, live_run: RunDirectory, number: signal.Signals) -> None:
    os.kill(asked.pid, number)
    asked.read_until("\x1b[?25h")
    assert b"\x1b[?1049l" in asked.output
    assert asked.wait(SHUTDOWN_SECONDS + MARGIN) == 0
    assert not live_run.control.exists()
