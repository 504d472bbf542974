"""Parts of a run's process: controller, sign of life, load of the machine, environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import psutil
import pytest

from kelly_core.runs.control import Inbox, Request, RunController, StopNow, send_request
from kelly_core.runs.event_log import AttemptBegun, EventLogger, GpuLoad, HostLoad, LogWriter, Revived, StateChanged
from kelly_core.runs.monitor import ResourceMonitor, RunMonitor, describe_environment
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from tests.runs.conftest import make_run


@pytest.fixture
def reported() -> list[StateChanged]:
    return []


@pytest.fixture
def controller(reported: list[StateChanged]) -> Iterator[RunController]:
    one = RunController(reported.append)
    with one.signals():
        one.begin()
        yield one


def test_it_trains_until_it_is_stopped(controller: RunController, reported: list[StateChanged]) -> None:
    assert not controller.should_stop()
    controller.handle(Request(1, "stop"))
    assert controller.should_stop()
    assert controller.stopping
    assert reported == [StateChanged("running"), StateChanged("stopping")]


def test_epochs_are_counted_down(controller: RunController, reported: list[StateChanged]) -> None:
    controller.handle(Request(1, "stop", after_epochs=2))
    for _ in range(2):
        assert not controller.should_stop()
        controller.epoch_done(lambda: None)
    assert controller.should_stop()
    assert [change.epochs_left for change in reported] == [None, 2, 1, None]


def test_a_later_wish_replaces_an_earlier_one(controller: RunController) -> None:
    controller.handle(Request(1, "stop", after_epochs=5))
    controller.handle(Request(1, "stop", after_epochs=1))
    controller.epoch_done(lambda: None)
    assert controller.should_stop()


def test_an_epoch_that_is_logged_when_a_request_arrives_is_none_of_those_left(
    controller: RunController, reported: list[StateChanged]
) -> None:
    request = threading.Thread(target=controller.handle, args=(Request(1, "stop", after_epochs=2),))
    controller.epoch_done(request.start)
    request.join()
    assert [change.epochs_left for change in reported] == [None, 2]


def test_after_the_end_no_change_of_state_is_reported(controller: RunController, reported: list[StateChanged]) -> None:
    controller.close()
    controller.handle(Request(1, "stop"))
    controller.fail("the folder is gone")
    controller.report_signals()
    assert reported == [StateChanged("running")]
    assert not controller.failure


def test_a_failure_stops_it_at_once(controller: RunController, reported: list[StateChanged]) -> None:
    def fail_while_training() -> None:
        with controller.interruptible():
            controller.fail("the folder is gone")
            time.sleep(1.0)

    with pytest.raises(StopNow):
        fail_while_training()
    assert controller.should_stop()
    assert controller.failure == "the folder is gone"
    assert reported[-1].state == "stopping"


def test_a_pause_does_not_count_as_training_time(controller: RunController, reported: list[StateChanged]) -> None:
    controller.handle(Request(1, "pause"))
    training = threading.Thread(target=controller.should_stop)
    training.start()
    while reported[-1].state != "paused":
        pass
    first = controller.training_seconds()
    assert controller.training_seconds() == first
    controller.handle(Request(1, "resume"))
    training.join()
    assert controller.training_seconds() > first
    assert not controller.should_stop()
    assert [change.state for change in reported] == ["running", "pausing", "paused", "running"]


def test_a_pause_that_was_taken_back_never_happened(controller: RunController, reported: list[StateChanged]) -> None:
    controller.handle(Request(1, "pause"))
    controller.handle(Request(1, "resume"))
    assert not controller.should_stop()
    assert [change.state for change in reported] == ["running", "pausing", "running"]


def test_at_once_is_thrown_once_and_only_where_it_may(controller: RunController) -> None:
    controller.handle(Request(1, "stop", at_once=True))
    with pytest.raises(StopNow), controller.interruptible():
        controller.interrupt()
    with controller.interruptible():
        pass
    controller.interrupt()


def test_requests_of_others_and_rubbish_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "control.jsonl"
    inbox = Inbox(path, attempt=2)
    assert inbox.read() == []
    send_request(path, Request(1, "stop"))
    with path.open("ab") as file:
        file.write(b"\xff\xff\n{}\n[1,2]\n")
    send_request(path, Request(2, "pause"))
    assert inbox.read() == [Request(2, "pause")]
    send_request(path, Request(2, "stop", at_once=True, after_epochs=3))
    assert inbox.read() == [Request(2, "stop", True, 3)]
    assert inbox.read() == []


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[RunMonitor]:
    folder = make_run(tmp_path / "run", AttemptBegun())
    folder.heartbeat.touch()
    log = LogWriter(folder.events)
    logger = EventLogger(log, 1)
    one = RunMonitor(Run(folder), logger, RunController(logger.log), ResourceMonitor(), lambda: True)
    yield one
    log.close()


def test_a_heartbeat_after_a_long_silence_is_reported(monitor: RunMonitor, tmp_path: Path) -> None:
    folder = RunDirectory(tmp_path / "run")
    os.utime(folder.heartbeat, (1e9, 1e9))
    now = time.monotonic()
    monitor._beat(now)
    monitor._beat(now + 1.0)
    assert abs(folder.heartbeat.stat().st_mtime - time.time()) < 60
    monitor._beat(now + 62.0)
    (revived,) = [record.event for record in Run(folder).records() if isinstance(record.event, Revived)]
    assert revived.silent_seconds == pytest.approx(61.0)
    assert Run(folder).snapshot.revivals == 1


def test_the_load_is_reported_every_five_seconds(monitor: RunMonitor, tmp_path: Path) -> None:
    now = monitor._last_load
    for later in range(12):
        monitor._tick(now + later)
    loads = [r.event for r in Run(RunDirectory(tmp_path / "run")).records() if isinstance(r.event, HostLoad)]
    assert len(loads) == 2


def test_trouble_is_reported_once_and_ends_nothing(
    monitor: RunMonitor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "control.jsonl").mkdir()
    waits = iter([False, False, False, True])
    monitor._done = SimpleNamespace(wait=lambda _seconds: next(waits))
    monitor._run_loop()
    assert capsys.readouterr().out.count("cannot be read") == 1


def test_a_fault_of_its_own_leaves_it_listening(
    monitor: RunMonitor, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_meter: ResourceMonitor) -> HostLoad:
        raise RuntimeError("GPU is lost")

    monkeypatch.setattr(ResourceMonitor, "sample", gone)
    monitor._last_load = -1e9
    waits = iter([False, False, True])
    monitor._done = SimpleNamespace(wait=lambda _seconds: next(waits))
    monitor._run_loop()
    assert capsys.readouterr().out.count("GPU is lost") == 1
    assert next(waits, None) is None


def test_the_load_of_a_machine_without_gpu() -> None:
    load = ResourceMonitor().sample()
    assert 0 < load.process_memory < load.memory_total
    assert 0 < load.memory_used <= load.memory_total
    assert 0.0 <= load.cpu_percent <= 100.0
    assert load.memory_total == psutil.virtual_memory().total


def test_the_share_of_cpu_is_since_the_last_sample_of_any_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    class Times(NamedTuple):
        user: float
        idle: float
        iowait: float
        guest: float

    times = iter([Times(100.0, 500.0, 0.0, 50.0), Times(103.0, 501.0, 0.0, 53.0), Times(103.0, 502.0, 1.0, 53.0)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(times))
    meter, measured = ResourceMonitor(), []
    other = threading.Thread(target=lambda: measured.append(meter.sample().cpu_percent))
    other.start()
    other.join()
    assert [*measured, meter.sample().cpu_percent] == [75.0, 0.0]


def test_the_load_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError(Exception):
        pass

    memory = [SimpleNamespace(used=10 * 2**30, total=80 * 2**30), SimpleNamespace(used=0, total=80 * 2**30)]
    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: f"GPU {handle}",
        nvmlDeviceGetMemoryInfo=lambda handle: memory[handle],
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=97 - 97 * handle, memory=3),
    )
    monkeypatch.setitem(sys.modules, "pynvml", library)
    first, second = GpuLoad("GPU 0", 97.0, 10 * 2**30, 80 * 2**30), GpuLoad("GPU 1", 0.0, 0, 80 * 2**30)
    assert ResourceMonitor().sample().gpus == (first, second)

    def not_supported(handle: int) -> SimpleNamespace:
        if handle:
            return SimpleNamespace(gpu=0, memory=3)
        raise NVMLError

    # As of a card that is shared out in parts, whose load NVIDIA's library does not tell.
    library.nvmlDeviceGetUtilizationRates = not_supported
    assert ResourceMonitor().gpus == ("GPU 0", "GPU 1")
    assert ResourceMonitor().sample().gpus == (second,)

    def no_driver() -> None:
        raise NVMLError

    library.nvmlInit = no_driver
    assert ResourceMonitor().sample().gpus == ()


def test_the_environment_names_versions_machine_and_commit() -> None:
    from importlib.metadata import version

    facts = describe_environment(["H200"])
    assert facts["packages"]["torch"] == version("torch")
    assert facts["gpus"] == ["H200"]
    assert facts["pid"] == os.getpid()
    assert facts["memory_bytes"] == psutil.virtual_memory().total
    git = shutil.which("git") or "false"
    here = subprocess.run([git, "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    # Git may be missing, this may be no clone, or one that another user owns.
    if here.returncode:
        assert facts["commit"] is None
    else:
        assert facts["commit"].removesuffix("-dirty") == here.stdout.strip()
