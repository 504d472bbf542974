"""Fixtures that several tests share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import hypothesis
import pytest

from kelly_core.runs import launch
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from tests.helpers.forked_workers import Forker, forker

# Test processes that run side by side share the cores; PyTorch and NumPy read these when they are loaded.
if _processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, str(max(1, (os.cpu_count() or 1) // _processes)))

# A shell ignores signals for what it runs in the background, and programs inherit that. Tests press Ctrl-C and close
# terminals.
for _signal, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _handler)

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

_MAX_NAME_LENGTH = 60
SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deal the files to the test processes, each of which gets an equal part of the list to begin with.

    Files that contain slow tests come first in each part, so that no process is left with a long one at the end.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    parts: list[list[pytest.Item]] = [[] for _ in range(max(1, _processes))]
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    longest = {item.path for item in items if item.get_closest_marker("timeout")}
    for number, path in enumerate(sorted(slow, key=lambda path: (path not in longest, path))):
        parts[number % len(parts)] += files.pop(path)
    for held in files.values():
        min(parts, key=len).extend(held)
    items[:] = chain.from_iterable(parts)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a parameter in the name of its test, which is sent, logged and shown.

    Each test process collects the tests, and all must find the same names. Bytes are therefore named by their type,
    which pytest numbers: an archive or a compressed file may contain the time at which it was made.
    """
    if isinstance(val, int) and val.bit_length() > 64:
        return f"{'-' * (val < 0)}2 to the power of {val.bit_length()}"
    if isinstance(val, bytes):
        return "bytes"
    if isinstance(val, str) and len(val) > _MAX_NAME_LENGTH:
        return f"{val[: _MAX_NAME_LENGTH // 2]!r} and more, {len(val)} in all"
    return None


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collections, which otherwise take a tenth of all processor time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} of the shared reference material is not next to this checkout")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Small real corpora in their real layouts."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """Small odd inputs, each of which stands for a kind of error."""
    return _shared("cases")


@pytest.fixture
def names_of_any_bytes(tmp_path: Path) -> None:
    """Skip the test where the file system takes UTF-8 names only, as that of macOS does."""
    probe = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    try:
        probe.touch()
    except OSError as error:
        pytest.skip(f"this file system refuses a name that is not UTF-8 ({error.strerror})")
    probe.unlink()


@pytest.fixture(scope="session")
def shared_vectors() -> Path:
    """Networks with inputs and the outputs that RTNeural gave for them."""
    return _shared("vectors")


@pytest.fixture(scope="session")
def shared_forker() -> Iterator[Forker]:
    """One forking process for all tests; macOS has no sockets that it needs, and kills forks of threaded frameworks."""
    if sys.platform == "darwin":
        pytest.skip("workers cannot be forked from a process that has loaded PyTorch on macOS")
    with forker() as one:
        yield one


@pytest.fixture
def forked(shared_forker: Forker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forker]:
    """Workers are forked, not started again; none outlives the test."""
    started: set[RunDirectory] = set()

    def spawn(folder: RunDirectory, handles: Sequence[int]) -> int:
        started.add(folder)
        return shared_forker.spawn(folder, handles)

    monkeypatch.setattr(launch, "spawn", spawn)
    yield shared_forker
    shared_forker.largest_file = None
    for folder in started:
        if folder.manifest.exists():
            Run(folder).kill()
