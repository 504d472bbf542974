"""Commands, runs and sweeps that wait for a cluster's workers are reported, and can be stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from kelly_core.parallel import dask as dask_cluster
from kelly_core.runs.event_log import FeaturesRead
from kelly_core.spec import model_spec
from kelly_core.sweeps.plan import plan_trials
from kelly_core.sweeps.sweep import Sweep
from tests.cli.test_signals import COMMAND
from tests.helpers import tiny
from tests.helpers.dask_cluster import cluster
from tests.runs.conftest import Start, next_event, small_settings, stop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def on_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """Settings of a cluster without workers."""
    pytest.importorskip("distributed")
    with cluster(tmp_path_factory.mktemp("cluster"), 0) as one:
        yield {"parallel__backend": "dask", "parallel__scheduler": one.address}


def test_a_training_that_waits_for_workers_states_it_and_stops_when_asked(
    start: Start, folder: Path, on_cluster: dict[str, object]
) -> None:
    tiny.write_midi(folder / "corpora" / "groove_midi" / "beat.mid", {"": tiny.drum_notes(8)}, channel=9)
    run = start(
        "GroovePredictor",
        datasets__use_synthetic=False,
        datasets__dir="corpora",
        datasets__cache_dir="cache",
        **on_cluster,
    )
    assert "has no workers; waiting for one" in next_event(run, FeaturesRead).note
    stop(run)
    assert "features of groove_midi: tcp://" in run.folder.console.read_text()


@pytest.mark.usefixtures("folder")
def test_a_sweep_that_waits_for_workers_ends_when_asked(
    on_cluster: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_cluster, "_SECONDS_UNTIL_REPORTED", 0.1)
    settings = small_settings(sweep__seeds=2, **on_cluster)
    sweep = Sweep(plan_trials(settings, [model_spec("DynamicsEngine")]), settings)
    said: list[str] = []

    def stop(text: str) -> None:
        said.append(text)
        sweep.request_stop()

    assert [result.state for result in sweep.results(stop)] == ["queued"] * 2
    assert len(said) == 1


@contextmanager
def running(arguments: Sequence[object], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A command in a process that Ctrl-C reaches, even where these tests run in the background, and its end."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_datasets_waits_for_workers_aloud_and_leaves_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    corpora = tmp_path / "corpora"
    for number in range(3):
        drums = tiny.drum_notes(8, lag=0.01 * number)
        tiny.write_midi(corpora / "groove_midi" / str(number) / "beat.mid", {"": drums}, channel=9)
    with cluster(tmp_path, 0) as one:
        arguments = ["datasets", "--json", "--datasets-dir", corpora, "--backend", "dask", "--scheduler", one.address]

        environment = os.environ | {"KELLY_DATASETS_CACHE_DIR": str(tmp_path / "cache")}
        with running(arguments, environment) as left:
            _wait_for("features of groove_midi: tcp://", left.stderr)
            left.send_signal(signal.SIGINT)
            out, rest = left.communicate(timeout=600)
        assert (left.returncode, out, rest) == (130, "", "")
        with running(arguments, environment) as patient:
            _wait_for("has no workers; waiting for one", patient.stderr)
            one.add_worker()
            _wait_for("1 worker of tcp://", patient.stderr)
            out, rest = patient.communicate(timeout=600)
        assert patient.returncode == 0, rest
        reports = {report["name"]: report for report in json.loads(out)["datasets"]}
        assert reports["groove_midi"]["files"] == 3


def _wait_for(words: str, stream: IO[str] | None) -> None:
    line = next(iter(stream), "")
    assert words in line
