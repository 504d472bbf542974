"""Runs and sweeps that wait for a cluster's workers are reported, and can be stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kelly_core.parallel import dask as dask_cluster
from kelly_core.runs.event_log import FeaturesRead
from kelly_core.spec import model_spec
from kelly_core.sweeps.plan import plan_trials
from kelly_core.sweeps.sweep import Sweep
from tests.helpers import tiny
from tests.helpers.dask_cluster import cluster

from .conftest import Start, small_settings, until

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
    for record in run.follow():
        if isinstance(record.event, FeaturesRead):
            assert "has no workers; waiting for one" in record.event.note
            run.request_stop()
            break
    until(run, "stopped")
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
