"""Results of every executor come in order, once each, and a lost process changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kelly_core.data import create_dataset
from kelly_core.data.corpus_dataset import CorpusDataset
from kelly_core.errors import DataError, ParallelError
from kelly_core.parallel import dask as dask_cluster
from kelly_core.parallel import executor
from tests.helpers.dask_cluster import Cluster, cluster, die, die_sometimes, square

SONGS = 60


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as one:
        yield one


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order_over_many_windows(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_CHUNKS_PER_WORKER", 2)
    monkeypatch.setattr(executor, "_MAX_CHUNK", 4)
    for count in (0, 1, 7, 8, 30):
        results = executor.map_ordered(square, range(count), jobs=jobs)
        assert list(results) == [number * number for number in range(count)]


def test_nothing_to_compute_needs_no_cluster() -> None:
    pytest.importorskip("distributed")
    assert list(executor.map_ordered(square, [], scheduler="tcp://127.0.0.1:1")) == []


def test_what_a_lost_process_computed_is_computed_again(tmp_path: Path) -> None:
    results = list(executor.map_ordered(partial(die_sometimes, tmp_path), range(80), jobs=2))
    assert results == [number * number for number in range(80)]
    assert len(list(tmp_path.iterdir())) == 3


def test_work_that_kills_every_process_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "ALLOWED_FAILURES", 1)
    with pytest.raises(ParallelError, match="in a row"):
        list(executor.map_ordered(die, range(4), jobs=2))


def test_an_error_of_the_function_arrives_as_it_is(two_workers: Cluster) -> None:
    with pytest.raises(DataError, match="-1: no number"):
        list(executor.map_ordered(square, [1, -1, 2], scheduler=two_workers.address))


@pytest.mark.parametrize("jobs", [1, 2, None])
def test_results_as_they_are_done_are_all_there(two_workers: Cluster, jobs: int | None) -> None:
    where = {"scheduler": two_workers.address} if jobs is None else {"jobs": jobs}
    results = executor.map_unordered(square, range(30), **where)
    assert sorted(results) == [number * number for number in range(30)]


@pytest.mark.parametrize(("name", "version"), [("Python", "2.7"), ("numpy", "0.1")])
def test_a_worker_of_another_version_refuses(
    two_workers: Cluster, monkeypatch: pytest.MonkeyPatch, name: str, version: str
) -> None:
    versions = tuple((key, version if key == name else real) for key, real in dask_cluster._versions())
    monkeypatch.setattr(dask_cluster, "_versions", lambda: versions)
    with pytest.raises(ParallelError, match=rf"worker on .*: has {name} \d.*, not {version}"):
        list(executor.map_ordered(square, range(4), scheduler=two_workers.address))


@pytest.mark.parametrize(
    ("change", "words"), [(Path.unlink, "has no"), (lambda song: song.write_bytes(b"x"), "has a different")]
)
def test_a_worker_with_other_files_is_refused(two_workers: Cluster, tmp_path: Path, change, words: str) -> None:
    song = tmp_path / "song.mid"
    song.write_bytes(b"MThd")

    class Elsewhere(list[int]):
        """Changes the file after this process has looked at it, and before a worker does."""

        def __getitem__(self, index):
            change(song)
            return super().__getitem__(index)

    with pytest.raises(ParallelError, match=rf"worker on .*: {words} .*song\.mid"):
        list(executor.map_ordered(square, Elsewhere([1, 2]), scheduler=two_workers.address, required_paths=[song]))


@pytest.mark.slow
def test_a_killed_worker_changes_no_byte(two_workers: Cluster, shared_data: Path, tmp_path: Path) -> None:
    two_workers.add_worker()
    alone, together = tmp_path / "alone", tmp_path / "cluster"

    def corpus(cache: Path, **options: object) -> CorpusDataset:
        return create_dataset("groove_midi", shared_data / "groove_midi", cache_dir=cache, **options)

    seen: list[tuple[int, int]] = []

    def kill_midway(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 3:
            two_workers.workers[0].kill()
            two_workers.workers[0].wait()

    options = {"max_files": SONGS, "scheduler": two_workers.address, "progress": kill_midway}
    assert _content(corpus(together, **options)) == _content(corpus(alone, jobs=1, max_files=SONGS))
    assert seen == [(done, SONGS) for done in range(1, SONGS + 1)]
    corpus(together, **options | {"progress": lambda *_at: pytest.fail("not all of it is in the cache")})
    deam = [
        create_dataset("deam", shared_data / "deam", cache_dir=folder, max_files=3, **where)
        for folder, where in ((alone, {"jobs": 1}), (together, {"scheduler": two_workers.address}))
    ]
    assert _content(deam[0]) == _content(deam[1])


def _content(dataset: CorpusDataset) -> tuple[object, ...]:
    """All that a dataset says: every number of its examples, and what was skipped."""
    batch = dataset.eval_batch(np.arange(len(dataset)))
    arrays = [(array.shape, array.tobytes()) for array in (batch.inputs, batch.targets, batch.weights)]
    return dataset.fingerprint, dataset.report.files, dataset.report.skipped, arrays


@pytest.mark.parametrize("run", [executor.map_ordered, executor.map_unordered])
def test_a_result_whose_worker_is_lost_while_it_arrives_is_a_result(
    two_workers: Cluster, monkeypatch: pytest.MonkeyPatch, run
) -> None:
    from distributed import Client

    gather = Client._gather

    async def gather_and_lose(client: Client, futures: list[Any], **options: object) -> object:
        result = await gather(client, futures, **options)
        for future in futures:
            client._handle_lost_data(key=future.key)
        return result

    monkeypatch.setattr(Client, "_gather", gather_and_lose)
    results = run(square, range(20), scheduler=two_workers.address)
    assert sorted(results) == [number * number for number in range(20)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_SECONDS_BETWEEN_CHECKS", 0.05)
    monkeypatch.setattr(dask_cluster, "_SECONDS_BETWEEN_CHECKS", 0.05)
    monkeypatch.setattr(dask_cluster, "_SECONDS_UNTIL_REPORTED", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.slow
def test_a_cluster_without_workers_is_waited_for_aloud(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    said: list[str] = []

    def come(text: str) -> None:
        if text not in said[-1:]:
            said.append(text)
            if "no workers" in text:
                one.add_worker()

    with cluster(tmp_path, 0) as one:
        results = []
        for result in executor.map_ordered(square, range(1000), scheduler=one.address, waiting=come):
            results.append(result)
            if len(results) == 10:
                one.workers[0].kill()
        assert results == [number * number for number in range(1000)]
        missing = f"{one.address} has no workers; waiting for one with the same files: dask worker {one.address}"
        assert [text.removesuffix(" --nthreads 1") for text in said] == [
            missing,
            f"1 worker of {one.address} available",
        ] * 2


class EnoughError(Exception):
    pass


@pytest.mark.usefixtures("impatient")
@pytest.mark.slow
def test_who_waits_for_workers_may_stop(tmp_path: Path) -> None:
    pytest.importorskip("distributed")

    def stop(_text: str) -> None:
        raise EnoughError

    with cluster(tmp_path, 0) as one:
        with pytest.raises(EnoughError):
            list(executor.map_ordered(square, [1], scheduler=one.address, waiting=stop))
        one.add_worker()
        assert list(executor.map_ordered(square, [2], scheduler=one.address)) == [4]
        results = executor.map_ordered(square, range(1000), scheduler=one.address, waiting=stop)
        assert next(results) == 0
        one.workers[0].kill()
        with pytest.raises(EnoughError):
            list(results)


@pytest.mark.slow
def test_a_cluster_that_loses_its_workers_or_its_scheduler_states_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    with cluster(tmp_path, 1) as one:
        with pytest.raises(ParallelError, match="every worker that ran it was lost"):
            list(executor.map_ordered(die, [1], scheduler=one.address))
        one.add_worker()
        results = executor.map_ordered(square, range(1000), scheduler=one.address)
        assert next(results) == 0
        one.scheduler.kill()
        with pytest.raises(ParallelError, match="the scheduler is gone"):
            list(results)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(dask_cluster, "_ANSWER_TIMEOUT_SECONDS", 0.1)
    with pytest.raises(ParallelError, match=r"tcp://127\.0\.0\.1:1: no Dask scheduler answers"):
        list(executor.map_ordered(square, [1], scheduler="tcp://127.0.0.1:1"))


def test_without_dask_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ParallelError, match=r"Install the extra dask"):
        list(executor.map_ordered(square, [1], scheduler="tcp://127.0.0.1:1"))
