"""``python -m kelly_core`` runs the command line."""

import subprocess
import sys


def test_python_m_kelly_core_shows_the_version() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "kelly_core", "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("kelly-core ")


def test_ctrl_c_during_the_imports_ends_without_a_traceback() -> None:
    script = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from kelly_core.__main__ import run\n"
        "run()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
