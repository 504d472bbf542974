"""``kelly-core runs`` and what can be said to it."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kelly_core import events
from kelly_core.cli import run_control
from kelly_core.cli.foreground import _note
from kelly_core.runs.event_log import AttemptBegun, LogRecord, RunEnded, StateChanged
from kelly_core.runs.launch import resume
from kelly_core.runs.registry import find_run
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import RunDirectory
from kelly_core.runs.state import ModelSnapshot
from tests.cli.conftest import CommandRunner
from tests.runs.conftest import MODEL, Start, epoch, make_run, pause, until, until_epoch

ENDED = [AttemptBegun(), StateChanged("running"), epoch(1, 0.5), epoch(2, 0.25), RunEnded("stopped")]


@pytest.fixture
def ended(tmp_path: Path, kelly_core: CommandRunner) -> RunDirectory:  # noqa: ARG001 - a fixture cannot use usefixtures
    """A run that was stopped, in the default folder."""
    return make_run(tmp_path / "runs" / "2026-01-02-0304-calm-lute", *ENDED)


def test_a_list_for_people_and_one_for_programs(kelly_core: CommandRunner, ended: RunDirectory) -> None:
    broken = make_run(ended.path.with_name("broken"))
    broken.manifest.write_text("{")
    shown = kelly_core("runs")
    assert shown.code == 0
    assert ended.id in shown.out
    assert "stopped" in shown.out
    assert "best 0.2500" in shown.out
    assert "broken" in shown.err
    assert "damaged" in shown.err
    assert f"delete {broken.path}" in kelly_core("runs", "rm", "broken", "--yes").err
    listed = json.loads(kelly_core("runs", "--json").out)
    (row,) = listed["runs"]
    assert (row["id"], row["state"], row["models"]) == (ended.id, "stopped", ["DynamicsEngine"])
    assert row["output"] == str(ended.path.parent / "out")
    assert row["progress"][0]["best_epoch"] == 2
    assert list(listed["unreadable"]) == ["broken"]
    assert kelly_core("runs", "list").out == shown.out
    assert json.loads(kelly_core("runs", "list", "--json").out) == listed


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize(
    ("typed", "meant"), [("2026-01-02-0304-clam-lute", "2026"), ("lute", "2026"), ("lats", "last")]
)
def test_an_unknown_run_gets_the_closest_one_as_a_hint(kelly_core: CommandRunner, typed: str, meant: str) -> None:
    refused = kelly_core("runs", "show", typed)
    assert refused.code == 1
    assert f"Did you mean {meant}" in refused.err


def test_an_id_and_its_state_are_never_cut_short(
    kelly_core: CommandRunner, ended: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "36")
    assert f"{ended.id}  stopped" in kelly_core("runs").out


def test_an_empty_list_of_runs_is_not_an_error(kelly_core: CommandRunner) -> None:
    assert "no runs in" in kelly_core("runs").out
    assert json.loads(kelly_core("runs", "--json").out) == {"runs": [], "unreadable": {}}
    nothing = kelly_core("runs", "show", "last")
    assert nothing.code == 1
    assert "there is no run yet" in nothing.err


def test_the_folder_moves_with_its_variable(
    kelly_core: CommandRunner, ended: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended.path.parent.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("KELLY_RUNS_DIR", "elsewhere")
    assert ended.id in kelly_core("runs").out


def test_show_prints_the_state(kelly_core: CommandRunner, ended: RunDirectory) -> None:
    with ended.events.open("ab") as file:
        file.write(b"\x00\x01\n" + b'{"t":1,"busy":1,"attempt":1,"kind":"mood","data":{}}\n')
    shown = kelly_core("runs", "show", "2026")
    assert shown.code == 0
    assert "stopped" in shown.out
    assert "kelly-core train" in shown.out
    assert "0.2500" in shown.out
    assert "1 damaged lines" in shown.err
    assert "1 records of its log are of a newer version" in shown.err
    reported = json.loads(kelly_core("runs", "show", "last", "--json").out)
    assert reported["settings"]["training"]["batch_size"] == 16
    assert reported["damaged_lines"] == 1


def test_losses_are_drawn_in_characters(kelly_core: CommandRunner, ended: RunDirectory) -> None:
    events = [epoch(1, 0.75), epoch(2, float("nan")), epoch(3, 0.5), epoch(3, 0.25)]
    make_run(ended.path.with_name("other"), AttemptBegun(), *events, epochs=7)
    shown = kelly_core("runs", "show", "other", "--plot")
    assert shown.code == 0
    _, title, plot = shown.out.partition(f"{MODEL}: loss by epoch")
    assert title
    frame, *lines = plot.splitlines()[1:]
    assert frame.lstrip().startswith("┌")
    # The highest and the lowest value; that of the third epoch which a later attempt replaced is drawn nowhere.
    assert lines[0].startswith("0.75")
    assert any(line.startswith("0.25") for line in lines)
    # Both losses are the same here, and validation is drawn last.
    assert "v" in lines[0]
    assert lines[-1].split() == ["t", "training", "v", "validation"]


def test_the_greatest_loss_of_many_epochs_is_drawn(kelly_core: CommandRunner, ended: RunDirectory) -> None:
    losses = [0.25] * 400
    losses[201] = 0.75
    make_run(ended.path.with_name("other"), AttemptBegun(), *(epoch(n, loss) for n, loss in enumerate(losses, 1)))
    _, _, plot = kelly_core("runs", "show", "other", "--plot").out.partition("loss by epoch")
    assert plot.splitlines()[2].startswith("0.75")


def test_diff_compares_two(kelly_core: CommandRunner, ended: RunDirectory) -> None:
    make_run(ended.path.with_name("other"), AttemptBegun(), epoch(1, 0.125), epochs=7)
    shown = kelly_core("runs", "diff", "2026", "other")
    assert shown.code == 0
    assert "training.epochs" in shown.out
    assert "0.2500" in shown.out
    assert "0.1250" in shown.out
    reported = json.loads(kelly_core("runs", "diff", "2026", "other", "--json").out)
    assert reported["settings"] == {"training.epochs": [3, 7]}
    assert [best["best_loss"] for best in reported["models"]["DynamicsEngine"]] == [0.25, 0.125]
    assert "the settings are the same" in kelly_core("runs", "diff", "2026", "2026").out


def test_rm_needs_confirmation_and_keeps_the_output(
    kelly_core: CommandRunner, ended: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs" / "out").mkdir()
    for answer, code in (("n\n", 1), ("", 1)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        assert kelly_core("runs", "rm", "last").code == code
        assert ended.events.exists()
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert kelly_core("runs", "rm", "last").code == 0
    assert not ended.path.exists()
    assert (tmp_path / "runs" / "out").exists()
    again = make_run(ended.path, *ENDED)
    assert kelly_core("runs", "rm", "last", "--yes").code == 0
    assert not again.path.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "nothing"],
        ["stop", "last"],
        ["rollback", "last"],
        ["rollback", "last", "--model", "nothing"],
        ["rollback", "last", "--model", "dynamics"],
        ["pause", "last"],
        ["stop", "last", "--now", "--after-epoch"],
        ["stop", "last", "--after", "0"],
        ["resume", "last", "--epochs", "5"],
        ["resume", "last", "--epochs", "+x"],
        ["diff", "last", "nothing"],
        ["--json", "stop", "last"],
    ],
)
def test_mistakes_get_a_message(kelly_core: CommandRunner, ended: RunDirectory, arguments: list[str]) -> None:
    before = ended.events.read_bytes()
    shown = kelly_core("runs", *arguments)
    assert shown.code in (1, 2)
    assert shown.err
    assert "Traceback" not in shown.err + shown.out
    assert ended.events.read_bytes() == before
    assert not ended.control.exists()


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a run takes longer to answer than a person is kept waiting."""
    monkeypatch.setattr(run_control, "_ANSWER_TIMEOUT_SECONDS", 120.0)


