"""An engine behind a command: what it computes counts, and however it fails, it fails in words."""

from __future__ import annotations

import os
import select
from pathlib import Path

import numpy as np
import pytest

from kelly_core.engines.external import ExternalEngine
from kelly_core.engines.numpy_engine import NumpyEngine
from kelly_core.errors import KellyError
from tests.helpers.engine_programs import GOOD, engine
from tests.helpers.networks import tiny_network, write_tiny
from tests.seeds import seeded_rng

FRAMES = seeded_rng(0).standard_normal((30, 4)).astype(np.float32)
READ_ALL = "import os, signal, sys, time\nlines = sys.stdin.readlines()\n"


def words(command: str, *, time_limit: float = 120, bench: bool = False) -> str:
    """Return the text of the error with which a run of the engine ends."""

    def use() -> None:
        started = ExternalEngine(command, time_limit)
        if bench:
            started.bench(Path("model.json"), 2000)
        else:
            started.run(Path("model.json"), FRAMES)

    with pytest.raises(KellyError) as caught:
        use()
    return str(caught.value)


def test_frames_go_through_without_loss_and_in_sequence(tmp_path: Path) -> None:
    model = write_tiny(tmp_path)
    outputs = ExternalEngine(engine(tmp_path, GOOD)).run(model, FRAMES)
    np.testing.assert_array_equal(outputs.astype(np.float32), NumpyEngine(tiny_network()).process(FRAMES))


def test_the_model_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny(tmp_path).rename(tmp_path / "-x.json")
    monkeypatch.chdir(tmp_path)
    assert ExternalEngine(engine(tmp_path, GOOD)).bench(Path("-x.json"), 2000).n == 2000


BAD_ENDINGS = {
    "a crash": ("print('at the end', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    "a crash with words": ("print('no layers', file=sys.stderr, flush=True); os.abort()", "Its last output: no layers"),
    "a refusal": ("sys.exit('model.json: cannot be opened')", "exited with status 1. Its last output: model.json"),
    "a refusal after the answer": ("print('1 2\\n' * len(lines)); sys.exit(3)", "exited with status 3"),
    "nothing": ("", "returned 0 frames for 30"),
    "a frame too few": ("print('1 2\\n' * (len(lines) - 1))", "returned 29 frames for 30"),
    "ragged frames": ("print('1 2\\n' * (len(lines) - 1) + '1')", "frames of 1 to 2 numbers"),
    "words among the frames": (
        "print('loaded\\n' + '1 2\\n' * len(lines))",
        "'loaded' in line 1, which is not a frame",
    ),
    "bytes": ("sys.stdout.buffer.write(bytes(range(128, 256)))", "in line 1, which is not a frame"),
    "terminal codes": ("print('\\x1b[31m')", "printed ' [31m' in line 1"),
    "no end of output": ("[sys.stdout.write('1 2\\n' * 100000) for _ in iter(int, 1)]", "more than 32.0 MB"),
}


@pytest.mark.parametrize("name", BAD_ENDINGS)
def test_an_invalid_engine_is_an_error_with_its_reason(tmp_path: Path, name: str) -> None:
    program, reported = BAD_ENDINGS[name]
    assert reported in words(engine(tmp_path, READ_ALL + program))


def test_words_are_the_last_ones_and_cannot_command_a_terminal(tmp_path: Path) -> None:
    said = words(engine(tmp_path, "import sys; sys.exit('chatter ' * 10_000 + '\\x1b[2Jout of\\nmemory')"))
    assert said.endswith("[2Jout of memory")
    assert "\x1b" not in said
    assert len(said) < 1000


@pytest.mark.parametrize("closes", ["", "os.close(1); os.close(2); "])
def test_a_hanging_engine_and_what_it_started_are_ended(tmp_path: Path, closes: str) -> None:
    """Both hold a pipe open, so that its end shows that both have exited."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    program = (
        "import os, subprocess, sys, time\n"
        f"pipe = os.open({str(pipe)!r}, os.O_WRONLY)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], pass_fds=[pipe])\n"
        "os.write(pipe, b'.')\n"
        f"{closes}time.sleep(600)"
    )
    limit = 2
    while True:
        assert f"did not finish within {limit} s" in words(engine(tmp_path, program), time_limit=limit)
        if os.read(held, 1) == b".":
            break
        # On a busy machine it was ended before it had started the other.
        limit *= 2
    assert select.select([held], [], [], 60)[0]
    assert os.read(held, 1) == b""
    os.close(held)


def test_an_engine_that_leaves_its_output_open_has_not_finished(tmp_path: Path) -> None:
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    assert "did not finish within 2 s" in words(engine(tmp_path, program), time_limit=2)


@pytest.mark.parametrize(
    ("command", "reported"),
    [("", "no engine ''"), ("no/such/engine", "no engine 'no/such/engine'"), ("engine '", "No closing quotation")],
)
def test_a_command_that_is_none_is_an_error_before_anything_runs(command: str, reported: str) -> None:
    assert reported in words(command)


def test_a_file_that_no_system_can_run_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    path.write_bytes(b"\x00\x01")
    path.chmod(0o755)
    assert "cannot be started" in words(str(path))


def test_figures_are_read(tmp_path: Path) -> None:
    figures = ExternalEngine(engine(tmp_path, GOOD)).bench(write_tiny(tmp_path), 2000)
    assert (figures.p50_us, figures.p99_us, figures.max_us, figures.n) == (10, 20.5, 30, 2000)


@pytest.mark.parametrize(
    "printed",
    [
        "",
        "fast",
        "[]",
        '{"p50_us": 1, "p99_us": 2, "max_us": 3}',
        '{"p50_us": 1, "p99_us": 2, "max_us": 3, "n": 1999}',
        '{"p50_us": 3, "p99_us": 2, "max_us": 3, "n": 2000}',
        '{"p50_us": -1, "p99_us": 2, "max_us": 3, "n": 2000}',
        '{"p50_us": "1", "p99_us": 2, "max_us": 3, "n": 2000}',
        '{"p50_us": 1, "p99_us": NaN, "max_us": 3, "n": 2000}',
        '{"p50_us": 1, "p99_us": 2, "max_us": 1e999, "n": 2000}',
        '{"p50_us": 1, "p99_us": 2, "max_us": 3, "n": 2000.5}',
        "[" * 100_000,
    ],
)
def test_invalid_latencies_are_an_error(tmp_path: Path, printed: str) -> None:
    assert "expected {" in words(engine(tmp_path, f"print({printed!r})"), bench=True)
