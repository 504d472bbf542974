"""Sweeps: each trial once, whatever happens meanwhile, and true figures of them."""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kelly_core.config.schema import Settings
from kelly_core.errors import RunError
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from kelly_core.spec import model_spec
from kelly_core.sweeps.plan import Trial, plan_trials
from kelly_core.sweeps.results import TrialResult, as_json, best_runs, summarize_points
from kelly_core.sweeps.sweep import Sweep
from tests.helpers.dask_cluster import Cluster, cluster
from tests.runs.conftest import small_settings

MODEL = "DynamicsEngine"
GRID = ["training.learning_rate=0.001,0.01", "training.batch_size=16,32"]


def sweep_of(**options: object) -> Sweep:
    settings = small_settings(**({"sweep__set": GRID} | options))
    return Sweep(plan_trials(settings, [model_spec(MODEL)]), settings)


def run_of(trial: Trial) -> Run:
    return Run(RunDirectory(trial.settings.runs.dir / trial.id))


def losses(results: list[TrialResult]) -> dict[object, float | None]:
    return {(result.seed, result.point): result.best_loss for result in results}


@pytest.fixture
def meanwhile() -> Iterator[Callable[..., None]]:
    """Do something in a thread as soon as the first run of a sweep has completed an epoch."""
    threads: list[threading.Thread] = []
    over = threading.Event()

    def begin(sweep: Sweep, action: Callable[[Run], None]) -> None:
        def work() -> None:
            while not over.wait(0.01):
                for trial in sweep.trials:
                    # Its summary comes later, after a short training only with the end.
                    if RunDirectory(trial.settings.runs.dir / trial.id).manifest.exists():
                        run = run_of(trial)
                        if run.snapshot.models[0].epoch:
                            action(run)
                            return

        threads.append(threading.Thread(target=work))
        threads[-1].start()

    yield begin
    # A sweep that failed may have no run.
    over.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("forked")
def test_a_grid_is_trained_once_and_its_figures_are_those_of_its_runs(folder: Path) -> None:
    sweep = sweep_of(sweep__seeds=2, sweep__jobs=2)
    results = list(sweep.results())
    runs = {trial.id: run_of(trial) for trial in sweep.trials}
    assert len(runs) == 8
    assert {result.run for result in results} == set(runs)
    for result in results:
        assert result.state == "finished"
        assert result.best_loss == runs[result.run].snapshot.models[0].best_loss
    table = summarize_points(results)
    assert [row.mean for row in table] == sorted(statistics.fmean(row.losses.values()) for row in table)
    best = min((one for one in results if one.point == table[0].point), key=lambda one: one.best_loss)
    assert sweep.export_best(results) == {best.run: folder / "out" / "dynamicsengine.json"}
    trained = next(trial for trial in sweep.trials if trial.id == best.run).settings.output.dir
    assert (folder / "out/dynamicsengine.json").read_bytes() == (trained / "dynamicsengine.json").read_bytes()
    again = sweep_of(sweep__seeds=2, sweep__jobs=1)
    assert losses(list(again.results())) == losses(results)
    assert {run_of(trial).manifest.attempts for trial in again.trials} == {1}
    more = sweep_of(sweep__seeds=3)
    assert {trial.id for trial in sweep.trials} < {trial.id for trial in more.trials}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("content", [b"", b"{", b'{"points": NaN}', b"[" * 100_000, b"\xff\x00", None])
def test_a_table_of_any_content_is_written_again(content: bytes | None) -> None:
    sweep = sweep_of()
    sweep.table.parent.mkdir()
    os.mkfifo(sweep.table) if content is None else sweep.table.write_bytes(content)
    sweep.write([])
    assert json.loads(sweep.table.read_text()) == as_json([])
    sweep.table.unlink()
    sweep.table.mkdir()
    with pytest.raises(RunError):
        sweep.write([])


@pytest.mark.usefixtures("folder", "forked")
def test_a_killed_trial_continues_and_a_stopped_sweep_too(meanwhile: Callable[..., None]) -> None:
    # Long enough that the first is killed, and the second stopped, before it ends.
    long = {"epochs": 80, "examples": 1024, "sweep__set": ["training.learning_rate=0.001,0.003,0.01"]}
    undisturbed = list(sweep_of(output="whole", **long).results())
    sweep = sweep_of(**long, sweep__jobs=1)
    meanwhile(sweep, Run.kill)
    first = sweep.results()
    killed = next(first)
    sweep.request_stop()
    rest = list(first)
    assert killed.state == "finished"
    assert run_of(sweep.trials[0]).manifest.attempts == 2
    assert {result.state for result in rest} <= {"stopped", "queued"}
    assert "queued" in {one.state for one in rest}
    finished = list(sweep_of(**long).results())
    assert losses(finished) == losses(undisturbed)
    assert run_of(sweep.trials[0]).manifest.attempts == 2


