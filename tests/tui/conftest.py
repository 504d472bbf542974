"""A folder to work in, with runs made by hand, and an application that starts no processes."""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.notifications import Notification
from textual.pilot import Pilot

from kelly_core import events
from kelly_core.config.loading import load_settings
from kelly_core.io.locks import FileLock
from kelly_core.runs.event_log import AttemptBegun, LogRecord, RunEnded, RunEvent, StateChanged, encode_record
from kelly_core.runs.run_dir import RunDirectory, RunManifest, write_manifest
from kelly_tui import keys
from kelly_tui.app import KellyApp
from kelly_tui.session import Options
from kelly_tui.state_store import save_state
from kelly_tui.widgets.panels import DetailsPanel
from kelly_tui.widgets.record_table import RecordTable
from kelly_tui.widgets.run_log import RunLog

MakeApp = Callable[..., KellyApp]
"""Fixture ``make_app``."""
Shown = Callable[..., AbstractAsyncContextManager[tuple[KellyApp, Pilot[None]]]]
"""Fixture ``shown``."""
WIDE = (120, 40)

REPOSITORY = Path(__file__).resolve().parents[2]
BEGAN = 1_790_000_000.0
TIMEOUT_SECONDS = 300.0
FRAME_SECONDS = 0.02


async def _nothing_is_due(_least_seconds: float = 0.0, most_seconds: float = 1.0) -> None:
    """Wait until the event loop has nothing to do, now and within a frame.

    It stands in for Textual's own function, which waits until the process uses little of the processor: next to many
    others a process seldom uses more.
    """
    loop: Any = asyncio.get_running_loop()
    deadline = loop.time() + most_seconds
    while True:
        await asyncio.sleep(0)
        if loop._ready:
            continue
        now = loop.time()
        due = min((handle.when() for handle in loop._scheduled if not handle.cancelled()), default=math.inf)
        if due > now + FRAME_SECONDS or now > deadline:
            return
        await asyncio.sleep(due - now)


