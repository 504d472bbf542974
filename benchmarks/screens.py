"""Speed of kelly-tui: first screen, loop, charts, keys, and bytes to the terminal.

Takes about a minute on two otherwise idle cores: python -m benchmarks.screens [--json]

The delay from a key to the bytes on the screen is measured through a pseudo-terminal. The delay of the event loop is
measured by a task that wakes every few milliseconds, while all screens are visited, a long log is read, and another
process appends to this log.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.measurements import Measurement, main, marked, measured
from benchmarks.terminal import Terminal
from kelly_core import events
from kelly_core.benchmark.suite import measure_load
from kelly_core.config.loading import load_settings
from kelly_core.io.locks import FileLock
from kelly_core.runs.event_log import AttemptBegun, LogRecord, RunEvent, StateChanged, encode_record
from kelly_core.runs.launch import start
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory, RunManifest, write_manifest
from kelly_tui.app import KellyApp
from kelly_tui.charts.curve_chart import CurveChart
from kelly_tui.charts.plotting import draw
from kelly_tui.session import Options

SOURCES = Path(__file__).resolve().parents[1]
PROGRAM = [sys.executable, "-c", "from kelly_tui.cli import main; main()"]
MODEL = "HarmonyPredictor"
EPOCHS = 100_000
SETTINGS = """
[training]
epochs = 1000000
[training.early_stopping]
patience = 0
[datasets]
use_synthetic = true
"""

FIRST_SCREEN_SECONDS = 0.7
LOOP_MS, REDRAW_MS, KEY_MS = 50.0, 60.0, 100.0
BYTES_PER_SECOND = 20_000.0
SECONDS_BEFORE = 1.0
"""Duration in seconds of the measurement of other programs' load before a training is started."""


def measure() -> list[Measurement]:
    """Return all measurements; takes about a minute, on an otherwise idle machine."""
    with _working_folder() as folder:
        measurements = measured(partial(_alone, folder))
        # The training is a separate process, so the load of other programs is measured before it starts.
        load = measure_load(SECONDS_BEFORE)
        return [*measurements, *marked(_beside_a_training(folder), load)]


def _alone(folder: Path) -> list[Measurement]:
    """Measure the first screen, and the loop with a long log."""
    first = _first_screen(folder)
    with _long_run(folder):
        return [first, *asyncio.run(_loop_and_redraw())]


@contextmanager
def _working_folder() -> Iterator[Path]:
    """Work in a temporary folder with settings and environment variables for it."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "config.toml").write_text(SETTINGS)
        os.environ["XDG_STATE_HOME"] = f"{name}/state"
        os.environ["PYTHONPATH"] = f"{SOURCES}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        os.chdir(name)
        try:
            yield Path(name)
        finally:
            os.chdir(here)


def _first_screen(folder: Path, times: int = 5) -> Measurement:
    """Measure the time from the start of the process to a screen with its table and its keys."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        terminal = Terminal(PROGRAM, folder, os.environ)
        took.append(terminal.read_until("Quit") - began)
        terminal.press("q")
        terminal.wait(10.0)
    note = f"best of {times}, worst {max(took):.2f} s"
    return Measurement.at_most("first screen", min(took), "s", FIRST_SCREEN_SECONDS, note)


def _epoch(number: int) -> RunEvent:
    """Return the event of an epoch whose loss decreases with noise."""
    loss = 1.0 / (1 + number / 5000) + 0.01 * ((number * 7919) % 100) / 100
    return events.EpochDone(MODEL, number, 10**6, loss, loss * 1.1, loss, number, 10, 0.001, 0.01, 12000.0)


@contextmanager
def _long_run(folder: Path) -> Iterator[None]:
    """Create a live run with a long log to which another process appends."""
    run = RunDirectory(folder / "runs" / "2026-01-01-1000-long-run")
    run.path.mkdir(parents=True)
    settings = load_settings().settings.model_dump(mode="json")
    write_manifest(run, RunManifest(time.time(), (MODEL,), str(folder), False, ("kelly-core", "train"), settings, 1))
    begun = events.ModelStarted(MODEL, "chords", True, 800, 120, 1, 10**6, "cpu", 0.25)
    logged = [AttemptBegun(), StateChanged("running"), begun, *map(_epoch, range(1, EPOCHS + 1))]
    run.events.write_bytes(b"".join(encode_record(LogRecord(time.time(), 0.0, 1, event)) for event in logged))
    run.heartbeat.touch()
    Run(run).summarize()
    lock = FileLock.acquire(run.heartbeat)
    assert lock is not None
    writer = subprocess.Popen([sys.executable, "-m", "benchmarks.screens", str(run.events)])
    try:
        yield
    finally:
        writer.kill()
        writer.wait()
        lock.release()


