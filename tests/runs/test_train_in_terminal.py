"""``kelly-core train`` as typed in a terminal, with processes started as they are for a person."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from kelly_core.io.locks import FileLock
from kelly_core.runs import launch
from kelly_core.runs.launch import acquire_output_lock
from kelly_core.runs.registry import find_run
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import read_manifest, write_manifest
from kelly_core.validation.checks import validate_file
from tests.runs.conftest import make_run, stop, until, until_epoch

COMMAND = [sys.executable, "-c", "from kelly_core.cli.app import main; main()"]
LONG = ["train", "-m", "DynamicsEngine", "-e", "100000", "--early-stopping-patience", "0", "-o", "out", "--no-plots"]


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:  # noqa: ARG001 - a fixture cannot use usefixtures
    return os.environ | {"KELLY_DATASETS_SYNTHETIC_EXAMPLES": "8192", "TERM": "xterm"}


@pytest.fixture
def no_run_left(folder: Path):
    """Kill every training at the end of its test."""
    yield
    for path in (folder / "runs").glob("*/run.json"):
        Run(find_run(folder / "runs", path.parent.name)).kill()


@pytest.mark.usefixtures("no_run_left")
@pytest.mark.slow
def test_the_training_outlives_its_terminal(folder: Path, environment: dict[str, str]) -> None:
    terminal, inside = pty.openpty()
    command = subprocess.Popen(
        COMMAND + LONG,
        env=environment,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
    )
    os.close(inside)
    shown = b""
    while b"training and" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    # Either the signal ends it, or a write that the closed terminal refuses comes first.
    assert command.wait(timeout=600) in (-signal.SIGHUP, 1)
    run = Run(find_run(folder / "runs", "last"))
    assert run.snapshot.state == "running"
    assert os.getsid(run.snapshot.pid) != os.getsid(0)
    until_epoch(run, run.snapshot.models[0].epoch + 2)
    stop(run)
    assert validate_file(folder / "out" / "dynamicsengine.json", check_specs=True).passed


@pytest.mark.usefixtures("no_run_left")
@pytest.mark.slow
def test_a_detached_training_prints_its_id_and_returns(folder: Path, environment: dict[str, str]) -> None:
    kelly = partial(subprocess.run, env=environment, capture_output=True, text=True, timeout=600)
    detached = kelly([*COMMAND, *LONG, "--detach"])
    assert detached.returncode == 0, detached.stderr
    run = Run(find_run(folder / "runs", detached.stdout.removesuffix("\n")))
    assert run.snapshot.live
    assert run.id in detached.stderr
    refused = kelly(COMMAND + LONG)
    assert refused.returncode == 1
    assert run.id in refused.stderr
    assert "Traceback" not in refused.stderr
    until_epoch(run, 1)
    os.kill(run.snapshot.pid, signal.SIGKILL)
    until(run, "died")
    (row,) = json.loads(kelly([*COMMAND, "runs", "--json"]).stdout)["runs"]
    assert (row["id"], row["state"], row["models"]) == (run.id, "died", ["DynamicsEngine"])
    assert row["output"] == str(folder / "out")


@pytest.mark.usefixtures("no_run_left")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code"),
    [([signal.SIGTERM], 143), ([signal.SIGINT, signal.SIGINT], 130)],
    ids=["terminated", "ctrl-c twice"],
)
def test_an_attached_training_ends_as_requested(
    folder: Path, environment: dict[str, str], sent: list[signal.Signals], code: int
) -> None:
    command = subprocess.Popen(COMMAND + LONG, env=environment, stderr=subprocess.PIPE, text=True)
    assert command.stderr is not None
    for line in command.stderr:
        if "epoch 2/" in line:
            break
    for number in sent:
        command.send_signal(number)
    _, rest = command.communicate(timeout=600)
    assert command.returncode == code
    assert "Traceback" not in rest
    assert Run(find_run(folder / "runs", "last")).snapshot.state == "stopped"
    assert validate_file(folder / "out" / "dynamicsengine.json", check_specs=True).passed


def test_the_output_of_a_run_is_utf_8_for_any_terminal_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(tmp_path / "run")
    write_manifest(folder, replace(read_manifest(folder), settings={"output": {"dir": "out"}, "µ": 1}))
    life = FileLock.acquire(folder.heartbeat)
    lease = acquire_output_lock(tmp_path / "out")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    launch.spawn(folder, [life.handle, lease.handle])
    life.release()
    lease.release()
    run = Run(folder)
    for _ in run.follow():
        pass
    assert run.snapshot.state == "failed"
    assert "(µ: " in run.snapshot.error
    assert run.snapshot.error in folder.console.read_text("utf-8")


def test_watching_imports_neither_torch_nor_librosa() -> None:
    heavy = "('torch', 'librosa', 'matplotlib', 'numpy')"
    code = f"import sys, kelly_core.runs; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
