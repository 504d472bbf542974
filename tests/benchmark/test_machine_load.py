"""The load of other programs during a timing: what is one's own and what is not."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from kelly_core.benchmark.machine_load import LoadMeter, MachineLoad

CORES = {"user": 0.0, "nice": 0.0, "system": 0.0, "idle": 0.0, "iowait": 0.0, "steal": 0.0, "guest": 0.0}


def let_pass(monkeypatch: pytest.MonkeyPatch, own: float, **seconds: float) -> MachineLoad:
    """What a meter reads after these seconds of processor time of the machine, of which ``own`` are this process's."""
    times, used = dict(CORES), [0.0]
    cores = SimpleNamespace(_asdict=lambda: dict(times))
    monkeypatch.setattr(psutil, "cpu_times", lambda: cores)
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(cpu_times=lambda: (used[0], 0.0, 0.0, 0.0, 9.0)))
    meter = LoadMeter()
    times.update(seconds)
    used[0] = own
    return meter.read()


def test_own_work_and_waiting_are_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    load = let_pass(monkeypatch, 10.0, user=9.5, system=0.5, idle=8.0, iowait=2.0)
    assert (load.other, load.stolen, load.busy) == (0.0, 0.0, False)


def test_other_programs_are_counted_by_their_share_of_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    # The time of guests is within that of users and counts once.
    load = let_pass(monkeypatch, 10.0, user=13.0, nice=1.0, system=1.0, idle=5.0, guest=3.0)
    assert (load.other, load.stolen, load.busy) == (0.25, 0.0, True)
    assert load.description == "other programs used 25 % of the processor"


def test_time_stolen_by_other_guests_disturbs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    load = let_pass(monkeypatch, 10.0, user=10.0, idle=9.0, steal=1.0)
    assert (load.other, load.stolen, load.busy) == (0.0, 0.05, True)
    assert load.description.endswith("other guests of the host 5 %")


def test_no_time_is_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    assert let_pass(monkeypatch, 0.0) == MachineLoad(0.0, 0.0)


def test_another_process_is_noticed() -> None:
    spin = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        meter = LoadMeter()
        time.sleep(0.5)
        other = meter.read().other
    finally:
        spin.kill()
        spin.wait()
    assert other > 0.1 / (psutil.cpu_count() or 1)