def _write_on(path: Path) -> None:
    """Append fifty epochs per second to a log."""
    with path.open("ab", buffering=0) as file:
        for number in range(EPOCHS + 1, 10**6):
            file.write(encode_record(LogRecord(time.time(), 0.0, 1, _epoch(number))))
            time.sleep(0.02)


async def _loop_and_redraw() -> list[Measurement]:
    app = KellyApp(Options(theme="kelly-dark"), owns_process=True)
    async with app.run_test(size=(200, 60)) as pilot:
        probe, turns = asyncio.create_task(_lags()), _turns()
        await pilot.press("3")
        chart = app.screen.query_one("#loss", CurveChart)
        while not any(len(each.xs) > EPOCHS for each in chart.series):
            await asyncio.sleep(0.1)
        for key in "3l3zz3o3o" + "123456" * 3 + "3":
            app.simulate_key(key)
            await asyncio.sleep(0.4)
        probe.cancel()
        lags, longest_turn = await probe, max(turns)
        redraw = [_time_of(lambda: _redraw(chart)) for _ in range(12)]
    tail = f"99th percentile {1000 * statistics.quantiles(lags, n=100)[98]:.1f} ms"
    log = f"{EPOCHS:,} epochs and 50 more a second, all screens at 200×60"
    middle = f"200×60, median {1000 * statistics.median(redraw):.1f} ms"
    return [
        Measurement.at_most("longest wait for the loop", 1000 * max(lags), "ms", LOOP_MS, f"{tail}; {log}"),
        Measurement.at_most(
            "longest turn of the loop", 1000 * longest_turn, "ms", LOOP_MS, "processor time of its thread"
        ),
        Measurement.at_most("redraw of the losses", 1000 * min(redraw), "ms", REDRAW_MS, middle),
    ]


async def _lags(every: float = 0.004) -> list[float]:
    """Return the delay of each wake-up of a periodic task until it is cancelled."""
    lags = []
    try:
        while True:
            wanted = time.perf_counter() + every
            await asyncio.sleep(every)
            lags.append(time.perf_counter() - wanted)
    except asyncio.CancelledError:
        return lags


def _turns() -> list[float]:
    """Return a list to which the processor seconds of each iteration of the event loop are appended."""
    taken, run = [0.0], asyncio.events.Handle._run

    def timed(handle: asyncio.events.Handle) -> None:
        began = time.thread_time()
        run(handle)
        taken.append(time.thread_time() - began)

    asyncio.events.Handle._run = timed  # type: ignore[method-assign, assignment]
    return taken


def _redraw(chart: CurveChart) -> None:
    """Draw the curves with an additional epoch."""
    longer = tuple(replace(each, xs=_and_one_more(each.xs, 1), ys=_and_one_more(each.ys, 0)) for each in chart.series)
    draw(replace(chart.request, series=longer))


def _and_one_more(values: Sequence[float], step: float) -> array[float]:
    return array("d", values) + array("d", [values[-1] + step])


def _beside_a_training(folder: Path) -> list[Measurement]:
    """Measure keys and bytes while a training keeps both cores busy."""
    run = start(load_settings(folder / "config.toml").settings, [MODEL])
    try:
        while not (run.poll() or run.snapshot.models[0].epoch):
            time.sleep(0.1)
        terminal = Terminal(PROGRAM, folder, os.environ)
        terminal.read_until("Quit")
        terminal.press("3")
        terminal.read_for(2.0)
        terminal.read_for(3.0)
        a_second = terminal.read_for(10.0) / 10
        took = []
        for _ in range(6):
            # The terminal receives only the characters of a title that differ from the previous screen.
            for key, text in (("2", "layers"), ("3", "ETA")):
                took.append(_time_of(partial(_switch, terminal, key, text)))
                terminal.read_for(0.7)
        terminal.press("q\r")
        terminal.wait(10.0)
    finally:
        run.kill()
    note = f"median of {len(took)}, worst {1000 * max(took):.0f} ms, during a training on both cores"
    through = "Train screen at 120×40 through a terminal"
    return [
        Measurement.at_most("from key to screen", 1000 * statistics.median(took), "ms", KEY_MS, note),
        Measurement.at_most("bytes while watching", a_second, "B/s", BYTES_PER_SECOND, through),
    ]


def _switch(terminal: Terminal, key: str, text: str) -> None:
    terminal.press(key)
    terminal.read_until(text)


def _time_of(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


if __name__ == "__main__":
    if sys.argv[1:] and not sys.argv[1].startswith("-"):
        _write_on(Path(sys.argv[1]))
    else:
        main(measure, __doc__)