@pytest.mark.usefixtures("folder", "forked")
def test_a_request_that_arrives_before_the_first_trial_is_received() -> None:
    sweep = sweep_of()
    sweep.request_stop()
    assert {result.state for result in sweep.results()} == {"queued"}
    # The request was for that sweep, not for the next one.
    assert [result.state for result in sweep_of(sweep__set=[]).results()] == ["finished"]


@pytest.mark.usefixtures("forked")
def test_ctrl_c_stops_all_and_shows_how_to_continue(folder: Path, kelly_core: Callable[..., object]) -> None:
    endless = ("-e", 100_000, "--set", "training.early_stopping.patience=0")
    command = ("sweep", "-m", MODEL, "--use-synthetic", "--set", "training.gradient_clip=1,2", "--json", "-o", "out")
    interrupt = threading.Thread(target=_interrupt_at_first_epoch, args=(folder,))
    interrupt.start()
    stopped = kelly_core(*command, *endless)
    interrupt.join()
    assert stopped.code == 130, stopped.err
    assert "repeat the command" in stopped.err
    assert "--set training.gradient_clip=1,2" in stopped.err
    assert not (folder / "out/dynamicsengine.json").exists()
    content = json.loads(stopped.out)
    assert {trial["state"] for trial in content["trials"]} <= {"stopped", "queued"}
    assert content == json.loads((folder / "out/sweep.json").read_text())


def _interrupt_at_first_epoch(folder: Path) -> None:
    deadline = time.monotonic() + 600
    while not any('"kind":"epoch"' in log.read_text() for log in (folder / "runs").glob("*/events.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("forked")
def test_a_sweep_that_cannot_export_its_best_prints_one_document(
    folder: Path, kelly_core: Callable[..., object]
) -> None:
    assert kelly_core("sweep", "-m", "groove", "--seeds", "2", "-e", "1", "--json").code == 0
    for export in folder.rglob("trials/*/groovepredictor.json"):
        export.unlink()
    again = kelly_core("sweep", "-m", "groove", "--seeds", "2", "-e", "1", "--json")
    assert again.code == 1
    assert "repeat the sweep to train it again" in json.loads(again.out)["error"]


@pytest.mark.usefixtures("folder", "forked")
def test_a_sweep_by_command(kelly_core: Callable[..., object]) -> None:
    command = ("sweep", "-m", MODEL, "--use-synthetic", "-e", 1, "--random", 2, "--set", "training.batch_size=16..64")
    done = kelly_core(*command, "--json")
    assert done.code == 0, done.err
    content = json.loads(done.out)
    assert [row["missing"] for row in content["table"]] == [0, 0]
    assert content["best"] == {MODEL: content["table"][0]["best_run"]}
    assert content["best"][MODEL] in kelly_core("runs").out
    assert "batch_size" in kelly_core(*command).out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "training.lerning_rate=1"], "training.lerning_rate.*Did you mean training.learning_rate"),
        (["--set", "training.learning_rate=0.1,-1"], "training.learning_rate = -1"),
        (["--set", "training.learning_rate"], "is not key=value"),
        (["--set", "training.seed=1,2"], "--seeds"),
        (["--set", "output.dir=a,b"], "cannot be tried"),
        (["--set", "training.batch_size=16..32"], "needs --random"),
        (["--set", "training.batch_size=32..16", "--random", "2"], "to a larger one"),
        (["--set", "training.epochs=1", "--set", "training.epochs=2"], "given twice"),
        (["--random", "3", "--seeds", "2"], "nothing to draw from"),
        ([], "nothing to vary"),
        (["--backend", "dask"], "needs a scheduler"),
        (["--backend", "dask", "--scheduler", "somewhere"], "parallel.scheduler"),
    ],
)
def test_a_mistake_is_refused_before_anything_starts(
    kelly_core: Callable[..., object], tmp_path: Path, options: list[str], words: str
) -> None:
    done = kelly_core("sweep", "-m", MODEL, "--use-synthetic", *options)
    assert done.code == 2
    assert re.search(words, done.err), done.err
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "models").exists()