@pytest.mark.usefixtures("forked")
def test_a_run_from_start_to_end(kelly_core: CommandRunner, tmp_path: Path) -> None:
    train = ["train", "-m", "DynamicsEngine", "-e", 100_000, "-o", "out", "--early-stopping-patience", 0, "--no-plots"]
    detached = kelly_core(*train, "--detach")
    assert detached.code == 0
    run = Run(find_run(tmp_path / "runs", detached.out.strip()))
    assert run.manifest.command[:4] == ("kelly-core", "train", "--model", "DynamicsEngine")
    until_epoch(run, 1)
    assert kelly_core("runs", "pause", "last").out == f"{run.id}: paused\n"
    refused = kelly_core("runs", "resume", "last", "--epochs", "+5")
    assert refused.code == 1
    assert "paused" in refused.err
    assert kelly_core("runs", "resume", "last").out == f"{run.id}: running\n"
    assert kelly_core("runs", "rm", "last", "--yes").code == 1
    assert kelly_core("runs", "resume", "last").code == 1
    assert "DynamicsEngine: as requested: back to epoch" in kelly_core("runs", "rollback", "last").out
    stopped = kelly_core("runs", "stop", "last", "--after", 2)
    assert "stop" in stopped.out
    assert f"to continue: kelly-core runs resume {run.id}\n" in stopped.err
    until(run, "stopped")
    run.acquire_lock().release()
    logs = kelly_core("runs", "logs", "last").out
    assert "DynamicsEngine: epoch 1/" in logs
    assert logs.endswith("stopped\n")
    attached = kelly_core("runs", "attach", "last")
    assert attached.code == 0
    assert "stopped" in attached.out
    assert f"to continue: kelly-core runs resume {run.id}\n" in attached.err
    again = kelly_core("runs", "resume", "last", "--epochs", "+5")
    assert again.out == f"{run.id}\n"
    total = Run(run.folder).manifest.settings["models"]["DynamicsEngine"]["epochs"]
    assert 5 < total < 100_000
    assert f"DynamicsEngine: continues at epoch {total - 4}, trains 5 more, until {total} in total" in again.err
    extended = Run(run.folder)
    until(extended, "finished")
    assert extended.snapshot.models[0].epoch == total


