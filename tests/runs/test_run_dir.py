"""Tags and notes of runs, comparison of several, and other settings for a live one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kelly_core import events
from kelly_core.errors import RunError
from kelly_core.runs.event_log import RunEnded, StateChanged
from kelly_core.runs.run import Run
from kelly_core.runs.run_dir import change_tags, read_labels
from tests.runs.conftest import MODEL, epoch, hold, make_run


def test_runs_are_tagged_noted_filtered_and_compared(kelly_core, tmp_path: Path) -> None:
    for number, name in enumerate(("brave-cadence", "calm-melody", "golden-march")):
        begun = events.ModelStarted(MODEL, "maestro", True, 8, 4, 1, 9, "cpu", 0.5)
        happened = [begun, epoch(1, 0.1 * (number + 1)), RunEnded("finished")]
        folder = tmp_path / "runs" / f"2026-11-22-143{number}-{name}"
        make_run(folder, *happened, created=1e9 + number, **{"training.epochs": 9 + number})
    assert kelly_core("runs", "tag", "brave-cadence", "baseline", "v2").out == "baseline v2\n"
    assert kelly_core("runs", "tag", "brave-cadence", "--remove", "v2").out == "baseline\n"
    assert kelly_core("runs", "note", "brave-cadence", "first\x1b[31m try").code == 0
    shown = kelly_core("runs", "show", "brave-cadence").out
    assert "baseline" in shown
    assert "\x1b" not in shown
    listed = json.loads(kelly_core("runs", "--filter", "tag:baseline loss<0.15", "--json").out)["runs"]
    assert [(run["id"][16:], run["tags"]) for run in listed] == [("brave-cadence", ["baseline"])]
    assert "none of 3 runs" in kelly_core("runs", "list", "--filter", "tag:other").out
    wrong = kelly_core("runs", "--filter", "stat:x")
    assert (wrong.code, "Did you mean state" in wrong.err) == (1, True)
    names = ("brave-cadence", "calm-melody", "golden-march")
    table = kelly_core("runs", "compare", *names, "--only-differences").out
    assert "+100.0%" in table
    assert "+200.0%" in table
    assert "training.epochs" in table
    assert "training.batch_size" not in table
    assert "training.batch_size" in kelly_core("runs", "compare", *names).out
    assert kelly_core("runs", "compare", "last").code == 2


def test_a_tag_is_one_word(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "one", RunEnded("finished"))
    for tag in ("two words", "", "-x", "a" * 41, "a\x1bb"):
        with pytest.raises(RunError, match="is not a tag"):
            change_tags(folder, [tag])
    folder.labels.write_text("{")
    assert read_labels(folder).tags == ()


def test_other_settings_are_asked_for_and_checked(kelly_core, tmp_path: Path) -> None:
    begun = events.ModelStarted(MODEL, "maestro", True, 8, 4, 1, 9, "cpu", 0.5)
    folder = make_run(tmp_path / "runs" / "one", StateChanged("running"), begun, epoch(1, 0.5))
    folder.heartbeat.touch()
    lock = hold(folder)
    assert kelly_core("runs", "set", "one", "learning_rate=0.0005", "patience=20").code == 0
    request = json.loads(folder.control.read_text())
    assert (request["kind"], request["model"], request["learning_rate"], request["patience"], request["epochs"]) == (
        "set", MODEL, 0.0005, 20, None,
    )  # fmt: skip
    for words in (
        "learning_rate=-1",
        "learning_rate=nan",
        "epochs=0",
        "epochs=1.5",
        "batch_size=3",
        "patience",
        "seed=1",
    ):
        assert kelly_core("runs", "set", "one", words).code == 1, words
    assert len(folder.control.read_text().splitlines()) == 1
    lock.release()
    assert "has ended" in kelly_core("runs", "set", "one", "patience=3").err


def test_the_log_shows_the_settings_that_were_changed(tmp_path: Path) -> None:
    saved = events.CheckpointSaved(MODEL, 1, "latest", "x.pt")
    begun = events.ModelStarted(MODEL, "maestro", True, 8, 4, 1, 9, "cpu", 0.5)
    changed = events.SettingsChanged(MODEL, 1, learning_rate=0.5, epochs=20)
    folder = make_run(tmp_path / "one", begun, epoch(1, 0.5), saved, changed)
    assert Run(folder).changes_of(MODEL) == ({"learning_rate": 0.5, "epochs": 20}, 0.5)
    assert Run(folder).snapshot.models[0].epochs == 20
    later = make_run(tmp_path / "two", begun, epoch(1, 0.5), changed, saved, begun)
    assert Run(later).changes_of(MODEL) == ({}, None)
    held = make_run(tmp_path / "three", begun, epoch(1, 0.5), changed, saved)
    assert Run(held).changes_of(MODEL) == ({"learning_rate": 0.5, "epochs": 20}, None)