def plan(seed: int = 0, models: tuple[str, ...] = (MODEL,), **sweep: object) -> list[Trial]:
    options = {f"sweep__{key}": value for key, value in sweep.items()}
    settings: Settings = small_settings(training__seed=seed, **options)
    return plan_trials(settings, [model_spec(name) for name in models])


def test_random_points_are_in_their_ranges_and_more_of_them_begin_alike() -> None:
    tried = ["training.learning_rate=0.0001..0.1", "training.batch_size=8..64"]
    many = [dict(trial.point) for trial in plan(set=tried, random=200)]
    assert [dict(trial.point) for trial in plan(set=tried, random=20)] == many[:20]
    rates = [point["training.learning_rate"] for point in many]
    assert all(0.0001 <= rate <= 0.1 for rate in rates)
    assert len(set(rates)) > 100
    # Half of a range of three orders of magnitude is below its geometric mean.
    assert 60 < sum(rate < 0.00316 for rate in rates) < 140
    sizes = {point["training.batch_size"] for point in many}
    assert sizes <= set(range(8, 65))
    assert len(sizes) > 20
    assert len(plan(set=["training.batch_size=8,16,32"], random=50)) == 3
    assert [trial.point for trial in plan(1, set=tried, random=5)] != [
        trial.point for trial in plan(set=tried, random=5)
    ]


def test_paths_may_be_tried_whatever_folder_they_begin_in(folder: Path) -> None:
    trials = plan(set=["datasets.dir=../a,../b"])
    assert [trial.settings.datasets.dir for trial in trials] == [folder / "../a", folder / "../b"]


def test_a_setting_of_one_model_gives_others_no_trials() -> None:
    trials = plan(models=(MODEL, "GroovePredictor"), set=[f"models.{MODEL}.loss=mse,masked_mse"])
    assert [(trial.model, len(trial.point)) for trial in trials] == [(MODEL, 1), (MODEL, 1), ("GroovePredictor", 0)]


def test_what_is_tried_wins_over_a_models_own_section() -> None:
    settings = small_settings(models__DynamicsEngine__learning_rate=0.5, sweep__set=GRID[:1])
    trials = plan_trials(settings, [model_spec(MODEL)])
    assert [trial.settings.models[MODEL].learning_rate for trial in trials] == [0.001, 0.01]


def test_the_table_compares_points_seed_by_seed() -> None:
    def result(point: int, seed: int, loss: float | None, state: str = "finished") -> TrialResult:
        key = (("training.batch_size", point),)
        return TrialResult(f"{point}-{seed}", MODEL, seed, key, state, best_loss=loss, export="e.json")

    results = [
        *(result(16, 0, 0.5), result(16, 1, 0.9), result(16, 2, 0.1)),
        *(result(32, 0, 0.6), result(32, 1, 1.1), result(32, 2, 0.4)),
        *(result(64, 0, 0.01), result(64, 1, 0.01), result(64, 2, 0.01, "stopped")),
        *(result(128, seed, None, "failed") for seed in range(3)),
    ]
    table = summarize_points(results)
    assert [dict(row.point)["training.batch_size"] for row in table] == [16, 32, 64, 128]
    best, second, partial, failed = table
    assert (best.mean, best.behind, best.behind_spread) == (pytest.approx(0.5), 0.0, 0.0)
    assert best.spread == pytest.approx(0.4)
    assert (second.mean, second.behind) == (pytest.approx(0.7), pytest.approx(0.2))
    assert second.behind_spread == pytest.approx(0.1)
    assert partial.missing == 1
    assert partial.behind == pytest.approx(-0.69)
    assert (failed.missing, failed.mean, failed.best_run) == (3, None, "")
    assert best_runs(table) == {MODEL: "16-2"}


@pytest.fixture
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as one:
        yield one


@pytest.mark.usefixtures("folder")
@pytest.mark.slow
def test_a_killed_worker_of_a_cluster_trains_nothing_twice(
    two_workers: Cluster, meanwhile: Callable[..., None]
) -> None:
    on_cluster = {"parallel__backend": "dask", "parallel__scheduler": two_workers.address}
    sweep = sweep_of(epochs=100, sweep__set=GRID[:1], **on_cluster)
    meanwhile(sweep, lambda _run: two_workers.workers[0].kill())
    results = list(sweep.results())
    assert [result.state for result in results] == ["finished"] * 2
    assert {run_of(trial).manifest.attempts for trial in sweep.trials} == {1}
    here = sweep_of(epochs=100, sweep__set=GRID[:1], sweep__jobs=2)
    assert losses(list(here.results())) == losses(results)
    assert [trial.id for trial in here.trials] == [trial.id for trial in sweep.trials]