def test_a_run_that_is_stopping_is_waited_for(
    kelly_core: CommandRunner, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(epochs=100_000)
    until_epoch(run, 1)
    assert kelly_core("runs", "stop", "last", "--after", 100_000).code == 0
    follow = Run.follow

    def hasten(self: Run) -> Iterator[LogRecord]:
        """Stop the run when it is waited for, and not before."""
        self.request_stop()
        return follow(self)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "follow", hasten)
        resumed = kelly_core("runs", "resume", "last")
    assert (resumed.code, resumed.out) == (0, f"{run.id}\n")
    assert f"waiting for {run.id} to stop; Ctrl-C stops waiting" in resumed.err
    again = Run(run.folder)
    assert again.manifest.attempts == 2
    again.request_stop()
    removed = kelly_core("runs", "rm", "last", "--yes")
    assert (removed.code, removed.out) == (0, f"deleted {run.id}\n")
    assert not run.folder.path.exists()


def test_a_paused_run_that_is_to_stop_after_some_epochs_continues_to_there(
    kelly_core: CommandRunner, start: Start
) -> None:
    run = start(epochs=100_000)
    until_epoch(run, 1)
    pause(run)
    run.request_stop(after_epochs=2)
    assert kelly_core("runs", "resume", "last").out == f"{run.id}: stopping\n"
    until(run, "stopped")


def test_attach_and_logs_follow_until_the_end(kelly_core: CommandRunner, start: Start) -> None:
    run = start(epochs=3)
    attached = kelly_core("runs", "attach", "last")
    assert attached.code == 0
    assert "finished" in attached.out
    run.acquire_lock().release()
    resume(run, 1)
    followed = kelly_core("runs", "logs", "last", "-f")
    assert followed.code == 0
    assert "epoch 4/4" in followed.out
    assert followed.out.count("finished") == 2


def test_attach_reports_a_failure_by_its_exit_code(kelly_core: CommandRunner, ended: RunDirectory) -> None:
    make_run(ended.path.with_name("failed"), AttemptBegun(), RunEnded("failed", "the disk is full"), created=2e9)
    shown = kelly_core("runs", "attach", "last")
    assert shown.code == 1
    assert "the disk is full" in shown.out


def test_ctrl_c_ends_only_the_watching(
    kelly_core: CommandRunner, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(epochs=100_000)
    follow = Run.follow

    def interrupted(self: Run):
        for record in follow(self):
            yield record
            if isinstance(record.event, events.EpochDone):
                raise KeyboardInterrupt

    monkeypatch.setattr(Run, "follow", interrupted)
    shown = kelly_core("runs", "attach", "last")
    monkeypatch.setattr(Run, "follow", follow)
    assert shown.code == 0
    assert f"{run.id} continues" in shown.err
    until_epoch(run, 3)
    assert run.snapshot.state == "running"


def test_a_bar_shows_that_its_run_holds() -> None:
    model = ModelSnapshot("DynamicsEngine", "paused", epoch=1, epochs=3, train_loss=1.0, val_loss=1.0, best_loss=1.0)
    assert _note(model, "paused").endswith("paused")
    assert _note(replace(model, state="running", eta_seconds=90.0), "running").endswith("1:30 left")


@pytest.mark.usefixtures("forked")
def test_attached_training_in_json_is_the_same_as_ever(kelly_core: CommandRunner) -> None:
    trained = kelly_core("train", "-m", "GroovePredictor", "-e", 2, "-o", "out", "--no-plots", "--json")
    assert trained.code == 0
    reported = json.loads(trained.out)
    assert (reported["run"], reported["state"], reported["error"]) == (
        find_run(Path("runs"), "last").id,
        "finished",
        None,
    )
    (model,) = reported["models"]
    assert set(model) == {
        "model",
        "dataset",
        "synthetic",
        "export",
        "reason",
        "epochs",
        "metrics",
        "seconds",
        "error",
        "verdict",
    }
    assert (model["export"], model["epochs"], model["error"]) == ("out/groovepredictor.json", 2, None)
    assert "GroovePredictor: epoch 2/2" in trained.err


@pytest.mark.usefixtures("forked")
def test_a_training_whose_process_is_killed_reports_it(kelly_core: CommandRunner, tmp_path: Path) -> None:
    def kill() -> None:
        while not list((tmp_path / "runs").glob("*/run.json")):
            pass
        run = Run(find_run(tmp_path / "runs", "last"))
        until_epoch(run, 1)
        run.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    shown = kelly_core("train", "-m", "DynamicsEngine", "-e", 100_000, "-o", "out", "--no-plots")
    killer.join()
    assert shown.code == 1
    assert "died" in shown.err
    assert "kelly-core runs resume" in shown.err