@pytest.fixture(autouse=True)
def _at_any_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses end when all is done, notices stay, and keys wait for their screens, however long a test takes."""
    for module in ("textual.app", "textual.pilot"):
        monkeypatch.setattr(f"{module}.wait_for_idle", _nothing_is_due)
    monkeypatch.setattr(Notification, "time_left", 3600.0)
    monkeypatch.setattr(keys, "_TIMEOUT_SECONDS", TIMEOUT_SECONDS)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with the usual settings file, where the clock stands still for what is shown."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setattr("kelly_tui.screens.run_rows.age_text", lambda _then: "2 h ago")
    (tmp_path / "config.toml").write_text((REPOSITORY / "config.toml").read_text())
    return tmp_path


def epoch(model: str, number: int, epochs: int = 10, val: float | None = None) -> events.EpochDone:
    """An epoch of a training that does well until it overfits from the seventh on."""
    train = 0.4 / number + 0.02
    val = train + 0.01 + 0.03 * max(0, number - 6) if val is None else val
    best, patience = min(number, 6), 10 - max(0, number - 6)
    least, pace = 0.4 / best + 0.03, 12000.0 + number
    return events.EpochDone(model, number, epochs, train, val, least, best, patience, 0.001, 1.5, pace)


def trained(model: str, epochs: int = 10, of: int | None = None) -> list[RunEvent]:
    """A training of one model, to its end unless ``of`` asks for more epochs."""
    begun: list[RunEvent] = [
        events.ModelStarted(model, "groove_midi", True, 800, 120, 1, of or epochs, "cpu", 0.25),
        *(epoch(model, number, of or epochs) for number in range(1, epochs + 1)),
    ]
    if of is not None:
        return begun
    export = f"models/{model.lower()}.json"
    return [*begun, events.ModelEnded(model, "epochs_done", epochs, 6, 0.0967), events.Exported(model, export)]


def make_run(
    runs: Path, run_id: str, models: Sequence[str], reported: Sequence[RunEvent], created: float = BEGAN
) -> RunDirectory:
    """A run on disk as its process would have left it."""
    folder = RunDirectory(runs / run_id)
    folder.path.mkdir(parents=True)
    settings = load_settings().settings.model_dump(mode="json")
    command = ("kelly-core", "train", "--model", models[0])
    write_manifest(folder, RunManifest(created, tuple(models), "/home/ada/kelly", False, command, settings, attempts=1))
    records = [
        LogRecord(created + number, float(number), 1, event)
        for number, event in enumerate([AttemptBegun(), StateChanged("running"), *reported])
    ]
    folder.events.write_bytes(b"".join(map(encode_record, records)))
    folder.heartbeat.touch()
    return folder


def beating(run: RunDirectory) -> FileLock:
    """Hold the lock that the process of a live run holds."""
    lock = FileLock.acquire(run.heartbeat)
    assert lock is not None
    return lock


def write_exports(workplace: Path, *names: str) -> list[Path]:
    """Write exports without content into the output folder."""
    exports = [workplace / "models" / f"{name}.json" for name in names]
    exports[0].parent.mkdir()
    for export in exports:
        export.write_text("{}")
    return exports


@pytest.fixture
def finished_run(workplace: Path) -> RunDirectory:
    """A run of two models that has ended well."""
    models = ["EmotionRecognizer", "GroovePredictor"]
    reported = [*trained(models[0]), *trained(models[1], 8), RunEnded("finished")]
    return make_run(workplace / "runs", "2026-09-21-1000-calm-melody", models, reported)


@pytest.fixture
def live_run(workplace: Path) -> Iterator[RunDirectory]:
    """A run in the middle of its first model, whose process this test plays.

    Its heartbeat is of the future: nobody renews it, and on a busy machine a test may take longer than it is valid.
    """
    models = ["EmotionRecognizer", "GroovePredictor"]
    reported = trained("EmotionRecognizer", 7, of=10)
    folder = make_run(workplace / "runs", "2026-09-21-1100-brave-cadence", models, reported, BEGAN + 3600)
    lock = beating(folder)
    later = time.time() + 3600
    os.utime(folder.heartbeat, (later, later))
    yield folder
    lock.release()


def report(run: RunDirectory, *reported: RunEvent) -> None:
    """Append to the log of a run, as its process would."""
    with run.events.open("ab") as file:
        file.writelines(encode_record(LogRecord(BEGAN + 7200, 60.0, 1, event)) for event in reported)


async def request_of(pilot: Pilot[None], run: RunDirectory) -> dict[str, Any]:
    """Wait for the request to a run, and return it."""
    # The file exists before the request is in it.
    await until(pilot, lambda: run.control.exists() and run.control.stat().st_size)
    request: dict[str, Any] = json.loads(run.control.read_text())
    return request


class Script:
    """Stands in for a worker process: gives lines that a test has written."""

    def __init__(self, lines: Sequence[str], problem: str = "") -> None:
        self._lines, self.problem, self.cancelled = lines, problem, False

    def lines(self) -> Iterator[str]:
        """The lines."""
        yield from self._lines

    def records(self) -> Iterator[dict[str, Any]]:
        """The lines as JSON."""
        yield from map(json.loads, self._lines)

    def cancel(self) -> None:
        """Remember that it was cancelled."""
        self.cancelled = True


def program_environment(**variables: str) -> dict[str, str]:
    """Environment of the real program: these sources, in a terminal of 256 colors."""
    sources = f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return os.environ | {"PYTHONPATH": sources, "TERM": "xterm-256color"} | variables


@pytest.fixture
def asked() -> list[Sequence[str]]:
    """Commands of the worker processes that applications have started."""
    return []


@pytest.fixture
def make_app(
    workplace: Path,  # noqa: ARG001 - a fixture cannot use usefixtures
    asked: list[Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> MakeApp:
    """Makes an application whose worker processes are ``script``, or made by it; by default they print nothing."""

    def make(script: Script | Callable[[Sequence[str]], Script] | None = None, **options: Any) -> KellyApp:
        def start(command: Sequence[str], **_: object) -> Script:
            asked.append(command)
            return script(command) if callable(script) else script or Script([])

        app = KellyApp(Options(**options))
        monkeypatch.setattr(app, "start", start)
        return app

    return make


@pytest.fixture
def shown(make_app: MakeApp) -> Shown:
    """Runs an application of ``make_app`` in a window, and presses keys."""

    @asynccontextmanager
    async def show(
        *keys: str, size: tuple[int, int] = (80, 24), notifications: bool = False, **options: Any
    ) -> AsyncIterator[tuple[KellyApp, Pilot[None]]]:
        app = make_app(**options)
        async with app.run_test(size=size, notifications=notifications) as pilot:
            await pilot.press(*keys)
            yield app, pilot

    return show


async def until(pilot: Pilot[None], true: Callable[[], object]) -> None:
    """Let the application work until something holds."""
    deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
    while not true():
        assert asyncio.get_running_loop().time() < deadline, "the condition was never met"
        await pilot.pause(0.02)


def cells(app: KellyApp, table: str) -> list[list[str]]:
    listing = app.screen.query_one(table, RecordTable)
    return [[cell.plain for cell in listing.get_row_at(row)] for row in range(listing.row_count)]


def column(app: KellyApp, table: str, number: int) -> list[str]:
    return [row[number] for row in cells(app, table)]


def notices(app: KellyApp) -> list[str]:
    return [notice.message for notice in app._notifications]


def details(app: KellyApp, name: str) -> str:
    part = app.screen.query_one(name)
    assert isinstance(part, DetailsPanel | RunLog)
    return part.value_to_copy()


LATENCY = {"p50_us": 100.0, "p95_us": 110.0, "p99_us": 5000.0, "max_us": 6000.0, "n": 2000,
           "histogram": {"edges_us": [64.0, 128.0, 256.0], "counts": [10, 1]}}  # fmt: skip


RESULT = {
    "budget_ms": 10.0, "passed": True, "calls": 2000, "missing": [], "command": None, "last_run": None, "slower": [],
    "engines": {"numpy": {"chain": LATENCY, "models": {"EmotionRecognizer": LATENCY}, "error": None}},
}  # fmt: skip


def save_benchmark() -> None:
    """Keep a result of the output folder as of an earlier session."""
    save_state("benchmark", {str(Path("models").absolute()): RESULT})
