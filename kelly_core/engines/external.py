"""The plugin's own engine as a command that the user names, run in a child process."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread
from typing import IO, Annotated, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kelly_core.arrays import Doubles
from kelly_core.errors import KellyError
from kelly_core.formatting import format_bytes

TIME_LIMIT = 60.0
"""Maximum seconds per call; an engine needs well under one second for the largest model."""

_MAX_OUTPUT = 32_000_000
_MAX_ERROR_TEXT = 400
_SHOWN = 60
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


Microseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EngineTiming(BaseModel):
    """Latency that an engine measured itself: quantiles of the time of ``n`` calls, in µs."""

    model_config = ConfigDict(strict=True, frozen=True)

    p50_us: Microseconds
    p99_us: Microseconds
    max_us: Microseconds
    n: int


class ExternalEngine:
    """An engine that is run as a command.

    ``CMD MODEL.json`` reads one frame per line, numbers separated by spaces, until the end of its input, and writes one
    output frame per line, in sequence after one reset. ``CMD --bench MODEL.json N`` prints one line of JSON with
    p50_us, p99_us, max_us and n. An engine that cannot load a model exits with a message and a status other than 0.

    Args:
        command: the command with its arguments, quoted as in a shell.
        time_limit: maximum seconds per call.

    Raises:
        KellyError: there is no such command.
    """

    def __init__(self, command: str, time_limit: float = TIME_LIMIT) -> None:
        self.command, self._time_limit = command, time_limit
        self._words = _split(command)
        if not self._words or shutil.which(self._words[0]) is None:
            hint = "Name an executable program, with its path if it is not on the PATH"
            raise KellyError(f"there is no engine {command!r} that can be run", hint=hint)

    def run(self, model: Path, frames: NDArray[np.floating]) -> Doubles:
        """Return outputs [T, out] for the frames [T, in], in sequence from zero state.

        Raises:
            KellyError: the engine rejects the model, crashes, hangs, or prints anything other than a line of numbers
                per frame.
        """
        # Nine digits identify a float32.
        lines = (" ".join(f"{value:.9g}" for value in frame) for frame in frames.tolist())
        output = self._run_command([str(model.resolve())], "".join(f"{line}\n" for line in lines))
        rows = [self._numbers(line, number) for number, line in enumerate(output.splitlines(), 1) if line.strip()]
        if len(rows) != len(frames):
            self._fail(f"returned {len(rows):,} frames for {len(frames):,}")
        sizes = {len(row) for row in rows}
        if len(sizes) > 1:
            self._fail(f"returned frames of {min(sizes)} to {max(sizes)} numbers")
        return np.array(rows)

    def bench(self, model: Path, calls: int) -> EngineTiming:
        """Return the engine's own measurement over ``calls`` calls.

        Raises:
            KellyError: the engine rejects the model, crashes, hangs, or prints anything other than that line of JSON.
        """
        output = self._run_command(["--bench", str(model.resolve()), str(calls)])
        try:
            timing = EngineTiming.model_validate_json(output)
        except ValidationError:
            timing = None
        if timing is None or timing.n != calls or not timing.p50_us <= timing.p99_us <= timing.max_us:
            wanted = f'{{"p50_us": …, "p99_us": …, "max_us": …, "n": {calls}}}'
            self._fail(f"expected {wanted}, got {_shown(output)}")
        return timing

    def _run_command(self, arguments: list[str], input_text: str = "") -> str:
        """Run the command until it exits and return its complete output."""
        output, words = bytearray(), bytearray()
        deadline = time.monotonic() + self._time_limit
        # A file, not a pipe: writing to a pipe would block while the engine writes before it has read everything.
        with TemporaryFile() as stdin:
            stdin.write(input_text.encode())
            stdin.seek(0)
            process = self._start(arguments, stdin)
        # Daemon threads: a stray grandchild that keeps a pipe open must not prevent this program from exiting.
        readers = [
            Thread(target=_read_beginning, args=(process.stdout, output), daemon=True),
            Thread(target=_read_end, args=(process.stderr, words), daemon=True),
        ]
        try:
            for reader in readers:
                reader.start()
            status: int | None = process.wait(self._time_limit)
            # A grandchild may hold a pipe open after the engine has exited; the wait ends at the time limit.
            for reader in readers:
                reader.join(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
        if len(output) > _MAX_OUTPUT:
            self._fail(f"printed more than {format_bytes(_MAX_OUTPUT)}", words)
        if status is None or any(reader.is_alive() for reader in readers):
            self._fail(f"did not finish within {self._time_limit:g} s", words)
        if status != 0:
            self._fail(_describe_status(status), words)
        return output.decode("utf-8", "replace")

    def _start(self, arguments: list[str], stdin: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*self._words, *arguments],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **_ONE_THREAD},
                # A separate process group, so that processes started by the engine end with it.
                start_new_session=True,
            )
        except OSError as error:
            raise KellyError(f"the engine cannot be started: {error.strerror}", where=self.command) from error

    def _numbers(self, line: str, number: int) -> list[float]:
        try:
            return [float(word) for word in line.split()]
        except ValueError:
            self._fail(f"printed {_shown(line)} in line {number}, which is not a frame of numbers")

    def _fail(self, problem: str, words: Iterable[int] = ()) -> NoReturn:
        last = _printable(bytes(words).decode("utf-8", "replace")).strip()
        raise KellyError(f"the engine {problem}", where=self.command, hint=f"Its last output: {last}" if last else None)


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise KellyError(f"the engine's command {command!r} cannot be understood: {error}") from error


def _read_beginning(pipe: IO[bytes], kept: bytearray) -> None:
    """Keep the output up to the limit; closing the pipe then stops an engine that prints without end."""
    with pipe:
        while len(kept) <= _MAX_OUTPUT and (chunk := os.read(pipe.fileno(), 2**16)):
            kept += chunk


def _read_end(pipe: IO[bytes], kept: bytearray) -> None:
    """Keep the end of the output, but read all of it, so that the engine is never blocked."""
    with pipe:
        while chunk := os.read(pipe.fileno(), 2**16):
            kept += chunk
            del kept[:-_MAX_ERROR_TEXT]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the engine, if it is still running, and all processes that it started."""
    # A group without processes does not exist; macOS forbids signals to a group that consists of an exited leader.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _describe_status(status: int) -> str:
    if status > 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name} ({signal.strsignal(-status)})"
    except ValueError:
        return f"was ended by signal {-status}"


def _shown(text: str) -> str:
    clean = _printable(text)
    return repr(clean if len(clean) <= _SHOWN else clean[:_SHOWN] + "…")


def _printable(text: str) -> str:
    """Return the text on one line, without control characters."""
    return "".join(character if character.isprintable() else " " for character in text)
