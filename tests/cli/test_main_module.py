"""``python -m kelly_core`` runs the command line."""

import subprocess
import sys


def test_python_m_kelly_core_shows_the_version() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "kelly_core", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("kelly-core ")


INTERRUPT_AT_IMPORT = """
import signal, sys
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == 'typer':
            interrupt()
sys.meta_path.insert(0, Interrupt())
from kelly_core.__main__ import run
run()
"""


def _run(interrupt: str) -> tuple[int, str, str]:
    script = interrupt + INTERRUPT_AT_IMPORT
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def test_ctrl_c_during_the_imports_ends_without_a_traceback() -> None:
    assert _run("def interrupt(): signal.raise_signal(signal.SIGINT)") == (130, "", "")


def test_ctrl_c_that_a_library_converts_to_another_exception_ends_without_a_traceback() -> None:
    interrupt = """
def interrupt():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ValueError("error calling a function") from error
"""
    assert _run(interrupt) == (130, "", "")


def test_ctrl_c_in_code_that_is_made_from_a_string_ends_with_the_exit_code_of_an_interrupt() -> None:
    assert _run('def interrupt(): exec("signal.raise_signal(signal.SIGINT)")') == (130, "", "")


def test_ctrl_c_in_a_destructor_is_not_lost() -> None:
    interrupt = """
import time
class Destroyed:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
def interrupt():
    Destroyed()
    time.sleep(30)
"""
    assert _run(interrupt) == (130, "", "")


def test_ctrl_c_while_python_shuts_down_ends_without_a_traceback() -> None:
    interrupt = """
import atexit
def interrupt():
    atexit.register(signal.raise_signal, signal.SIGINT)
    raise SystemExit(0)
"""
    assert _run(interrupt) == (130, "", "")


def test_a_fault_without_ctrl_c_keeps_its_traceback() -> None:
    code, _, errors = _run("def interrupt(): raise ValueError('a fault')")
    assert code == 1
    assert "ValueError: a fault" in errors
